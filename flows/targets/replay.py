"""Replay: an ensemble once more from what is on record, part by part; nothing is written."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from catalog.errors import RecordConflict
from catalog.lineage import source_of
from catalog.queries import current
from catalog.queries.current import AdapterFilter
from catalog.queries.ensemble_record import EnsembleRecord, MadeWith, made_with, read_ensemble
from catalog.queries.versions import is_data_standing
from catalog.stores.artifacts.artifacts import Artifacts
from flows.library.donor_grams import donor_of, facts_of_merge, gather_donor
from flows.library.merging import MergeAsk, merge_stored
from flows.library.references import methods_apart
from flows.library.retrieval import retrieve_from
from flows.library.tuning import is_tuned, read_tuning
from flows.library.weighing import draft_of_target
from flows.runs.progress import announce
from flows.runs.questions import open_for_question
from flows.runs.versions import NUMERIC, versions_of
from flows.steps import embed
from flows.steps.ensemble import sha256_of
from flows.workspace.plan import REGMEAN, TargetSpec
from flows.workspace.representations import EmbedUnit
from flows.workspace.settings import Settings
from flows.workspace.workspace import Workspace
from rpe_core.ensemble import EnsembleDraft
from rpe_core.errors import RpeError
from rpe_core.fingerprint import fingerprint, make_id
from rpe_core.merging.manifest import MANIFEST, MergeReport
from rpe_core.records import BaseModel, DatasetVersion, Representation
from rpe_core.regular_files import read_regular

Recompute = Callable[[Workspace, EnsembleRecord], "ReplayedPart"]
SAME, DIFFERS, NOT_RECOMPUTED = "same", "differs", "cannot be recomputed"


class NotRecomputed(RpeError):
    """What a part needs is not there any more."""


@dataclass(frozen=True)
class ReplayPart:
    """A part of an ensemble as it is on record and as it was recomputed, by hash."""

    part: str
    outcome: str
    recorded_sha256: str
    sha256: str
    reason: str
    threads_then: int | None
    threads_now: int
    versions_then: Mapping[str, str]
    versions_now: Mapping[str, str]

    @property
    def changed(self) -> str:
        """Libraries that have another version now than then."""
        return ", ".join(
            f"{name} {then} -> {self.versions_now[name]}"
            for name, then in sorted(self.versions_then.items())
            if self.versions_now.get(name, then) != then
        )


@dataclass(frozen=True)
class ReplayedPart:
    """What recomputing a part gave: both hashes, and in words where they differ."""

    recorded_sha256: str
    sha256: str
    difference: str = ""


def replay(settings: Settings, ensemble_id: str) -> list[ReplayPart]:
    """Recompute z, weights and merged folder of an ensemble and compare each with the record.

    Each part starts from what is on record of the others, so that one that differs does not hide
    the rest. What was tuned by leave-one-out is taken as it was chosen then.

    Raises:
        RecordNotFound: no ensemble has this id.
    """
    with open_for_question(settings) as workspace:
        record = read_ensemble(workspace.stores.lake, ensemble_id)
        parts, recomputed = [], _parts_of(record)
        for number, (name, how) in enumerate(recomputed.items(), start=1):
            announce("replay", name, number, len(recomputed))
            parts.append(_part(name, how, workspace, record))
        return parts


def _part(
    name: str,
    recompute: Recompute,
    workspace: Workspace,
    record: EnsembleRecord,
) -> ReplayPart:
    recorded = sha256 = ""
    try:
        replayed = recompute(workspace, record)
        recorded, sha256 = replayed.recorded_sha256, replayed.sha256
        outcome = SAME if recorded == sha256 else DIFFERS
        reason = replayed.difference if outcome == DIFFERS else ""
    except RecordConflict as error:  # what is stored is not what was kept
        outcome, reason = DIFFERS, _told(error)
    except RpeError as error:
        outcome, reason = NOT_RECOMPUTED, _told(error)
    then = made_with(workspace.stores.lake, record, name)
    now = MadeWith(torch.get_num_threads(), versions_of(NUMERIC))
    return ReplayPart(
        name,
        outcome,
        recorded,
        sha256,
        reason,
        then.threads,
        now.threads or 0,
        then.versions,
        now.versions,
    )


def _told(error: RpeError) -> str:
    return f"{error.what} {error.where}".strip()


def _representation(workspace: Workspace, record: EnsembleRecord) -> ReplayedPart:
    """The target's z from its rows, under the base of the plan if that is the one of then."""
    kept = workspace.stores.vectors.representation(record.representation_id)
    base, source = record.base["base_name"], source_of(kept.dataset_version_id)
    if record.version is None or record.version["retracted_at"] is not None:
        raise NotRecomputed("The data of the target have been withdrawn.")
    if source not in workspace.contracts:
        raise NotRecomputed(f"The workspace has no contract of {source}.")
    if base not in workspace.plan.bases or workspace.encoder(base) != kept.encoder_id:
        raise NotRecomputed(f"The plan has no base {base} that is the encoder of then.")
    unit = EmbedUnit(source, base, kept.role, kept.dataset_version_id, record.representation_id)
    made = embed.make(workspace, unit)
    difference = f"{made.n_items} items of {kept.n_items}"
    if made.n_items == kept.n_items:
        gap = np.linalg.norm(np.subtract(made.z, kept.z)) / (np.linalg.norm(kept.z) or 1.0)
        difference = f"z by {gap:.1e} of its length"
    return ReplayedPart(_sha256_of_z(kept), _sha256_of_z(made), difference)


