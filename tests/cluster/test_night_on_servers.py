"""A whole night on PostgreSQL, an object store and Ray, held against the embedded one.

Then a retraction on them: nothing of the source is left in bucket or databases, and the rest is as
if it had never been.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import ray

from catalog.retraction.byte_scan import scan
from flows.night.nightly import run_night
from flows.night.retract import retract
from flows.workspace.settings import Settings
from tests.cluster.postgres import Postgres
from tests.end_state import end_state
from tests.pico_world import SITES, make_pico_workspace

pytestmark = pytest.mark.cluster

GONE = "site_b"
MARKER = f"{GONE}-99"  # the greatest key of the source: DuckLake's metadata hold it too
STANDING = (
    "adapters",
    "ensembles",
    "ensemble_members",
    "artifacts",
    "vectors",
    "scores",
    "aliases",
)


def embedded_ends(root: Path, prefect_api: str, monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """The end states of embedded nights: with all three sources, and without the one that goes."""
    ends = []
    with monkeypatch.context() as environment:
        for name in [name for name in os.environ if name.startswith(("RPE_", "RAY_"))]:
            environment.delenv(name)
        environment.setenv("PREFECT_API_URL", prefect_api)
        whole = make_pico_workspace(root)
        never = Settings(home=root / "never")
        shutil.copytree(whole.root, never.root)
        (never.sources_folder / f"{GONE}.yaml").unlink()
        plan = never.plan_file.read_text()
        never.plan_file.write_text(plan.replace(f", {GONE}]", "]"))
        for settings in (whole, never):
            assert run_night(settings).outcome == "ok"
            ends.append(end_state(settings))
    return ends


def test_a_night_and_a_retraction_on_servers_end_as_embedded_ones(
    server: Postgres,
    lake_on_servers: list[str],
    prefect: str,
    workers: None,
    prefect_api: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected, never = embedded_ends(tmp_path / "embedded", prefect_api, monkeypatch)
    elsewhere = tmp_path / "servers"
    (elsewhere / "sources").mkdir(parents=True)
    embedded = tmp_path / "embedded" / "home"
    shutil.copyfile(embedded / "plan.yaml", elsewhere / "plan.yaml")
    for source in SITES:
        shutil.copyfile(embedded / f"sources/{source}.yaml", elsewhere / f"sources/{source}.yaml")
    settings = Settings(home=elsewhere)
    night = run_night(settings)
    assert (night.outcome, night.faults) == ("ok", ())
    assert end_state(settings) == expected
    assert not list(elsewhere.rglob("*.sqlite")) + list(elsewhere.rglob("*.db"))
    assert not list((elsewhere / "tmp").iterdir())
    assert run_night(settings).outcome == "unchanged"
    assert not ray.is_initialized()

    assert scan(settings.places, [MARKER]).found
    assert server.holds(lake_on_servers[0], MARKER.encode())
    done = retract(settings, GONE, reason="consent withdrawn")
    assert done.is_clean, done.told
    assert scan(settings.places, [MARKER]).found == ()
    for database in (*lake_on_servers, prefect):
        assert not server.holds(database, MARKER.encode()), database
    after = end_state(settings)
    for table in STANDING:
        assert after[table] == never[table], table
