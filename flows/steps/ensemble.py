"""Ensemble: retrieve the nearest adapters of a target, weigh them by every strategy, merge."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from catalog.records import intents, registration
from catalog.records.licenses import strictest_license
from catalog.records.registration import EnsembleCard, MergedEnsemble
from catalog.stores.vectors.library import Library
from flows.library.answers import LabelledRows, score_draft
from flows.library.attribution import MAX_ADAPTERS, attributions_of
from flows.library.calibration import library_of
from flows.library.donor_grams import donors_to_gather, facts_of_merge, file_of_donor
from flows.library.merging import merge_members
from flows.library.references import retrieval_options, visible_library
from flows.library.retrieval import TargetView, retrieve
from flows.library.tuning import is_tuned, recorded_tuning, tune, tuning_record
from flows.library.weighing import draft_of_target, leave_out, without_source
from flows.runs.progress import announce
from flows.runs.versions import NUMERIC, versions_of
from flows.workspace.plan import REGMEAN, TargetSpec
from flows.workspace.representations import embed_unit_of
from flows.workspace.run_cache import CacheSection
from flows.workspace.workspace import Workspace
from rpe_core.ensemble import EnsembleDraft
from rpe_core.fingerprint import fingerprint, make_id
from rpe_core.merging.manifest import MergeReport
from rpe_core.records import Candidate, StrategySpec
from rpe_core.weighting.tuning import Setting, Tuning


@dataclass(frozen=True)
class EnsembleUnit:
    """An ensemble to merge and keep; weighed when it is made where something is to be chosen."""

    target: TargetView
    strategy: StrategySpec
    draft: EnsembleDraft | None
    sha256: str

    @property
    def ensemble_id(self) -> str:
        """`ensemble:<target>@sha12` over data, base, strategy, merge method and candidates."""
        return make_id("ensemble", self.target.name, self.sha256)

    @property
    def arm(self) -> str:
        """Name of the strategy."""
        return self.strategy.name

    def __str__(self) -> str:
        return f"{self.target.name} by {self.arm}"


@dataclass(frozen=True)
class Drafted:
    """The ensembles of a target, and what they were drafted from: its z and its library."""

    seen: tuple[str, Library]
    units: list[EnsembleUnit]


DRAFTED = CacheSection[str, Drafted]("ensembles of a target, by its name")
TUNINGS = CacheSection[str, Tuning]("what leave-one-out chose, by library, strategy and merge")


def units_of(workspace: Workspace, target: TargetView) -> list[EnsembleUnit]:
    """One ensemble per strategy of the plan, weighed and named, not yet merged."""
    items = workspace.plan.evaluation.calibration_items
    units = []
    for strategy in target.spec.specs:
        is_open = is_tuned(strategy, target.spec.k)
        draft = None if is_open else draft_of_target(workspace, target, strategy, None)
        facts = facts_of_merge(workspace, target, target.library if is_open else target.candidates)
        sha256 = sha256_of(target, strategy, draft, calibration_items=items, merge=facts)
        units.append(EnsembleUnit(target, strategy, draft, sha256))
    return units


def sha256_of(
    target: TargetView,
    strategy: StrategySpec,
    draft: EnsembleDraft | None,
    *,
    calibration_items: int,
    merge: Sequence[Any],
) -> str:
    """Hash over what makes an ensemble; `draft` is None where something is to be chosen first.

    `merge` are the facts of the merge, of all that the target may see in the first case.
    """
    made_of: dict[str, Any] = {
        "target": target.name,
        "dataset": target.version.sha256,
        "base": target.base.sha256,
        "strategy": strategy,
        "merge": merge,
    }
    if draft is None:
        made_of["k"] = target.spec.k
        made_of["library"] = library_of(target.library).sha256
        made_of["calibration_items"] = calibration_items
    else:
        made_of["candidates"] = sorted(c.adapter_id for c in target.candidates)
        made_of["abstained"] = draft.abstained
    return fingerprint(made_of)


def ensemble_units_of(workspace: Workspace, target: TargetSpec) -> list[EnsembleUnit]:
    """The ensembles of a target, if it can be retrieved for; found once while nothing changes."""
    asked = embed_unit_of(workspace, target.source, target.base, "target")
    if asked is None or asked.representation_id not in workspace.standing.representation_ids:
        return []
    library = visible_library(workspace, target, workspace.encoder(target.base))
    seen = (asked.representation_id, library)
    known = workspace.cache.known(DRAFTED)
    if target.name not in known or known[target.name].seen != seen:
        views = [retrieve(workspace, variant) for variant in target.variants]
        units = [unit for view in views if view for unit in units_of(workspace, view)]
        known[target.name] = Drafted(seen, units if views[0] else [])
    return known[target.name].units


def pending(workspace: Workspace) -> list[EnsembleUnit]:
    """Ensembles of the plan's targets that do not exist yet."""
    units = [
        unit for target in workspace.plan.targets for unit in ensemble_units_of(workspace, target)
    ]
    known = workspace.standing.ensembles
    wanted = [unit for unit in units if unit.ensemble_id not in known]
    # read in one question, for all that will ask
    workspace.adapter_rows(c.adapter_id for unit in wanted for c in unit.target.candidates)
    return wanted


