"""OLoRA: LoRA that begins at the first r columns of W0 = Q R (arXiv 2406.01775)."""

from __future__ import annotations

from rpe_core.adapters.methods.lora import NAME
from rpe_core.adapters.methods.lora_inits import Initialised

METHOD = Initialised("OLoRA", lambda layer: layer.olora_init(NAME))
