"""Bad input of every kind: a clear message, the right exit code, no value told, nothing harmed."""

import json
import resource
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalog.intake import landing
from flows.night.nightly import run_night
from flows.workspace.settings import Settings
from flows.workspace.stores import open_lake
from tests.pico_world import make_pico_workspace, write_contract

pytestmark = [pytest.mark.slow, pytest.mark.ci_slow]

MARKER = "quorvexil"  # in every spoilt cell and value; no output may hold it
# of a refusal; an intent of what failed stands until the next night settles it
RECORDS = {f'core."{name}"' for name in ("batches", "validations", "runs", "links", "intents")}
CHANGED = {*RECORDS, 'core."sources"'}
NEXT, EXPECTED = "  next: ", "  expected: "


@dataclass(frozen=True)
class World:
    """A workspace with three ingested sources that each case finds as it was."""

    settings: Settings
    pristine: Path

    @property
    def data(self) -> Path:
        return self.settings.root.parent / "data"

    def contract(self, source: str) -> Path:
        return self.settings.sources_folder / f"{source}.yaml"

    def restore(self) -> None:
        """The declarations, the data and the lake as they were; an ingest writes nothing else."""
        for name in ("lake", "sources", "plan.yaml"):
            _replace(self.pristine / "home" / name, self.settings.root / name)
        _replace(self.pristine / "data", self.data)

    def deliver(self, text: str | bytes, *, name: str = "site_b_2.jsonl") -> None:
        """Another file of site_b."""
        raw = text if isinstance(text, bytes) else text.encode()
        (self.data / name).write_bytes(raw)

    def edit(self, old: str, new: str, *, source: str = "site_b") -> None:
        """Other words in a contract."""
        text = self.contract(source).read_text()
        assert old in text
        self.contract(source).write_text(text.replace(old, new))

    def deliver_as(self, file_format: str, raw: bytes) -> None:
        """site_b comes in another format from now on."""
        self.edit("site_b*.jsonl", f"site_b*.{file_format}")
        self.edit("format: jsonl", f"format: {file_format}")
        self.deliver(raw, name=f"site_b.{file_format}")

    def add_source(self, **edits: str) -> None:
        """A fourth source, site_n, with words of its contract replaced, as another reference."""
        write_contract(self.settings.sources_folder, self.data, "site_n")
        for old, new in edits.items():
            self.edit({"columns": "columns:", "splits": SPLITS}[old], new, source="site_n")
        plan = self.settings.plan_file
        plan.write_text(plan.read_text().replace("[site_a, site_b]", "[site_a, site_b, site_n]"))


SPLITS = "splits: {train: 0.5, validation: 0.1, test: 0.4}"


def _replace(source: Path, place: Path) -> None:
    if source.is_dir():
        shutil.rmtree(place)
        shutil.copytree(source, place)
    else:
        shutil.copyfile(source, place)


def rows(n: int = 40, **cells: Any) -> list[dict[str, Any]]:
    """n sound rows with the marker in each text; `cells` replaces a cell of all of them."""
    labels = ("treatment", "causes", "exams")
    return [
        {
            "id": f"n{i}",
            "case": f"case {i // 2}",
            "text": f"{MARKER} {i} is given daily",
            "label": labels[i % 3],
            **cells,
        }
        for i in range(n)
    ]


def lines(table: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in table)


def parquet(table: dict[str, list[Any]]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(table), sink)
    return sink.getvalue().to_pybytes()


def columns_of(table: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in table] for name in table[0]}


def malformed_yaml(world: World) -> None:
    world.edit("columns:", f"columns: [{MARKER}")


def unknown_key(world: World) -> None:
    world.edit("license: CC0-1.0", f"licence: {MARKER}")


def wrong_type_in_contract(world: World) -> None:
    world.edit("min_chars: 3", f"min_chars: {MARKER}")


def wrong_type_in_data(world: World) -> None:
    table = columns_of(rows())
    world.deliver_as("parquet", parquet({**table, "label": list(range(40))}))


def missing_file(world: World) -> None:
    world.add_source()


def empty_file(world: World) -> None:
    world.deliver("")


