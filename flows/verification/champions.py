"""Verify: what serves is looked at before anything else; nothing damaged is left in place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from catalog.errors import RecordConflict, RecordNotFound
from catalog.integrity.damage import CHANGED, GONE
from catalog.integrity.old_versions import file_versions
from catalog.integrity.registry import version_faults_text
from catalog.integrity.version_files import (
    FileFault,
    Hashes,
    base_of,
    faults_of,
    versions_on_record,
)
from catalog.records import promotion
from catalog.records.champions import Serving, serving_by_target
from catalog.stores.registry.model_versions import ModelVersionRef, ref_of
from catalog.stores.set_aside import Aside
from flows.runs.ledger import Alert, Ledger, StepRecord
from flows.verification import restore_versions
from flows.verification.repair_parts import Mending
from flows.workspace.lost_registry import require_entries
from flows.workspace.run_cache import CacheSection
from flows.workspace.settings import Settings
from flows.workspace.stores import utc_now
from flows.workspace.workspace import Workspace
from rpe_core.errors import RpeError, Transient
from rpe_core.fingerprint import fingerprint

DAMAGED = "damaged"  # kind of the alert
REPAIR = "`rpe repair` makes again what can be made and names what only a backup can bring"
Row = dict[str, Any]


@dataclass
class Verified:
    """What a run found of what serves: the targets that it looked at, and what is wrong."""

    targets: list[str] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    damaged: set[str] = field(default_factory=set)  # ensembles whose version must not serve


VERIFIED = CacheSection[str, Verified]("what a run found of what serves, by the run")


def verified_by(workspace: Workspace) -> Verified:
    """What the look of this run found; nothing where it has not looked."""
    return workspace.cache.known(VERIFIED).get(workspace.run.run_id, Verified())


class Looker:
    """Looks at versions with all that they need, each once."""

    def __init__(self, workspace: Workspace) -> None:
        self._stores = workspace.stores
        self._file = cache_file(workspace.settings)
        self._hashes = Hashes.read(self._file)
        self._rows: dict[ModelVersionRef, Row] = {}
        self._known: dict[ModelVersionRef, list[FileFault]] = {}
        self._artifacts: set[str] | None = None

    def read(self, refs: Iterable[ModelVersionRef]) -> None:
        """Read the rows of these versions and of their bases, in two questions."""
        rows = versions_on_record(self._stores.lake, set(refs))
        rows += versions_on_record(self._stores.lake, {base_of(r) for r in rows if r["base_name"]})
        self._rows |= {ref_of(row): row for row in rows}

    def row(self, ref: ModelVersionRef) -> Row | None:
        """The row of a version, with what its files must agree with."""
        if ref not in self._rows:
            self.read([ref])
        return self._rows.get(ref)

    def faults(self, ref: ModelVersionRef) -> list[FileFault]:
        """What is wrong with a version by itself."""
        if ref not in self._known:
            self._known[ref] = self._look(ref)
        return self._known[ref]

    def forget(self, ref: ModelVersionRef) -> None:
        """Look at a version again: its files were made anew."""
        self._known.pop(ref, None)
        self._rows.pop(ref, None)

    def wrong(self, ref: ModelVersionRef) -> str:
        """Why a version must not serve, in words: its own files or those of its base; else ''."""
        if faults := self.faults(ref):
            return f"{ref.uri} {version_faults_text(faults)}"
        row = self.row(ref)
        base = base_of(row) if row and row["base_name"] else ref
        if base != ref and (faults := self.faults(base)):
            return f"its base {base.uri} {version_faults_text(faults)}"
        return ""

    def wrong_artifact(self, row: Row) -> str:
        """What is wrong with the stored folder of an ensemble, in words; '' if nothing is."""
        sha256, artifacts = row["artifact_sha256"], self._stores.artifacts
        if self._artifacts is None:
            self._artifacts = set(artifacts.list())
        if sha256 not in self._artifacts:
            return f"artifact {sha256[:12]} {GONE}"
        # as they lie in the store: a copy of what a bucket held stays whole where that does not
        files = artifacts.files(sha256)
        hashes = {file.name: self._hashes.of(f"{sha256}/{file.name}", file) for file in files}
        return "" if fingerprint(hashes) == sha256 else f"artifact {sha256[:12]} {CHANGED}"

    def close(self) -> None:
        """Keep what was hashed for the next night."""
        self._hashes.write(self._file)

    def _look(self, ref: ModelVersionRef) -> list[FileFault]:
        row = self.row(ref)
        if row is None:
            return [FileFault("", "is not on record")]
        try:
            version = self._stores.registry.version(ref)
        except RecordNotFound:
            return [FileFault("", f"{GONE}, like its entry in the registry")]
        return faults_of(self._stores.registry, version, row, hashes=self._hashes)


def cache_file(settings: Settings) -> Path:
    """Hashes of files by size and time; made again where it is gone."""
    return settings.root / "cache" / "verified.json"


def verify(workspace: Workspace, ledger: Ledger) -> None:
    """Verify every champion; what is damaged is made again, or another serves, or none.

    A champion that was withdrawn because of damage serves again once its files are sound, if
    nothing else was decided since. Nothing is on record of a look that found nothing.

    Raises:
        RegistryLost: the registry has no model at all, and the lake names versions.
    """
    require_entries(workspace.stores)
    looker, verified = Looker(workspace), Verified()
    workspace.cache.known(VERIFIED)[workspace.run.run_id] = verified
    with ledger.step("verify") as step:
        with ledger.unit(step, "all", is_done=False):
            filed = file_versions(workspace.stores, run=workspace.run)
            step.done += [f"{ref.name}/{ref.version} filed" for ref in filed]
        with ledger.unit(step, "all", is_done=False):
            served = serving_by_target(workspace.stores.lake)
            rows = [
                r for serving in served.values() for r in (serving.champion, serving.withdrawn) if r
            ]
            looker.read(ref_of(row) for row in rows)
            for target, now in served.items():
                with ledger.unit(step, target, is_done=False):
                    _look_at(workspace, looker, target, now, verified, step)
                    verified.targets.append(target)
    looker.close()
    if not step.done and not step.failed:
        ledger.steps.remove(step)


def require_sound(workspace: Workspace, refs: Iterable[ModelVersionRef]) -> None:
    """Raise RecordConflict if one of these versions, which are about to serve, is damaged."""
    looker = Looker(workspace)
    for ref in refs:
        if why := looker.wrong(ref):
            raise RecordConflict(
                f"A version that is to serve is damaged: {why}.", where=ref.uri, remedy=REPAIR
            )


def _look_at(
    workspace: Workspace,
    looker: Looker,
    target: str,
    now: Serving,
    verified: Verified,
    step: StepRecord,
) -> None:
    """Look at what serves a target, and at what damage has taken from it."""
    if now.withdrawal and now.withdrawn:
        ref = ref_of(now.withdrawn)
        why = looker.wrong(ref) and _mended(workspace, looker, ref, looker.wrong(ref))
        if not why:
            promotion.restore(workspace.stores, target, run=workspace.run)
            step.done.append(f"{target} restored")
            return
        _tell(verified, target, now.withdrawn, why, now.champion, since=now.withdrawal)
    if now.champion:
        _look_at_champion(workspace, looker, target, now, verified, step)


def _look_at_champion(
    workspace: Workspace,
    looker: Looker,
    target: str,
    now: Serving,
    verified: Verified,
    step: StepRecord,
) -> None:
    champion = now.champion or {}
    ref = ref_of(champion)
    if why := looker.wrong(ref):
        why = _mended(workspace, looker, ref, why)
        if not why:
            step.done.append(f"{target} made again")
        else:
            sound = next((row for row in now.formers if not looker.wrong(ref_of(row))), None)
            since = promotion.withdraw_damaged(
                workspace.stores, target, sound=sound, reason=f"Damaged: {why}.", run=workspace.run
            )
            step.done.append(f"{target} withdrawn")
            _tell(verified, target, champion, why, sound, since=since)
            return
    row = looker.row(ref)
    if row and row["artifact_sha256"] and (why := looker.wrong_artifact(row)):
        message = (
            f"{target}: {why}, from which {ref.uri} was made; that version goes on serving, but"
            " cannot be rebuilt, evaluated or replayed"
        )
        verified.alerts.append(
            Alert(DAMAGED, target, message, REPAIR, cause=row["artifact_sha256"],
                  rests_on=(row["record_id"],))
        )  # fmt: skip


def _mended(workspace: Workspace, looker: Looker, ref: ModelVersionRef, why: str) -> str:
    """Make the files of a version, or of its base, again; why it is still damaged, or ''."""
    row = looker.row(ref)
    if row is None:
        return why
    base = base_of(row) if row["base_name"] else ref
    mending = Mending(Aside(workspace.settings.aside_folder), utc_now())
    for version in dict.fromkeys([base, ref]):
        told_row = looker.row(version)
        if looker.faults(version) and told_row:
            try:
                restore_versions.mend(workspace, told_row, mending)
            except RpeError as error:
                if isinstance(error, Transient):
                    raise
                return f"{why}; it cannot be rebuilt: {error.what}"
            looker.forget(version)
    return looker.wrong(ref)


def _tell(
    verified: Verified, target: str, damaged: Row, why: str, instead: Row | None, *, since: Row
) -> None:
    """Keep the alert that a champion was withdrawn, and that its ensemble must not serve."""
    serves = f"version {instead['model_version']} serves instead" if instead else "none serves"
    verified.damaged.add(damaged["ensemble_id"])
    verified.alerts.append(
        Alert(
            DAMAGED,
            target,
            f"{target}: its champion is damaged: {why}; {serves}",
            f"{REPAIR}; the next night then lets it serve again",
            cause=ref_of(damaged).uri,
            since=since["recorded_at"].isoformat(),
            rests_on=(damaged["ensemble_id"], since["dataset_version_id"]),
        )
    )
