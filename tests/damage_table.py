"""The table of damages: each is noticed by the command that the docs name, and mended or refused.

A row spoils one thing of a workspace after a night, wherever its stores lie.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from flows.workspace.settings import Settings
from flows.workspace.stores import open_registry
from tests.damage import DEEP, MEND, NIGHTLY, PREDICT, QUICK, TARGET
from tests.damage_files import Files
from tests.lake_rows import read_rows_of
from tests.rpe_worker import Answer, Worker


@dataclass(frozen=True)
class Case:
    """What a row spoils; who must notice it, in words with `says`; whether `repair` mends it.

    What a night finds of what serves it makes again itself, and says so, or it fails.
    """

    spoil: Callable[[Settings, Files], None]
    seen_by: tuple[tuple[str, ...], ...]
    is_mended: bool
    says: str
    by_night: str = ""  # what its last screen says


def flip(content: bytes) -> bytes:
    """Another bit in the middle."""
    spoilt = bytearray(content)
    spoilt[len(spoilt) // 2] ^= 1
    return bytes(spoilt)


def cut(content: bytes) -> bytes:
    """All but the end."""
    return content[:-40]


def scatter(content: bytes) -> bytes:
    """Another bit in every eighth byte: a small file of Lance is mostly padding."""
    return bytes(byte ^ (not place % 8) for place, byte in enumerate(content))


def change(store: str, within: str, how: Callable[[bytes], bytes]) -> Callable[..., None]:
    """Spoil the first file of a store with this in its name."""

    def spoil(settings: Settings, files: Files) -> None:
        name = named(settings, files, store, within)[0]
        files.write(store, name, how(files.read(store, name)))

    return spoil


def lose(store: str, within: str) -> Callable[..., None]:
    """Let every such file be gone."""

    def spoil(settings: Settings, files: Files) -> None:
        for name in named(settings, files, store, within):
            files.delete(store, name)

    return spoil


def _without(database: str) -> Callable[..., None]:
    """Lose a database."""
    return lambda _, files: files.lose_database(database)


def named(settings: Settings, files: Files, store: str, within: str) -> list[str]:
    """Files with this in their name; `{run}` and `{artifact}` are those of the champion."""
    version = open_registry(settings, read_only=True).aliases(TARGET).get("champion", "")
    if "{" in within:
        within = within.format(**served(settings, version))
    found = [name for name in files.names(store) if within in name]
    assert found, (store, within)
    return found


def served(settings: Settings, version: str) -> dict[str, str]:
    """The run and the artifact of a version of the target."""
    (row,) = read_rows_of(
        settings,
        "SELECT e.artifact_sha256 FROM core.model_versions AS v"
        " JOIN core.ensembles AS e ON v.record_id = e.ensemble_id"
        f" WHERE v.model_name = '{TARGET}' AND v.model_version = '{version}'",
    )
    versions = open_registry(settings, read_only=True).versions(TARGET)
    (run,) = [one.run_id for one in versions if one.ref.version == version]
    return {"run": run, "artifact": row["artifact_sha256"]}


RAW, WEIGHTS = "raw/site_a/", "{run}/artifacts/model/artifacts/adapter/adapter_model.safetensors"
CODE = b"import pathlib\npathlib.Path('ran').touch()\n"
CASES: Mapping[str, Case] = {
    "raw rows flipped": Case(change("lake_data", RAW, flip), (DEEP,), False, "site_a"),
    "raw rows cut": Case(
        change("lake_data", RAW, lambda b: b[:-40]), (QUICK, DEEP), False, "site_a"
    ),
    "raw rows gone": Case(lose("lake_data", RAW), (QUICK, DEEP), False, "site_a"),
    "core rows flipped": Case(change("lake_data", "core/scores", flip), (DEEP,), False, "scores"),
    "core rows gone": Case(lose("lake_data", "core/lineage"), (QUICK, DEEP), False, "lineage"),
    "served weights flipped": Case(
        change("model_artifacts", WEIGHTS, flip), (DEEP, PREDICT), True, TARGET, by_night=TARGET
    ),
    "served code replaced": Case(
        change("model_artifacts", "{run}/artifacts/model/model.py", lambda b: CODE),
        (QUICK, DEEP, PREDICT),
        True,
        TARGET,
        by_night=TARGET,
    ),
    "served folder gone": Case(
        lose("model_artifacts", "{run}/"), (QUICK, DEEP, PREDICT), True, TARGET, by_night=TARGET
    ),
    "registry gone": Case(_without("mlflow"), (QUICK,), True, "egistry", by_night="repair"),
    "vectors flipped": Case(change("vectors", ".lance/data/", scatter), (DEEP,), True, "vector"),
    "vectors gone": Case(lose("vectors", ".lance/data/"), (QUICK, DEEP), True, "vector"),
    "lake's catalog gone": Case(_without("lake"), (QUICK,), False, "lake", by_night="backup"),
    "served artifact gone": Case(lose("artifacts", "{artifact}"), (QUICK, DEEP), True, "artifact"),
    "served artifact flipped": Case(
        change("artifacts", "{artifact}/adapter_model", flip), (DEEP,), True, "artifact"
    ),
}


def notice(worker: Worker, home: Path, case: Case) -> list[str]:
    """What of the commands that must notice did not, or said it in untrue words."""
    faults = []
    for answer in worker.ask(home, *case.seen_by):
        if not answer.code:
            faults.append(f"not noticed: {answer}")
        faults += _unclear(answer, case.says)
    return faults


def mend(worker: Worker, home: Path, case: Case) -> list[str]:
    """What is left after a repair, or what it did not name where only a backup can help."""
    dry, done, left = worker.ask(home, (*MEND, "--dry-run"), MEND, DEEP)
    faults = [fault for one in (dry, done) for fault in _unclear(one, "")]
    if case.is_mended:
        return faults + [f"not mended: {one}" for one in (done, left) if one.code]
    if not done.code or not re.search("back-?up", done.said):
        faults.append(f"no backup is named: {done}")
    return faults


def passes_a_night(worker: Worker, home: Path, case: Case) -> list[str]:
    """What a night that finds the damage does not say; what it leaves serving is sound, or none."""
    (night,) = worker.ask(home, NIGHTLY[:1])
    faults = _unclear(night, case.by_night)
    if night.code:
        return faults
    (left,) = worker.ask(home, DEEP)
    return faults + ([f"left by the night: {left}"] if left.code else [])


def _unclear(answer: Answer, says: str) -> list[str]:
    if answer.is_clear and "not allowed" not in answer.said and says in answer.said:
        return []
    return [f"not clear, or not of {says}: {answer}"]
