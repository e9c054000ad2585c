"""What is kept of recall is what is measured; a row has one verdict wherever and whenever."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from catalog.deid.check import scan_column, scan_text
from tests.experiments.deid import planted, recall_table
from tests.experiments.deid.held_out import FORMS, HELD_OUT, plant_held_out
from tests.experiments.deid.planted import phrases_of
from tests.experiments.deid.plants import person_names
from tests.experiments.deid.proportions import Share
from tests.experiments.keep import keep_result
from tests.experiments.result_files import FOLDER, read_result, shown
from tests.house.result_sections import stale_note


def test_the_tables_of_recall_are_kept_as_they_are_measured() -> None:
    kept = read_result(FOLDER / "deidentification_planted.json").tables
    assert recall_table.recall_tables() == kept


def test_tables_are_kept_whose_protocol_is_that_of_now(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(recall_table, "N_PLANTED", 4)
    monkeypatch.setattr(recall_table, "N_HELD_OUT", 4)
    tables = recall_table.recall_tables()
    path = keep_result("deidentification_planted", tables, ["command"], folder=tmp_path)
    kept = read_result(path)
    assert kept.tables == tables
    assert "phones" in kept.tables["second_generator"].column("second generator, n = 4 each")
    assert stale_note(kept) == []


def test_a_share_is_shown_with_its_interval() -> None:
    assert shown(recall_table.share_cell(Share(0, 300))) == ".000 [.000, .012]"
    assert shown(recall_table.share_cell(Share(299, 300))) == ".997 [.982, 1.000]"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", HELD_OUT)
def test_each_form_points_at_the_identifier(kind: str, form: str) -> None:
    rows = plant_held_out(kind, form, 30, seed=2)
    plain = plant_held_out(kind, "as written", 30, seed=2)
    assert rows == plant_held_out(kind, form, 30, seed=2)
    for row, as_written in zip(rows, plain, strict=True):
        value = as_written.text[as_written.start : as_written.end]
        found = re.sub(r"\s", "", row.text[row.start : row.end])
        assert found.lower() == value.replace(" ", "").lower()


def test_the_second_generator_has_names_and_sentences_of_its_own() -> None:
    first, second = phrases_of("planted_carriers"), phrases_of("held_out")
    assert not {line for lines in first.values() for line in lines if "{" in line} & {
        line for lines in second.values() for line in lines
    }
    given, family = person_names()
    known = {f"{name} {last}" for name in given for last in family}
    assert not known & {*second["names: English"], *second["names: other cultures"]}


def _told() -> str:
    """What the gate says of a sample of both generators, as one hash."""
    rows = [row for kind in planted.KINDS for row in planted.plant(kind, 6, seed=11)]
    rows += [r for k in HELD_OUT for form in FORMS for r in plant_held_out(k, form, 4, seed=11)]
    told = [[(f.start, f.end, f.rule_id) for f in scan_text(row.text)] for row in rows]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


_PLACES = {
    "another time zone": {"PYTHONHASHSEED": "1", "TZ": "Pacific/Kiritimati"},
    "another locale": {"PYTHONHASHSEED": "4242", "LC_ALL": "C", "PYTHONUTF8": "0"},
}


_IN_CI = (pytest.mark.slow, pytest.mark.ci_slow)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(_PLACES["another time zone"], id="another time zone"),
        pytest.param(_PLACES["another locale"], id="another locale", marks=_IN_CI),
    ],
)
def test_a_row_has_the_same_verdict_on_every_machine(changes: dict[str, str]) -> None:
    here = Path(__file__).parents[3]
    code = "from tests.catalog.deid.test_measure import _told; print(_told())"
    told = subprocess.run(
        [sys.executable, "-c", code],
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(here), **changes},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.strip() == _told()


def test_no_other_engine_is_loaded_although_one_is_installed(tmp_path: Path) -> None:
    for engine in ("presidio_analyzer", "spacy", "scrubadub", "philter", "stanza", "flair"):
        (tmp_path / f"{engine}.py").write_text("raise SystemExit('an engine was loaded')\n")
    here = Path(__file__).parents[3]
    code = (
        "import sys; from catalog.deid.check import scan_text; scan_text('Maria Okonkwo'); "
        "print([m for m in sys.modules if m.split('.')[0] in ('torch', 'transformers', 'spacy')])"
    )
    told = subprocess.run(
        [sys.executable, "-c", code],
        cwd=here,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(here)])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.strip() == "[]"


def test_a_row_has_the_same_verdict_beside_any_other_rows() -> None:
    texts = [row.text for kind in planted.KINDS for row in planted.plant(kind, 4, seed=12)]
    forward = scan_column(pa.array(texts))
    backward = scan_column(pa.array(texts[::-1]))
    alone = [scan_column(pa.array([text])).get(0, ()) for text in texts]
    assert [forward.get(i, ()) for i in range(len(texts))] == alone
    assert [backward.get(i, ()) for i in range(len(texts))][::-1] == alone
