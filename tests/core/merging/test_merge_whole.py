"""Modules that members trained whole: theta_0 + sum_i w_i (theta_i - theta_0), against the base."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from rpe_core.errors import InputError, ShapeMismatch
from rpe_core.merging.merge import merge
from tests.adapter_folders import CONFIG, WEIGHTS, embedding, linear, write_folder

HEAD, BIAS, WORDS = "classifier.weight", "classifier.bias", "words.weight"
QUERY = "query.weight"


def tensor(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def whole(seed):
    """A trained classifier, by PEFT's names."""
    state = {HEAD: tensor(3, 6, seed=seed), BIAS: tensor(3, seed=seed + 50)}
    return {f"base_model.model.{name}": value for name, value in state.items()}


@pytest.fixture
def base(tmp_path):
    (tmp_path / "base").mkdir()
    state = {HEAD: tensor(3, 6, seed=90), BIAS: tensor(3, seed=91), WORDS: tensor(11, 6, seed=92)}
    save_file({**state, QUERY: torch.ones(5, 6)}, tmp_path / "base" / "model.safetensors")
    return tmp_path / "base"


@pytest.fixture
def members(tmp_path):
    """Two that trained the classifier, one that did not."""
    saved = {"modules_to_save": ["classifier"]}
    return [
        (write_folder(tmp_path / "one", {**linear("query"), **whole(1)}, **saved), 0.7),
        (write_folder(tmp_path / "two", {**linear("query", seed=2), **whole(2)}, **saved), -0.4),
        (write_folder(tmp_path / "three", linear("query", seed=3)), 0.9),
    ]


def test_they_change_by_the_weighted_sum_of_their_changes(tmp_path, base, members):
    report = merge(members, tmp_path / "out", base=base)
    state, before = load_file(tmp_path / "out" / WEIGHTS), load_file(base / "model.safetensors")
    for name in (HEAD, BIAS):
        start = before[name].double()
        one, two = (whole(seed)[f"base_model.model.{name}"].double() for seed in (1, 2))
        exact = start + 0.7 * (one - start) - 0.4 * (two - start)
        torch.testing.assert_close(state[f"base_model.model.{name}"], exact.float())
    config = json.loads((tmp_path / "out" / CONFIG).read_text())
    assert config["modules_to_save"] == ["classifier"]
    assert not report.is_servable
    assert "modules_to_save" in report.not_servable


def test_pieces_add_up_to_the_whole(tmp_path):
    """A tensor larger than what is computed at a time, not a multiple of it."""
    shape = (1025, 2049)
    (tmp_path / "base").mkdir()
    start, trained = tensor(*shape, seed=1), tensor(*shape, seed=2)
    weights = {"head.weight": start, QUERY: torch.ones(5, 6)}
    save_file(weights, tmp_path / "base" / "model.safetensors")
    state = {**linear("query"), "base_model.model.head.weight": trained}
    one = write_folder(tmp_path / "one", state, modules_to_save=["head"])
    merge([(one, 0.3)], tmp_path / "out", base=tmp_path / "base", threads=2)
    found = load_file(tmp_path / "out" / WEIGHTS)["base_model.model.head.weight"]
    exact = start.double() + 0.3 * (trained.double() - start.double())
    torch.testing.assert_close(found, exact.float(), rtol=1e-6, atol=1e-6)


def test_without_the_base_it_is_said_what_to_pass(tmp_path, members):
    with pytest.raises(InputError, match="--base") as caught:
        merge(members, tmp_path / "out")
    assert "one" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_base_without_the_tensor_or_of_another_shape_is_refused(tmp_path, base, members):
    others = {WORDS: torch.ones(11, 6), QUERY: torch.ones(5, 6)}
    save_file(others, base / "model.safetensors")
    with pytest.raises(InputError, match=r"no tensor 'classifier"):
        merge(members, tmp_path / "out", base=base)
    heads = {HEAD: torch.ones(4, 6), BIAS: torch.ones(4)}
    save_file({**others, **heads}, base / "model.safetensors")
    with pytest.raises(ShapeMismatch, match="another shape than in the base"):
        merge(members, tmp_path / "out", base=base)
    (base / "model.safetensors").rename(base / "pytorch_model.bin")
    with pytest.raises(InputError, match="no safetensors checkpoint"):
        merge(members, tmp_path / "out", base=base)


def test_whole_tensors_that_no_configuration_names_are_refused(tmp_path, base):
    one = write_folder(tmp_path / "one", {**linear("query"), **whole(1)})
    with pytest.raises(InputError, match="no LoRA factor"):
        merge([(one, 1.0)], tmp_path / "out", base=base)


