"""Whatever takes bytes of strangers refuses in our words what is nearly sound; see `tests.fuzz`."""

import hypothesis
import pytest

from tests.fuzz.mutations import mutated
from tests.fuzz.targets import TARGETS, Target

N_INPUTS = 40


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_a_sound_input_is_accepted_and_a_mutated_one_answered_in_our_words(target: Target) -> None:
    seeds = target.seeds()
    assert all(map(target.try_input, seeds)), (
        "a fuzzer that begins from nothing sound finds nothing"
    )

    @hypothesis.settings(max_examples=N_INPUTS, derandomize=True, database=None)
    @hypothesis.given(mutated(seeds))
    def check(raw: bytes) -> None:
        target.try_input(raw)

    check()
