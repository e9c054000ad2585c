"""Pretraining of all weights: equal bytes from equal seeds, killed half-way or not."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from rpe_core.errors import InputError
from rpe_core.training.pretraining import Pretraining, pretrain
from rpe_core.training.resume import from_tensors, to_tensors

HOW = Pretraining(n_steps=12, learning_rate=2e-2, checkpoint_every=5)


def school(how=HOW, **more):
    """A net with dropout that learns whether a row's first number is above 0."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 1))

    def loss_of_batch(step):
        rows = torch.randn(32, 4, generator=torch.Generator().manual_seed(step))
        told = (rows[:, :1] > 0).float()
        return nn.functional.binary_cross_entropy_with_logits(model(rows), told)

    pretrain(model, loss_of_batch, how, **more)
    return model


def is_same(one, other):
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_it_learns_and_says_how_far_it_is():
    told = []
    model = school(replace(HOW, n_steps=60), on_progress=lambda *line: told.append(line))
    assert [done for done, _ in told] == [*range(5, 61, 5)]
    assert told[-1][1] < told[0][1] - 0.2
    assert not model.training


def test_equal_seeds_give_equal_weights_and_a_killed_one_ends_the_same():
    states = []
    whole = school(on_checkpoint=lambda state: states.append(to_tensors(state)))
    assert [values["step"] for _, values in states] == [5, 10, 12]
    assert is_same(whole, school())
    assert not is_same(whole, school(replace(HOW, seed=1)))
    for tensors, values in states:
        assert is_same(whole, school(resume=from_tensors(tensors, values)))


def test_a_checkpoint_of_another_pretraining_and_a_divergence_are_refused():
    states = []
    school(on_checkpoint=states.append)
    with pytest.raises(InputError, match="another pretraining"):
        school(replace(HOW, learning_rate=1e-3), resume=states[0])
    model = nn.Linear(2, 1)
    with pytest.raises(InputError, match="step 1 of 12"):
        pretrain(model, lambda step: model(torch.full((1, 2), torch.nan)).sum(), HOW)
