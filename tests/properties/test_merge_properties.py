"""Merging folders against an independent dense sum in fp64: any kinds, ranks, patterns, weights."""

import tempfile
from pathlib import Path

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from rpe_core.merging.merge import merge
from tests.adapter_folders import (
    bytes_of,
    convolution,
    dense_deltas,
    dense_sum,
    embedding,
    factors,
    linear,
    write_folder,
)

MAKERS = {
    "q": (linear, (5, 6)),
    "layer.v": (linear, (3, 8)),
    "words": (embedding, (9, 4)),
    "pixels": (convolution, (4, 2, 3, 2)),
}
DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]
busy = settings(deadline=None, max_examples=20)


@st.composite
def adapters(draw):
    """What one to four folders hold: tensors, configuration and weight of each."""
    made = []
    for _ in range(draw(st.integers(1, 4))):
        names = draw(st.lists(st.sampled_from(sorted(MAKERS)), min_size=1, unique=True))
        rank, tensors, ranks = draw(st.integers(1, 4)), {}, {}
        for name in names:
            maker, shape = MAKERS[name]
            ranks[name] = draw(st.sampled_from([rank, 1, 3]))
            seed = draw(st.integers(0, 2**31))
            tensors |= maker(name, rank=ranks[name], shape=shape, seed=seed)
        dtype = draw(st.sampled_from(DTYPES))
        config = {
            "r": rank,
            "lora_alpha": draw(st.sampled_from([1, 4, 0.5])),
            "use_rslora": draw(st.booleans()),
            "rank_pattern": {f"^{n}".replace(".", r"\."): r for n, r in ranks.items() if r != rank},
            "alpha_pattern": {"v": 3} if draw(st.booleans()) else {},
        }
        weight = draw(st.floats(-2, 2).filter(lambda w: abs(w) > 1e-3))
        made.append(({name: t.to(dtype) for name, t in tensors.items()}, config, weight))
    return made


def written(place, made):
    return [
        (write_folder(place / f"a{i}", tensors, **config), weight)
        for i, (tensors, config, weight) in enumerate(made)
    ]


def sizes(members):
    """Module -> the scale of rounding: what the terms amount to before they cancel."""
    size = {}
    for folder, weight in members:
        for module, delta in dense_deltas(folder).items():
            size[module] = size.get(module, 0.0) + abs(weight) * float(delta.norm())
    return size


@busy
@given(adapters())
def test_every_method_is_the_dense_sum_and_the_same_on_two_threads(made):
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        members = written(place, made)
        exact, size = dense_sum(members), sizes(members)
        for method, rank in (("concat", None), ("svd", 99), ("dense", None)):
            merge(members, place / method, method=method, rank=rank, threads=1)
            merge(members, place / f"{method}2", method=method, rank=rank, threads=2)
            assert bytes_of(place / method) == bytes_of(place / f"{method}2")
            found = dense_deltas(place / method)
            assert set(found) == set(exact)
            for module, delta in found.items():
                assert float((delta - exact[module]).norm()) <= 1e-6 * size[module]


@busy
@given(adapters())
def test_bfloat16_is_within_its_rounding(made):
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        members = written(place, made)
        exact, size = dense_sum(members), sizes(members)
        merge(members, place / "out", dtype="bfloat16")
        for module, delta in dense_deltas(place / "out").items():
            bound = 2**-7 * 1.01 * size_of_factors(members, module)  # 2**-8 of A and of B
            assert float((delta - exact[module]).norm()) <= bound + 1e-6 * size[module]


def size_of_factors(members, module):
    """|B| |A| of the stacked factors: what their rounding is relative to."""
    pairs = [(factors(folder).get(module), weight) for folder, weight in members]
    parts = [(weight * pair[0], pair[1]) for pair, weight in pairs if pair is not None]
    return float(
        torch.cat([b for b, _ in parts], 1).norm() * torch.cat([a for _, a in parts]).norm()
    )


@busy
@given(adapters(), st.sampled_from([torch.float32, torch.bfloat16]))
def test_a_fold_is_the_base_plus_the_dense_sum(made, dtype):
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        members = written(place, made)
        exact, size = dense_sum(members), sizes(members)
        rng = torch.Generator().manual_seed(0)
        before = {
            f"{module}.weight": torch.randn(shape, generator=rng).to(dtype)
            for module, (_, shape) in MAKERS.items()
        }
        (place / "base").mkdir()
        save_file(before, place / "base" / "model.safetensors")
        merge(members, place / "out", method="fold", base=place / "base")
        after = load_file(place / "out" / "model.safetensors")
        for key, tensor in after.items():
            module, wanted = key.removesuffix(".weight"), before[key].double()
            if module in exact:
                delta = exact[module].T if module == "words" else exact[module]
                wanted = wanted + delta.reshape(wanted.shape)
            unit = torch.finfo(dtype).eps
            slack = 1e-6 * (size.get(module, 0.0) + float(before[key].double().norm()))
            assert float((tensor.double() - wanted).norm()) <= unit * float(wanted.norm()) + slack
