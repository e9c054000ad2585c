"""Many nights of the gate, small: `python -m tests.experiments.gate_histories` is the whole."""

import numpy as np
import pytest

from tests.experiments.gate_histories import (
    ALPHA,
    HEADS,
    NULL_PARTS,
    highest_end,
    measure,
    simulate,
    table,
)
from tests.experiments.gate_worlds import HOPES, MERITS, NULLS, World, answers, bell, cases
from tests.experiments.result_files import FOLDER, read_result

FOOLED = [name for name in NULLS if "2 % of" in name or "size tells" in name]
NEAR = {  # as likely as may be: many small steps, or one chance in two
    "halves": World(cases([(0.5, -1.0)]), 60, 5),
    "rare": World(cases([(0.005, -1.0)]), 300, 0),
    "ties": World(cases([(0.05, -1.0), (0.9, 0.0)]), 60, 5),
}


@pytest.mark.parametrize("name", NULLS)
def test_noise_that_asks_every_night_is_rarely_promoted(name):
    rate = simulate(NULLS[name], histories=200, nights=15, seed=1).by(15)
    assert rate.ratio <= ALPHA
    assert rate.low <= ALPHA / 2, "far below what two guards may err by"


@pytest.mark.parametrize("name", FOOLED)
def test_a_bare_test_falls_for_what_the_gate_does_not(name):
    found = simulate(NULLS[name], histories=200, nights=15, seed=1)
    assert (found.unguarded > 0).mean() > 2 * ALPHA


@pytest.mark.parametrize("name", NEAR)
def test_the_worst_of_two_and_three_points_is_rarely_promoted(name):
    assert simulate(NEAR[name], histories=300, nights=20, seed=2).by(20).ratio <= ALPHA


def test_merit_is_promoted_at_once_where_it_is_plain_and_later_where_it_is_not():
    plain = simulate(World(answers(0.25), 60, 0, "accuracy"), histories=30, nights=1, seed=1)
    assert plain.by(1).ratio > 0.9
    slow = simulate(World(answers(0.1), 30, 5, "accuracy"), histories=20, nights=80, seed=1)
    assert slow.by(80).ratio > 0.9 > slow.by(1).ratio


@pytest.mark.parametrize("name", NULLS)
def test_a_null_is_one(name):
    drawn = NULLS[name].draw(np.random.default_rng(0), (400, 1000), 0)
    sums = (drawn.means * drawn.sizes).mean() if "over items" in name else drawn.means.mean()
    assert abs(sums) < 0.003


def test_a_merit_is_what_it_says():
    drawn = bell(0.1, 0.2)(np.random.default_rng(0), (400, 1000), 0)
    assert drawn.means.mean() == pytest.approx(0.1, abs=0.01)


def test_what_is_kept_is_below_alpha_for_every_null():
    kept = read_result(FOLDER / "gate_histories.json").tables
    assert set(kept) == set(HEADS)
    for part in NULL_PARTS:
        assert 0 < highest_end(part, kept[part].rows) <= ALPHA


@pytest.mark.parametrize("part", HEADS)
def test_what_is_kept_has_the_columns_and_worlds_of_now(part):
    kept = read_result(FOLDER / "gate_histories.json").tables[part]
    assert (kept.columns, kept.styles) == (table(part).columns, table(part).styles)
    worlds = {"nulls": NULLS, "hopes": HOPES, "merits": MERITS}.get(part)
    assert worlds is None or kept.column(kept.columns[0]) == list(worlds)


def test_rows_are_measured_as_they_are_kept():
    (row, *_) = measure("nulls", histories=50, nights=2, seed=0)
    assert row[0] == next(iter(NULLS))
    assert 0.0 <= row[1]["low"] <= row[1]["value"] <= row[1]["high"] <= highest_end("nulls", [row])
