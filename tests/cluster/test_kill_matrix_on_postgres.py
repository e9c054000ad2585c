"""The kill matrix with lake and MLflow on PostgreSQL, whose databases are copied too."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.postgres import Postgres
from tests.kill_matrix import World, told, try_copies

pytestmark = pytest.mark.cluster


def test_every_tenth_call(
    server: Postgres, database: str, tmp_path: Path, prefect_api: str
) -> None:
    names = (database, f"{database}_mlflow")
    server.make_database(names[1])
    environment = {
        "PREFECT_API_URL": prefect_api,
        "OMP_NUM_THREADS": "1",
        "RPE_LAKE_URI": f"ducklake:postgres:{server.libpq(names[0])}",
        "RPE_TRACKING_URI": server.url(names[1]),
    }

    def restore(copy: Path) -> None:
        for name in names:
            server.restore(name, copy / f"{name}.dump")

    also = " && ".join(server.dump_command(name, f"$COPY/{name}.dump") for name in names)
    n_tried, n_survived = told(
        try_copies(World(tmp_path, environment, also=also, restore=restore), every=10)
    )
    assert n_survived == n_tried >= 5
