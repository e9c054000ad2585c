"""After a retraction: no byte of the dataset in any file, and all as if it had never been there.

The two acceptance tests of `rpe retract`, by the command itself, on pico worlds of one base.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Collection
from contextlib import closing
from pathlib import Path
from typing import Any

import lancedb
import pytest

from catalog.integrity.rows import Chain, read_chain
from catalog.retraction import byte_scan
from flows.workspace.settings import Settings
from flows.workspace.stores import open_lake, open_stores
from tests.end_state import end_state
from tests.faults import KILL
from tests.pico_world import make_pico_workspace, write_contract, write_rows

pytestmark = [pytest.mark.slow, pytest.mark.ci_slow]

GONE = "site_s"
MARKERS = {
    "least text of the column": "!qzxleast",
    "greatest text of the column": "~qzxmost",
    "key": "qzxkey-77",
    "group": "qzxcase-77",
    "row set aside": "qzxsetaside",
    "name of the file": "qzxfilename",
    "text of an exception": "qzxraised",
}
RETRACT = ("retract", GONE, "--reason", "consent withdrawn")
KILLS = {  # after which call on a store -> who goes on
    "lake withdraw": (("nightly",),),
    "artifacts delete": (("maintain",), ("nightly",)),  # one erases, the other builds again
    "lake retraction erased": (RETRACT,),
}
# Tables that tell what happened and not what stands: tombstones, verdicts before, costs
HISTORY = ("batches", "dataset_versions", "promotions", "retractions", "runs")
RAISING = """
import sys
from pathlib import Path
from flows.runs.prefect_server import prefect_server
from flows.workspace.settings import Settings
from prefect import flow, task
from prefect.settings import PREFECT_API_URL, temporary_settings

@task
def convert(cell):
    raise ValueError(f"could not convert {cell}")

@flow(name="raising")
def raising(cell):
    convert(cell)

with prefect_server(Settings(home=Path(sys.argv[1]))) as url:
    with temporary_settings({PREFECT_API_URL: url}):
        try:
            raising(sys.argv[2])
        except ValueError:
            pass
