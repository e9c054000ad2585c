"""RegMean against the dense formula in numpy, and the wide form against the dense one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from rpe_core import input_gram
from rpe_core.delta import LowRankDelta
from rpe_core.errors import InputError
from rpe_core.input_gram import InputGram
from rpe_core.merging.files.gram_file import GramFile, write_grams
from rpe_core.merging.merge import merge
from rpe_core.merging.peft_folders import write_adapter
from rpe_core.merging.regmean import OFF_DIAGONAL, RIDGE, mean_of_inputs
from rpe_core.merging.table import merge_deltas

SEEDS = st.integers(0, 10_000)


def draw_delta(rng: np.random.Generator, *, d: int = 12, rank: int = 3) -> LowRankDelta:
    a, b = rng.normal(size=(rank, d)), rng.normal(size=(7, rank))
    scaling = float(rng.uniform(0.5, 2))
    return LowRankDelta(torch.tensor(a).float(), torch.tensor(b).float(), scaling)


def draw_gram(rng: np.random.Generator) -> InputGram:
    return InputGram.of_rows(draw_rows(rng))


def matrix_of(delta: LowRankDelta) -> np.ndarray:
    return delta.dense(dtype=torch.float64).numpy()


def plain_sum(deltas, weights) -> np.ndarray:
    return sum(w * matrix_of(delta) for delta, w in zip(deltas, weights, strict=True))


def gap(one: np.ndarray, other: np.ndarray) -> float:
    """The distance of two matrices, relative to the second."""
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))


def draw_rows(rng: np.random.Generator, *, n: int = 40, d: int = 12) -> torch.Tensor:
    """Inputs with a mean and a spectrum, as activations have."""
    rows = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 3 * rng.normal(size=d)
    return torch.tensor(rows).float()


def by_the_formula(deltas, weights, rows) -> np.ndarray:
    """(sum p_i dW_i G_i)(sum p_j G_j)^-1, the ridge in every G, in numpy, dense."""
    weights = np.array(weights)
    grams = [(x.double().T @ x.double()).numpy() / len(x) for x in rows]
    d = len(grams[0])
    trace = sum(w * np.trace(g) for w, g in zip(weights, grams, strict=True)) / weights.sum()
    grams = [
        OFF_DIAGONAL * g + np.diag((1 - OFF_DIAGONAL) * np.diag(g) + RIDGE * trace / d)
        for g in grams
    ]
    summed = sum(
        w * matrix_of(delta) @ g for w, delta, g in zip(weights, deltas, grams, strict=True)
    )
    mean = sum(w * g for w, g in zip(weights, grams, strict=True)) / weights.sum()
    return summed @ np.linalg.inv(mean)


def merged(deltas, weights, grams, **how) -> np.ndarray:
    members = [({"layer": delta}, weight) for delta, weight in zip(deltas, weights, strict=True)]
    fed = [gram and {"layer": gram} for gram in grams]
    made = merge_deltas("regmean", members, grams=fed, **how)
    return matrix_of(made.deltas["layer"])


@settings(deadline=None, max_examples=40)
@given(SEEDS, st.lists(st.floats(0.05, 1.0), min_size=2, max_size=4))
def test_it_is_the_dense_formula(seed: int, weights: list[float]) -> None:
    rng = np.random.default_rng(seed)
    deltas = [draw_delta(rng, rank=2 + i) for i in range(len(weights))]
    rows = [draw_rows(rng) for _ in weights]
    weights = [w / sum(weights) for w in weights]
    made = merged(deltas, weights, [InputGram.of_rows(x) for x in rows])
    expected = by_the_formula(deltas, weights, rows)
    assert gap(made, expected) <= 1e-4


def test_it_answers_the_donors_inputs_better_than_the_plain_sum() -> None:
    """What it minimises, measured on the rows themselves."""
    rng = np.random.default_rng(5)
    deltas, rows = [draw_delta(rng) for _ in range(3)], [draw_rows(rng) for _ in range(3)]
    plain = plain_sum(deltas, [1 / 3] * 3)
    made = merged(deltas, [1 / 3] * 3, [InputGram.of_rows(x) for x in rows])

    def loss(dense: np.ndarray) -> float:
        pairs = zip(map(matrix_of, deltas), rows, strict=True)
        return float(sum(np.mean((x.double().numpy() @ (dense - w).T) ** 2) for w, x in pairs))

    assert loss(made) < 0.8 * loss(plain)


@settings(deadline=None, max_examples=25)
@given(SEEDS)
def test_properties(seed: int) -> None:
    rng = np.random.default_rng(seed)
    deltas = [draw_delta(rng) for _ in range(3)]
    grams = [draw_gram(rng) for _ in range(3)]
    weights = rng.dirichlet(np.ones(3)).tolist()
    whole = merged(deltas, weights, grams)
    assert gap(merged(deltas[:1], [1.0], grams[:1]), matrix_of(deltas[0])) <= 1e-5
    for alike in ([grams[0]] * 3, [None] * 3, [grams[0], None, grams[0]]):
        assert gap(merged(deltas, weights, alike), plain_sum(deltas, weights)) <= 1e-4
    turned = merged(*([each[i] for i in (2, 0, 1)] for each in (deltas, weights, grams)))
    assert gap(turned, whole) <= 1e-5
    with_nothing = merged([*deltas, deltas[0]], [*weights, 0.0], [*grams, grams[1]])
    assert np.array_equal(with_nothing, whole)


@settings(deadline=None, max_examples=25)
@given(SEEDS)
def test_sums_are_exact_in_any_order_and_can_be_taken_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    parts = [InputGram.of_rows(draw_rows(rng, n=int(rng.integers(1, 30)))) for _ in range(4)]
    forth, back = (sum(each[1:], each[0]) for each in (parts, parts[::-1]))
    assert torch.equal(forth.products, back.products)
    assert torch.equal(forth.squares, back.squares)
    without = forth - parts[2]
    others = parts[0] + parts[1] + parts[3]
    assert torch.equal(without.products, others.products)
    assert without.n_rows == others.n_rows


def test_a_wide_input_is_near_the_dense_solve(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inputs whose variance lies along a few directions: what low rank plus diagonal is for."""
    rng = np.random.default_rng(3)
    scales = np.sqrt(100 * 2.0 ** -np.arange(96))
    turns = [np.linalg.qr(rng.normal(size=(96, 96)))[0] for _ in range(3)]
    noises = [0.05 * rng.normal(size=(400, 96)) for _ in range(3)]
    rows = [
        torch.tensor(rng.normal(size=(400, 96)) * scales @ turn + noise).float()
        for turn, noise in zip(turns, noises, strict=True)
    ]
    deltas, weights = [draw_delta(rng, d=96) for _ in range(3)], [0.5, 0.3, 0.2]
    dense = by_the_formula(deltas, weights, rows)
    monkeypatch.setattr(input_gram, "DENSE_WIDTH", 64)
    grams = [InputGram.of_rows(x) for x in rows]
    assert not grams[0].is_dense
    assert gap(merged(deltas, weights, grams), dense) <= 0.02
    assert gap(plain_sum(deltas, weights), dense) > 0.2


