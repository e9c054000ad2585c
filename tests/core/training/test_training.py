import json
import random
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load, save
from torch import nn

from rpe_core.adapters import injection
from rpe_core.adapters.recipe import SCHEDULES, Recipe
from rpe_core.errors import InputError
from rpe_core.families import attachment, text_encoder
from rpe_core.merging.peft_folders import write_adapter
from rpe_core.training.descent import learning_rate_at
from rpe_core.training.loop import epoch_batches, train
from rpe_core.training.resume import from_tensors, to_tensors
from rpe_core.training.seeding import own_random_state, seed_everything
from tests.pico import LABELS, pico_encoder, pico_texts

TARGETS = ("query", "value")
RECIPE = Recipe("lora", 4, 8.0, 3, 1e-2, 16, seed=0, target_modules=TARGETS, dropout=0.1)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = pico_encoder(tmp_path_factory.mktemp("pico") / "base")
    return text_encoder.load(str(folder), max_tokens=32)


@pytest.fixture(scope="module")
def task(base):
    return text_encoder.prepare(base, {"labels": LABELS})


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    return *pico_texts(rng, 96), *pico_texts(rng, 40)


def run(base, task, rows, recipe=RECIPE, **more):
    return train(text_encoder, base, task, *rows, recipe, **more)


def is_same(one, other):
    return one.keys() == other.keys() and all(
        torch.equal(one[name].a, other[name].a) and torch.equal(one[name].b, other[name].b)
        for name in one
    )


def through_files(state):
    """As flows keep it: safetensors bytes and JSON text."""
    tensors, values = to_tensors(state)
    return from_tensors(load(save(tensors)), json.loads(json.dumps(values)))


def test_training_learns_and_gives_the_base_back(base, task, rows):
    weights = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    before = text_encoder.validate(base, task, *rows[2:])
    lines = []
    trained = run(base, task, rows, replace(RECIPE, epochs=4), on_progress=lines.append)
    assert trained.validation_score > before["score"] + 0.2
    assert trained.validation_loss < before["loss"] - 0.3
    assert (trained.rank, trained.n_epochs, trained.n_steps) == (4, 4, 24)
    assert trained.n_parameters == 2 * 2 * 2 * 4 * 32
    assert len(lines) == 4
    assert lines[0].startswith("epoch 1 of 4: loss ")
    after = base.model.state_dict()
    assert list(after) == list(weights)
    assert all(torch.equal(after[name], weights[name]) for name in weights)
    assert not hasattr(base.model, "peft_config")
    assert text_encoder.validate(base, task, *rows[2:]) == before


@pytest.mark.parametrize("use_rslora", [False, True])
def test_the_exported_folder_in_plain_peft_is_the_trained_model(
    base, task, rows, tmp_path, use_rslora
):
    recipe = replace(RECIPE, use_rslora=use_rslora, learning_rate=5e-3)
    trained = run(base, task, rows, recipe)
    write_adapter(tmp_path / "adapter", trained.deltas, base_name="pico", task_type=None)

    injected = injection.attach(base.model, recipe)
    injected.set_mode(is_training=False)
    with torch.no_grad():
        for name, delta in trained.deltas.items():
            module = base.model.get_submodule(name)
            module.lora_A["default"].weight.copy_(delta.a)
            module.lora_B["default"].weight.copy_(delta.b)
    live = text_encoder.predict(base, task, rows[2])
    injection.detach(injected)

    attachment.attach(base, str(tmp_path / "adapter"))
    assert isinstance(base.adapter, PeftModel)
    filed = text_encoder.predict(base, task, rows[2])
    found = text_encoder.validate(base, task, *rows[2:])
    attachment.detach(base)
    np.testing.assert_allclose(filed, live, atol=1e-5)
    assert found["loss"] == pytest.approx(trained.validation_loss, abs=1e-5)
    assert found["score"] == trained.validation_score


@pytest.mark.parametrize(
    "change",
    [{"micro_batch_size": 5}, {"gradient_checkpointing": True}],
    ids=["accumulated", "checkpointed"],
)
def test_saving_memory_changes_rounding_only(base, task, rows, change):
    plain = run(base, task, rows, replace(RECIPE, dropout=0.0))
    saved = run(base, task, rows, replace(RECIPE, dropout=0.0, **change))
    for name, delta in plain.deltas.items():
        torch.testing.assert_close(saved.deltas[name].dense(), delta.dense(), atol=1e-3, rtol=0)
    assert not any(getattr(m, "gradient_checkpointing", False) for m in base.model.modules())
    assert not any(module.training for module in base.model.modules())