"""


def run(settings: Settings, *command: str, code: int = 0) -> str:
    """A program on a workspace with a Prefect server of its own; its stderr and stdout."""
    environment = {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"}
    environment |= {"RPE_HOME": str(settings.root), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr + done.stdout
    return done.stderr + done.stdout


def rpe(settings: Settings, *arguments: str, code: int = 0) -> str:
    return run(settings, "-m", "flows.cli", *arguments, code=code)


def folder_of(call: str) -> str:
    return f"killed after {call}".replace(" ", "-")


def plan_with(settings: Settings, references: Collection[str]) -> None:
    """Targets on two sources, of which one is a reference itself; k leaves one candidate out.

    One is merged by what its members were fed, of which nothing of a withdrawn one may stay.
    """
    plan = settings.plan_file.read_text()
    plan = plan.replace("[site_a, site_b]", f"[{', '.join(references)}]")
    own = plan[plan.index("  - {name: site-c") : plan.index("gate:")]
    fed = own.replace("site-c", "by-inputs").replace("k: 2", "k: 2, merge: regmean")
    own = own.replace("site-c", "site-a").replace("source: site_c", "source: site_a")
    plan = plan.replace("gate:", own.replace("k: 2", "k: 1") + fed + "gate:")
    settings.plan_file.write_text(plan)


def make_worlds(root: Path) -> tuple[Settings, Settings]:
    """A workspace with the dataset, and its twin that never sees it; equal data and base."""
    twin = make_pico_workspace(root)
    settings = Settings(home=root / "with")
    shutil.copytree(twin.root, settings.root)
    plan_with(twin, ["site_a", "site_b"])
    plan_with(settings, ["site_a", "site_b", GONE])
    write_contract(settings.sources_folder, root / "data", GONE)
    file = root / "data" / f"{GONE}_{MARKERS['name of the file']}.jsonl"
    write_rows(file, GONE, seed=9)
    plant(file)
    return settings, twin


def plant(file: Path) -> None:
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[0]["text"] = MARKERS["least text of the column"] + " drug tablet"
    rows[1]["text"] = MARKERS["greatest text of the column"] + " gene infection"
    rows[2]["id"], rows[2]["case"] = MARKERS["key"], MARKERS["group"]
    rows[3]["label"] = MARKERS["row set aside"]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def places_of(settings: Settings, marker: str) -> list[str]:
    """Where a marker is: bytes of files, decompressed Parquet, rows of SQLite and of Lance."""
    found = list(byte_scan.scan(settings.places, [marker]).found)
    for path in settings.root.rglob("*"):
        if path.suffix in (".db", ".sqlite"):
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
                found += [path.name for line in database.iterdump() if marker in line]
    vectors = lancedb.connect(settings.vectors)
    for name in vectors.list_tables().tables:
        if marker in str(vectors.open_table(name).to_arrow().drop_columns(["z", "variance"])):
            found.append(name)
    return found


def contents_of(settings: Settings) -> dict[str, object]:
    """Files of every artifact, and every vector bit for bit."""
    stores = open_stores(settings)
    with closing(stores.lake):
        return {
            "files": {
                sha256: stores.artifacts.hash_folder(stores.artifacts.folder(sha256))
                for sha256 in stores.artifacts.list()
            },
            "vectors": stores.vectors.representations(stores.vectors.keys()),
        }


@pytest.fixture(scope="module")
def worlds(
    tmp_path_factory: pytest.TempPathFactory, lay_prefect_tables: Callable[[Settings], None]
) -> tuple[Settings, Settings, dict[str, list[str]], dict[str, object]]:
    """Both after their nights, the one after its retraction; what was before."""
    root = tmp_path_factory.mktemp("retraction")
    settings, twin = make_worlds(root)
    for one in (settings, twin):
        lay_prefect_tables(one)
        rpe(one, "nightly")
    run(settings, "-c", RAISING, str(settings.root), MARKERS["text of an exception"])
    before = {name: places_of(settings, marker) for name, marker in MARKERS.items()}
    moved = end_state(settings)
    for call in KILLS:
        shutil.copytree(settings.root, root / folder_of(call))
    told = rpe(settings, *RETRACT)
    assert "found in no file" in told
    return settings, twin, before, moved


def test_no_byte_of_the_dataset_is_left(worlds) -> None:
    settings, _, before, _ = worlds
    for name, marker in MARKERS.items():
        assert before[name], f"{name} was not there before: this test could not fail"
        assert places_of(settings, marker) == [], name
    reports = sorted(settings.report_file.parent.rglob("*.html"))
    assert len(reports) == 3, "the newest, the list, and what was written after the retraction"
    assert all(GONE not in report.read_text() for report in reports)


def test_all_is_as_if_the_dataset_had_never_been(worlds) -> None:
    settings, twin, _, moved = worlds
    after, never = end_state(settings), end_state(twin)
    assert moved["ensembles"] != never["ensembles"], "the dataset mattered"
    for table in never:
        if table not in HISTORY:
            assert after[table] == never[table], table
    assert contents_of(settings) == contents_of(twin)


@pytest.mark.parametrize("call", KILLS)
def test_killed_it_is_finished_by_whoever_comes_next(worlds, call: str) -> None:
    settings, _, _, _ = worlds
    killed = Settings(home=settings.root.parent / folder_of(call))
    kill = ("--at", call, "--do", KILL)
    run(killed, "-m", "tests.faults", *kill, "--", *RETRACT, code=-signal.SIGKILL)
    for command in KILLS[call]:
        rpe(killed, *command)
    after, undisturbed = end_state(killed), end_state(settings)
    assert [json.loads(row)["state"] for row in after["retractions"]] == ["certified"]
    for table in undisturbed:
        if table != "retractions":
            assert after[table] == undisturbed[table], table
    for name, marker in MARKERS.items():
        assert places_of(killed, marker) == [], name
    assert chain_of(killed).findings == ()
    assert certificate_of(killed)["resumed"]["times"] == len(KILLS[call])
    assert certificate_of(settings)["resumed"] == {"times": 0, "runs": []}
    assert facts_of(killed) == facts_of(settings)


def certificate_of(settings: Settings) -> dict[str, Any]:
    (file,) = (settings.root / "retractions").glob("*.json")
    content: dict[str, Any] = json.loads(file.read_text())
    return content


def facts_of(settings: Settings) -> dict[str, Any]:
    """What a certificate certifies: all but when, and by whom; and how large other files are."""
    content = certificate_of(settings)
    sizes = {name: content["scan"].pop(name) for name in ("n_files", "n_bytes")}
    assert all(sizes.values())
    return {key: value for key, value in content.items() if key not in ("withdrawn_at", "resumed")}


def chain_of(settings: Settings) -> Chain:
    """The chain of a workspace, hashed once more."""
    with open_lake(settings, read_only=True) as lake:
        return read_chain(lake)


def test_the_next_night_goes_on_without_it_and_says_so(worlds) -> None:
    settings, _, _, _ = worlds
    assert chain_of(settings).findings == ()
    told = rpe(settings, "nightly")
    assert (chain_of(settings).findings, chain_of(settings).n_open) == ((), 0)
    assert chain_of(settings).n_amended > 0, "rows went, lawfully"
    assert f"WITHDRAWN {GONE}" in told
    assert "unchanged" in told
    (certificate,) = (settings.root / "retractions").glob("*.json")
    content = json.loads(certificate.read_text())
    assert content["scan"]["is_clean"]
    assert content["scan"]["n_needles"] > 10
    assert content["before"]["sha256"] != content["after"]["sha256"]
    assert rpe(settings, "retract", GONE, "--reason", "again").count(content["retraction_id"])
