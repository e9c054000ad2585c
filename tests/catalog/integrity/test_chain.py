"""The chain of core: an edited row is named with the run by which it was whole."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from catalog.integrity.lake_files import damage_of_lake, measure_files
from catalog.integrity.rows import read_chain
from catalog.stores.lake import chain
from catalog.stores.lake.catalog_uri import parse_catalog
from catalog.stores.lake.files import noted_hashes, unsealed_hashes
from catalog.stores.lake.lake import Lake, Transaction
from catalog.stores.lake.session import connect
from catalog.tables.run_tables import RUNS
from catalog.tables.score_tables import SCORES
from rpe_core.records import RunRef
from tests.catalog.embedded_stores import Clock
from tests.catalog.lakes import NOON, fresh_lake, open_lake, uri_of


def run_ref(number: int) -> RunRef:
    return RunRef(f"run:night@{number:012x}", "night", NOON)


@contextmanager
def run_of(lake: Lake, number: int) -> Iterator[Transaction]:
    """A run of one commit, then its close."""
    run = run_ref(number)
    with lake.transaction(message="work", run=run) as commit:
        yield commit
    with lake.transaction(message=chain.CLOSING, run=run) as commit:
        chain.seal(commit, {"run_id": run.run_id, "flow": "night", "threads": 1})


def edges(n: int, child: str = "c") -> list[dict[str, Any]]:
    return [{"child_id": child, "parent_id": f"p{i}", "role": "batch"} for i in range(n)]


def version(source: str, number: int) -> dict[str, Any]:
    return {"dataset_version_id": f"dataset:{source}@{number}", "source": source, "n_rows": number}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake of three runs: edges and a version, a score that supersedes it, an idle one."""
    home = tmp_path_factory.mktemp("chained")
    with fresh_lake(home):
        pass
    with open_lake(home, clock=Clock()) as lake:
        with run_of(lake, 1) as commit:
            commit.insert_new("lineage", edges(5))
            commit.insert_new("dataset_versions", [version("a", 1)])
        with run_of(lake, 2) as commit:
            score = dict.fromkeys(SCORES.key, "x")
            commit.insert_new("scores", [{**score, "value": 1 / 3, "ci_low": None, "n_items": 7}])
            at = [commit.recorded_at]
            commit.execute("UPDATE core.dataset_versions SET superseded_at = ?", at)
        with run_of(lake, 3):
            pass
    return home


@pytest.fixture
def chained(made: Path, tmp_path: Path) -> Iterator[Lake]:
    """A copy of it to change; its clock starts a day before it was made."""
    shutil.copytree(made / "lake", tmp_path / "lake")
    clock = Clock()
    clock.now -= timedelta(days=1)
    with open_lake(tmp_path, clock=clock) as opened:
        yield opened


def behind_our_back(tmp_path: Path, *statements: str) -> None:
    """Statements of somebody who has DuckDB and the files."""
    catalog = parse_catalog(uri_of(tmp_path))
    with connect(catalog, f"{tmp_path}/lake/data", is_read_only=False) as connection:
        connection.execute("USE lake")
        for statement in statements:
            connection.execute(statement)


def test_untouched_rows_hold_and_an_idle_run_adds_its_row_alone(chained: Lake) -> None:
    found = read_chain(chained)
    assert (found.findings, found.n_links, found.n_rows, found.n_open) == ((), 3, 7, 0)
    runs = chained.rows("SELECT DISTINCT run_id FROM core.links")
    assert {row["run_id"][-1] for row in runs} == {"1", "2"}
    with chained.transaction(message="more", run=None) as commit:
        commit.insert_new("lineage", edges(2, child="d"))
    assert read_chain(chained).n_open == 2
    with run_of(chained, 4):
        pass
    assert (read_chain(chained).findings, read_chain(chained).n_open) == ((), 0)


