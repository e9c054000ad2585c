"""Workers: what one makes from a unit's id alone is what the night made; what it asks of Ray."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

from flows.runs.run_record import open_run
from flows.runs.workers import RemoteJob, compute, resources_on
from flows.steps.table import STEPS
from flows.workspace.settings import Settings
from flows.workspace.stores import open_stores
from flows.workspace.workspace import Workspace, load_declarations


def test_a_worker_makes_from_an_id_what_the_night_made(night_copy: Settings) -> None:
    declared, run = load_declarations(night_copy), open_run("night")
    with closing((stores := open_stores(night_copy)).lake):
        workspace = Workspace(night_copy, declared.plan, declared.contracts, stores, run)
        made = {}
        for name in ("embed", "evaluate"):
            step, remote = STEPS[name], STEPS[name].remote
            assert remote is not None
            job = RemoteJob(
                {"home": str(night_copy.root)},
                declared.plan,
                run,
                stores.lake.snapshot_id,
                name,
                remote.name(remote.units(workspace)[0]),
            )
            file = Path(compute(job, step))
            assert file == job.file
            made[name] = remote.unpack(json.loads(file.read_text()))
        before = stores.vectors.representation(made["embed"].representation_id)
        assert (made["embed"].z, made["embed"].variance) == (before.z, before.variance)
        scores = made["evaluate"].scores
        kept = stores.lake.rows(
            "SELECT value FROM core.scores WHERE evaluation_id = ? ORDER BY value",
            [scores[0]["evaluation_id"]],
        )
        assert sorted(row["value"] for row in scores) == [row["value"] for row in kept]
        assert stores.lake.rows("SELECT count(*) AS n FROM core.runs") == [{"n": 1}]


def test_a_gpu_is_asked_for_where_the_device_is_one() -> None:
    assert resources_on("cpu") == {"num_cpus": 1, "num_gpus": 0}
    assert resources_on("cuda") == {"num_cpus": 1, "num_gpus": 1}