def test_checkpointed_layers_are_computed_anew(base, task, rows):
    calls = []
    layer = base.model.encoder.layer[0].attention.self
    handle = layer.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    try:
        run(base, task, (rows[0][:16], rows[1][:16], [], []), replace(RECIPE, epochs=1))
        plain = len(calls)
        anew = replace(RECIPE, epochs=1, gradient_checkpointing=True)
        run(base, task, (rows[0][:16], rows[1][:16], [], []), anew)
    finally:
        handle.remove()
    assert len(calls) == plain + 2 * plain


def test_no_target_modules_are_those_of_the_architecture(base, task, rows):
    trained = run(base, task, rows, replace(RECIPE, epochs=1, target_modules=()))
    assert {name.rpartition(".")[2] for name in trained.deltas} == set(TARGETS)


def test_the_same_recipe_gives_the_same_bytes_whatever_the_state_of_the_process(
    base, task, rows, tmp_path
):
    digests = set()
    for turn, (seed, threads) in enumerate([(1, 1), (2, 2)]):
        seed_everything(seed, threads)
        trained = run(base, task, rows)
        digests.add(
            write_adapter(tmp_path / f"{turn}", trained.deltas, base_name="pico", task_type=None)
        )
        assert torch.get_num_threads() == threads, "training keeps its threads to itself"
    seed_everything(0, 1)
    assert len(digests) == 1
    assert not is_same(run(base, task, rows, replace(RECIPE, seed=1)).deltas, trained.deltas)


@pytest.mark.parametrize("patience", [None, 1])
def test_a_resumed_training_ends_bit_for_bit_like_an_undisturbed_one(base, task, rows, patience):
    recipe = replace(RECIPE, epochs=4, patience=patience, schedule="cosine", weight_decay=0.01)
    states = []
    whole = run(base, task, rows, recipe, on_checkpoint=states.append)
    assert [state.epoch for state in states] == list(range(1, whole.n_epochs + 1))
    for state in states:
        torch.rand(3)  # another process has another random state
        again = run(base, task, rows, recipe, resume=through_files(state))
        assert is_same(again.deltas, whole.deltas)
        assert replace(again, deltas={}) == replace(whole, deltas={})


def test_a_training_killed_at_a_checkpoint_goes_on(base, task, rows):
    class KilledError(Exception):
        pass

    kept = []

    def keep_one(state):
        kept.append(to_tensors(state))
        raise KilledError

    with pytest.raises(KilledError):
        run(base, task, rows, on_checkpoint=keep_one)
    whole = run(base, task, rows)
    assert is_same(run(base, task, rows, resume=from_tensors(*kept[0])).deltas, whole.deltas)


def test_a_checkpoint_of_another_training_is_refused(base, task, rows):
    states = []
    run(base, task, rows, replace(RECIPE, epochs=1), on_checkpoint=states.append)
    with pytest.raises(InputError, match="another training"):
        run(base, task, rows, resume=states[0])
    tensors, values = to_tensors(states[0])
    with pytest.raises(InputError, match="not complete"):
        from_tensors(tensors, {**values, "more": 1})
    assert not hasattr(base.model, "peft_config")


def test_early_stopping_gives_the_best_epoch_back(base, task, rows):
    items, targets, validation_items, _ = rows
    wrong = [targets[0]] * len(validation_items)  # training moves away from such a validation
    recipe = replace(RECIPE, epochs=6, patience=2, learning_rate=2e-2)
    losses = []
    stopped = run(
        base,
        task,
        (items, targets, validation_items, wrong),
        recipe,
        on_checkpoint=lambda state: losses.append(state.best_loss),
    )
    assert stopped.n_epochs < 6
    assert stopped.validation_loss == min(losses)
    assert losses[-1] == losses[-3]


def test_without_validation_rows_there_is_no_score(base, task, rows):
    trained = run(base, task, (rows[0], rows[1], [], []), replace(RECIPE, epochs=1, patience=1))
    assert trained.validation_loss is trained.validation_score is None


