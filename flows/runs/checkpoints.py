"""The checkpoint of a training in its folder: what a killed process left, the next goes on from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from catalog.stores.disk import write_whole
from rpe_core.training.resume import ResumeState, from_tensors, to_tensors


def read_checkpoint(folder: Path) -> ResumeState | None:
    """The state that was written last, or None."""
    state = folder / "resume.json"
    if not state.is_file():
        return None
    values = json.loads(state.read_text())
    return from_tensors(load_file(folder / values["tensors_file"]), values["state"])


def write_checkpoint(folder: Path, state: ResumeState) -> None:
    """Tensors first under a name of their own, then the JSON that names them, by one rename."""
    tensors, values = to_tensors(state)
    name = f"resume-{state.epoch}.safetensors"
    with write_whole(folder / name) as part:
        save_file(tensors, part)
    write_json(folder / "resume.json", {"tensors_file": name, "state": values})
    for old in folder.glob("resume-*.safetensors"):
        if old.name != name:
            old.unlink()


def write_json(file: Path, values: dict[str, Any]) -> None:
    """Write a file whole or not at all."""
    with write_whole(file) as part:
        part.write_text(json.dumps(values, sort_keys=True))
