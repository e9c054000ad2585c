"""A clock that jumps: commits stay in their order, and no intent is given up too soon."""

from datetime import datetime, timedelta
from pathlib import Path

from catalog.records import intents
from catalog.stores.lake.lake import Lake
from tests.catalog.lakes import EDGE, NOON, RUN, fresh_lake, open_lake

DAY, YEAR = timedelta(days=1), timedelta(days=365)


class SetClock:
    """A clock that somebody sets."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


def record(lake: Lake, name: str) -> datetime:
    with lake.transaction(message="record", run=RUN) as commit:
        commit.insert_new("lineage", [{**EDGE, "child_id": name}])
        return commit.recorded_at


def test_commits_keep_their_order_and_as_of_tells_it(tmp_path: Path) -> None:
    clock, moments = SetClock(), []
    make_lake(tmp_path)
    with open_lake(tmp_path, clock=clock) as lake:
        for number, jump in enumerate((timedelta(0), -DAY, YEAR, -YEAR)):
            clock.now += jump
            moments.append(record(lake, f"dataset:a@{number}"))
        assert moments == sorted(moments)
        assert moments[2] - moments[0] >= YEAR - DAY
        stood = lake.rows("FROM core.lineage WHERE recorded_at <= ?", [moments[1]])
        assert {row["child_id"] for row in stood} == {"dataset:a@0", "dataset:a@1"}


def test_an_intent_is_waited_for_whichever_way_the_clock_of_its_writer_went(
    tmp_path: Path,
) -> None:
    clock = SetClock()
    make_lake(tmp_path)
    with open_lake(tmp_path, clock=clock) as lake:
        clock.now += YEAR
        intents.intend(lake, ["adapter:a@1"], run=RUN)
    clock.now -= YEAR
    with open_lake(tmp_path, clock=clock) as lake:
        lake.workspace = "another"
        assert intents.records_in_flight(lake) == {"adapter:a@1"}
        clock.now += YEAR + DAY + DAY
        assert intents.records_in_flight(lake) == frozenset()
        assert [one.record_id for one in intents.left_behind(lake)] == ["adapter:a@1"]


def make_lake(home: Path) -> None:
    with fresh_lake(home):
        pass
