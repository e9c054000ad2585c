"""ensemble.json: what a version is the sum of, for servers that add adapters up themselves."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from catalog.records.model_card import EnsembleFacts, MemberLine
from catalog.stores.served_model import served_name
from rpe_core.records import BaseModel

FORMAT = 1
_EXACT = ("concat", "dense")  # the merged adapter is the weighted sum itself


def scale_of(config: Mapping[str, Any]) -> float | None:
    """The scaling that a configuration gives every module's B A; None where modules differ.

    >>> scale_of({"r": 4, "lora_alpha": 8}), scale_of({"r": 4, "lora_alpha": 8, "use_rslora": True})
    (2.0, 4.0)
    >>> scale_of({"r": 4, "lora_alpha": 8, "rank_pattern": {"q": 2}}) is None
    True
    """
    if config.get("peft_type", "LORA") != "LORA":
        return 1.0
    rank, alpha = config.get("r", 8), config.get("lora_alpha", 8)
    ranks, alphas = config.get("rank_pattern") or {}, config.get("alpha_pattern") or {}
    pairs = {
        (rank, alpha),
        *((ranks.get(m, rank), alphas.get(m, alpha)) for m in {*ranks, *alphas}),
    }
    is_root = bool(config.get("use_rslora"))
    scales = {a / (math.sqrt(r) if is_root else r) for r, a in pairs}
    is_told = not (ranks or alphas) or set(ranks) == set(alphas)
    return float(scales.pop()) if is_told and len(scales) == 1 else None


def ensemble_file(
    facts: EnsembleFacts, base: BaseModel, *, base_model: str, weights_sha256: str, sha256: str
) -> bytes:
    """The file's bytes, a function of what is served: no time, run, path or number of a version."""
    content = {
        "base": {
            "base_id": base.base_id,
            "family": base.family,
            "registered_model": base_model,
            "sha256": base.sha256,
        },
        "dataset_version_id": facts.dataset_version_id,
        "ensemble_id": facts.ensemble_id,
        "format": FORMAT,
        "members": [
            _member(member) for member in sorted(facts.members, key=lambda m: m.adapter_id)
        ],
        "merge": {
            "is_weighted_sum": facts.merge in _EXACT,
            "method": facts.merge,
            "rank": facts.rank,
            "relative_error": facts.merge_error_ratio,
            "weights_sha256": weights_sha256,
        },
        "served_name": served_name(facts.target_name, sha256),
        "served_sha256": sha256,
        "strategy": facts.strategy,
        "target": facts.target_name,
    }
    text = json.dumps(content, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode()


def _member(line: MemberLine) -> dict[str, Any]:
    return {
        "adapter_id": line.adapter_id,
        "dataset_version_id": line.dataset_version_id,
        "license": line.license,
        "rank": line.rank,
        "registered_model": line.model_name,
        "scale": line.scale,
        "weight": line.weight,
        "weights_sha256": line.weights_sha256,
    }
