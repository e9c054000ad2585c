"""Outgoing: an adapter's folder as it leaves the store, told to PEFT's own loaders. Touches files.

What lies in the store keeps its bytes, because a replay compares them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from catalog.stores.served_model import CONFIG, read_config
from rpe_core.families.table import FAMILIES


class HubName(NamedTuple):
    """Where anybody finds a base that lies on the hub."""

    model: str
    revision: str


def outgoing_config(
    config: Mapping[str, Any], *, family: str, hub: HubName | None = None
) -> dict[str, Any]:
    """A configuration by which `AutoPeftModel` finds the class of the base, and one on the hub.

    A type of task of PEFT's own says the class already; a base that is on no hub keeps its id,
    which is the name of the folder to look for.

    >>> outgoing_config({"peft_type": "LORA", "task_type": None}, family="sam")["auto_mapping"]
    {'base_model_class': 'SamModel', 'parent_library': 'transformers'}
    """
    added: dict[str, Any] = {}
    if not config.get("task_type") and not config.get("auto_mapping"):
        added["auto_mapping"] = FAMILIES[family].auto_mapping
    if hub:
        added.update(base_model_name_or_path=hub.model, revision=hub.revision)
    return {**config, **added}


def write_outgoing(folder: Path, *, family: str, hub: HubName | None = None) -> None:
    """Tell it in the configuration of a copied adapter; learned prompts are none of PEFT's."""
    config = read_config(folder)
    if config.get("peft_type") == "LORA":
        outgoing = outgoing_config(config, family=family, hub=hub)
        # sorted but for what is inside: patterns keep their order
        text = json.dumps(dict(sorted(outgoing.items())), indent=2, ensure_ascii=False)
        (folder / CONFIG).write_text(text + "\n", encoding="utf-8")
