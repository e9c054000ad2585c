"""Verdicts as the report and the last screen read them: tonight's apart from those that stand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.report import queries
from catalog.stores.lake.lake import Lake
from tests.catalog.lakes import fresh_lake
from tests.catalog.nights import Nights, day

NAMES = ("site-d", "site-e", "site-f")


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    with fresh_lake(tmp_path) as opened:
        yield opened


@pytest.fixture
def nights(lake: Lake) -> Nights:
    """site-d is promoted on day 1 and its data change on day 3; site-e is refused on day 3."""
    told = Nights(lake)
    told.run(1)
    told.evaluation(1, {"base": 0.4, "linear": 0.8}, {"linear": "a"})
    told.verdict(1.01, "promoted", "linear", "a", version="1")
    told.run(3)
    told.evaluation(3, {"base": 0.3, "champion": 0.3, "linear": 0.2}, {"linear": "c"})
    told.write()
    other = Nights(lake, target="site-e")
    other.evaluation(3, {"base": 0.4, "linear": 0.8}, {"linear": "z"})
    other.verdict(3.01, "refused", "linear", "z", version="1")
    other.write()
    return told


def decided(lake: Lake, night: int) -> list[tuple[str, str]]:
    rows = queries.read_decisions(lake, targets=NAMES, run_id=f"run:night@{night}")
    return [(row["target"], row["verdict"]) for row in rows]


def standing(lake: Lake, night: int) -> list[tuple[str, str]]:
    rows = queries.read_standing_verdicts(lake, targets=NAMES, run_id=f"run:night@{night}")
    return [(row["target"], row["verdict"]) for row in rows]


def test_a_night_shows_what_it_decided_and_apart_what_stands(lake: Lake, nights: Nights) -> None:
    assert decided(lake, 1) == [("site-d", "promoted")]
    assert decided(lake, 3) == [("site-e", "refused")]
    assert standing(lake, 3) == [("site-d", "promoted"), ("site-f", "waiting")]
    first = queries.read_standing_verdicts(lake, targets=NAMES, run_id="run:night@3")[0]
    assert (first["decided_at"], first["decided_by"]) == (day(1.01), "gate")
    assert (first["serves"], first["serves_since"]) == ("v1", day(1.01))
    assert [row["serves"] for row in queries.read_verdicts(lake, targets=NAMES)] == [
        "v1", "base", "base",
    ]  # fmt: skip


def test_a_later_night_has_decided_nothing(lake: Lake, nights: Nights) -> None:
    nights.run(4, outcome="unchanged")
    nights.write()
    assert decided(lake, 4) == []
    assert [name for name, _ in standing(lake, 4)] == list(NAMES)
    assert decided(lake, 99) == [], "a run that is not on record has decided nothing"


def test_a_night_ends_what_a_killed_one_began(lake: Lake, nights: Nights) -> None:
    """The killed run has left a verdict and no row; one that asks no gate does not take it over."""
    nights.verdict(4.01, "refused", "linear", "c", champion="a", version="2")
    nights.run(4.5, flow="ingest", steps_json='[{"name":"ingest"}]')
    nights.run(5)
    nights.write()
    assert decided(lake, 5) == [("site-d", "refused")]
    status = "SELECT target_name, is_new FROM mart.nightly_status WHERE is_new"
    assert lake.rows(status) == [{"target_name": "site-d", "is_new": True}]
    nights.run(6)
    nights.write()
    assert lake.rows(status) == []
    assert queries.read_decisions(lake, targets=NAMES, run_id="run:ingest@4.5") == []


def test_what_a_person_decides_by_day_is_no_decision_of_a_night(lake: Lake, nights: Nights) -> None:
    nights.verdict(3.5, "rolled_back", "linear", "b", champion="a", actor="jane.roe", version="9")
    nights.evaluation(3.4, {}, {"average": "b"})
    nights.run(4)
    nights.write()
    assert decided(lake, 4) == []
    row = queries.read_standing_verdicts(lake, targets=["site-d"], run_id="run:night@4")[0]
    assert (row["verdict"], row["decided_by"], row["decided_at"]) == (
        "rolled_back", "jane.roe", day(3.5),
    )  # fmt: skip
    assert (row["serves"], row["serves_by"]) == ("v9", "jane.roe")


def test_the_score_of_a_verdict_is_that_which_the_gate_saw(lake: Lake, nights: Nights) -> None:
    """Day 3 scores another ensemble under the same arm; the verdict of day 1 is not about that."""
    row = queries.read_verdicts(lake, targets=["site-d"])[0]
    assert (row["challenger"], row["score"], row["n"]) == ("linear", "accuracy 0.800", 50)


def test_an_abstention_shows_the_base_of_its_own_evaluation(lake: Lake, nights: Nights) -> None:
    nights.evaluation(4, {"base": 0.35}, {})
    nights.verdict(4.01, "abstained", "base", "", champion="a")
    nights.run(4)
    nights.write()
    row = queries.read_decisions(lake, targets=NAMES, run_id="run:night@4")[0]
    assert (row["verdict"], row["score"], row["serves"]) == ("abstained", "accuracy 0.350", "v1")
