"""PiSSA: LoRA that begins at the first r singular triplets of W0 (arXiv 2404.02948)."""

from __future__ import annotations

from rpe_core.adapters.methods.lora import NAME
from rpe_core.adapters.methods.lora_inits import Initialised

METHOD = Initialised("PiSSA", lambda layer: layer.pissa_init(NAME, "pissa"))