def test_wide_inputs_agree_with_their_own_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    """Woodbury's solve is that of U U^T + D, for negative weights too."""
    rng = np.random.default_rng(4)
    monkeypatch.setattr(input_gram, "DENSE_WIDTH", 64)
    first = draw_rows(rng, n=300, d=80)
    rows = [first, first * torch.tensor(rng.uniform(0.5, 1.5, size=80)).float()]
    grams = [InputGram.of_rows(x) for x in rows]
    deltas, weights = [draw_delta(rng, d=80) for _ in range(2)], [1.1, -0.1]
    trace = sum(w * float(g.diagonal().sum()) for w, g in zip(weights, grams, strict=True))
    matrices = []
    for gram in grams:
        low = OFF_DIAGONAL**0.5 * gram.directions()
        dense = low @ low.T
        dense.diagonal().copy_(gram.diagonal() + RIDGE * trace / 80)
        matrices.append(dense.numpy())
    triples = zip(weights, deltas, matrices, strict=True)
    summed = sum(w * matrix_of(delta) @ m for w, delta, m in triples)
    mean = sum(w * m for w, m in zip(weights, matrices, strict=True))
    assert gap(merged(deltas, weights, grams), summed @ np.linalg.inv(mean)) <= 1e-4


@pytest.mark.parametrize("wide", [False, True])
def test_where_weights_leave_no_best_sum_the_plain_one_is_taken(
    monkeypatch: pytest.MonkeyPatch, wide: bool
) -> None:
    rng = np.random.default_rng(6)
    if wide:
        monkeypatch.setattr(input_gram, "DENSE_WIDTH", 8)
    deltas = [draw_delta(rng, d=40) for _ in range(2)]
    grams = [InputGram.of_rows(x) for x in (draw_rows(rng, d=40), 10 * draw_rows(rng, d=40))]
    assert mean_of_inputs(grams, [1.2, -0.2]) is None
    plain = plain_sum(deltas, [1.2, -0.2])
    assert gap(merged(deltas, [1.2, -0.2], grams), plain) <= 1e-6


