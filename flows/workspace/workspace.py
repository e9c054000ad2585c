"""Workspace: what every step is handed - settings, plan, contracts, stores and the run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from catalog.contracts.contract import SourceContract
from catalog.contracts.load import MAX_BYTES, load_contract
from catalog.errors import ContractInvalid
from catalog.intake import landing
from catalog.intake.extracts import with_extracts_below
from catalog.queries import current
from catalog.queries.current import Standing, read_standing
from catalog.stores.stores import Stores
from flows.workspace.bases import base_folder, identify_base, load_base
from flows.workspace.plan import Plan
from flows.workspace.plan_file import load_plan
from flows.workspace.run_cache import CacheSection, RunCache
from flows.workspace.settings import Settings, require_workspace
from rpe_core.errors import DeclarationError, Fault, InputError
from rpe_core.evaluation.metrics import metrics_of
from rpe_core.evaluation.paired import gated_metrics
from rpe_core.families.table import FAMILIES, load_family
from rpe_core.fingerprint import fingerprint
from rpe_core.records import BaseModel, RunRef, TaskSpec
from rpe_core.regular_files import read_regular, special_kind
from rpe_core.representation import encoder_id

Features = Iterator[tuple[np.ndarray, np.ndarray]]

STANDING = CacheSection[int, Standing]("what stands, by the lake's commits")
ADAPTERS = CacheSection[str, dict[str, Any]]("rows of adapters, by id")
BATCHES = CacheSection[str, list[str]]("batches of dataset versions, by id")
PREPARED = CacheSection[tuple[str, str], Any](
    "what a base knows of a task, by name and fingerprint"
)

_parsed: dict[Path, tuple[str, Declarations]] = {}  # by workspace: of which bytes, and what


@dataclass(frozen=True)
class Declarations:
    """The plan and the contracts of a workspace; a contract with faults stops its source only."""

    plan: Plan
    contracts: Mapping[str, SourceContract]
    faulty: Mapping[str, ContractInvalid]


@dataclass(frozen=True)
class Workspace:
    """Everything that a step needs; it hands out the base model loaded once."""

    settings: Settings
    plan: Plan
    contracts: Mapping[str, SourceContract]
    stores: Stores
    run: RunRef
    as_of: datetime | None = None  # a moment to look at; what stands then is what stood
    scratch: Path | None = None  # where that goes which only a question needs: it keeps nothing
    cache: RunCache = field(default_factory=RunCache)

    @cached_property
    def bases(self) -> Mapping[str, BaseModel]:
        """The plan's base models, identified by the hash of their files."""
        return {name: identify_base(name, spec) for name, spec in self.plan.bases.items()}

    @property
    def standing(self) -> Standing:
        """What stands in the lake, read again after a commit only."""
        n_commits, known = self.stores.lake.n_commits, self.cache.known(STANDING)
        if n_commits not in known:
            known.clear()  # what stood before a commit is asked for by nobody
            known[n_commits] = read_standing(self.stores.lake, as_of=self.as_of)
        return known[n_commits]

    def adapter_rows(self, adapter_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The rows of adapters that are on record, each read once a run: they do not change."""
        known = self.cache.known(ADAPTERS)
        wanted = set(adapter_ids)
        if missing := wanted - set(known):
            known.update(current.adapters(self.stores.lake, missing))
        return {adapter_id: known[adapter_id] for adapter_id in sorted(wanted)}

    def rows(
        self, dataset_version_id: str, *, columns: Sequence[str], split: str | None = None
    ) -> pa.Table:
        """Rows of a dataset version, see `landing.read_rows`.

        What all standing versions are made of is read when the first is asked for.
        """
        lake, known = self.stores.lake, self.cache.known(BATCHES)
        if dataset_version_id not in known:
            standing = {row["dataset_version_id"] for row in self.standing.versions.values()}
            known.update(current.batches(lake, standing | {dataset_version_id}))
        batches = known.get(dataset_version_id, ())
        return landing.read_rows(
            lake, dataset_version_id, columns=columns, split=split, batches=batches
        )

    def family(self, base_name: str) -> Any:
        """The family module of a base."""
        return load_family(self.plan.bases[base_name].family)

    def encoder(self, base_name: str) -> str:
        """The fingerprint under which a base's features are filed."""
        return encoder_id(self.bases[base_name], self.plan.bases[base_name].pooled_by)

    def features(self, base_name: str, items: Sequence[Any]) -> Features:
        """Indices and features of items under a base, some at a time, pooled as the plan says."""
        pooling, family = self.plan.bases[base_name].pooled_by, self.family(base_name)
        features: Features = family.encode(self.loaded(base_name), items, pooling=pooling)
        return features

    def loaded(self, base_name: str) -> Any:
        """The base model in memory, without any adapter."""
        spec = self.plan.bases[base_name]
        folder = str(base_folder(spec))
        return load_base(folder, spec.family, spec.length_limit, spec.dtype, self.settings.device)

    def prepared(self, base_name: str, task: TaskSpec) -> Any:
        """What the base must know about a task, found once a run; no adapter may be attached.

        Raises:
            InputError: with the family's reason why the base cannot do it.
        """
        key = (base_name, fingerprint(task.declared))
        return self.cache.get(PREPARED, key, lambda: self._prepare(base_name, task))

    def _prepare(self, base_name: str, task: TaskSpec) -> Any:
        family, base = self.family(base_name), self.loaded(base_name)
        try:
            return family.prepare(base, task.declared)
        except ValueError as error:  # of a contract, not of a row
            where = f"base {base_name}, task {task.type}"
            raise InputError(f"{error}.", where=where) from None


def load_declarations(settings: Settings) -> Declarations:
    """Read the plan and every contract; they are parsed once as long as no byte of them changes.

    Raises:
        InputError: if there is no workspace, or the plan has faults.
    """
    require_workspace(settings)
    if not settings.plan_file.is_file():
        kind = special_kind(settings.plan_file)
        raise InputError(
            f"The workspace's plan is {kind}, no file." if kind else "The workspace has no plan.",
            where=str(settings.plan_file),
            remedy="`rpe init` writes one to begin with; RPE_HOME names another place",
        )
    content = _content_sha256(settings)
    if content and _parsed.get(settings.root, ("",))[0] == content:
        return _parsed[settings.root][1]
    declared = _parse_declarations(settings)
    if content and _content_sha256(settings) == content:  # else it changed meanwhile
        _parsed[settings.root] = content, declared
    return declared


def _content_sha256(settings: Settings) -> str:
    """The fingerprint of the files' bytes; '' where one cannot be read, which the parser tells."""
    files = [settings.plan_file, *sorted(settings.sources_folder.glob("*.yaml"))]
    try:
        return fingerprint(
            {file.name: read_regular(file, limit=MAX_BYTES + 1).hex() for file in files}
        )
    except OSError:
        return ""


def _parse_declarations(settings: Settings) -> Declarations:
    contracts: dict[str, SourceContract] = {}
    faulty: dict[str, ContractInvalid] = {}
    for path in sorted(settings.sources_folder.glob("*.yaml")):
        try:
            contracts[path.stem] = with_extracts_below(
                load_contract(path), settings.extracts_folder
            )
        except ContractInvalid as error:
            faulty[path.stem] = error
    plan = load_plan(settings.plan_file, sources=[*contracts, *faulty])
    _require_tasks(plan, contracts, settings.plan_file.name)
    return Declarations(plan, contracts, faulty)


def _require_tasks(plan: Plan, contracts: Mapping[str, SourceContract], file: str) -> None:
    """Raise DeclarationError where a base or a gate's metric is for other tasks than a source's."""
    types = {source: contract.task.type for source, contract in contracts.items()}
    places = [
        (f"references[{i}].sources[{j}]", reference.base, source)
        for i, reference in enumerate(plan.references)
        for j, source in enumerate(reference.sources)
    ]
    places += [(f"targets[{i}].source", t.base, t.source) for i, t in enumerate(plan.targets)]
    faults = []
    for where, base, source in places:
        answers = FAMILIES[plan.bases[base].family].task_type
        if types.get(source, answers) != answers:
            what = f"asks for {types[source]}, and base {base} answers {answers}"
            faults.append(Fault(where, what, "a base of a family of this type of task"))
    able = gated_metrics()
    for i, target in enumerate(plan.targets):
        metric, where = (target.gate or plan.gate).metric, f"targets[{i}]"
        fitting = metrics_of(types.get(target.source, ""))
        if fitting and metric not in (*fitting, "auto"):
            what = f"is gated by {metric}, which scores other tasks than {types[target.source]}"
            expected = ", ".join([*(name for name in fitting if name in able), "auto"])
            faults.append(Fault(where, what, expected))
    if faults:
        raise DeclarationError(file, faults)
