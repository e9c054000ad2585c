"""PromptSRC: the frozen twin, what it adds to a loss, and the average of the trajectory."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from torch.nn import functional

from rpe_core.adapters import injection
from rpe_core.adapters.method import ModelOutput
from rpe_core.adapters.methods.promptsrc import METHOD, epoch_weights
from rpe_core.adapters.recipe import Recipe
from rpe_core.delta import LowRankDelta
from rpe_core.families import sam, text_encoder
from rpe_core.families.table import Labelled
from rpe_core.training.loop import train
from rpe_core.training.resume import ResumeState, from_tensors, to_tensors
from rpe_core.training.seeding import own_random_state
from rpe_core.training.twin import FrozenComparison
from tests.core.adapters.test_adapter_methods import PLACES, Place, recipe_of, trained_on

NO_TERMS = {"text_weight": 0.0, "feature_weight": 0.0, "logit_weight": 0.0}
TRANSFORMS = ["flip_rows", "flip_columns", "quarter_turns", "brightness"]


@pytest.fixture(scope="module", params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Place:
    found = PLACES[request.param](tmp_path_factory.mktemp("pico") / "base", "float32")
    if found.family is sam:
        task = sam.prepare(found.base, {"classes": ["core", "rim"], "transforms": TRANSFORMS})
        found = replace(found, task=task)
    return found


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return PLACES["text-encoder"](tmp_path_factory.mktemp("pico") / "encoder", "float32")


def promptsrc(place: Place, r: int = 2, **changes: Any) -> Recipe:
    return recipe_of("promptsrc", r, place.targets, **changes)


def features_of(place: Place) -> torch.Tensor:
    with own_random_state(5, threads=1), torch.no_grad():
        return place.family.forward(place.base, place.task, *place.rows)[1]


class Listening:
    """A family that keeps what each of its passes said."""

    def __init__(self, family: Any) -> None:
        self.family, self.heard = family, list[Any]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.family, name)

    def forward(self, *arguments: Any) -> Any:
        said = self.family.forward(*arguments)
        self.heard.append(said)
        return said


def test_the_twin_is_the_base_bit_for_bit_by_the_same_draws(place: Place) -> None:
    before = [*place.base.model.named_modules()]
    family: Any = Listening(place.family)
    with own_random_state(3, threads=1):
        injected = injection.attach(place.base.model, promptsrc(place, dropout=0.5))
        with torch.no_grad():
            for parameter in injected.parameters.values():
                parameter.normal_(0.0, 0.2)
        attached = [*place.base.model.named_modules()]
        twin = FrozenComparison(family, place.base, place.task, injected)
        injected.set_mode(is_training=True)
        state = torch.get_rng_state()
        twin.loss(*place.rows)
        assert not torch.equal(torch.get_rng_state(), state), "there is dropout"
        with injected.switched_off():
            assert [*place.base.model.named_modules()] == before
        with pytest.raises(ZeroDivisionError), injected.switched_off():
            raise ZeroDivisionError
        assert [*place.base.model.named_modules()] == attached
        injection.detach(injected)
        torch.set_rng_state(state)
        with torch.no_grad():
            alone = place.family.forward(place.base, place.task, *place.rows)
    adapted, frozen = family.heard
    assert all(torch.equal(one, other) for one, other in zip(frozen, alone, strict=True))
    assert not any(torch.equal(one, other) for one, other in zip(adapted, alone, strict=True))
    assert [*place.base.model.named_modules()] == before


def test_the_training_goes_on_as_if_there_were_no_twin(place: Place) -> None:
    """But for label prompts, whose adapted pass has dropout of its own."""
    dropout = 0.0 if isinstance(place.family, Labelled) else 0.3
    options = {**NO_TERMS, "epoch_deviation": 0.01, "mean_epoch": 2}
    recipe = promptsrc(place, epochs=2, options=options, dropout=dropout)
    plain = replace(recipe, method="lora", options={})
    ours, theirs = trained_on(place, recipe), trained_on(place, plain)
    assert [row["loss"] for row in ours.history] == [row["loss"] for row in theirs.history]
    for name, delta in theirs.deltas.items():
        torch.testing.assert_close(ours.deltas[name].dense(), delta.dense(), atol=1e-6, rtol=1e-4)


def test_at_the_first_step_only_the_diversity_of_prompts_is_added(place: Place) -> None:
    recipe = promptsrc(place)
    with own_random_state(0, threads=1):
        injected = injection.attach(place.base.model, recipe)
        twin = FrozenComparison(place.family, place.base, place.task, injected)
        state = torch.get_rng_state()
        regularised = twin.loss(*place.rows)
        torch.set_rng_state(state)
        plain = place.family.forward(place.base, place.task, *place.rows)[0]
        injection.detach(injected)
    added = 0.0
    if isinstance(place.family, Labelled):
        varied = place.family.label_features(place.base, place.task, is_varied=True)
        added = 25.0 * float((varied - place.task.anchors).abs().mean())
        assert added > 0.1
    assert float(regularised.detach()) == pytest.approx(float(plain.detach()) + added, rel=1e-6)


def test_the_terms_are_the_papers(encoder: Place) -> None:
    """Against sums over numpy arrays, as the authors' code writes them."""
    options = {"text_weight": 3.0, "feature_weight": 5.0, "logit_weight": 7.0}
    rng, said = np.random.default_rng(0), []
    for _ in range(2):
        shapes = ((4, 6), (4, 3), (3, 6))
        f, z, t = (rng.normal(size=shape) for shape in shapes)
        said.append((f, z, t / np.linalg.norm(t, axis=1, keepdims=True)))
    (f, z, t), (f0, z0, t0) = said
    unit, unit0 = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in (f, f0))
    p, p0 = (np.exp(one) / np.exp(one).sum(1, keepdims=True) for one in (z, z0))
    expected = (
        3.0 * np.abs(t - t0).mean()
        + 5.0 * np.abs(unit - unit0).mean()
        + 7.0 * (p0 * np.log(p0 / p)).sum() / p.size
    )
    adapted, frozen = (ModelOutput(*map(torch.from_numpy, one)) for one in said)
    recipe = promptsrc(encoder, options=options)
    assert float(METHOD.comparison(adapted, frozen, recipe)) == pytest.approx(expected)
    bare = [one._replace(labels=None) for one in (adapted, frozen)]
    without = expected - 3.0 * np.abs(t - t0).mean()
    assert float(METHOD.comparison(*bare, recipe)) == pytest.approx(without)


