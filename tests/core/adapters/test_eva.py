"""EVA: its statistics come from the passes that encode, and hold what the inputs vary by."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from rpe_core.adapters import injection
from rpe_core.adapters.input_statistics import InputStatistics
from rpe_core.adapters.input_watch import InputWatch
from rpe_core.adapters.methods.eva import redistribute
from rpe_core.adapters.recipe import Recipe, check_recipe
from rpe_core.errors import InputError
from rpe_core.families import causal_lm, sam, shared, text_encoder
from rpe_core.training.loop import train
from tests.pico import LABELS, pico_cases, pico_encoder, pico_llama, pico_sam, pico_texts

ATTENTION = ("attention.output.dense", "key", "query", "value")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> text_encoder.Base:
    return text_encoder.load(str(pico_encoder(tmp_path_factory.mktemp("pico"))), max_tokens=32)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return pico_texts(np.random.default_rng(3), 240)[0]


def recipe_of(*targets: str, r: int = 3, rho: float = 2.0, **changes: Any) -> Recipe:
    declared = {"method": "eva", "r": r, "alpha": 12, "epochs": 1, "learning_rate": 1e-3,
                "batch_size": 8, "seed": 0, "options": {"rho": rho}}  # fmt: skip
    named = {"target_modules": list(targets)} if targets else {}
    recipe, faults = check_recipe({**declared, **named, **changes})
    assert recipe is not None, faults
    return recipe


def watched(base: Any, items: Sequence[Any], recipe: Recipe, **more: Any) -> InputWatch:
    watch = InputWatch(base.model, recipe, **more)
    for _ in watch.over(text_encoder.encode(base, items)):
        pass
    return watch


def inputs_of(base: Any, items: Sequence[str], names: Mapping[str, Any]) -> dict[str, Tensor]:
    """Inputs of modules, one text at a time, so that there is no padding: (n, d) by name."""
    found: dict[str, list[Tensor]] = {name: [] for name in names}
    handles = [
        base.model.get_submodule(name).register_forward_pre_hook(
            lambda module, args, name=name: found[name].append(args[0][0].clone())
        )
        for name in names
    ]
    for text in items:
        list(text_encoder.encode(base, [text]))
    for handle in handles:
        handle.remove()
    return {name: torch.cat(rows).double() for name, rows in found.items()}


def explained(rows: Tensor, a: Tensor) -> float:
    """The share of the variance of rows (n, d) that lies in the span of a (k, d)."""
    centred, (q, _) = rows - rows.mean(dim=0), torch.linalg.qr(a.double().T)
    return float((centred @ q).square().sum() / centred.square().sum())


def test_features_are_the_same_bits_and_the_base_is_left_alone(
    base: text_encoder.Base, texts: list[str]
) -> None:
    hooks = [len(m._forward_pre_hooks) + len(m._forward_hooks) for m in base.model.modules()]
    modules, threads = dict(base.model.named_modules()), torch.get_num_threads()
    plain = list(text_encoder.encode(base, texts))
    watch = InputWatch(base.model, recipe_of("query"))
    beside = list(watch.over(text_encoder.encode(base, texts)))
    for one, other in zip(plain, beside, strict=True):
        assert np.array_equal(one[1], other[1])
    after = [len(m._forward_pre_hooks) + len(m._forward_hooks) for m in base.model.modules()]
    assert (after, torch.get_num_threads()) == (hooks, threads)
    assert dict(base.model.named_modules()) == modules
    assert not hasattr(base.model, "peft_config")


def test_components_are_those_of_all_tokens_and_of_no_padding(
    base: text_encoder.Base, texts: list[str]
) -> None:
    """Against an exact PCA of every token, each text encoded alone."""
    found = watched(base, texts, recipe_of(*ATTENTION)).result()
    for name, rows in inputs_of(base, texts, found.components).items():
        centred = rows - rows.mean(dim=0)
        _, s, v = torch.linalg.svd(centred, full_matrices=False)
        shares = s.square() / s.square().sum()
        assert float(found.ratios[name][0]) == pytest.approx(float(shares[0]), rel=0.02)
        most, held = float(shares[:6].sum()), explained(rows, found.components[name])
        assert float(found.ratios[name].sum()) == pytest.approx(most, rel=0.06)
        assert most - 0.02 <= held <= most + 1e-6, name  # six are followed, the rest is cut away
        assert abs(float(found.components[name][0].double() @ v[0])) > 0.98


def test_modules_that_are_fed_one_tensor_share_one_pca(
    base: text_encoder.Base, texts: list[str]
) -> None:
    found = watched(base, texts, recipe_of(*ATTENTION)).result()
    for layer in (0, 1):
        place = f"encoder.layer.{layer}.attention"
        query = found.components[f"{place}.self.query"]
        assert torch.equal(query, found.components[f"{place}.self.key"])
        assert torch.equal(query, found.components[f"{place}.self.value"])
        assert not torch.equal(query, found.components[f"{place}.output.dense"])
    tensors = found.to_tensors()
    again = InputStatistics.from_tensors(tensors)
    assert len({tensor.data_ptr() for tensor in tensors.values()}) == len(tensors) == 16
    assert again.components.keys() == again.ratios.keys() == found.ratios.keys()
    assert all(torch.equal(again.ratios[name], found.ratios[name]) for name in found.ratios)


@pytest.mark.parametrize("threads", [1, 2])
def test_equal_rows_and_recipes_give_equal_bytes(
    base: text_encoder.Base, texts: list[str], threads: int
) -> None:
    expected = watched(base, texts, recipe_of(*ATTENTION)).result().to_tensors()
    former = torch.get_num_threads()
    torch.set_num_threads(threads)
    torch.rand(7)  # wherever the global generator stands
    try:
        found = watched(base, texts, recipe_of(*ATTENTION)).result().to_tensors()
    finally:
        torch.set_num_threads(former)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_held_out_inputs_vary_along_eva_more_than_along_random_directions(
    base: text_encoder.Base, texts: list[str]
) -> None:
    """The promise of the method, module by module, against 20 random A of the same rank."""
    recipe = recipe_of(*ATTENTION, "intermediate.dense")
    injected = injection.attach(base.model, recipe, watched(base, texts, recipe).result())
    deltas = injected.export()
    injection.detach(injected)
    held_out, _ = pico_texts(np.random.default_rng(99), 60)
    generator = torch.Generator().manual_seed(0)
    for name, rows in inputs_of(base, held_out, deltas).items():
        a = deltas[name].a
        found = explained(rows, a)
        randoms = [explained(rows, torch.randn(a.shape, generator=generator)) for _ in range(20)]
        assert found > max(randoms), name
        assert found > 1.5 * float(np.mean(randoms)), name


@pytest.mark.parametrize("use_rslora", [False, True])
def test_ranks_go_where_inputs_vary_and_the_scaling_stays(
    base: text_encoder.Base, texts: list[str], use_rslora: bool
) -> None:
    recipe = recipe_of(*ATTENTION, "intermediate.dense", use_rslora=use_rslora)
    statistics = watched(base, texts, recipe).result()
    before = dict(base.model.named_modules())
    injected = injection.attach(base.model, recipe, statistics)
    deltas = injected.export()
    injection.detach(injected)
    ranks = {name: delta.rank for name, delta in deltas.items()}
    assert sum(ranks.values()) == 3 * len(statistics.ratios)
    assert len(set(ranks.values())) > 1, "it is no plain LoRA"
    assert max(ranks.values()) <= 6
    scaling = 12 / 3**0.5 if use_rslora else 12 / 3
    for name, delta in deltas.items():
        assert torch.equal(delta.a, statistics.components[name][: delta.rank])
        assert not delta.b.any()
        assert delta.scaling == pytest.approx(scaling)
    assert dict(base.model.named_modules()) == before


def test_a_module_that_wins_no_rank_is_the_bases_own(
    base: text_encoder.Base, texts: list[str]
) -> None:
    recipe = recipe_of("query", "value", r=1)
    found = watched(base, texts, recipe).result()
    loser = "encoder.layer.1.attention.self.value"
    ratios = {name: torch.zeros(2) if name == loser else r for name, r in found.ratios.items()}
    own = base.model.get_submodule(loser)
    injected = injection.attach(base.model, recipe, InputStatistics(found.components, ratios, {}))
    kept = base.model.get_submodule(loser)
    deltas = injected.export()
    injection.detach(injected)
    assert kept is own
    assert set(deltas) == set(found.ratios) - {loser}
    assert sum(delta.rank for delta in deltas.values()) == 4


def test_rho_one_gives_every_module_the_recipes_rank() -> None:
    ratios = {"a": torch.tensor([0.5, 0.4]), "b": torch.tensor([0.02, 0.01])}
    assert redistribute(ratios, budget=4) == {"a": 2, "b": 2}


def test_without_data_it_is_refused_before_a_step(base: text_encoder.Base) -> None:
    task = text_encoder.prepare(base, {"labels": LABELS})
    texts, labels = pico_texts(np.random.default_rng(0), 8)
    lines: list[str] = []
    with pytest.raises(InputError, match="no statistics"):
        train(text_encoder, base, task, texts, labels, [], [], recipe_of("query"),
              on_progress=lines.append)  # fmt: skip
    assert lines == []
    other = watched(base, texts, recipe_of("query")).result()
    with pytest.raises(InputError, match="other modules"):
        train(text_encoder, base, task, texts, labels, [], [], recipe_of("value"), statistics=other)


def test_what_cannot_be_gathered_is_said(base: text_encoder.Base) -> None:
    with pytest.raises(InputError, match="fewer tokens") as refused:
        watched(base, ["red"], recipe_of("query", r=5)).result()
    assert "at least 10 tokens" in refused.value.expected
    with pytest.raises(InputError, match="has a part in the features"):
        watched(base, [], recipe_of("query")).result()
    with pytest.raises(InputError, match="does not fit"):
        InputWatch(base.model, recipe_of("nothing"))
    with pytest.raises(InputError, match="linear layers"):
        InputWatch(base.model, recipe_of("word_embeddings"))
    with pytest.raises(InputError, match="no inputs"):
        InputWatch(base.model, recipe_of("query", method="lora", options={}))
    assert not hasattr(base.model, "peft_config")


def test_more_components_than_a_module_is_wide_are_its_width(
    base: text_encoder.Base, texts: list[str]
) -> None:
    found = watched(base, texts, recipe_of("query", r=20)).result()
    for components in found.components.values():
        assert components.shape == (32, 32)
        torch.testing.assert_close(components @ components.T, torch.eye(32), atol=1e-4, rtol=0)


def test_a_module_that_has_seen_enough_stops(base: text_encoder.Base, texts: list[str]) -> None:
    """Texts of a window come short first: before its end nothing settles."""
    many = texts * 18  # more than a window
    n_tokens = int(text_encoder.sizes(base, many).sum())
    watch = watched(base, many, recipe_of("query", options={"tau": 0.01}))
    (first, second) = (fed for fed in watch._fed.values())
    window = int(text_encoder.sizes(base, many[: shared.WINDOW]).sum())
    assert window < first.n_rows == second.n_rows < n_tokens
    assert len(watch.result().components) == 2


def test_numbers_that_are_none_are_named_by_module(
    base: text_encoder.Base, texts: list[str]
) -> None:
    weight = base.model.get_parameter("embeddings.LayerNorm.weight")
    kept = weight.data.clone()
    weight.data[0] = torch.nan
    try:
        with pytest.raises(InputError, match="no numbers") as refused:
            watched(base, texts[:20], recipe_of("query")).result()
    finally:
        weight.data = kept
    assert "query" in refused.value.where


def test_target_modules_by_architecture_and_every_family(tmp_path: Path) -> None:
    llama = causal_lm.load(str(pico_llama(tmp_path / "llama")), max_tokens=64)
    texts, _ = pico_texts(np.random.default_rng(0), 20)
    watch = InputWatch(llama.model, recipe_of())
    list(watch.over(causal_lm.encode(llama, texts)))
    found = watch.result().components
    assert {name.rpartition(".")[2] for name in found} == {"q_proj", "v_proj"}

    images, _ = pico_cases(np.random.default_rng(0), 2)
    pico = sam.load(str(pico_sam(tmp_path / "sam")))
    watch = InputWatch(pico.model, recipe_of("qkv", "mlp.lin2"))
    list(watch.over(sam.encode(pico, images)))
    widths = {
        name.rpartition(".")[2]: c.shape
        for name, c in watch.result().components.items()
        if name.startswith("vision_encoder")
    }
    assert widths == {"qkv": (6, 32), "lin2": (6, 64)}


def test_a_decoder_that_has_no_part_in_the_features_begins_as_plain_lora(tmp_path: Path) -> None:
    images, masks = pico_cases(np.random.default_rng(0), 2)
    pico = sam.load(str(pico_sam(tmp_path)))
    recipe = recipe_of("lin1")
    watch = InputWatch(pico.model, recipe)
    list(watch.over(sam.encode(pico, images)))
    save_file(watch.result().to_tensors(), tmp_path / "inputs.safetensors")
    found = InputStatistics.from_tensors(load_file(tmp_path / "inputs.safetensors"))
    unseen = {name for name, ratios in found.ratios.items() if not len(ratios)}
    assert {name.partition(".")[0] for name in unseen} == {"mask_decoder"}
    task = sam.prepare(pico, {"classes": ["core", "rim"]})
    trained = train(sam, pico, task, images, masks, [], [], recipe, statistics=found)
    assert {trained.deltas[name].rank for name in unseen} == {3}
    assert sum(delta.rank for delta in trained.deltas.values()) == 3 * len(found.ratios)