def test_weights_of_another_sum_scale_the_outcome() -> None:
    rng = np.random.default_rng(7)
    deltas, grams = (
        [draw_delta(rng) for _ in range(2)],
        [draw_gram(rng) for _ in range(2)],
    )
    single, double = (merged(deltas, [s * 0.7, s * 0.3], grams) for s in (1.0, 2.0))
    assert np.allclose(double, 2 * single, rtol=1e-5, atol=1e-6)


def test_a_rank_recompresses_it() -> None:
    rng = np.random.default_rng(8)
    deltas, grams = (
        [draw_delta(rng) for _ in range(3)],
        [draw_gram(rng) for _ in range(3)],
    )
    whole = merged(deltas, [0.2, 0.3, 0.5], grams)
    left = np.linalg.svd(whole)
    best = (left[0][:, :4] * left[1][:4]) @ left[2][:4]
    made = merged(deltas, [0.2, 0.3, 0.5], grams, rank=4)
    assert np.linalg.matrix_rank(made, tol=1e-4) == 4
    assert gap(made, best) <= 1e-4


def write_members(place: Path) -> tuple[list[tuple[Path, float]], list[Path | None]]:
    rng, members, files = np.random.default_rng(9), [], []
    for name, weight in (("a", 0.6), ("b", 0.4)):
        factors = {module: draw_delta(rng) for module in ("query", "value", "out")}
        write_adapter(place / name, factors, base_name="base", task_type=None)
        shared, file = draw_gram(rng), place / f"{name}.grams.safetensors"
        write_grams(file, {"query": shared, "value": shared, "out": draw_gram(rng)})
        members.append((place / name, weight))
        files.append(file)
    return members, files


def test_folders_and_files_give_the_same_bytes_on_any_threads(tmp_path: Path) -> None:
    members, files = write_members(tmp_path)
    reports = [
        merge(members, tmp_path / f"out{n}", method="regmean", grams=files, threads=n)
        for n in (1, 2)
    ]
    assert len({report.weights_sha256 for report in reports}) == 1
    told = json.loads((tmp_path / "out1" / "rpe_merge.json").read_text())["regmean"]
    opened = [GramFile(file) for file in files if file]
    assert told["gram_sha256"] == [file.sha256() for file in opened]
    assert (told["n_modules"], told["n_plain"]) == (3, 0)
    assert len(opened[0].modules) == 3
    written = load_file(tmp_path / "out1" / "adapter_model.safetensors")
    assert {tuple(t.shape) for n, t in written.items() if "lora_A" in n} == {(6, 12)}


def test_equal_matrices_make_equal_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    grams = {name: draw_gram(rng) for name in ("query", "value")}
    files = set()
    for number in range(20):
        write_grams(tmp_path / f"{number}", grams)
        files.add(GramFile(tmp_path / f"{number}").sha256())
    assert len(files) == 1


def test_one_member_without_data_takes_the_mean(tmp_path: Path) -> None:
    members, files = write_members(tmp_path)
    merge(members, tmp_path / "out", method="regmean", grams=[files[0], None])
    merge(members, tmp_path / "plain", method="concat")
    made, plain = (load_file(tmp_path / n / "adapter_model.safetensors") for n in ("out", "plain"))
    assert all(torch.allclose(made[name], plain[name], atol=1e-4) for name in plain)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    members, files = write_members(tmp_path)
    with pytest.raises(InputError, match="what its modules were fed"):
        merge(members, tmp_path / "out", method="regmean", grams=files[:1])
    with pytest.raises(InputError, match="takes no Gram"):
        merge(members, tmp_path / "out", method="concat", grams=files)
    narrow = tmp_path / "narrow.safetensors"
    write_grams(narrow, {"query": InputGram.of_rows(torch.ones(2, 5))})
    with pytest.raises(InputError, match="other inputs than its module's"):
        merge(members, tmp_path / "out", method="regmean", grams=[files[0], narrow])
    other = tmp_path / "other.safetensors"
    write_grams(other, {"decoder": InputGram.of_rows(torch.ones(2, 12))})
    with pytest.raises(InputError, match="other modules than its member's"):
        merge(members, tmp_path / "out", method="regmean", grams=[files[0], other])
    with pytest.raises(InputError, match="Gram matrices is not whole"):
        GramFile(members[0][0] / "adapter_model.safetensors")
    assert not (tmp_path / "out").exists()


def test_inputs_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(InputError, match="no numbers"):
        InputGram.of_rows(torch.tensor([[1.0, float("nan")]]))
    with pytest.raises(InputError, match="too large"):
        InputGram.of_rows(torch.tensor([[1e9, 1.0]]))
