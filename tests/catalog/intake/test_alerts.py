"""Refused files that lie there, the view of alerts over runs, and who abstains after serving."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from catalog.contracts.contract import SourceContract
from catalog.errors import ContractViolated
from catalog.intake.deliveries import lying_files, pending_files
from catalog.intake.landing import ingest
from catalog.intake.refusals import Refusal, standing_refusals
from catalog.queries.evaluations import abstaining_targets, served_before
from catalog.queries.shared_groups import shared_rows
from catalog.stores.lake.lake import Lake
from tests.catalog.lakes import NOON, RUN, contract, fresh_lake

Row = dict[str, Any]


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    with fresh_lake(tmp_path) as opened:
        yield opened


def declared(folder: Path, **changes: Any) -> SourceContract:
    values = contract().model_dump(mode="json")
    values |= {"files": {"path": f"{folder}/*.jsonl", "format": "jsonl"}, **changes}
    return SourceContract.model_validate(values)


def notes(n: int, **more: Any) -> list[Row]:
    return [
        {"note_id": f"k{i}", "text": f"note {i}", "label": ["yes", "no"][i % 2], **more}
        for i in range(n)
    ]


def write(path: Path, rows: list[Row]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def refusals(lake: Lake, source: SourceContract) -> list[Refusal]:
    return standing_refusals(lake, [source], lying_files(lake, [source]))


def told(lake: Lake, source: SourceContract) -> list[tuple[str, tuple[str, ...]]]:
    return [(one.file_name, one.codes) for one in refusals(lake, source)]


def test_a_refusal_stands_as_long_as_the_file_lies_there(lake: Lake, tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    source = declared(inbox)
    write(inbox / "a.jsonl", notes(4))
    ingest(lake, source, run=RUN)
    assert told(lake, source) == []
    write(inbox / "b.jsonl", [{"note_id": "x", "text": "a", "label": "no", "more": 1}])
    (inbox / "c.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(ContractViolated):
        ingest(lake, source, run=RUN)
    both = [("b.jsonl", ("unknown_column",)), ("c.jsonl", ("unreadable_file",))]
    assert told(lake, source) == both
    assert {one.since for one in refusals(lake, source)} == {NOON}
    (inbox / "c.jsonl").rename(inbox / "d.jsonl")
    assert told(lake, source)[1] == ("d.jsonl", ("unreadable_file",)), "the name that it has now"
    write(inbox / "d.jsonl", notes(5))  # another file at the same place
    ingest(lake, source, run=RUN)
    assert told(lake, source) == both[:1]
    (inbox / "b.jsonl").unlink()
    assert told(lake, source) == []


def test_a_contract_that_lets_it_in_ends_a_refusal_and_one_that_does_not_has_its_own(
    lake: Lake, tmp_path: Path
) -> None:
    inbox = tmp_path / "inbox"
    write(inbox / "a.jsonl", notes(3, more=1, other=2))
    first = declared(inbox)
    with pytest.raises(ContractViolated):
        ingest(lake, first, run=RUN)
    (refused,) = refusals(lake, first)
    retitled = declared(inbox, title="The same notes")
    assert refusals(lake, retitled) == [], "not yet held against this one"
    with pytest.raises(ContractViolated):
        ingest(lake, retitled, run=RUN)
    (again,) = refusals(lake, retitled)
    assert again.batch_id != refused.batch_id
    lenient = declared(inbox, on_violation={"unknown_column": "ignore"})
    ingest(lake, lenient, run=RUN)
    assert refusals(lake, lenient) == []
    assert pending_files(lake, [lenient]) == {"site_a": []}


def test_nothing_there_is_no_refusal(lake: Lake, tmp_path: Path) -> None:
    source = declared(tmp_path / "nowhere")
    assert [one.is_there for one in lying_files(lake, [source])[source.source]] == [False]
    assert refusals(lake, source) == []


def run(number: int, *alerts: Row, flow: str = "night") -> Row:
    at = NOON + timedelta(days=number)
    return {
        "run_id": f"run:{flow}@{number}", "flow": flow, "outcome": "ok", "started_at": at,
        "ended_at": at + timedelta(minutes=1), "recorded_at": at + timedelta(minutes=1),
        "wall_seconds": 1.0, "alerts_json": json.dumps(alerts), "faults_json": "[]",
    }  # fmt: skip


def alert(name: str, kind: str = "fall", *, is_raised: bool = False, **more: Any) -> Row:
    return {
        "kind": kind, "subject": "site-d", "source": "site_d", "message": f"{name} fell",
        "remedy": "look", "cause": name, "since": (NOON + timedelta(days=1)).isoformat(),
        "alert_id": name, "is_raised": is_raised, "rests_on": [], **more,
    }  # fmt: skip


def test_an_alert_is_a_row_with_its_first_and_last_run(lake: Lake) -> None:
    old = {"kind": "silent", "source": "site_a", "message": "site_a is silent", "remedy": "ask"}
    rows = [
        run(1, old),
        run(2, old, alert("one", is_raised=True)),
        run(3, alert("one", message="one fell on")),
        run(4, alert("two", "refused", is_raised=True), flow="ingest"),
        run(5, alert("two", "refused", is_raised=True), alert("three", is_raised=True)),
    ]
    with lake.transaction(message="test", run=None) as tx:
        tx.insert_new("runs", rows)
    found = {row["alert_id"]: row for row in lake.rows("FROM mart.alerts")}
    standing = lake.rows("SELECT * FROM mart.alerts WHERE is_standing")
    assert [row["alert_id"] for row in standing] == ["three", "two"]
    one = found["one"]
    assert (one["raised_run_id"], one["last_run_id"], one["resolved_run_id"], one["n_runs"]) == (
        "run:night@2", "run:night@3", "run:ingest@4", 2,
    )  # fmt: skip
    assert (one["message"], one["subject"], one["is_standing"]) == ("one fell on", "site-d", False)
    assert (found["two"]["is_standing"], found["two"]["raised_run_id"]) == (True, "run:ingest@4")
    silent = found["silent site_a"]
    assert (silent["subject"], silent["resolved_run_id"]) == ("site_a", "run:night@3")
    nights = lake.rows("SELECT n_alerts, n_raised, n_refused FROM mart.nights")
    assert [tuple(row.values()) for row in nights] == [(2, 2, 1), (1, 0, 0), (2, 2, 0), (1, 1, 0)]
    (status,) = lake.rows("FROM mart.nightly_status")
    assert (status["alerts"], status["refusals"]) == ("three fell", "two fell")


def verdict(number: int, action: str, **more: Any) -> Row:
    return {
        "promotion_id": f"p{number}", "question_id": f"q{number}", "target_name": "site-d",
        "action": action, "reasons": f"because {number}", "ensemble_id": f"e{number}",
        "dataset_version_id": f"dataset:d@{number}", "recorded_at": NOON + timedelta(days=number),
        **more,
    }  # fmt: skip


def test_who_abstains_after_it_was_served(lake: Lake) -> None:
    def now(*rows: Row) -> list[tuple[str, str]]:
        with lake.transaction(message="test", run=None) as tx:
            tx.insert_new("promotions", rows)
        found = abstaining_targets(lake, ["site-d", "site-e"])
        return [(row["promotion_id"], row["reasons"]) for row in found]

    assert now(verdict(1, "abstained")) == [], "it never was served"
    assert now(verdict(2, "promoted")) == []
    assert now(verdict(3, "abstained")) == [("p3", "because 3")]
    assert now(verdict(4, "abstained")) == [("p3", "because 4")], "the same cause"
    assert now(verdict(5, "rolled_back", question_id="")) == [("p3", "because 4")]
    assert now(verdict(6, "refused")) == []
    assert now(verdict(7, "abstained")) == [("p7", "because 7")], "a new one"


def test_what_served_before_is_found_with_the_last_evaluation_that_scored_it(lake: Lake) -> None:
    def score(evaluation: str, ensemble: str, day: int, **more: Any) -> Row:
        return {
            "evaluation_id": evaluation, "target_name": "site-d", "dataset_version_id": "d",
            "split": "test", "slice": "", "arm": "linear", "ensemble_id": ensemble,
            "metric": "accuracy", "metric_version": "1", "value": 0.5,
            "recorded_at": NOON + timedelta(days=day), **more,
        }  # fmt: skip

    made = [{"ensemble_id": f"e{i}", "target_name": "site-d", "strategy": "linear"} for i in (1, 2)]
    with lake.transaction(message="test", run=None) as tx:
        tx.insert_new("ensembles", made)
        tx.insert_new("scores", [score("v1", "e1", 1), score("v2", "e1", 3), score("v3", "e1", 5),
                                 score("v3", "e2", 5)])  # fmt: skip
        tx.insert_new("promotions", [verdict(2, "promoted", ensemble_id="e1"),
                                     verdict(6, "promoted", ensemble_id="e2")])  # fmt: skip
    (row,) = served_before(lake, {"site-d": "v3"}).values()
    assert (row["ensemble_id"], row["evaluation_id"]) == ("e1", "v2")
    assert served_before(lake, {"site-d": "v1"}) == {}, "nothing served then"


def test_what_two_versions_share_moves_no_mean(lake: Lake, tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    source = declared(inbox, on_violation={"changed_row": "supersede"})
    versions = []
    replaced = [{**row, "text": f"another {i}"} for i, row in enumerate(notes(20))]
    more = [
        {"note_id": f"n{i}", "text": f"more {i}", "label": ["yes", "no"][i % 2]} for i in range(20)
    ]
    for name, rows in (("a", notes(20)), ("b", more), ("c", replaced)):
        write(inbox / f"{name}.jsonl", rows)
        versions.append(ingest(lake, source, run=RUN).dataset_version_id)
    first, second, third = map(str, versions)
    grown = shared_rows(lake, second, first)
    assert grown.factor == pytest.approx(1 / 20 - 1 / 40)
    assert grown.n_new_groups == 20
    same = shared_rows(lake, second, second)
    assert (same.factor, same.n_new_groups) == (0.0, 0)
    changed = shared_rows(lake, third, second)
    assert changed.factor == pytest.approx(40 / 40**2), "20 rows left and 20 came"
    assert changed.n_new_groups == 20