def _sha256_of_z(representation: Representation) -> str:
    return fingerprint([representation.n_items, representation.z, representation.variance])


def _weights(workspace: Workspace, record: EnsembleRecord) -> ReplayedPart:
    """Who is retrieved from the library of then, with which weight, and which guards are raised."""
    asked, lake = record.asked, workspace.stores.lake
    if record.version is None:
        raise NotRecomputed("The dataset version of the target is not on record any more.")
    if not asked:
        raise NotRecomputed("It was made before ensembles told what the plan had asked.")
    kept = workspace.stores.vectors.representation(record.representation_id)
    wanted = AdapterFilter(
        record.row["base_id"],
        as_of=record.row["recorded_at"],
        without_methods=methods_apart(asked["recipe_ids"]),
        **{name: asked[name] for name in ("licenses", "sources", "recipe_ids")},
    )
    allowed = current.visible_ids(lake, wanted)["adapter_id"]
    library = workspace.stores.vectors.library(kept.encoder_id, allow=allowed)
    version = DatasetVersion.from_row(record.version)
    target = retrieve_from(workspace, _spec(record), library, _base(record), version, kept)
    if target is None:
        raise NotRecomputed("No reference of then is left.")
    draft = draft_of_target(
        workspace, target, record.strategy, read_tuning(record.row["parameters"])
    )
    is_open = is_tuned(record.strategy, target.spec.k)
    seen = target.library if is_open else target.candidates
    sha256 = sha256_of(
        target,
        record.strategy,
        None if is_open else draft,
        calibration_items=asked["calibration_items"],
        merge=facts_of_merge(workspace, target, seen, min_groups=asked.get("min_groups")),
    )
    then = record.weighing
    now = _weighing(draft, make_id("ensemble", target.name, sha256))
    differing = sorted(name for name in then if then[name] != now[name])
    n_gone = current.n_withdrawn(lake, since=record.row["recorded_at"])
    if differing and n_gone:
        raise NotRecomputed(f"{n_gone} withdrawals took references of then away.")
    return ReplayedPart(fingerprint(then), fingerprint(now), ", ".join(differing))


def _base(record: EnsembleRecord) -> BaseModel:
    """The base of then; how it was loaded is on no record, and no hash asks for it."""
    row = record.base
    return BaseModel(
        name=row["base_name"],
        family=row["family"],
        model=row["model"],
        revision=row["revision"],
        dtype="",
        max_tokens=0,
        sha256=row["base_sha256"],
    )


def _spec(record: EnsembleRecord) -> TargetSpec:
    strategy, asked = record.strategy, record.asked
    return TargetSpec(
        name=record.row["target_name"],
        source=asked["source"],
        base=record.base["base_name"],
        k=asked["k"],
        strategies=({"name": strategy.name, strategy.kind: dict(strategy.parameters)},),
        merge=record.row["merge"],
        rank=asked["rank"],
        include_own=asked["include_own"],
    )


def _weighing(draft: EnsembleDraft, ensemble_id: str) -> dict[str, Any]:
    """A draft as `EnsembleRecord.weighing` tells it; a candidate without weight is no member."""
    members = sorted(
        (member for member in draft.members if member.weight != 0.0),
        key=lambda member: member.adapter_id,
    )
    return {
        "candidates": ensemble_id,
        "weights": [[member.adapter_id, member.weight] for member in members],
        "distances": [[member.adapter_id, member.distance] for member in members],
        "details": dict(draft.details),
        "guards": [draft.abstained, draft.reason, draft.distance_ratio],
    }