def intend(workspace: Workspace, units: Sequence[EnsembleUnit]) -> None:
    """Say which ensembles are about to be merged into the artifact store."""
    ids = [unit.ensemble_id for unit in units]
    intents.intend(workspace.stores.lake, ids, run=workspace.run)


def make(workspace: Workspace, unit: EnsembleUnit) -> MergedEnsemble:
    """Merge the members into one PEFT folder; its card, and its place in the artifact store."""
    target, draft = unit.target, unit.draft
    if draft is None:
        tuning = tuning_of(workspace, unit.target, unit.strategy)
        draft = draft_of_target(workspace, unit.target, unit.strategy, tuning)
    _gather_inputs(workspace, target, draft)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "adapter"
        report = merge_members(workspace, target, draft, folder)
        artifact_sha256 = workspace.stores.artifacts.put_folder(folder)
    return MergedEnsemble(_card(workspace, unit, draft, report), artifact_sha256)


def _gather_inputs(workspace: Workspace, target: TargetView, draft: EnsembleDraft) -> None:
    """Gather what RegMean asks and no pass has filed, as where a plan asks for it later."""
    if target.spec.merge != REGMEAN:
        return
    members = [member.adapter_id for member in draft.members if member.weight != 0.0]
    missing = list(donors_to_gather(workspace, target.base.name, members))
    for number, donor in enumerate(missing, start=1):
        announce("inputs", donor.unit.source, number, len(missing))
        file_of_donor(workspace, donor)


def keep(workspace: Workspace, made: Sequence[MergedEnsemble]) -> None:
    """Put the ensembles on record with their recipes."""
    registration.register_ensembles(workspace.stores, made, run=workspace.run)


def tuning_of(workspace: Workspace, target: TargetView, spec: StrategySpec) -> Tuning | None:
    """What leave-one-out chooses for a strategy of a target, its own source never among them.

    Read from the ensemble where it has been made, else found once for every target that sees the
    same library; None where the strategy leaves nothing open.
    """
    asked = target.spec
    if not is_tuned(spec, asked.k):
        return None
    library = library_of(target.library)
    made_of = [library.sha256, spec, asked.k, asked.merge, asked.rank, asked.base]

    def score(reference: Candidate, setting: Setting, labelled: LabelledRows) -> float:
        draft = leave_out(workspace, target, reference, spec, Tuning("default", setting))
        return score_draft(workspace, target, draft, labelled)

    def find() -> Tuning:
        unit = next(u for u in units_of(workspace, target) if u.strategy == spec)
        recorded = recorded_tuning(workspace, unit.ensemble_id)
        return recorded or tune(workspace, library, spec, k=asked.k, score=score)

    return workspace.cache.get(TUNINGS, fingerprint(made_of), find)


def _card(
    workspace: Workspace, unit: EnsembleUnit, draft: EnsembleDraft, report: MergeReport
) -> EnsembleCard:
    target = unit.target
    used = {member.adapter_id for member in draft.members if member.weight != 0.0}
    members = workspace.adapter_rows(used)
    return EnsembleCard(
        ensemble_id=unit.ensemble_id,
        sha256=unit.sha256,
        target_name=target.name,
        dataset_version_id=target.version.dataset_version_id,
        base=target.base,
        task=target.task,
        strategy=draft.strategy,
        details=draft.details,
        merge=target.spec.merge,
        members=tuple(member for member in draft.members if member.adapter_id in used),
        representation_id=target.representation.representation_id,
        weights_sha256=report.weights_sha256,
        rank=report.rank,
        merge_error_ratio=report.relative_error,
        distance_ratio=draft.distance_ratio,
        abstained=draft.abstained,
        reason=draft.reason,
        license=strictest_license([row["license"] for row in members.values()]),
        tuning=tuning_record(draft.tuning) if draft.tuning else None,
        attributions=_attributions(workspace, unit, draft),
        asked=retrieval_options(workspace, target.spec),
        threads=torch.get_num_threads(),
        versions=versions_of(NUMERIC),
    )


def _attributions(
    workspace: Workspace, unit: EnsembleUnit, draft: EnsembleDraft
) -> list[dict[str, Any]]:
    """What the ensemble would be without each source that it retrieved; the settings stay."""
    target = unit.target
    if len(target.candidates) > MAX_ADAPTERS:
        return []
    without = {
        source: without_source(workspace, target, unit.strategy, draft.tuning, source)
        for source in sorted({candidate.source for candidate in target.candidates})
    }
    sources = {candidate.adapter_id: candidate.source for candidate in target.library}
    base, ensemble_id = target.base.name, unit.ensemble_id
    return attributions_of(workspace, base, ensemble_id, draft, without, sources)