def truncated_parquet(world: World) -> None:
    whole = parquet(columns_of(rows()))
    world.deliver_as("parquet", whole[: len(whole) * 2 // 3])


def ragged_csv(world: World) -> None:
    sound = [",".join(row.values()) for row in rows()]
    world.deliver_as("csv", "\n".join(["id,case,text,label", *sound, *[MARKER] * 9]).encode())


def invalid_utf8(world: World) -> None:
    world.deliver(lines(rows()).encode().replace(b"daily", b"daily\xff"))


def duplicate_keys(world: World) -> None:
    world.deliver(lines([*rows(), *rows(1, text=f"another {MARKER} text")]))


def unknown_label(world: World) -> None:
    world.deliver(lines(rows(label=MARKER)))


def all_rows_identical(world: World) -> None:
    world.deliver(lines(rows(text=f"{MARKER} is given daily")))


def one_class_only(world: World) -> None:
    world.deliver(lines(rows(label="causes")))


def group_in_two_splits(world: World) -> None:
    world.add_source(columns="columns:\n  part: {type: string}", splits="splits: {column: part}")
    table = [{**row, "part": ("train", "test")[i % 2]} for i, row in enumerate(rows())]
    world.deliver(lines(table), name="site_n.jsonl")


def nan_in_numbers(world: World) -> None:
    world.add_source(columns="columns:\n  dose: {type: number}")
    world.deliver(lines(rows(dose=float("nan"))), name="site_n.jsonl")


def huge_cell(world: World) -> None:
    world.deliver(lines([*rows(3), {**rows(4)[3], "text": f"{MARKER} " * 1_000_000}]))


def path_in_source_name(world: World) -> None:
    world.edit("source: site_b", f"source: ../../{MARKER}")


def sql_in_source_name(world: World) -> None:
    world.edit("source: site_b", f"source: '{MARKER}\"; DROP TABLE core.runs; --'")


def changed_contract(world: World) -> None:
    world.edit("label: {type: string, nullable: true", "label: {type: string, nullable: false")
    world.edit("min_chars: 3", "min_chars: 4")


def disk_full_before_the_lake_opens(world: World) -> None:
    world.deliver(lines(rows()))


def disk_full_while_rows_land(world: World) -> None:
    rng = np.random.default_rng(0)  # noise, so that no compression makes it fit
    world.deliver(lines([{**row, "case": rng.bytes(10_000).hex()} for row in rows()]))


def adapter_that_is_no_safetensors(world: World) -> None:
    for weights in (world.settings.root / "artifacts").glob("*/adapter_model.safetensors"):
        weights.write_bytes(b"\x80\x04\x95" + MARKER.encode())
    plan = world.settings.plan_file
    plan.write_text(plan.read_text().replace("k: 2", "k: 2, merge: svd, rank: 2"))


def base_that_is_no_safetensors(world: World) -> None:
    folder = world.data / "pickled"
    folder.mkdir()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04\x95" + MARKER.encode())
    plan = world.settings.plan_file
    plan.write_text(plan.read_text().replace(str(world.data.parent / "base"), str(folder)))


@dataclass(frozen=True)
class Case:
    """One kind of bad input: what is spoilt, the exit code, and words that the message has."""

    spoil: Callable[[World], None]
    exit_code: int
    words: tuple[str, ...]
    arguments: tuple[str, ...] = ("ingest", "--json")
    file_bytes: int | None = None  # no file may grow past this: what a full disk does to a write
    needs_night: bool = False  # what is spoilt is there only after a whole night


CASES = (
    Case(malformed_yaml, 2, ("site_b.yaml has 1 fault", "is not valid YAML", "line "), ("ingest",)),
    Case(unknown_key, 2, ("unknown key 'licence'", "did you mean 'license'?")),
    Case(wrong_type_in_contract, 2, ("columns.text.min_chars", "must be a whole number")),
    Case(wrong_type_in_data, 3, ("'label' holds int64 and not string", NEXT)),
    Case(missing_file, 2, ("files.path matches no file", EXPECTED, NEXT)),
    Case(empty_file, 3, ("site_b_2.jsonl", "it is empty", NEXT), ("ingest",)),
    Case(truncated_parquet, 3, ("site_b.parquet", "damaged or cut off", NEXT)),
    Case(ragged_csv, 3, ("max_quarantined_ratio: 9 of 49 rows", "ragged_row in 9 rows", NEXT)),
    Case(invalid_utf8, 3, ("invalid_utf8 in 40 rows (1, 2, 3, 4, 5 and others)", NEXT)),
    Case(duplicate_keys, 3, ("duplicate_key: 2 rows (1, 41)", NEXT)),
    Case(unknown_label, 3, ("unknown_label(label) in 40 rows", NEXT)),
    Case(all_rows_identical, 3, ("identical_inputs: all 40 rows are alike", NEXT)),
    Case(one_class_only, 3, ("one_class_only: all 40 labelled rows have one label", NEXT)),
    Case(group_in_two_splits, 3, ("split_leakage: 40 rows", NEXT)),
    Case(nan_in_numbers, 3, ("not_finite(dose) in 40 rows", NEXT)),
    Case(huge_cell, 3, ("too_long(text) in 1 row (4)", NEXT)),
    Case(path_in_source_name, 2, ("site_b.yaml has", "source: does not have the right form")),
    Case(
        path_in_source_name,
        2,
        ("site_b.yaml has", "source: does not have the right form"),
        ("source", "add", "{home}/sources/site_b.yaml"),
    ),
    Case(sql_in_source_name, 2, ("site_b.yaml has", "source: does not have the right form")),
    Case(changed_contract, 2, ("columns.label.nullable", "columns.text.min_chars", "a new source")),
    Case(disk_full_before_the_lake_opens, 1, ("is full, or failed", NEXT), file_bytes=20_000),
    Case(disk_full_while_rows_land, 1, ("No space is left", NEXT), file_bytes=400_000),
    Case(
        adapter_that_is_no_safetensors,
        1,
        ("ensemble site-d by average", "was changed after it was kept", NEXT),
        ("nightly", "--only", "ensemble", "--json"),
        needs_night=True,
    ),
    Case(
        base_that_is_no_safetensors, 2, ("holds no safetensors file", EXPECTED), ("embed", "--json")
    ),
)


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> World:
    """A workspace whose three sources have landed, with a copy of it."""
    root = tmp_path_factory.mktemp("spoilt")
    settings = make_pico_workspace(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_API_URL", prefect_api)
        patch.setenv("RPE_HOME", str(settings.root))
        assert run_night(settings, only=("ingest",)).faults == ()
    pristine = tmp_path_factory.mktemp("pristine")
    shutil.copytree(settings.root, pristine / "home")
    shutil.copytree(root / "data", pristine / "data")
    return World(settings, pristine)


@pytest.fixture(scope="module")
def ingested_state(ingested: World) -> dict[str, Any]:
    """What the lake holds before anything is spoilt."""
    return lake_state(ingested.settings)


@pytest.fixture
def world(
    case: Case, request: pytest.FixtureRequest, prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> World:
    """The workspace that the case spoils, as it was, named in the environment."""
    if case.needs_night:
        settings = request.getfixturevalue("night_copy")
        return World(settings, settings.root)
    world = request.getfixturevalue("ingested")
    world.restore()
    monkeypatch.setenv("PREFECT_API_URL", prefect_api)
    monkeypatch.setenv("RPE_HOME", str(world.settings.root))
    return world


@pytest.fixture
def before(case: Case, world: World, ingested_state: dict[str, Any]) -> dict[str, Any]:
    """What the lake held before."""
    return lake_state(world.settings) if case.needs_night else ingested_state


def lake_state(settings: Settings) -> dict[str, Any]:
    """Rows of the records, number and hash of the rows of every other table of core and raw, and
    the rows of every dataset version as a training reads them.
    """
    found: dict[str, Any] = {}
    lake = open_lake(settings, read_only=True)
    try:
        tables = lake.rows(
            "SELECT format('{}.\"{}\"', schema_name, table_name) AS name FROM duckdb_tables()"
            " WHERE database_name = 'lake' AND schema_name IN ('core', 'raw')"
        )
        names = {table["name"] for table in tables}
        for name in names & CHANGED:
            found[name] = set(map(repr, lake.rows(f"SELECT * FROM {name}")))
        counts = " UNION ALL ".join(
            f"SELECT '{name}' AS name, count(*) AS n, sum(hash(t)) AS hash FROM {name} AS t"
            for name in sorted(names - CHANGED)
        )
        found |= {row["name"]: (row["n"], row["hash"]) for row in lake.rows(counts)}
        for version in lake.rows("SELECT dataset_version_id AS id FROM core.dataset_versions"):
            columns = ["id", "text", "label"]
            found[version["id"]] = landing.read_rows(lake, version["id"], columns=columns)
    finally:
        lake.close()
    return found


def assert_unharmed(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Nothing is lost; only the record of the refusal, and empty tables of a new source, came."""
    assert set(before) <= set(after)
    for name, content in after.items():
        if name in RECORDS:
            assert before[name] <= content, name
        elif name in CHANGED:  # another contract in force marks the one before it
            assert len(content) >= len(before[name])
        else:
            assert content == before.get(name, (0, None)), name


@contextmanager
def files_up_to(n_bytes: int | None) -> Iterator[None]:
    """No file of this process grows past n bytes: such a write fails, as on a full disk."""
    if n_bytes is None:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.spoil.__name__)
def test_bad_input(
    case: Case,
    world: World,
    before: dict[str, Any],
    rpe: Callable[..., int],
    prefect_home: Settings,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    scratch = tmp_path_factory.mktemp("scratch")
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    case.spoil(world)
    around = names_in(world.settings.root), names_in(world.settings.root.parent)
    with files_up_to(case.file_bytes):
        code = rpe(*(argument.format(home=world.settings.root) for argument in case.arguments))
    told = "".join(capfd.readouterr())
    for words in case.words:
        assert words in told
    assert code == case.exit_code
    assert "Traceback" not in told
    after = lake_state(world.settings)
    assert_unharmed(before, after)
    assert (names_in(world.settings.root), names_in(world.settings.root.parent)) == around
    assert names_in(scratch) == []
    records = repr([after[name] for name in CHANGED])
    pages = [*(world.settings.root / "report").rglob("*"), *prefect_home.prefect_home.rglob("*")]
    kept = [path.read_bytes() for path in pages if path.is_file()]
    assert not any(MARKER.encode() in text for text in [told.encode(), records.encode(), *kept])
