"""Workers: where units are computed - in threads of this process, or on the machines of a Ray."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

from catalog.errors import StoreUnavailable
from flows.runs.chunks import RemoteWork, Step, StepFailed
from flows.runs.processes import Usage, count, usage_so_far
from flows.workspace.plan import Plan
from flows.workspace.settings import Settings, ray_address
from flows.workspace.stores import open_stores
from flows.workspace.workspace import Workspace, load_declarations
from rpe_core.errors import InputError
from rpe_core.records import RunRef


@dataclass(frozen=True)
class Resources:
    """What a task asks of Ray; of a GPU only where RPE_DEVICE names one."""

    num_cpus: float
    num_gpus: float


LOOPBACK = "127.0.0.1"
RESOURCES: Mapping[str, Resources] = {
    "embed": Resources(num_cpus=1, num_gpus=1),
    "train": Resources(num_cpus=1, num_gpus=1),
    "evaluate": Resources(num_cpus=1, num_gpus=1),
}


class Workers:
    """Where the tasks of one run are computed; a Ray is started or joined by the first of them."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._stack = settings, ExitStack()
        self._ray: Any = None
        self._made: list[RemoteJob] = []

    def __enter__(self) -> Self:
        """Nothing is started yet: a night with nothing to do needs no worker."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Stop a Ray that was started here, leave one that was joined."""
        self._stack.close()
        for told in self._made:
            told.file.unlink(missing_ok=True)

    def submit(self, task: Any, step: str, unit: str, action: Callable[[], Any]) -> Any:
        """Begin `action` as a Prefect task of a step; the future's result is what it returns."""
        if self._settings.task_runner == "thread":
            return task.submit(step, unit, action)
        parameters = {"step": step, "unit": unit, "action": partial(_counted, action)}
        runner = self._started()
        from prefect_ray.context import remote_options  # it is there: the runner is of it

        with remote_options(**resources_of(step, self._settings.device)):
            return _Future(runner.submit(task, parameters))

    def verb(
        self, workspace: Workspace, step: str, how: Step, units: Sequence[Any], task: Any
    ) -> Step:
        """The verb for these units, computed by workers if there are any beside this process.

        Each is named to its worker by its id and comes back as a file of the workspace.
        """
        afar = how.afar
        if self._settings.task_runner == "thread" or afar is None:
            return how
        futures, plain = {}, self._settings.model_dump(mode="json", exclude={"webhook_url"})
        for unit in units:
            name = afar.name(unit)
            told = RemoteJob(
                {**plain, "home": str(self._settings.root)},
                workspace.plan,
                workspace.run,
                workspace.stores.lake.snapshot_id,
                step,
                name,
            )
            self._made.append(told)
            futures[name] = self.submit(task, step, str(unit), partial(compute, told, how))
        return replace(how, make=partial(_fetched, afar, futures))

    def _started(self) -> Any:
        if self._ray is None:
            try:
                from prefect_ray.task_runners import RayTaskRunner
            except ImportError:
                raise InputError(
                    "Ray is not installed.",
                    where="RPE_TASK_RUNNER=ray",
                    remedy="install rpe-platform[cluster], or use RPE_TASK_RUNNER=thread",
                ) from None
            address, local = ray_address(), {}
            if address is None or address.startswith(f"{LOOPBACK}:"):
                local = {"_node_ip_address": LOOPBACK}
            quiet = {"log_to_driver": False, "logging_level": "ERROR", "include_dashboard": False}
            runner = RayTaskRunner(address, {**quiet, **local})
            try:
                self._ray = self._stack.enter_context(runner)
            except (ConnectionError, RuntimeError, ValueError):  # their text names addresses
                raise StoreUnavailable(
                    "Ray cannot be reached, or refuses us.",
                    where="RAY_ADDRESS",
                    remedy="`ray status` on its head; RAY_AUTH_TOKEN or ~/.ray/auth_token of both",
                ) from None
        return self._ray


@dataclass(frozen=True)
class RemoteJob:
    """What a worker is told: no password, store or tensor, only names."""

    settings: Mapping[str, Any]
    plan: Plan
    run: RunRef
    snapshot_id: int
    step: str
    name: str

    @property
    def file(self) -> Path:
        """Where what was made lies until it is kept."""
        folder = Settings(**self.settings).root / "tmp"
        return folder / f"made-{self.step}-{self.name.replace(':', '-')}.json"


class _Future:
    """A future of Ray, whose result tells what it cost too."""

    def __init__(self, future: Any) -> None:
        self._future, self._told = future, tuple[Any, ...]()

    def result(self) -> Any:
        """What was returned; its cost is counted as ours, once."""
        if not self._told:
            value, usage = self._future.result()
            count(usage)
            self._told = (value,)
        return self._told[0]


def resources_of(step: str, device: str) -> dict[str, float]:
    """What a task of a step asks of Ray where models lie on this device."""
    wanted = asdict(RESOURCES[step])
    return wanted if device.startswith("cuda") else {**wanted, "num_gpus": 0}


def _counted(action: Callable[[], Any]) -> tuple[Any, Usage]:
    """Run on a worker: what an action returns, and what this process used for it."""
    before = usage_so_far()
    value = action()
    return value, usage_so_far().since(before)


_opened: dict[tuple[Any, ...], Workspace] = {}  # by a worker, for one step of one run


def compute(told: RemoteJob, how: Step) -> str:
    """Run on a worker: make one unit; where it lies."""
    workspace, afar = _workspace(told), how.afar
    found = [unit for unit in afar.units(workspace) if afar.name(unit) == told.name] if afar else []
    if not found or afar is None:
        raise StepFailed(f"{told.step} {told.name} is not what the worker finds in the lake.")
    made = json.dumps(afar.pack(how.make(workspace, found[0])))
    part = told.file.with_suffix(".part")
    part.parent.mkdir(exist_ok=True)
    part.write_text(made)
    part.replace(told.file)
    return str(told.file)


def _fetched(afar: RemoteWork, futures: Mapping[str, Any], workspace: Workspace, unit: Any) -> Any:
    """What a worker made of a unit."""
    file = Path(futures[afar.name(unit)].result())
    return afar.unpack(json.loads(file.read_text()))


def _workspace(told: RemoteJob) -> Workspace:
    """The workspace as the run sees it, opened once for a step; nothing is written to it."""
    key = (told.run.run_id, told.step, told.snapshot_id)
    if key not in _opened:
        for old in _opened.values():
            old.stores.lake.close()
        _opened.clear()
        settings = Settings(**told.settings)
        contracts = load_declarations(settings).contracts
        stores = open_stores(settings, read_only=True)
        _opened[key] = Workspace(settings, told.plan, contracts, stores, told.run)
    return _opened[key]
