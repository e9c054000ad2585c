"""Gram matrices of what modules are fed: of every token once, the same on any number of threads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rpe_core.adapters.input_statistics import InputStatistics, gram_ask
from rpe_core.adapters.input_watch import InputWatch
from rpe_core.adapters.recipe import Recipe, check_recipe
from rpe_core.errors import InputError
from rpe_core.families import causal_lm, clip, sam, text_encoder
from rpe_core.merging.files.gram_file import GramFile, write_grams
from rpe_core.training.seeding import own_random_state
from tests.pico import pico_cases, pico_clip, pico_encoder, pico_llama, pico_sam, pico_texts

MODULES = ("query", "value", "output.dense")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> text_encoder.Base:
    return text_encoder.load(str(pico_encoder(tmp_path_factory.mktemp("pico"))), max_tokens=32)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return pico_texts(np.random.default_rng(3), 240)[0]


def plain_lora(*targets: str) -> Recipe:
    declared = {"method": "lora", "r": 2, "alpha": 4, "epochs": 1, "learning_rate": 1e-3,
                "batch_size": 8, "seed": 0, "target_modules": list(targets)}  # fmt: skip
    recipe, faults = check_recipe(declared)
    assert recipe is not None, faults
    return recipe


def gathered(family: Any, base: Any, items: Sequence[Any], *targets: str) -> InputStatistics:
    recipe = plain_lora(*targets)
    watch = InputWatch(base.model, recipe, asked=gram_ask(recipe.target_modules))
    for _ in watch.over(family.encode(base, items)):
        pass
    return watch.result()


def test_they_are_the_mean_products_of_every_token_and_of_no_padding(
    base: text_encoder.Base, texts: list[str]
) -> None:
    """Against each text encoded alone, so that there is no padding."""
    seen: dict[str, list[np.ndarray]] = {}
    grams = gathered(text_encoder, base, texts, *MODULES).grams
    handles = [
        base.model.get_submodule(name).register_forward_pre_hook(
            lambda module, args, name=name: seen.setdefault(name, []).append(args[0][0].numpy())
        )
        for name in grams
    ]
    for text in texts:
        list(text_encoder.encode(base, [text]))
    for handle in handles:
        handle.remove()
    assert len(grams) == 8  # in two layers; output.dense is the attention's and the last one's
    for name, gram in grams.items():
        rows = np.concatenate(seen[name]).astype(np.float64)
        assert gram.n_rows == len(rows)
        assert np.allclose(gram.dense().numpy(), rows.T @ rows / len(rows), atol=1e-5)


def test_no_bit_depends_on_the_threads_or_on_who_came_first(
    base: text_encoder.Base, texts: list[str], tmp_path: Path
) -> None:
    hashes = set()
    for threads in (1, 2, 3):
        with own_random_state(seed=0, threads=threads):
            grams = gathered(text_encoder, base, texts, *MODULES).grams
            assert torch.get_num_threads() == threads
        write_grams(tmp_path / f"{threads}.safetensors", grams)
        hashes.add(GramFile(tmp_path / f"{threads}.safetensors").sha256())
    assert len(hashes) == 1


def test_modules_of_one_input_share_their_sums_whichever_thread_comes_first(
    base: text_encoder.Base, texts: list[str]
) -> None:
    leaders = set()
    for turn in range(60):
        with own_random_state(seed=0, threads=2 + turn % 3):
            grams = gathered(text_encoder, base, texts[:60], *MODULES).grams
        first: dict[int, str] = {}
        leaders.add(tuple(first.setdefault(id(gram), name) for name, gram in grams.items()))
    assert len(leaders) == 1


def test_rows_of_two_deliveries_add_up_and_can_be_taken_away(
    base: text_encoder.Base, texts: list[str]
) -> None:
    """The first 100 texts alone are what is left when the others are withdrawn."""
    parts = [gathered(text_encoder, base, part, "query").grams for part in (texts[:100], texts)]
    later = gathered(text_encoder, base, texts[100:], "query").grams
    for name, whole in parts[1].items():
        gap = (whole - later[name]).dense() - parts[0][name].dense()
        assert float(gap.abs().max()) < 1e-5  # a batch of other texts rounds elsewhere


def test_modules_that_are_fed_one_tensor_are_stored_once(
    base: text_encoder.Base, texts: list[str], tmp_path: Path
) -> None:
    grams = gathered(text_encoder, base, texts[:20], "query", "key", "value").grams
    write_grams(tmp_path / "three.safetensors", grams)
    write_grams(
        tmp_path / "one.safetensors", gathered(text_encoder, base, texts[:20], "query").grams
    )
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("three", "one")]
    assert sizes[0] < 1.2 * sizes[1]
    opened = GramFile(tmp_path / "three.safetensors")
    for module, gram in grams.items():
        read = opened.gram(module)
        assert read is not None
        assert torch.equal(read.products, gram.products)


def test_every_family_has_them(tmp_path: Path) -> None:
    texts, _ = pico_texts(np.random.default_rng(0), 12)
    images, _ = pico_cases(np.random.default_rng(0), 2)
    llama = causal_lm.load(str(pico_llama(tmp_path / "llama")), max_tokens=64)
    assert all(g.n_rows for g in gathered(causal_lm, llama, texts, "q_proj").grams.values())
    pico = sam.load(str(pico_sam(tmp_path / "sam")))
    made = gathered(sam, pico, images, "qkv", "lin1").grams
    unseen = {name.partition(".")[0] for name, gram in made.items() if not gram.n_rows}
    assert unseen == {"mask_decoder"}
    write_grams(tmp_path / "sam.safetensors", made)
    opened = GramFile(tmp_path / "sam.safetensors")
    assert all((opened.gram(n) is None) == (not g.n_rows) for n, g in made.items())
    two = clip.load(str(pico_clip(tmp_path / "clip")))
    assert any(g.n_rows for g in gathered(clip, two, images, "q_proj").grams.values())


def test_inputs_that_are_no_numbers_are_told_at_the_end(
    base: text_encoder.Base, texts: list[str]
) -> None:
    weight = base.model.get_parameter("embeddings.LayerNorm.weight")
    kept = weight.data.clone()
    weight.data[0] = torch.nan
    try:
        with pytest.raises(InputError, match="no numbers") as refused:
            gathered(text_encoder, base, texts[:20], "query")
    finally:
        weight.data = kept
    assert "query" in refused.value.where
