"""Served: what a version answers by, as one hash, and the name that a server gives it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rpe_core.fingerprint import SHORT, fingerprint
from rpe_core.records import BaseModel, TaskSpec

CONFIG = "adapter_config.json"
_ORDERED = ("alpha_pattern", "rank_pattern")  # of several that fit, PEFT takes the first
# what a configuration tells beside the model: where the base lies, which class loads it
_TOLD = ("auto_mapping", "base_model_name_or_path", "inference_mode", "peft_version", "revision")


def served_task(base: BaseModel, task: TaskSpec) -> dict[str, Any]:
    """The task as a version keeps it, and how the base is asked.

    Labels are a list, because their order is the order of the outputs.
    """
    declared = {name: value for name, value in task.declared.items() if name != "target"}
    if task.labels:
        declared["labels"] = [{"name": n, "prompt": p} for n, p in task.labels.items()]
    return {
        **declared,
        "dtype": base.dtype,
        "family": base.family,
        "max_tokens": base.max_tokens,
    }


def served_sha256(
    weights_sha256: str, config: Mapping[str, Any], base_sha256: str, task: Mapping[str, Any]
) -> str:
    """The hash over all that an answer follows from: equal hashes, one model.

    Who made the weights, from what and by which strategy is no part of it; weights that are equal
    as numbers and not bit for bit are two models. `task` is that of `served_task`.
    """
    relevant = {key: value for key, value in config.items() if key not in _TOLD}
    ordered = {key: list((relevant.get(key) or {}).items()) for key in _ORDERED}
    made_of = {
        "base": base_sha256,
        "config": {**relevant, **ordered},
        "task": json.loads(json.dumps(task)),  # as it is read again from a version
        "weights": weights_sha256,
    }
    return fingerprint(made_of)


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration of a stored adapter, its patterns in their order."""
    config: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    return config


def served_name(model_name: str, sha256: str) -> str:
    """What a server calls the adapter: another model, another name, and no cache answers for it.

    >>> served_name("site-d", "0123456789abcdef" * 4)
    'site-d-0123456789ab'
    """
    return f"{model_name}-{sha256[:SHORT]}"
