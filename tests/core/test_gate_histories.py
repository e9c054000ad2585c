"""Many nights of the gate, small: `python -m tests.experiments.gate_histories` is the whole."""

import pytest

from tests.experiments.gate_histories import ALPHA, World, simulate


@pytest.mark.parametrize(
    "world", [World(20, 10, alike=0.7), World(40, 0, alike=0.7)], ids=["new items", "reused"]
)
def test_noise_that_asks_every_night_is_rarely_promoted(world):
    found = simulate(world, histories=300, nights=40, seed=1)
    assert found.by(40).ratio <= ALPHA
    assert (found.unguarded > 0).mean() > 2 * ALPHA, "a bare interval falls for it"


def test_merit_is_promoted_at_once_where_it_is_plain_and_later_where_it_is_not():
    plain = simulate(World(60, 0, effect=0.25), histories=30, nights=1, seed=1)
    assert plain.by(1).ratio > 0.9
    slow = simulate(World(30, 5, effect=0.1), histories=20, nights=60, seed=1)
    assert slow.by(60).ratio > 0.9 > slow.by(1).ratio
