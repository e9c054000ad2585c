"""Files that must not be merged: refused before anything stands, told by folder, never by value."""

import json
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from rpe_core.delta import peft_names
from rpe_core.errors import InputError, ShapeMismatch, UnknownName
from rpe_core.merging.merge import METHODS, merge
from tests.adapter_folders import CONFIG, WEIGHTS, linear, write_folder

MODULES = ("layer.0.query", "layer.0.value")


def _written(folder, seed):
    tensors = {**linear(MODULES[0], seed=seed), **linear(MODULES[1], seed=seed + 10)}
    return write_folder(folder, tensors)


def _edit_config(folder, **changes):
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**config, **changes}))


def _break_truncate(folder):
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[: len(whole) // 2])


def _break_cut_header(folder):
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:5])


def _break_header_length(folder):
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", 1 << 60) + whole[8:])


def _break_large_header(folder):
    header = b"{" + b" " * (17 << 20) + b"}"
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(header)) + header)


def _break_garbage(folder):
    (folder / WEIGHTS).write_bytes(b"\x80\x04\x95" + b"secret-cell" * 50)


def _break_header_text(folder):
    header = b'{"secret-cell": {"dtype": "F32", "shape": [2], "data_offsets": [0, 999]}}'
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 8)


def _break_empty(folder):
    (folder / WEIGHTS).write_bytes(b"")


def _break_no_weights(folder):
    (folder / WEIGHTS).unlink()


def _break_pickle(folder):
    (folder / WEIGHTS).rename(folder / "adapter_model.bin")


def _break_no_config(folder):
    (folder / CONFIG).unlink()


def _break_config_text(folder):
    (folder / CONFIG).write_text('{"peft_type": "LORA", secret-cell')


def _break_config_list(folder):
    (folder / CONFIG).write_text("[]")


def _break_config_deep(folder):
    (folder / CONFIG).write_text("[" * 200_000)


def _break_config_large(folder):
    (folder / CONFIG).write_text('{"peft_type": "LORA"' + " " * (2 << 20) + "}")


def _break_config_encoding(folder):
    (folder / CONFIG).write_bytes(b'{"peft_type": "\xff\xfe"}')


def _break_dora(folder):
    _edit_config(folder, use_dora=True)


def _break_lora_bias(folder):
    _edit_config(folder, lora_bias=True)


def _break_rank(folder):
    _edit_config(folder, r=3)


def _break_foreign_tensor(folder):
    state = load_file(folder / WEIGHTS)
    state["base_model.model.classifier.weight"] = torch.ones(2, 2)
    save_file(state, folder / WEIGHTS)


def _edit_tensor(folder, name, change):
    state = load_file(folder / WEIGHTS)
    state[name] = change(state[name])
    save_file(state, folder / WEIGHTS)


def _break_nan(folder):
    _edit_tensor(
        folder, peft_names(MODULES[0])[0], lambda t: t.index_fill(1, torch.tensor(3), torch.nan)
    )


def _break_infinity(folder):
    _edit_tensor(
        folder, peft_names(MODULES[1])[1], lambda t: t.index_fill(0, torch.tensor(4), torch.inf)
    )


def _break_integers(folder):
    _edit_tensor(folder, peft_names(MODULES[1])[1], lambda t: t.to(torch.int32))


def _break_trailing_bytes(folder):
    with (folder / WEIGHTS).open("ab") as file:
        file.write(b"secret-cell")


def _rewrite_header(folder, change):
    whole = (folder / WEIGHTS).read_bytes()
    length = struct.unpack("<Q", whole[:8])[0]
    header = change(whole[8 : 8 + length].decode())
    (folder / WEIGHTS).write_bytes(
        struct.pack("<Q", len(header)) + header.encode() + whole[8 + length :]
    )


def _break_repeated_name(folder):
    first, second = (json.dumps(name) for name in peft_names(MODULES[0]))
    _rewrite_header(folder, lambda text: text.replace(second, first))


def _break_overlap(folder):
    def change(text):
        header = json.loads(text)
        for name in peft_names(MODULES[0]):
            header[name]["data_offsets"] = [0, 48]
        return json.dumps(header)

    _rewrite_header(folder, change)


def _break_shape(folder):
    _rewrite_header(folder, lambda text: text.replace("[2,6]", "[6,2]"))


