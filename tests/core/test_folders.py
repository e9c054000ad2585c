import hashlib
import json
import resource
import struct
import subprocess
import sys
import time

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from rpe_core.delta import LowRankDelta, peft_names
from rpe_core.errors import InputError, ShapeMismatch
from rpe_core.merging.dense import sum_products
from rpe_core.merging.folders import (
    CONFIG,
    MANIFEST,
    WEIGHTS,
    merge_folders,
    read_adapter,
    write_adapter,
)

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


def _edit_config(folder, **changes):
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**config, **changes}))


def _bytes_of(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


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
    assert _bytes_of(tmp_path / "a") == _bytes_of(tmp_path / "elsewhere" / "b")
    with safe_open(tmp_path / "a" / WEIGHTS, framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "elsewhere"]
    everything = b"".join(_bytes_of(tmp_path / "a").values())
    assert str(tmp_path).encode() not in everything
    modes = {path.stat().st_mode for path in (tmp_path / "a").iterdir()}
    assert len(modes) == 1


def test_a_place_that_is_taken_is_left_alone(tmp_path):
    folder = _written(tmp_path / "a", 0)
    before = _bytes_of(folder)
    with pytest.raises(InputError, match="taken"):
        _written(folder, 1)
    assert _bytes_of(folder) == before
    (tmp_path / "empty").mkdir()
    _written(tmp_path / "empty", 0)
    assert _bytes_of(tmp_path / "empty") == before


@pytest.mark.parametrize("name", ["/models/mini", "~/mini", "./mini", "C:\\models\\mini"])
def test_a_path_of_the_machine_is_no_base_name(tmp_path, name):
    with pytest.raises(InputError, match="cannot be written"):
        write_adapter(tmp_path / "a", _deltas(0), base_name=name, task_type=None)


def test_a_place_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(InputError, match="could not be written"):
        _written(tmp_path / "missing" / "a", 0)
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"could not be written|taken"):
        _written(tmp_path / "file" / "a", 0)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_leaves_nothing(tmp_path):
    """A limit on the size of files stands in for the disk: the write fails half way."""
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "import torch\n"
        "from rpe_core.delta import LowRankDelta\n"
        "from rpe_core.errors import InputError\n"
        "from rpe_core.merging.folders import write_adapter\n"
        "delta = LowRankDelta(torch.ones(64, 4096), torch.ones(4096, 64))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n"
        "    write_adapter(Path(sys.argv[1]), {'m': delta}, base_name='x', task_type=None)\n"
        "except InputError as error:\n"
        "    sys.exit('free space' not in str(error))\n"
        "sys.exit(2)\n"
    )
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a")], check=False)
    assert done.returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_a_kill_half_way_leaves_no_whole_looking_folder(tmp_path):
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "import torch\n"
        "from rpe_core.delta import LowRankDelta\n"
        "from rpe_core.merging.folders import write_adapter\n"
        "deltas = {f'm{i}': LowRankDelta(torch.ones(64, 4096), torch.ones(4096, 64)) "
        "for i in range(40)}\n"
        "print('ready', flush=True)\n"
        "write_adapter(Path(sys.argv[1]), deltas, base_name='x', task_type=None)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "a")], stdout=subprocess.PIPE
    )
    child.stdout.readline()
    deadline = time.monotonic() + 20
    while not list(tmp_path.glob(".a.*/part/*")) and time.monotonic() < deadline:
        pass
    child.kill()
    child.wait()
    child.stdout.close()
    assert not (tmp_path / "a").exists()
    assert list(tmp_path.glob(".a.*"))  # it was killed in the middle


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


def _break_nan(folder):
    state = load_file(folder / WEIGHTS)
    state[peft_names(MODULES[0])[0]][0, 0] = float("nan")
    save_file(state, folder / WEIGHTS)


BREAKS = [value for name, value in sorted(globals().items()) if name.startswith("_break_")]


@pytest.mark.parametrize("break_it", BREAKS, ids=lambda b: b.__name__.removeprefix("_break_"))
def test_a_bad_folder_is_refused_before_anything_is_written(tmp_path, break_it):
    good, bad = _written(tmp_path / "good", 0), _written(tmp_path / "bad", 1)
    break_it(bad)
    with pytest.raises(InputError) as caught:
        merge_folders([(good, 0.5), (bad, 0.5)], tmp_path / "out")
    assert "bad" in str(caught.value)
    assert "secret-cell" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad", "good"]


