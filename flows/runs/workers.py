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
from catalog.stores.disk import write_whole
from flows.runs.chunks import StepFailed
from flows.runs.processes import Usage, count, usage_so_far
from flows.runs.step import RemoteWork, Step
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
UNIT = Resources(num_cpus=1, num_gpus=1)  # of any step: one model is loaded, and answers in turn


class Workers:
    """Where the tasks of one run are computed; a Ray is started or joined by the first of them."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._stack = settings, ExitStack()
        self._ray: Any = None
        self._jobs: list[RemoteJob] = []

    def __enter__(self) -> Self:
        """Nothing is started yet: a night with nothing to do needs no worker."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Stop a Ray that was started here, leave one that was joined."""
        self._stack.close()
        for job in self._jobs:
            job.file.unlink(missing_ok=True)

    def submit(self, task: Any, step: str, unit: str, action: Callable[[], Any]) -> Any:
        """Begin `action` as a Prefect task of a step; the future's result is what it returns."""
        if self._settings.task_runner == "thread":
            return task.submit(step, unit, action)
        parameters = {"step": step, "unit": unit, "action": partial(_counted, action)}
        runner = self._started()
        from prefect_ray.context import remote_options  # it is there: the runner is of it

        with remote_options(**resources_on(self._settings.device)):
            return _Future(runner.submit(task, parameters))

    def remote_step(
        self, workspace: Workspace, name: str, step: Step, units: Sequence[Any], task: Any
    ) -> Step:
        """The step for these units, made by workers if there are any beside this process.

        Each is named to its worker by its id and comes back as a file of the workspace.
        """
        remote = step.remote
        if self._settings.task_runner == "thread" or remote is None:
            return step
        futures, plain = {}, self._settings.model_dump(mode="json", exclude={"webhook_url"})
        for unit in units:
            job = RemoteJob(
                {**plain, "home": str(self._settings.root)},
                workspace.plan,
                workspace.run,
                workspace.stores.lake.snapshot_id,
                name,
                remote.name(unit),
            )
            self._jobs.append(job)
            action = partial(compute, job, step)
            futures[job.name] = self.submit(task, name, str(unit), action)
        return replace(step, make=partial(_fetched, remote, futures))

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
        self._future, self._results = future, list[Any]()

    def result(self) -> Any:
        """What was returned; its cost is counted as ours, once."""
        if not self._results:
            value, usage = self._future.result()
            count(usage)
            self._results.append(value)
        return self._results[0]


def resources_on(device: str) -> dict[str, float]:
    """What a task asks of Ray where models lie on this device."""
    wanted = asdict(UNIT)
    return wanted if device.startswith("cuda") else {**wanted, "num_gpus": 0}


def _counted(action: Callable[[], Any]) -> tuple[Any, Usage]:
    """Run on a worker: what an action returns, and what this process used for it."""
    before = usage_so_far()
    value = action()
    return value, usage_so_far().since(before)


_opened: dict[tuple[Any, ...], Workspace] = {}  # by a worker, for one step of one run


def compute(job: RemoteJob, step: Step) -> str:
    """Run on a worker: make one unit; where it lies.

    Raises:
        StepFailed: the lake that the worker reads has no such unit.
    """
    workspace, remote = _workspace(job), step.remote
    units = [u for u in remote.units(workspace) if remote.name(u) == job.name] if remote else []
    if not remote or not units:
        raise StepFailed(f"{job.step} {job.name} is not what the worker finds in the lake.")
    made = json.dumps(remote.pack(step.make(workspace, units[0])))
    with write_whole(job.file) as part:
        part.write_text(made)
    return str(job.file)


def _fetched(
    remote: RemoteWork, futures: Mapping[str, Any], workspace: Workspace, unit: Any
) -> Any:
    """What a worker made of a unit."""
    file = Path(futures[remote.name(unit)].result())
    return remote.unpack(json.loads(file.read_text()))


def _workspace(job: RemoteJob) -> Workspace:
    """The workspace as the run sees it, opened once for a step; nothing is written to it."""
    key = (job.run.run_id, job.step, job.snapshot_id)
    if key not in _opened:
        for old in _opened.values():
            old.stores.close()
        _opened.clear()
        settings = Settings(**job.settings)
        contracts = load_declarations(settings).contracts
        stores = open_stores(settings, read_only=True)
        _opened[key] = Workspace(settings, job.plan, contracts, stores, job.run)
    return _opened[key]
