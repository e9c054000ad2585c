"""Who serves has one answer, whoever asks: mart.champion_changes, and all that is read of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from catalog.queries.current import read_standing
from catalog.queries.evaluations import abstaining_targets, served_before
from catalog.queries.serving import champions_at, champions_now, standing_changes
from catalog.records.champions import SERVING, serving_by_target
from catalog.records.promotion import ACTIONS
from catalog.report import queries
from catalog.stores.lake.lake import Lake
from tests.catalog.lakes import fresh_lake
from tests.catalog.nights import Nights, day

ROOT = Path(__file__).parents[3]
# target -> what was decided, day by day: action, ensemble, and whether its data were withdrawn
DECIDED: dict[str, list[tuple[str, str, bool]]] = {
    "promoted": [("promoted", "a", False), ("refused", "b", False)],
    "approved": [("pending", "a", False), ("approved", "a", False)],
    "taken-back": [("promoted", "a", False), ("promoted", "b", False), ("rolled_back", "a", False)],
    # the lake holds the act of a person and no verdict that it answers
    "by-a-person": [("rolled_back", "a", False)],
    "withdrawn": [("promoted", "a", False), ("promoted", "b", True)],
    "all-withdrawn": [("promoted", "a", True)],
    "damaged": [("promoted", "a", False), ("withdrawn_damaged", "", False)],
    "former-serves": [
        *(("promoted", "a", False), ("promoted", "b", False), ("withdrawn_damaged", "a", False)),
    ],
    "restored": [
        *(("promoted", "a", False), ("withdrawn_damaged", "", False), ("restored", "a", False)),
    ],
    "refused": [("refused", "a", False), ("abstained", "", False), ("kept", "a", False)],
}
SERVES = {
    **dict.fromkeys(("promoted", "approved", "taken-back", "by-a-person", "withdrawn"), "a"),
    **dict.fromkeys(("former-serves", "restored"), "a"),
}
TARGETS = sorted(DECIDED)


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    """Every target is decided on from day 1 on; the gate abstains of each on day 8."""
    with fresh_lake(tmp_path) as opened:
        for target, decided in DECIDED.items():
            told = Nights(opened, target=target)
            told.run(1)
            told.evaluation(0.5, {"base": 0.4, "linear": 0.8, "average": 0.7},
                            {"linear": "a", "average": "b"})  # fmt: skip
            for number, (action, name, is_withdrawn) in enumerate(decided, start=1):
                at = day(7) if is_withdrawn else None
                told.verdict(number, action, "linear", name, model_version=name, retracted_at=at,
                             question_id=f"{target} {number}")  # fmt: skip
            told.verdict(8, "abstained", "linear", "", question_id=f"{target} 8")
            told.evaluation(9, {"base": 0.4}, {})
            told.write()
        yield opened


def ids(names: dict[str, str]) -> dict[str, str]:
    return {target: f"ensemble:{target}@{name}" for target, name in sorted(names.items())}


def test_each_question_has_the_same_answer(lake: Lake) -> None:
    answers: dict[str, dict[str, str]] = {
        "now": {name: row["ensemble_id"] for name, row in champions_now(lake).items()},
        "of these": {
            name: row["ensemble_id"] for name, row in champions_now(lake, targets=TARGETS).items()
        },
        "night": {n: row["ensemble_id"] for n, row in read_standing(lake).champions.items()},
        "then": {
            name: row["ensemble_id"]
            for name, row in read_standing(lake, as_of=day(10)).champions.items()
        },
        "aliases": {
            name: now.champion["ensemble_id"]
            for name, now in serving_by_target(lake).items()
            if now.champion
        },
        "report": {
            row["target"]: row["serves_ensemble_id"]
            for row in queries.read_verdicts(lake, targets=TARGETS)
            if row["serves"] != "base"
        },
        "history": {
            row["target_name"]: row["ensemble_id"]
            for row in queries.read_champions(lake, targets=TARGETS)
            if row["is_champion"]
        },
        "alerts": {
            name: row["ensemble_id"]
            for name, row in served_before(lake, {n: f"{n} e9" for n in TARGETS}).items()
        },
        "review": {
            name: rows[-1]["ensemble_id"]
            for name, rows in standing_changes(lake).items()
            if rows[-1]["ensemble_id"]
        },
    }
    for who, answer in answers.items():
        assert dict(sorted(answer.items())) == ids(SERVES), who
    assert queries.count_champions(lake) == len(SERVES)


def test_what_is_behind_a_champion_is_told_of_none_that_was_withdrawn(lake: Lake) -> None:
    with lake.transaction(message="test", run=None) as commit:
        for name in ("a", "b"):
            ensemble_id, adapter_id = f"ensemble:withdrawn@{name}", f"adapter:of_{name}@1"
            member = {"ensemble_id": ensemble_id, "adapter_id": adapter_id, "weight": 1.0}
            version = {"model_name": "withdrawn", "model_version": name, "kind": "ensemble"}
            commit.insert_new("adapters", [{"adapter_id": adapter_id, "source": f"of_{name}"}])
            commit.insert_new("ensemble_members", [member])
            commit.insert_new("model_versions", [{**version, "record_id": ensemble_id}])
    rows = queries.read_served(lake, targets=TARGETS)
    assert {(row["model_version"], row["source"]) for row in rows} == {("a", "of_a")}


def test_a_gate_that_abstains_is_told_of_whatever_was_served_by(lake: Lake) -> None:
    served = {row["target_name"] for row in abstaining_targets(lake, TARGETS)}
    assert served == {*SERVES, "damaged"}


@pytest.mark.parametrize(
    ("moment", "target", "name"),
    [
        (day(1), "taken-back", "a"),
        (day(2), "taken-back", "b"),
        (day(6), "taken-back", "a"),
        (day(6), "withdrawn", "b"),  # it was withdrawn on day 7
        (day(7), "withdrawn", "a"),
        (day(6), "all-withdrawn", "a"),
        (day(7), "all-withdrawn", None),
        (day(0.9), "promoted", None),
        (day(2.5), "damaged", ""),
    ],
)
def test_what_served_at_a_moment(
    lake: Lake, moment: datetime, target: str, name: str | None
) -> None:
    expected = f"ensemble:{target}@{name}" if name else name
    assert champions_at(lake, moment).get(target) == expected


def test_the_view_knows_the_actions_that_let_one_serve(tmp_path: Path) -> None:
    with fresh_lake(tmp_path) as lake:
        told = Nights(lake)
        for number, action in enumerate(ACTIONS):
            told.verdict(number, action, "linear", "a")
        told.write()
        rows: list[dict[str, Any]] = lake.rows("SELECT action FROM mart.champion_changes")
    assert {row["action"] for row in rows} == set(SERVING)


def test_no_other_statement_says_which_actions_let_one_serve() -> None:
    together = re.compile(r"'promoted'[^;)]*'(rolled_back|restored)'")
    places = [*(ROOT / "catalog").rglob("*.sql"), *(ROOT / "catalog").rglob("*.py")]
    places += (ROOT / "flows").rglob("*.py")
    told = [path.name for path in places if together.search(path.read_text())]
    assert told == ["champion_changes.sql"]


def test_a_lake_of_before_the_view_is_asked_the_same(lake: Lake) -> None:
    with lake.transaction(message="test", run=None) as commit:
        commit.execute("DROP VIEW mart.champion_changes")
    assert {name: row["ensemble_id"] for name, row in champions_now(lake).items()} == ids(SERVES)