def test_features_move_less_than_plain_loras(place: Place) -> None:
    """Of the same last epoch, far enough from it that each has learnt."""
    changes = {"epochs": 3, "learning_rate": 2e-2}
    options = {**NO_TERMS, "feature_weight": 1000.0, "mean_epoch": 3, "epoch_deviation": 0.01}
    before, moved = functional.normalize(features_of(place), dim=-1), {}
    for method, more in {"lora": {}, "promptsrc": {"options": options}}.items():
        recipe = recipe_of(method, 4, place.targets, **changes, **more)
        found = trained_on(place, recipe)
        injected = injection.attach(place.base.model, replace(recipe, method="lora", options={}))
        with torch.no_grad():
            for name, delta in found.deltas.items():
                layer = place.base.model.get_submodule(name)
                layer.lora_A["default"].weight.copy_(delta.a)
                layer.lora_B["default"].weight.copy_(delta.b)
        injected.set_mode(is_training=False)
        after = functional.normalize(features_of(place), dim=-1)
        moved[method] = float((after - before).abs().mean())
        injection.detach(injected)
    assert 0 < moved["promptsrc"] < 0.5 * moved["lora"]


def factors_of(states: list[ResumeState]) -> dict[str, list[LowRankDelta]]:
    """Of each module, the factors after each epoch, with the scaling 2 of these recipes."""
    found: dict[str, list[LowRankDelta]] = {}
    for state in states:
        for name, a in state.parameters.items():
            module, is_factor, _ = name.partition(".lora_A.")
            if is_factor:
                b = state.parameters[name.replace(".lora_A.", ".lora_B.")]
                found.setdefault(module, []).append(LowRankDelta(a, b, 2.0))
    return found


@pytest.mark.parametrize(("r", "epochs"), [(32, 2), (2, 4)], ids=["whole", "cut"])
def test_the_trajectory_is_averaged_in_delta_space(encoder: Place, r: int, epochs: int) -> None:
    """The last epoch's own factors are those of a longer training, before its average."""
    encoder = replace(encoder, targets=("query",))
    options = {"mean_epoch": 2, "epoch_deviation": 1.0}
    recipe = promptsrc(encoder, r, epochs=epochs, learning_rate=1e-2, schedule="constant",
                       warmup_ratio=0.0, options=options)  # fmt: skip
    states: list[ResumeState] = []
    longer = replace(recipe, epochs=epochs + 1)
    trained_on(encoder, longer, on_checkpoint=states.append)
    found = trained_on(encoder, recipe)
    weights = epoch_weights(recipe)
    assert [row["weight"] for row in found.history] == weights
    squared_error = squared_norm = 0.0
    for name, deltas in factors_of(states[:epochs]).items():
        dense = [delta.dense(dtype=torch.float64) for delta in deltas]
        average = sum(w * one for w, one in zip(weights, dense, strict=True))
        values = torch.linalg.svdvals(average)
        best = float(values[r:].norm())
        made = found.deltas[name]
        error = float((made.dense(dtype=torch.float64) - average).norm())
        assert made.rank == r
        assert error == pytest.approx(best, abs=1e-6 * float(values.norm()))
        squared_error += best**2
        squared_norm += float(values.square().sum())
        factors = [sum(w * getattr(one, key) for w, one in zip(weights, deltas, strict=True))
                   for key in "ab"]  # fmt: skip
        wrong = 2.0 * factors[1].double() @ factors[0].double()
        assert float((wrong - average).norm()) > 1.1 * best + 1e-4, "not the average of A and of B"
    ratio = found.history[-1]["left_out_ratio"]
    assert ratio == pytest.approx((squared_error / squared_norm) ** 0.5, abs=1e-6)
    assert (ratio > 1e-3) == (r == 2)
    assert found.validation_loss == found.history[-1]["validation loss"], "of what is filed"