def copied(folder, words):
    """As PEFT saves an adapted embedding: the factors and a copy of the base's own weight."""
    copy = {"base_model.model.words.base_layer.weight": words}
    return write_folder(folder, {**embedding("words"), **copy}, target_modules=["words"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_copy_of_the_base_is_left_out_once_it_is_found_unchanged(tmp_path, base, dtype):
    one = copied(tmp_path / "one", tensor(11, 6, seed=92).to(dtype))
    with pytest.raises(InputError, match="--base"):
        merge([(one, 1.0)], tmp_path / "out")
    merge([(one, 1.0)], tmp_path / "out", base=base)
    assert sorted(load_file(tmp_path / "out" / WEIGHTS)) == sorted(embedding("words"))


def test_a_copy_that_was_changed_is_a_changed_base(tmp_path, base):
    words = tensor(11, 6, seed=92)
    words[10, 5] += 1e-3
    one = copied(tmp_path / "one", words)
    with pytest.raises(InputError, match=r"changed 'words\.weight' of the base"):
        merge([(one, 1.0)], tmp_path / "out", base=base)
    resized = copied(tmp_path / "two", torch.ones(12, 6))
    with pytest.raises(ShapeMismatch, match="vocabulary unchanged"):
        merge([(resized, 1.0)], tmp_path / "out", base=base)
    assert not (tmp_path / "out").exists()


def headed(folder, seed, **config):
    """An adapter with a classifier that the base never had, as PEFT saves one for SEQ_CLS."""
    saved = {"modules_to_save": ["classifier", "score"], "task_type": "SEQ_CLS", **config}
    return write_folder(folder, {**linear("query", seed=seed), **whole(seed)}, **saved)


def test_a_head_that_the_base_lacks_is_added_up_where_its_start_drops_out(tmp_path, base):
    others = {WORDS: torch.ones(11, 6), QUERY: torch.ones(5, 6)}
    save_file(others, base / "model.safetensors")
    members = [(headed(tmp_path / f"{i}", i), weight) for i, weight in ((1, 1.6), (2, -0.6))]
    merge(members, tmp_path / "out", base=base)
    state = load_file(tmp_path / "out" / WEIGHTS)
    for name in (HEAD, BIAS):
        one, two = (whole(seed)[f"base_model.model.{name}"].double() for seed in (1, 2))
        exact = 1.6 * one - 0.6 * two
        torch.testing.assert_close(state[f"base_model.model.{name}"], exact.float())


def test_a_head_that_the_base_lacks_is_refused_where_its_start_would_count(tmp_path, base):
    save_file({"query.weight": torch.ones(5, 6)}, base / "model.safetensors")
    members = [(headed(tmp_path / "1", 1), 0.5), (headed(tmp_path / "2", 2), 0.4)]
    with pytest.raises(InputError, match="no file holds what it began from") as caught:
        merge(members, tmp_path / "out", base=base)
    assert "weights that sum to 1" in str(caught.value)
    with pytest.raises(InputError, match="the head was new when training began"):
        merge([(members[0][0], 1.0)], tmp_path / "out", base=base, method="fold")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("method", ["concat", "svd", "dense", "fold"])
def test_an_adapter_of_whole_tensors_alone_is_merged(tmp_path, base, method):
    saved = {"modules_to_save": ["classifier"]}
    one = write_folder(tmp_path / "one", whole(1), **saved)
    two = write_folder(tmp_path / "two", whole(2), **saved)
    report = merge([(one, 0.7), (two, 0.2)], tmp_path / "out", method=method, base=base)
    assert (report.rank, report.relative_error) == (0, 0.0)
    before = load_file(base / "model.safetensors")
    is_fold = method == "fold"
    found = load_file(tmp_path / "out" / ("model.safetensors" if is_fold else WEIGHTS))
    for name in (HEAD, BIAS):
        start = before[name].double()
        a, b = (whole(seed)[f"base_model.model.{name}"].double() for seed in (1, 2))
        exact = start + 0.7 * (a - start) + 0.2 * (b - start)
        key = name if is_fold else f"base_model.model.{name}"
        torch.testing.assert_close(found[key], exact.float())
    if not is_fold:
        config = json.loads((tmp_path / "out" / CONFIG).read_text())
        assert config["target_modules"] == ["query", "value"]
        assert config["modules_to_save"] == ["classifier"]


def test_whole_tensors_alone_beside_a_member_with_factors(tmp_path, base):
    saved = {"modules_to_save": ["classifier"]}
    one = write_folder(tmp_path / "one", whole(1), **saved)
    two = write_folder(tmp_path / "two", linear("query"))
    merge([(one, 0.7), (two, 0.2)], tmp_path / "out", method="svd", base=base)
    names = {f"base_model.model.{name}" for name in (HEAD, BIAS)}
    assert set(load_file(tmp_path / "out" / WEIGHTS)) == names | set(linear("query"))