def _merge(workspace: Workspace, record: EnsembleRecord) -> ReplayedPart:
    """The folder of the merged adapter from the members' artifacts and the weights on record."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "adapter"
        report = merge_again(workspace, record, folder)
        sha256 = workspace.stores.artifacts.hash_folder(folder)
    is_equal = report.weights_sha256 == record.row["weights_sha256"]
    what = "configuration or manifest" if is_equal else "weights of the merged adapter"
    return ReplayedPart(record.row["artifact_sha256"], sha256, what)


def merge_again(workspace: Workspace, record: EnsembleRecord, folder: Path) -> MergeReport:
    """Merge the members of an ensemble by the weights on record into a new folder.

    Raises:
        NotRecomputed: a member is not on record any more.
        RecordConflict: what is stored of a member is not what was kept.
        RecordNotFound: it is gone.
    """
    known = current.adapters(workspace.stores.lake, record.weights)
    if missing := sorted(set(record.weights) - set(known)):
        raise NotRecomputed("Members are not on record any more.", where=", ".join(missing))
    return merge_stored(
        workspace,
        record.weights,
        folder,
        MergeAsk(
            record.row["merge"],
            record.asked.get("rank"),
            _base_of(workspace, record),
            record.asked.get("min_groups"),
        ),
    )


def _base_of(workspace: Workspace, record: EnsembleRecord) -> str | None:
    """The base's name in the plan, which a merge may read; None where it is not at hand."""
    name: str = record.base["base_name"]
    if name not in workspace.plan.bases:
        return None
    return name if workspace.bases[name].sha256 == record.base["base_sha256"] else None


def _inputs(workspace: Workspace, record: EnsembleRecord) -> ReplayedPart:
    """What every member of a RegMean was fed, once more from its rows."""
    folder = workspace.stores.artifacts.folder(record.row["artifact_sha256"])
    try:
        then = json.loads(read_regular(folder / MANIFEST))["regmean"]["gram_sha256"]
    except (OSError, ValueError, LookupError, TypeError):
        raise NotRecomputed("The merged folder's manifest cannot be read.") from None
    base_name = _base_of(workspace, record)
    if base_name is None:
        raise NotRecomputed("The plan has no base that is the one of then.")
    now: list[str | None] = []
    for adapter_id, sha256 in zip(record.weights, then, strict=True):
        now.append(_sha256_of_inputs(workspace, base_name, adapter_id) if sha256 else None)
    sources = [
        source_of(adapter_id)
        for adapter_id, before, after in zip(record.weights, then, now, strict=True)
        if before != after
    ]
    return ReplayedPart(fingerprint(then), fingerprint(now), f"of {', '.join(sources)}")


def _sha256_of_inputs(workspace: Workspace, base_name: str, adapter_id: str) -> str:
    """The hash of a member's Gram matrices, gathered in a scratch of their own."""
    if not current.adapters(workspace.stores.lake, [adapter_id]):
        raise NotRecomputed("Members are not on record any more.", where=adapter_id)
    donor = donor_of(workspace, base_name, adapter_id)
    if not is_data_standing(workspace.stores.lake, donor.unit.dataset_version_id):
        raise NotRecomputed("The data of a member have been withdrawn.", where=adapter_id)
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / donor.file.name
        gather_donor(workspace, donor, file)
        return Artifacts.hash_file(file)


def _artifact(workspace: Workspace, record: EnsembleRecord) -> ReplayedPart:
    """The folder that is served, as it lies in the artifact store."""
    kept = record.row["artifact_sha256"]
    folder = workspace.stores.artifacts.folder(kept)
    return ReplayedPart(kept, workspace.stores.artifacts.hash_folder(folder), "the stored folder")


def as_row(part: ReplayPart) -> dict[str, Any]:
    """A part as a row of output."""
    return {**asdict(part), "changed": part.changed}


def _parts_of(record: EnsembleRecord) -> dict[str, Recompute]:
    """The parts of an ensemble, by name."""
    inputs = {"inputs": _inputs} if record.row["merge"] == REGMEAN else {}
    return {
        "representation": _representation,
        "weights": _weights,
        **inputs,
        "merge": _merge,
        "artifact": _artifact,
    }