def test_max_rows_takes_the_first_rows(base, task, rows):
    few = replace(RECIPE, max_rows=20, epochs=1)
    cut = (rows[0][:20], rows[1][:20], rows[2], rows[3])
    assert is_same(run(base, task, rows, few).deltas, run(base, task, cut, few).deltas)


def test_a_single_row_and_a_batch_of_all_rows(base, task, rows):
    one = (rows[0][:1], rows[1][:1], [], [])
    assert run(base, task, one, replace(RECIPE, epochs=1)).n_steps == 1
    assert run(base, task, rows, replace(RECIPE, epochs=1, batch_size=1000)).n_steps == 1


@pytest.mark.parametrize("targets", [("nothing",), ("LayerNorm",), ("LayerNorm", "query")])
def test_target_modules_that_do_not_fit_leave_the_base_whole(base, task, rows, targets):
    before = list(base.model.modules())
    with pytest.raises(InputError, match="does not fit"):
        run(base, task, rows, replace(RECIPE, target_modules=targets))
    assert all(a is b for a, b in zip(base.model.modules(), before, strict=True))
    assert run(base, task, rows, replace(RECIPE, epochs=1)).n_steps == 6


def test_no_rows_and_uneven_rows_are_refused(base, task, rows):
    with pytest.raises(InputError, match="at least one"):
        run(base, task, ([], [], [], []))
    with pytest.raises(InputError, match="as many targets"):
        run(base, task, (rows[0], rows[1][:3], [], []))


class NanFamily:
    """The family as it is, with a loss that explodes."""

    def __getattr__(self, name):
        return getattr(text_encoder, name)

    def forward(self, *arguments):
        passed = text_encoder.forward(*arguments)
        return passed._replace(loss=passed.loss * float("nan"))


def test_a_loss_that_is_not_finite_ends_the_training(base, task, rows):
    with pytest.raises(InputError, match="diverged") as caught:
        train(NanFamily(), base, task, *rows, RECIPE)
    assert caught.value.where == "step 1 of 18"
    assert not hasattr(base.model, "peft_config")


def test_detach_puts_the_very_modules_back():
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4)))
    before = list(model.modules())
    injected = injection.attach(model, replace(RECIPE, target_modules=("0",)))
    assert len(injected.parameters) == 4
    assert {p.dtype for p in injected.parameters.values()} == {torch.float32}
    injection.detach(injected)
    assert [a is b for a, b in zip(model.modules(), before, strict=True)] == [True] * 4


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_rates_warm_up_and_never_leave_their_range(schedule):
    recipe = replace(RECIPE, schedule=schedule, warmup_ratio=0.1, learning_rate=0.5)
    rates = [learning_rate_at(step, 50, recipe) for step in range(50)]
    assert rates[:5] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert all(0 < rate <= 0.5 for rate in rates)
    assert all(b <= a for a, b in pairwise(rates[4:]))
    assert (rates[-1] == 0.5) == (schedule == "constant")
    assert learning_rate_at(0, 1, replace(recipe, warmup_ratio=0.0)) == 0.5
    assert learning_rate_at(9, 10, replace(recipe, warmup_ratio=1.0)) == 0.5


def test_batches_hold_each_row_once_near_in_size_and_repeat():
    sizes = np.random.default_rng(0).integers(3, 100, 205)
    one = list(epoch_batches(sizes, 16, seed=0, epoch=0))
    again = list(epoch_batches(sizes, 16, seed=0, epoch=0))
    other = list(epoch_batches(sizes, 16, seed=0, epoch=1))
    assert sorted(np.concatenate(one).tolist()) == list(range(205))
    assert max(map(len, one)) == 16
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
    assert not np.array_equal(np.concatenate(one), np.concatenate(other))
    spread = np.mean([np.ptp(sizes[batch]) for batch in one])
    assert spread < np.ptp(sizes) / 2


def test_seeding_fixes_every_global_generator():
    drawn = []
    for _ in range(2):
        seed_everything(7, 1)
        drawn.append((random.random(), np.random.random(), float(torch.rand(1))))
    assert drawn[0] == drawn[1]
    state = torch.get_rng_state()
    with own_random_state(1, threads=2):
        torch.rand(5)
        assert torch.get_num_threads() == 2
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == 1