EDITS = {
    "rows of different runs": {
        "UPDATE core.lineage SET role = 'base' WHERE parent_id = 'p3'": (
            "core.lineage: 1 rows are not what was recorded: child_id=c parent_id=p3 role=base",
            "whole when run:night@000000000001 closed",
        ),
        "DELETE FROM core.lineage WHERE parent_id IN ('p1', 'p2')": ("2 rows of 5 are missing",),
        "UPDATE core.scores SET value = value + 1e-16": (
            "core.scores: 1 rows are not",
            "whole when run:night@000000000002 closed",
            "edited in snapshot",
            "by no run of ours",
        ),
        "UPDATE core.dataset_versions SET superseded_at = NULL": (
            "core.dataset_versions: 1 rows of 1 are missing",
        ),
    },
    "a date and a run": {
        "UPDATE core.lineage SET recorded_at = recorded_at - INTERVAL 1 HOUR"
        " WHERE parent_id = 'p0'": (
            "child_id=c parent_id=p0",
            "when no run recorded it",
            "1 rows of 5 are missing",
        ),
        "UPDATE core.runs SET threads = 2 WHERE run_id LIKE '%2'": (
            "the link of run:night@000000000002 does not hold",
            "whole when run:night@000000000001 closed",
        ),
    },
    "the chain itself": {
        "UPDATE core.links SET n_rows = 4 WHERE table_name = 'lineage'": (
            "the link of run:night@000000000001 does not hold",
        ),
        "DELETE FROM core.runs WHERE run_id LIKE '%2'": (
            "the link of run:night@000000000003 does not hold",
        ),
    },
}


@pytest.mark.parametrize("edits", EDITS)
def test_an_edit_is_named_with_the_run_by_which_it_was_whole(
    chained: Lake, tmp_path: Path, edits: str
) -> None:
    behind_our_back(tmp_path, *EDITS[edits])
    findings = read_chain(chained).findings
    told = "\n".join(map(str, findings))
    assert [word for words in EDITS[edits].values() for word in words if word not in told] == []
    assert len(findings) == {"rows of different runs": 3, "a date and a run": 3}.get(edits, 2)


def test_a_bitwise_equal_rewrite_of_the_files_holds(chained: Lake, tmp_path: Path) -> None:
    behind_our_back(
        tmp_path,
        "CREATE TABLE core.copy AS FROM core.lineage",
        "DELETE FROM core.lineage",
        "INSERT INTO core.lineage FROM core.copy",
        "DROP TABLE core.copy",
    )
    assert read_chain(chained).findings == ()


def test_what_is_lawfully_changed_is_amended_and_hides_no_edit(
    chained: Lake, tmp_path: Path
) -> None:
    behind_our_back(tmp_path, "UPDATE core.scores SET value = 1.0")
    for number, statement in (
        (4, "DELETE FROM core.lineage WHERE parent_id IN ('p1', 'p2')"),
        (5, "UPDATE core.runs SET steps_json = '[]' WHERE run_id LIKE '%1'"),
        (6, "DELETE FROM core.lineage"),
        (7, "UPDATE core.runs SET steps_json = '[2]' WHERE run_id LIKE '%1'"),
    ):
        with run_of(chained, number) as commit, chain.record_amendment(commit, reason="withdrawn"):
            commit.execute(statement)
    found = read_chain(chained)
    assert [finding.where for finding in found.findings] == ["core.scores"]
    assert (found.n_amended, found.n_rows) == (4, 2)
    behind_our_back(tmp_path, "UPDATE core.runs SET steps_json = '[]' WHERE run_id LIKE '%1'")
    assert "run:night@000000000001 was edited" in str(read_chain(chained).findings[0])


def test_what_is_recorded_after_a_close_is_never_dated_before_it(chained: Lake) -> None:
    with run_of(chained, 4) as commit:
        assert commit.recorded_at > NOON, "the clock says a day less"
        commit.insert_new("lineage", edges(2, child="late"))
    assert read_chain(chained).findings == ()


def test_a_column_that_comes_later_leaves_old_hashes_as_they_were(chained: Lake) -> None:
    run = {"run_id": "run:night@1", "recorded_at": NOON, "wall_seconds": 0.1}
    with chained.transaction(message="look", run=None) as commit:
        before = commit.evaluate(RUNS, [run], chain.row_hash_sql(RUNS))
        assert before == commit.evaluate(
            RUNS, [run], "sha256('run_id=11:run:night@1;wall_seconds=19:0.10000000000000001;"
            "recorded_at=16:1767268800000000;')"
        )  # fmt: skip


