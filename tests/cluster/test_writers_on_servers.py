"""Two nights of different plans and three ingests at once on one lake: nothing lost or twice."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import lancedb
import pytest

from catalog.integrity.rows import read_chain
from catalog.stores.object_store import find_access, lance_options
from catalog.stores.stores import Stores
from flows.night.nightly import run_night
from flows.workspace.settings import Settings
from flows.workspace.stores import open_stores
from tests.pico_world import ROWS, SITES, make_pico_workspace, write_contract, write_rows

pytestmark = pytest.mark.cluster

OWN = ("site_d", "site_e", "site_f")  # of the three that only ingest; SITES are everybody's
PLANS = {  # what each workspace makes of the plan of the pico world
    "first": ("[site_a, site_b]", "[site_a, site_b]", "site-c"),
    "second": ("[site_a, site_b]", "[site_b, site_c]", "site-a"),
    **{source: ("[site_a, site_b]", f"[site_a, site_b, {source}]", "site-c") for source in OWN},
}


def workspaces(root: Path) -> dict[str, Settings]:
    """Five workspaces with the same data and base, each with a plan of its own."""
    first = make_pico_workspace(root)
    made = {}
    for number, (name, (old, new, target)) in enumerate(PLANS.items()):
        home = root / name
        shutil.copytree(first.root, home)
        plan = (home / "plan.yaml").read_text().replace(old, new)
        plan = plan.replace("site-c", target).replace(
            "source: site_c", f"source: {target.replace('-', '_')}"
        )
        (home / "plan.yaml").write_text(plan)
        if name in OWN:
            write_rows(root / "data" / f"{name}.jsonl", name, seed=20 + number)
            write_contract(home / "sources", root / "data", name)
        made[name] = Settings(home=home)
    return made


def test_five_writers_at_once_lose_nothing_and_do_nothing_twice(
    lake_on_servers: list[str], prefect: str, tmp_path: Path
) -> None:
    made = workspaces(tmp_path)
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "ingest" if name in OWN else "nightly"],
            env=environment_of(settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name, settings in made.items()
    ]
    told = [one.communicate(timeout=900)[0] for one in started]
    assert [one.returncode for one in started] == [0] * len(started), "\n".join(told)
    with closing((stores := open_stores(made["first"])).lake):
        require_once(stores, made["first"])
        assert read_chain(stores.lake).findings == ()
    for name in ("first", "second"):
        assert run_night(made[name]).outcome == "unchanged", name


def environment_of(settings: Settings) -> dict[str, str]:
    return {**os.environ, "RPE_HOME": str(settings.root), "OMP_NUM_THREADS": "1"}


def require_once(stores: Stores, settings: Settings) -> None:
    """Every row, version, vector and file is there, and there once."""

    def rows(sql: str) -> list[tuple[object, ...]]:
        return [tuple(row.values()) for row in stores.lake.rows(sql)]

    for source in (*SITES, *OWN):
        assert rows(f"SELECT count(*), count(DISTINCT id) FROM raw.{source}") == [(ROWS, ROWS)]
    accepted = "SELECT source, count(*) FROM core.batches WHERE n_accepted > 0 GROUP BY ALL"
    assert Counter(dict(rows(accepted))) == Counter((*SITES, *OWN))
    standing = "FROM core.dataset_versions WHERE superseded_at IS NULL"
    assert rows(f"SELECT count(*), count(DISTINCT source) {standing}") == [(6, 6)]
    adapters = rows("SELECT adapter_id, artifact_sha256, representation_id FROM core.adapters")
    assert sorted(str(name).split("@")[0] for name, *_ in adapters) == [
        f"adapter:{site}" for site in SITES
    ]
    ensembles = rows("SELECT ensemble_id, artifact_sha256 FROM core.ensembles")
    assert len(ensembles) == len({name for name, _ in ensembles}) == 2 * 5
    assert set(stores.artifacts.list()) == {sha256 for _, sha256, *_ in (*adapters, *ensembles)}
    placed = rows("SELECT representation_id, NULL FROM core.representations")
    filed = Counter([*placed, *((where, name) for name, _, where in adapters)])
    assert Counter(vector_keys(settings)) == filed
    versions = rows("SELECT model_name || '/' || model_version FROM core.model_versions")
    registered = [
        (f"{version.ref.name}/{version.ref.version}",)
        for name in stores.registry.all_aliases()
        for version in stores.registry.versions(name)
    ]
    assert Counter(registered) == Counter(versions)


def vector_keys(settings: Settings) -> list[tuple[str, str | None]]:
    database = lancedb.connect(settings.vectors, storage_options=lance_options(find_access()))
    return [
        (row["representation_id"], row["adapter_id"])
        for name in database.list_tables().tables
        for row in database.open_table(name).to_arrow().to_pylist()
    ]