def _break_huge_shape(folder):
    _rewrite_header(folder, lambda text: text.replace("[2,6]", "[2,999999999999999999999]"))


def _break_negative_shape(folder):
    _rewrite_header(folder, lambda text: text.replace("[2,6]", "[-2,-6]"))


def _break_pissa(folder):
    _edit_config(folder, init_lora_weights="pissa")


def _break_saved_modules(folder):
    _edit_config(folder, modules_to_save="classifier")


def _break_base_name(folder):
    _edit_config(folder, base_model_name_or_path="other/base")


def _break_revision(folder):
    _edit_config(folder.parent / "good", revision="a")
    _edit_config(folder, revision="b")


def _break_other_shapes(folder):
    save_file(linear(MODULES[0], shape=(5, 9)), folder / WEIGHTS)


BREAKS = [value for name, value in sorted(globals().items()) if name.startswith("_break_")]


ABOUT_BOTH = {_break_base_name, _break_revision, _break_other_shapes}


@pytest.mark.parametrize("method", sorted({*METHODS} - {"fold"}))
@pytest.mark.parametrize("break_it", BREAKS, ids=lambda b: b.__name__.removeprefix("_break_"))
def test_a_bad_folder_is_refused_before_anything_is_written(tmp_path, break_it, method):
    good, bad = _written(tmp_path / "good", 0), _written(tmp_path / "bad", 1)
    break_it(bad)
    with pytest.raises(InputError) as caught:
        merge([(good, 0.5), (bad, 0.5)], tmp_path / "out", method=method)
    assert "bad" in str(caught.value) or break_it in ABOUT_BOTH
    assert "secret-cell" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad", "good"]


def test_requests_that_make_no_sense_are_refused(tmp_path):
    members = [(_written(tmp_path / "one", 0), 1.0)]
    out = tmp_path / "out"
    with pytest.raises(UnknownName, match="did you mean 'concat'"):
        merge(members, out, method="concatt")
    with pytest.raises(UnknownName, match="bfloat16"):
        merge(members, out, dtype="float16")
    for wrong in ({"rank": 0}, {"energy": 0.0}, {"energy": 1.1}, {"rank": 1, "energy": 0.5}):
        with pytest.raises(InputError, match="cannot take this"):
            merge(members, out, method="svd", **wrong)
    for method in ("concat", "dense"):
        with pytest.raises(InputError, match="cannot take this"):
            merge(members, out, method=method, rank=2)
    with pytest.raises(InputError, match="thread"):
        merge(members, out, threads=0)
    with pytest.raises(InputError, match="needs the base"):
        merge(members, out, method="fold")
    with pytest.raises(InputError, match="takes no rank"):
        merge(members, out, method="fold", rank=2, base=tmp_path)
    for nothing in ([], [(members[0][0], 0.0)]):
        with pytest.raises(InputError, match="nothing to merge"):
            merge(nothing, out)
    with pytest.raises(InputError, match="not finite"):
        merge([(members[0][0], float("nan"))], out)
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_a_place_that_is_taken_is_left_alone(tmp_path):
    one = _written(tmp_path / "one", 0)
    before = (one / WEIGHTS).read_bytes()
    with pytest.raises(InputError, match="taken"):
        merge([(one, 1.0)], one)
    assert (one / WEIGHTS).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_a_module_that_is_adapted_and_saved_whole_is_refused(tmp_path):
    one = _written(tmp_path / "one", 0)
    whole = {"base_model.model.layer.0.query.weight": torch.ones(5, 6)}
    two = write_folder(
        tmp_path / "two", {**linear(MODULES[1]), **whole}, modules_to_save=["layer.0.query"]
    )
    base = tmp_path / "base"
    base.mkdir()
    save_file({"layer.0.query.weight": torch.ones(5, 6)}, base / "model.safetensors")
    with pytest.raises(InputError, match="saved whole in another"):
        merge([(one, 0.5), (two, 0.5)], tmp_path / "out", base=base)


def test_a_shape_that_differs_names_the_module(tmp_path):
    one, two = _written(tmp_path / "one", 0), _written(tmp_path / "two", 1)
    _break_other_shapes(two)
    with pytest.raises(ShapeMismatch, match=r"layer\.0\.query"):
        merge([(one, 0.5), (two, 0.5)], tmp_path / "out")
