"""A merge that ends before its time: nothing stands that a reader could take for whole."""

import resource
import subprocess
import sys
import time

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from rpe_core.merging.files.writing import TensorWriter
from tests.adapter_folders import linear, write_folder

CODE = """
import resource, sys
from pathlib import Path
from rpe_core.errors import WriteFailed
from rpe_core.merging.merge import merge
one, base, out = (Path(name) for name in sys.argv[1:4])
if len(sys.argv) > 5:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
print("ready", flush=True)
try:
    merge([(one, 0.5), (one, 0.5)], out, method=sys.argv[4], base=base)
except WriteFailed as error:
    sys.exit("free space" not in str(error))
sys.exit(2)
"""


@pytest.fixture
def inputs(tmp_path):
    """An adapter of 30 modules, and a base that has them."""
    tensors, weights = {}, {}
    for i in range(30):
        tensors |= linear(f"m{i}", rank=32, shape=(1024, 2048), seed=i)
        weights[f"m{i}.weight"] = torch.ones(1024, 2048)
    write_folder(tmp_path / "one", tensors, r=32)
    (tmp_path / "base").mkdir()
    save_file(weights, tmp_path / "base" / "model.safetensors")
    return [str(tmp_path / name) for name in ("one", "base", "out")]


def command(inputs, method, *more):
    return [sys.executable, "-c", CODE, *inputs, method, *more]


@pytest.mark.parametrize("method", ["concat", "fold"])
def test_a_full_disk_leaves_nothing(tmp_path, inputs, method):
    """A limit on the size of files stands in for the disk: the write fails half way."""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    done = subprocess.run(command(inputs, method, "small"), check=False, stdout=subprocess.PIPE)
    assert done.returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "one"]


@pytest.mark.parametrize("method", ["concat", "fold"])
def test_a_kill_half_way_leaves_nothing_that_could_be_taken_for_whole(tmp_path, inputs, method):
    child = subprocess.Popen(command(inputs, method), stdout=subprocess.PIPE)
    child.stdout.readline()
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".out.*/part/*")) and time.monotonic() < deadline:
        pass
    child.kill()
    child.wait()
    child.stdout.close()
    assert not (tmp_path / "out").exists()
    (left,) = tmp_path.glob(".out.*/part/*")  # it was killed in the middle
    with pytest.raises(SafetensorError), safe_open(left, framework="pt"):
        pass


def test_a_file_is_readable_by_none_until_it_is_finished(tmp_path):
    path = tmp_path / "x.safetensors"
    writer = TensorWriter(path, {"a": (4,), "b": (2, 2)}, dtype=torch.float32)
    writer.write("b", 0, torch.ones(2, 2))
    writer.write("a", 0, torch.zeros(4))
    with pytest.raises(SafetensorError), safe_open(path, framework="pt"):
        pass
    writer.finish()
    with safe_open(path, framework="pt") as file:
        assert file.get_tensor("b").tolist() == [[1.0, 1.0], [1.0, 1.0]]
