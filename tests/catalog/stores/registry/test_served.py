"""What makes two versions one model: all that an answer follows from, and nothing else."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from catalog.stores.served_model import read_config, served_name, served_sha256, served_task
from rpe_core.delta import LowRankDelta
from rpe_core.merging.peft_folders import write_adapter
from rpe_core.records import BaseModel, TaskSpec

BASE = BaseModel("pico", "text-encoder", "/models/pico", "main", "float32", 32, "b" * 64)
TASK = TaskSpec("text-classification", "text", "label", {"a": "an a", "b": "a b"})
CONFIG = {"r": 2, "lora_alpha": 2, "rank_pattern": {"x": 1, "y": 4}, "peft_type": "LORA"}


def sha256(
    base: BaseModel = BASE,
    task: TaskSpec = TASK,
    config: dict[str, Any] = CONFIG,
    weights: str = "w" * 64,
) -> str:
    return served_sha256(weights, config, base.sha256, served_task(base, task))


@pytest.mark.parametrize(
    "other",
    [
        {"weights": "v" * 64},
        {"config": {**CONFIG, "lora_alpha": 4}},
        {"config": {**CONFIG, "rank_pattern": {"y": 4, "x": 1}}},  # PEFT takes the first that fits
        {"base": dataclasses.replace(BASE, sha256="c" * 64)},
        {"base": dataclasses.replace(BASE, max_tokens=16)},
        {"base": dataclasses.replace(BASE, dtype="bfloat16")},
        {"task": dataclasses.replace(TASK, labels={"a": "an a", "b": "another b"})},
        {"task": dataclasses.replace(TASK, labels={"b": "a b", "a": "an a"})},
        {"task": dataclasses.replace(TASK, labels={**TASK.labels, "c": "a c"})},
        {"task": dataclasses.replace(TASK, input="report")},
    ],
)
def test_what_answers_otherwise_is_another_model(other: dict[str, Any]) -> None:
    assert sha256(**other) != sha256()


@pytest.mark.parametrize(
    "other",
    [
        {"base": dataclasses.replace(BASE, name="mini", model="/elsewhere", revision="v2")},
        {"task": dataclasses.replace(TASK, target="truth")},
        {"config": {**CONFIG, "base_model_name_or_path": "pico@0", "auto_mapping": {"a": "b"}}},
        {"config": dict(reversed(CONFIG.items()))},
    ],
)
def test_what_only_tells_of_a_model_does_not_make_another(other: dict[str, Any]) -> None:
    assert sha256(**other) == sha256()


def test_weights_that_are_equal_as_numbers_only_are_two_models(tmp_path) -> None:
    """0.0 and -0.0: no answer may differ, and yet it is not for us to say so."""
    names = []
    for zero in (0.0, -0.0):
        a, b = torch.full((1, 4), zero), torch.ones(4, 1)
        folder = tmp_path / f"{len(names)}"
        deltas = {"query": LowRankDelta(a, b, 1.0)}
        weights = write_adapter(folder, deltas, base_name="pico", task_type=None)
        names.append(served_name("t", sha256(config=read_config(folder), weights=weights)))
    assert np.float32(0.0) == np.float32(-0.0)
    assert len(set(names)) == 2
    assert all(name.startswith("t-") and len(name) == 14 for name in names)
