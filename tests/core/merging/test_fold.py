"""Folding into a checkpoint: every weight is the base's plus the sum, and the rest is untouched."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from rpe_core.errors import InputError, ShapeMismatch
from rpe_core.merging.manifest import MANIFEST
from rpe_core.merging.merge import merge
from tests.adapter_folders import convolution, dense_sum, embedding, linear, write_folder

SHAPES = {
    "model.layers.0.query.weight": (40, 60),
    "model.layers.0.norm.weight": (60,),
    "model.layers.1.query.weight": (40, 60),
    "model.words.weight": (90, 60),
    "model.pixels.weight": (5, 3, 3, 3),
}


def checkpoint(folder, *, dtype=torch.bfloat16, n_shards=2, shapes=SHAPES, **config):
    """A base in shards, with its configuration, a tokenizer, a pickle and code."""
    folder.mkdir()
    rng = torch.Generator().manual_seed(5)
    state = {name: torch.randn(shape, generator=rng).to(dtype) for name, shape in shapes.items()}
    names = list(state)
    homes = {}
    for i in range(n_shards):
        file = f"model-{i}.safetensors" if n_shards > 1 else "model.safetensors"
        part = {name: state[name] for name in names[i::n_shards]}
        save_file(part, folder / file, metadata={"format": "pt", "made": "elsewhere"})
        homes |= dict.fromkeys(part, file)
    if n_shards > 1:
        index = {"metadata": {"total_size": 1}, "weight_map": homes}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps({"model_type": "pico", **config}))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    (folder / "modeling.py").write_text("raise SystemExit")
    return folder, state


def read(folder):
    state = {}
    for file in sorted(folder.glob("*.safetensors")):
        state |= load_file(file)
    return state


@pytest.fixture
def members(tmp_path):
    made = []
    for i, weight in enumerate((0.6, -0.3)):
        tensors = linear("model.layers.0.query", shape=(40, 60), seed=i, dtype=torch.bfloat16)
        tensors |= embedding("model.words", shape=(90, 60), seed=i + 5)
        tensors |= convolution("model.pixels", seed=i + 9)
        made.append((write_folder(tmp_path / f"a{i}", tensors), weight))
    return made


@pytest.mark.parametrize("n_shards", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_weight_is_the_base_plus_the_sum_rounded_once(tmp_path, members, dtype, n_shards):
    base, before = checkpoint(tmp_path / "base", dtype=dtype, n_shards=n_shards)
    report = merge(members, tmp_path / "out", method="fold", base=base)
    after, deltas = read(tmp_path / "out"), dense_sum(members)
    assert set(after) == set(before)
    changed = 0.0
    for name, tensor in after.items():
        assert tensor.dtype == dtype
        delta = deltas.get(name.removesuffix(".weight"))
        if delta is None:
            assert torch.equal(tensor, before[name])
            continue
        delta = delta.T if "words" in name else delta.reshape(before[name].shape)
        exact = before[name].double() + delta
        unit = torch.finfo(dtype).eps
        single = 2e-6  # of the fp32 arithmetic, whose terms are of size 1 to 10
        assert bool(((tensor.double() - exact).abs() <= unit * exact.abs() + single).all())
        changed += float((tensor.double() - exact).square().sum())
    total = sum(float(delta.square().sum()) for delta in deltas.values())
    if dtype != torch.float32:
        assert report.rounding_ratio == pytest.approx((changed / total) ** 0.5, rel=1e-3)


def test_the_folder_is_the_base_s_own_without_pickles_and_code(tmp_path, members):
    base, _ = checkpoint(tmp_path / "base")
    report = merge(members, tmp_path / "out", method="fold", base=base)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        "config.json",
        "model-0.safetensors",
        "model-1.safetensors",
        "model.safetensors.index.json",
        "tokenizer.json",
        MANIFEST,
    }
    for name in names - {MANIFEST}:
        new, old = (tmp_path / "out" / name).read_bytes(), (base / name).read_bytes()
        assert len(new) == len(old)
        assert "model-" in name or new == old
    manifest = json.loads((tmp_path / "out" / MANIFEST).read_text())
    assert set(manifest["base"]) == set(manifest["shards"]) == {n for n in names if "model-" in n}
    assert manifest["base"] != manifest["shards"]
    assert manifest["weights_sha256"] == report.weights_sha256
    assert manifest["left_out"] == ["modeling.py", "pytorch_model.bin"] == list(report.left_out)
    assert manifest["modules"] == {"model.layers.0.query": 4, "model.pixels": 4, "model.words": 4}


def test_the_number_of_threads_changes_no_byte(tmp_path, members):
    base, _ = checkpoint(tmp_path / "base")
    for threads in (1, 2):
        merge(members, tmp_path / f"out{threads}", method="fold", base=base, threads=threads)
    for name in ("model-0.safetensors", "model-1.safetensors", MANIFEST):
        assert (tmp_path / "out1" / name).read_bytes() == (tmp_path / "out2" / name).read_bytes()


@pytest.mark.parametrize("prefix", ["", "encoder."])
def test_a_checkpoint_may_name_all_tensors_with_or_without_a_prefix(tmp_path, prefix):
    member = write_folder(tmp_path / "a", linear("model.query", shape=(4, 6)))
    name = f"{prefix}model.query.weight" if prefix else "query.weight"
    base, before = checkpoint(tmp_path / "base", n_shards=1, shapes={name: (4, 6)})
    merge([(member, 1.0)], tmp_path / "out", method="fold", base=base)
    assert not torch.equal(read(tmp_path / "out")[name], before[name])


def test_transposed_weights_take_the_delta_transposed(tmp_path):
    tensors = {**linear("wide", shape=(8, 6)), **linear("square", shape=(6, 6))}
    member = write_folder(tmp_path / "a", tensors, fan_in_fan_out=True)
    shapes = {"wide.weight": (6, 8), "square.weight": (6, 6)}
    base, before = checkpoint(tmp_path / "base", dtype=torch.float32, n_shards=1, shapes=shapes)
    merge([(member, 1.0)], tmp_path / "out", method="fold", base=base)
    after, deltas = read(tmp_path / "out"), dense_sum([(member, 1.0)])
    for name in shapes:
        exact = before[name].double() + deltas[name.removesuffix(".weight")].T
        torch.testing.assert_close(after[name], exact.float())


def test_a_square_weight_whose_orientation_nobody_can_tell_is_refused(tmp_path):
    tensors = {**linear("wide", shape=(8, 6)), **linear("square", shape=(6, 6))}
    member = write_folder(tmp_path / "a", tensors, fan_in_fan_out=True)
    shapes = {"wide.weight": (8, 6), "square.weight": (6, 6)}
    base, _ = checkpoint(tmp_path / "base", shapes=shapes)
    with pytest.raises(InputError, match="fan_in_fan_out"):
        merge([(member, 1.0)], tmp_path / "out", method="fold", base=base)


def test_what_does_not_belong_to_the_base_is_refused_before_anything_is_written(tmp_path, members):
    base, _ = checkpoint(tmp_path / "base")
    other = write_folder(tmp_path / "other", linear("model.layers.0.query", shape=(41, 60)))
    with pytest.raises(ShapeMismatch, match="does not fit the weight"):
        merge([(other, 1.0)], tmp_path / "out", method="fold", base=base)
    unknown = write_folder(tmp_path / "unknown", linear("model.layers.7.query", shape=(40, 60)))
    with pytest.raises(InputError, match=r"no tensor 'model\.layers\.7\.query"):
        merge([(unknown, 1.0)], tmp_path / "out", method="fold", base=base)
    tied, _ = checkpoint(tmp_path / "tied", architectures=["PicoForCausalLM"])
    with pytest.raises(InputError, match="output layer too"):
        merge(members, tmp_path / "out", method="fold", base=tied)
    whole_numbers = {"model.layers.0.query.weight": torch.ones(40, 60, dtype=torch.int8)}
    (tmp_path / "int").mkdir()
    save_file(whole_numbers, tmp_path / "int" / "model.safetensors")
    one = write_folder(tmp_path / "fits", linear("model.layers.0.query", shape=(40, 60)))
    with pytest.raises(InputError, match="no floating-point"):
        merge([(one, 1.0)], tmp_path / "out", method="fold", base=tmp_path / "int")
    assert not (tmp_path / "out").exists()


def test_a_corrupt_base_is_refused(tmp_path, members):
    base, _ = checkpoint(tmp_path / "base")
    index = json.loads((base / "model.safetensors.index.json").read_text())
    for wrong in ({"weight_map": {}}, {"weight_map": {"a": "../x.safetensors"}}, {}):
        (base / "model.safetensors.index.json").write_text(json.dumps(wrong))
        with pytest.raises(InputError, match="names no shards"):
            merge(members, tmp_path / "out", method="fold", base=base)
    fewer = {"weight_map": dict(list(index["weight_map"].items())[1:])}
    (base / "model.safetensors.index.json").write_text(json.dumps(fewer))
    with pytest.raises(InputError, match="name different tensors"):
        merge(members, tmp_path / "out", method="fold", base=base)
    (base / "model.safetensors.index.json").write_text(json.dumps(index))
    whole = (base / "model-1.safetensors").read_bytes()
    (base / "model-1.safetensors").write_bytes(whole[:-1])
    with pytest.raises(InputError, match=r"model-1.safetensors is no readable"):
        merge(members, tmp_path / "out", method="fold", base=base)
    assert not (tmp_path / "out").exists()


def test_a_base_that_is_not_finite_is_refused_and_leaves_nothing(tmp_path, members):
    base, state = checkpoint(tmp_path / "base", n_shards=1)
    state["model.layers.0.query.weight"][3, 4] = float("nan")
    save_file(state, base / "model.safetensors")
    with pytest.raises(InputError, match="not finite"):
        merge(members, tmp_path / "out", method="fold", base=base)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a0", "a1", "base"]


def test_what_stands_beside_the_weights_is_copied_or_named_as_left_out(tmp_path, members):
    base, state = checkpoint(tmp_path / "base")
    copied = {
        "2_Dense/model.safetensors": None,
        "2_Dense/config.json": b"{}",
        "1_Pooling/config.json": b"{}",
        "modules.json": b"[]",
        **dict.fromkeys(["source.spm", "bpe.codes", "vocab.bpe", "merges.txt", "LICENSE"], b"x"),
        **dict.fromkeys(["sentencepiece.bpe.model", "dict.fr.tsv", ".gitattributes"], b"y"),
        **dict.fromkeys(["added_tokens.json", "figures/loss.png", "tokenizer.vocab"], b"z"),
    }
    left_out = [
        ".git/",
        "consolidated.00.pth",
        "model.fp16.safetensors",
        "modeling.py",
        "onnx/model.onnx",
        "onnx/model.onnx_data",
        "optimizer.pt",
        "original/model.safetensors",
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
        "rust_model.ot",
        "tf_model.h5",
        "training_args.bin",
    ]
    for name in [*copied, ".git/config", *left_out]:
        place = base / name
        if not name.endswith("/"):
            place.parent.mkdir(exist_ok=True)
            place.write_bytes(copied.get(name) or b"none of ours")
    save_file({"linear.weight": torch.ones(4, 60)}, base / "2_Dense" / "model.safetensors")
    some = {"model.words.weight": state["model.words.weight"]}
    save_file(some, base / "original" / "model.safetensors")
    report = merge(members, tmp_path / "out", method="fold", base=base)
    assert list(report.left_out) == left_out
    assert json.loads((tmp_path / "out" / MANIFEST).read_text())["left_out"] == left_out
    for name in copied:
        assert (tmp_path / "out" / name).read_bytes() == (base / name).read_bytes()
    files = {path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*.*")}
    assert not [name for name in left_out if tmp_path / "out" / name in files]


def test_files_of_a_snapshot_are_links_and_are_copied(tmp_path, members):
    base, _ = checkpoint(tmp_path / "base")
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "1").write_bytes(b"pieces")
    (base / "source.spm").symlink_to(tmp_path / "blobs" / "1")
    (base / "gone.txt").symlink_to(tmp_path / "blobs" / "2")
    (base / "round").symlink_to(base)
    report = merge(members, tmp_path / "out", method="fold", base=base)
    assert (tmp_path / "out" / "source.spm").read_bytes() == b"pieces"
    assert not (tmp_path / "out" / "source.spm").is_symlink()
    assert {"gone.txt", "round/"} < set(report.left_out)


def test_a_fold_into_the_base_s_own_folder_does_not_tell_of_itself(tmp_path, members):
    base, _ = checkpoint(tmp_path / "base")
    report = merge(members, base / "folded", method="fold", base=base)
    assert report.left_out == ("modeling.py", "pytorch_model.bin")