def test_a_merge_of_folders_is_the_dense_sum_with_its_manifest(tmp_path):
    one, two = _written(tmp_path / "one", 0), _written(tmp_path / "two", 1, rank=3)
    report = merge_folders([(one, 1.3), (two, -0.3)], tmp_path / "out")
    adapters = [read_adapter(one), read_adapter(two)]
    merged = read_adapter(tmp_path / "out")
    for module, delta in merged.deltas.items():
        exact = sum_products(
            [(adapters[0].deltas[module], 1.3), (adapters[1].deltas[module], -0.3)]
        )
        difference = delta.dense(dtype=torch.float64) - exact
        assert float(difference.norm() / exact.norm()) <= 1e-6
    assert (report.method, report.rank, report.relative_error) == ("concat", 5, 0.0)
    assert (report.servable_rank, report.is_servable) == (8, True)
    assert report.weights_sha256 == merged.weights_sha256
    assert json.loads((tmp_path / "out" / MANIFEST).read_text()) == {
        "method": "concat",
        "members": [
            {"weights_sha256": adapters[0].weights_sha256, "weight": 1.3},
            {"weights_sha256": adapters[1].weights_sha256, "weight": -0.3},
        ],
        "rank": 5,
        "servable_rank": 8,
        "relative_error": 0.0,
        "weights_sha256": report.weights_sha256,
    }


@pytest.mark.parametrize("method", ["concat", "svd", "dense"])
def test_the_same_merge_gives_the_same_bytes_anywhere(tmp_path, method):
    one, two = _written(tmp_path / "one", 0), _written(tmp_path / "two", 1)
    (tmp_path / "far").mkdir()
    reports = [
        merge_folders([(one, 0.4), (two, 0.6)], place, method=method)
        for place in (tmp_path / "x", tmp_path / "far" / "y")
    ]
    assert reports[0] == reports[1]
    assert _bytes_of(tmp_path / "x") == _bytes_of(tmp_path / "far" / "y")


def test_svd_caps_the_rank_and_records_its_error(tmp_path):
    one, two = _written(tmp_path / "one", 0), _written(tmp_path / "two", 1)
    report = merge_folders([(one, 0.5), (two, 0.5)], tmp_path / "out", method="svd", rank=1)
    assert (report.rank, report.servable_rank) == (1, 1)
    assert 0 < report.relative_error < 1
    manifest = json.loads((tmp_path / "out" / MANIFEST).read_text())
    assert manifest["relative_error"] == report.relative_error


def test_a_rank_beyond_every_server_is_said(tmp_path):
    folder = _written(tmp_path / "one", 0, rank=300)
    report = merge_folders([(folder, 0.5), (folder, 0.5)], tmp_path / "out")
    assert (report.rank, report.servable_rank, report.is_servable) == (600, 0, False)


def test_short_target_modules_are_kept_where_they_mean_the_same(tmp_path):
    for name, modules in (("one", MODULES), ("two", MODULES), ("part", MODULES[:2])):
        write_adapter(
            tmp_path / name,
            _deltas(0, modules=modules),
            base_name="minilm",
            task_type=None,
            target_modules=["value", "query"],
        )
    places = {name: tmp_path / name for name in ("one", "two", "part")}
    merge_folders([(places["one"], 0.5), (places["two"], 0.5)], tmp_path / "same")
    merge_folders([(places["one"], 0.5), (places["part"], 0.5)], tmp_path / "other")
    assert read_adapter(tmp_path / "same").config["target_modules"] == ["query", "value"]
    assert read_adapter(tmp_path / "other").config["target_modules"] == sorted(MODULES)


def test_bases_that_differ_are_refused_and_paths_are_reduced_to_a_name(tmp_path):
    one, two = _written(tmp_path / "one", 0), _written(tmp_path / "two", 1)
    _edit_config(one, base_model_name_or_path="/home/jane/models/minilm")
    merge_folders([(one, 0.5), (two, 0.5)], tmp_path / "out")
    assert read_adapter(tmp_path / "out").config["base_model_name_or_path"] == "minilm"
    assert b"jane" not in b"".join(_bytes_of(tmp_path / "out").values())
    _edit_config(two, base_model_name_or_path="other/base")
    with pytest.raises(InputError, match="different bases"):
        merge_folders([(one, 0.5), (two, 0.5)], tmp_path / "refused")
    assert not (tmp_path / "refused").exists()


def test_members_of_other_shapes_are_refused(tmp_path):
    one = _written(tmp_path / "one", 0)
    other = {MODULES[0]: LowRankDelta(torch.ones(2, 9), torch.ones(5, 2))}
    write_adapter(tmp_path / "two", other, base_name="minilm", task_type=None)
    with pytest.raises(ShapeMismatch):
        merge_folders([(one, 0.5), (tmp_path / "two", 0.5)], tmp_path / "out")


def test_no_member_is_refused(tmp_path):
    with pytest.raises(InputError, match="nothing to merge"):
        merge_folders([], tmp_path / "out")


def test_numbers_that_fp32_cannot_hold_are_not_written(tmp_path):
    huge = {"m": LowRankDelta(torch.ones(1, 2), torch.ones(2, 1), 1e300)}
    with pytest.raises(InputError, match="fp32"):
        write_adapter(tmp_path / "a", huge, base_name="x", task_type=None)
    assert list(tmp_path.iterdir()) == []