def break_file(file: Path, how: str) -> None:
    """Damage a file: a byte flipped, its end cut off, nothing left, or gone."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    if how == "gone":
        file.unlink()
    else:
        left = {"flipped": content, "cut": content[:-9], "empty": b""}[how]
        file.write_bytes(left)


def told(lake: Lake, *, is_deep: bool) -> str:
    return "\n".join(map(str, damage_of_lake(lake, is_deep=is_deep)))


def test_a_close_seals_every_file_since_the_last_by_its_hash(chained: Lake, tmp_path: Path) -> None:
    """The hashes are those of the bytes; the newest close's own files wait for the next."""
    lying = {path.name: path for path in (tmp_path / "lake").rglob("*.parquet")}
    rows = chained.rows("SELECT run_id, files_json FROM core.runs ORDER BY recorded_at")
    sealed = {
        name: sha256 for row in rows for name, sha256 in json.loads(row["files_json"]).items()
    }
    for name, sha256 in sealed.items():
        assert sha256 == hashlib.sha256(lying[name].read_bytes()).hexdigest()
    late = lying.keys() - sealed.keys()
    assert [lying[name].parent.name for name in late] == ["runs"], "an idle run writes its row"
    assert late <= noted_hashes(chained).keys(), "its commit has noted it"
    assert told(chained, is_deep=True) == ""
    assert measure_files(chained).n_unhashed == 0


@pytest.mark.parametrize("how", ["flipped", "cut", "empty", "gone"])
def test_damage_to_any_file_of_the_lake_is_told(chained: Lake, tmp_path: Path, how: str) -> None:
    """Each by itself: what is shorter or gone at a look, what is as long by its hash."""
    for file in sorted((tmp_path / "lake").rglob("*.parquet")):
        content = file.read_bytes()
        break_file(file, how)
        plain, deep = told(chained, is_deep=False), told(chained, is_deep=True)
        name = f"core/{file.parent.name}/{file.name}"
        assert deep.startswith(f"{name} is {'gone' if how == 'gone' else 'not what was kept'}")
        assert plain == ("" if how == "flipped" else deep)
        file.write_bytes(content)
    assert told(chained, is_deep=True) == ""


def test_a_file_in_place_of_another_and_one_more_are_told(chained: Lake, tmp_path: Path) -> None:
    with run_of(chained, 4) as commit:
        commit.insert_new("lineage", edges(5, child="d"))
    one, other = sorted((tmp_path / "lake/data/core/lineage").glob("*.parquet"))
    assert one.stat().st_size == other.stat().st_size
    one.write_bytes(other.read_bytes())
    assert one.name in told(chained, is_deep=True)
    assert told(chained, is_deep=False) == ""
    (one.parent / "more.parquet").write_bytes(b"")
    assert "core/lineage/more.parquet" in told(chained, is_deep=False)


def test_hashes_of_files_are_sealed_like_all_a_run_says(chained: Lake, tmp_path: Path) -> None:
    """Who changes a file and its hash on record has to change a row that the chain is over."""
    behind_our_back(tmp_path, "UPDATE core.runs SET files_json = '{}' WHERE run_id LIKE '%1'")
    assert "the link of run:night@000000000001 does not hold" in str(read_chain(chained).findings)


def test_merged_files_and_those_of_a_killed_run_are_taken_in(chained: Lake, tmp_path: Path) -> None:
    with chained.transaction(message="killed before its close", run=run_ref(4)) as commit:
        commit.insert_new("lineage", edges(3, child="k"))
    assert chained.merge_files(many=2) > 0
    assert measure_files(chained).n_unhashed == 0, "every commit notes what it writes"
    with run_of(chained, 5):
        pass
    chained.expire_snapshots(before=NOON + timedelta(days=99_999))
    assert measure_files(chained).n_unhashed == 0, "the close has sealed it"
    assert told(chained, is_deep=True) == ""


def test_files_without_a_hash_are_counted_and_the_next_close_reads_them(
    chained: Lake, tmp_path: Path
) -> None:
    """As in a lake from before hashes were on record; one that is cut is not taken in."""
    behind_our_back(tmp_path, "INSERT INTO core.lineage SELECT 'x', 'y', 'batch', now()")
    behind_our_back(tmp_path, "INSERT INTO core.lineage SELECT 'z', 'y', 'batch', now()")
    assert measure_files(chained).n_unhashed == 2
    *_, cut = sorted((tmp_path / "lake/data/core/lineage").glob("*.parquet"))
    whole = cut.read_bytes()
    cut.write_bytes(whole[:-1])
    assert cut.name not in unsealed_hashes(chained, chained.data_uri)
    cut.write_bytes(whole)
    with run_of(chained, 4):
        pass
    assert measure_files(chained).n_unhashed == 0