@pytest.mark.parametrize(
    "options", [{}, {"mean_epoch": 1000}, {"epoch_deviation": 1e9}, {"epoch_deviation": 1e-300}]
)
@pytest.mark.parametrize("epochs", [1, 3, 20])
def test_weights_of_epochs_sum_to_one(encoder: Place, options: dict[str, Any], epochs: int) -> None:
    weights = epoch_weights(promptsrc(encoder, epochs=epochs, options=options))
    assert sum(weights) == pytest.approx(1.0, abs=1e-12)
    assert len(weights) == epochs
    assert min(weights) >= 0


def test_weights_are_the_published_ones(encoder: Place) -> None:
    """Twenty epochs, mu 15, sigma 1: the Gaussian, of which what is below 1e-6 is left out."""
    weights = np.array(epoch_weights(promptsrc(encoder, epochs=20)))
    gaussian = np.exp(-((np.arange(1, 21) - 15.0) ** 2) / 2)
    np.testing.assert_allclose(weights, gaussian / gaussian.sum(), atol=2e-6)
    assert np.flatnonzero(weights).tolist() == list(range(9, 20))


def test_it_is_resumed_from_any_epoch_through_files(place: Place) -> None:
    whole_module: dict[str, Any] = {}
    if place.family is sam:
        whole_module = {"modules_to_save": ["mask_decoder"], "target_modules": ["qkv"]}
    recipe = promptsrc(place, epochs=4, dropout=0.1, learning_rate=1e-2, micro_batch_size=3,
                       options={"epoch_deviation": 2.0}, **whole_module)  # fmt: skip
    states: list[ResumeState] = []
    whole = trained_on(place, recipe, on_checkpoint=states.append)
    for state in states:
        tensors, values = to_tensors(state)
        kept = from_tensors(load(save(tensors)), json.loads(json.dumps(values)))
        again = trained_on(place, recipe, resume=kept)
        assert again.history == whole.history
        for name, delta in whole.deltas.items():
            assert torch.equal(again.deltas[name].a, delta.a)
            assert torch.equal(again.deltas[name].b, delta.b)
        for name, value in whole.whole.items():
            assert torch.equal(again.whole[name], value)


def test_what_is_trained_whole_is_averaged_as_it_is(tmp_path: Path) -> None:
    place = PLACES["sam"](tmp_path / "sam", "float32")
    recipe = promptsrc(place, epochs=2, learning_rate=1e-2, schedule="constant", warmup_ratio=0.0,
                       modules_to_save=["mask_decoder"], target_modules=["qkv"],
                       options={"mean_epoch": 1})  # fmt: skip
    states: list[ResumeState] = []
    trained_on(place, replace(recipe, epochs=3), on_checkpoint=states.append)
    found = trained_on(place, recipe)
    for name, value in found.whole.items():
        each = [state.parameters[name] for state in states[:2]]
        expected = sum(w * one for w, one in zip(epoch_weights(recipe), each, strict=True))
        torch.testing.assert_close(value, expected)


def test_layers_computed_anew_change_rounding_only(encoder: Place) -> None:
    recipe = promptsrc(encoder, epochs=2)
    plain = trained_on(encoder, recipe)
    saved = trained_on(encoder, replace(recipe, gradient_checkpointing=True))
    for name, delta in plain.deltas.items():
        torch.testing.assert_close(saved.deltas[name].dense(), delta.dense(), atol=1e-5, rtol=0)


def test_an_older_checkpoint_is_still_read(encoder: Place) -> None:
    states: list[ResumeState] = []
    recipe = recipe_of("lora", 2, encoder.targets, epochs=2)
    whole = trained_on(encoder, recipe, on_checkpoint=states.append)
    tensors, values = to_tensors(states[0])
    assert not any(name.startswith("kept/") for name in tensors), "as it was written before"
    again = trained_on(encoder, recipe, resume=from_tensors(tensors, values))
    assert again.history == whole.history


def test_without_validation_rows_it_is_averaged_all_the_same(encoder: Place) -> None:
    texts, labels = encoder.rows
    recipe = promptsrc(encoder, epochs=2)
    found = train(text_encoder, encoder.base, encoder.task, texts, labels, [], [], recipe)
    assert found.validation_loss is None
    assert set(found.history[-1]) == {"epoch", "loss", "weight", "left_out_ratio"}
