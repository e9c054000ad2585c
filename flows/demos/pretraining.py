"""Pretraining of a demo's base: once, in a process of its own that may be killed and go on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from catalog.stores.artifacts.artifacts import Artifacts
from flows.runs.checkpoints import write_json
from flows.runs.processes import run_child
from flows.workspace.bases import model_files
from rpe_core.errors import InputError, RpeError
from rpe_core.fingerprint import SHORT, fingerprint

RECORD = "pretrained.json"  # the hash of the files beside it


class PretrainingFailed(RpeError):
    """The pretraining process ended without a model."""


def pretrain_base(folder: Path, module: str, how: Mapping[str, Any], *, scratch: Path) -> bool:
    """Make a model folder by a module's `main(work)`; whether it had to be made.

    The work folder holds request.json with `how`, and gets `model`. A folder that holds what was
    once pretrained is left alone. The process tells its progress on stderr; a killed one is gone
    on with, if it is asked for the same.

    Raises:
        InputError: if the folder is there and holds something else.
        PretrainingFailed: with the exit status of the process.
    """
    if folder.exists():
        _require_pretrained(folder)
        return False
    work = scratch / f"pretrain-{folder.name}-{fingerprint(how)[:SHORT]}"
    work.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(work / "model", ignore_errors=True)  # a killed process may have left a part
    write_json(work / "request.json", dict(how))
    status = run_child(module, work)
    if status != 0:
        raise PretrainingFailed(
            f"The pretraining process ended with status {status}.",
            remedy="run `rpe init` again: it goes on from the last checkpoint",
        )
    made = work / "model"
    write_json(made / RECORD, {"files_sha256": Artifacts.hash_files(model_files(made))})
    folder.parent.mkdir(parents=True, exist_ok=True)
    made.rename(folder)
    shutil.rmtree(work)
    return True


def _require_pretrained(folder: Path) -> None:
    record = folder / RECORD
    known = json.loads(record.read_text())["files_sha256"] if record.is_file() else ""
    if known != Artifacts.hash_files(model_files(folder)):
        raise InputError(
            f"The base model in {folder.name} is not the one that this demo pretrained.",
            remedy="remove the folder: `rpe init` pretrains it again",
        )
