import hashlib

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from rpe_core.delta import LowRankDelta
from rpe_core.errors import InputError, WriteFailed
from rpe_core.merging.files.adapter_reader import WEIGHTS
from rpe_core.merging.peft_folders import read_adapter, write_adapter
from tests.adapter_folders import bytes_of, convolution, embedding, linear, write_folder

MODULES = ("layer.0.query", "layer.0.value", "layer.1.query")


def _deltas(seed, rank=2, scaling=2.0, modules=MODULES):
    rng = torch.Generator().manual_seed(seed)
    return {
        module: LowRankDelta(
            torch.randn(rank, 6, generator=rng), torch.randn(5, rank, generator=rng), scaling
        )
        for module in modules
    }


def _written(folder, seed, **changes):
    write_adapter(folder, _deltas(seed, **changes), base_name="minilm", task_type=None)
    return folder


def test_what_is_written_is_read_back_with_the_scaling_folded_in(tmp_path):
    deltas = _deltas(0)
    sha256 = write_adapter(
        tmp_path / "a", deltas, base_name="minilm", task_type="FEATURE_EXTRACTION"
    )
    files = read_adapter(tmp_path / "a")
    assert files.weights_sha256 == sha256
    assert sha256 == hashlib.sha256((tmp_path / "a" / WEIGHTS).read_bytes()).hexdigest()
    assert list(files.deltas) == sorted(MODULES)
    for module, delta in files.deltas.items():
        assert delta.scaling == 1.0
        torch.testing.assert_close(delta.dense(), deltas[module].dense(), rtol=1e-6, atol=1e-6)
    assert (files.config["r"], files.config["lora_alpha"]) == (2, 2)
    assert files.config["base_model_name_or_path"] == "minilm"
    assert files.config["task_type"] == "FEATURE_EXTRACTION"
    assert files.config["target_modules"] == sorted(MODULES)


def test_mixed_ranks_survive_the_folder(tmp_path):
    deltas = {**_deltas(0), **_deltas(1, rank=4, modules=("layer.1.query",))}
    write_adapter(tmp_path / "a", deltas, base_name="minilm", task_type=None)
    back = read_adapter(tmp_path / "a").deltas
    assert {module: delta.rank for module, delta in back.items()} == {
        "layer.0.query": 2,
        "layer.0.value": 2,
        "layer.1.query": 4,
    }
    for module, delta in back.items():
        torch.testing.assert_close(delta.dense(), deltas[module].dense(), rtol=1e-6, atol=1e-6)


def test_the_bytes_are_a_function_of_the_content(tmp_path):
    deltas = _deltas(0)
    write_adapter(tmp_path / "a", deltas, base_name="minilm", task_type=None)
    (tmp_path / "elsewhere").mkdir()
    turned = dict(reversed(deltas.items()))
    write_adapter(tmp_path / "elsewhere" / "b", turned, base_name="minilm", task_type=None)
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "elsewhere" / "b")
    with safe_open(tmp_path / "a" / WEIGHTS, framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "elsewhere"]
    everything = b"".join(bytes_of(tmp_path / "a").values())
    assert str(tmp_path).encode() not in everything
    modes = {path.stat().st_mode for path in (tmp_path / "a").iterdir()}
    assert len(modes) == 1


def test_a_place_that_is_taken_is_left_alone(tmp_path):
    folder = _written(tmp_path / "a", 0)
    before = bytes_of(folder)
    with pytest.raises(InputError, match="taken"):
        _written(folder, 1)
    assert bytes_of(folder) == before
    (tmp_path / "empty").mkdir()
    _written(tmp_path / "empty", 0)
    assert bytes_of(tmp_path / "empty") == before


@pytest.mark.parametrize("name", ["/models/mini", "~/mini", "./mini", "C:\\models\\mini"])
def test_a_path_of_the_machine_is_no_base_name(tmp_path, name):
    with pytest.raises(InputError, match="cannot be written"):
        write_adapter(tmp_path / "a", _deltas(0), base_name=name, task_type=None)


def test_a_place_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(WriteFailed, match="could not be written"):
        _written(tmp_path / "missing" / "a", 0)
    (tmp_path / "file").write_text("x")
    with pytest.raises(WriteFailed, match="could not be written"):
        _written(tmp_path / "file" / "a", 0)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_file_is_byte_for_byte_what_the_safetensors_library_writes(tmp_path):
    deltas = {**_deltas(0), "a.b": _deltas(1)[MODULES[0]], "é": _deltas(2)[MODULES[0]]}
    write_adapter(tmp_path / "a", deltas, base_name="minilm", task_type=None)
    with safe_open(tmp_path / "a" / WEIGHTS, framework="pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(state, tmp_path / "theirs", metadata={"format": "pt"})
    assert (tmp_path / "a" / WEIGHTS).read_bytes() == (tmp_path / "theirs").read_bytes()


def test_numbers_that_fp32_cannot_hold_are_not_written(tmp_path):
    huge = {"m": LowRankDelta(torch.ones(1, 2), torch.ones(2, 1), 1e300)}
    with pytest.raises(InputError, match="fp32"):
        write_adapter(tmp_path / "a", huge, base_name="x", task_type=None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("more", [embedding("words"), convolution("pixels")])
def test_what_is_no_linear_layer_is_not_read_into_memory(tmp_path, more):
    write_folder(tmp_path / "a", {**linear("query"), **more})
    with pytest.raises(InputError, match="other than linear layers"):
        read_adapter(tmp_path / "a")
