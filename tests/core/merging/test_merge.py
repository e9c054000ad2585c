"""Merging folders: exact, recorded beside the weights, and a function of nothing but its inputs."""

import hashlib
import json
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from rpe_core.errors import InputError
from rpe_core.merging.manifest import MANIFEST
from rpe_core.merging.merge import merge
from tests.adapter_folders import (
    CONFIG,
    WEIGHTS,
    bytes_of,
    convolution,
    dense_deltas,
    dense_sum,
    distance,
    embedding,
    linear,
    write_folder,
)

MODULES = ("layer.0.query", "layer.0.value", "layer.1.query")


def adapter(folder, seed, *, rank=2, modules=MODULES, dtype=torch.float32, **config):
    tensors = {}
    for i, module in enumerate(modules):
        tensors |= linear(module, rank=rank, seed=10 * seed + i, dtype=dtype)
    return write_folder(folder, tensors, r=rank, target_modules=list(modules), **config)


@pytest.fixture
def members(tmp_path):
    """Mixed ranks, a member that lacks a module, a negative weight, a member of weight zero."""
    return [
        (adapter(tmp_path / "one", 0), 1.3),
        (adapter(tmp_path / "two", 1, rank=3, use_rslora=True), -0.3),
        (adapter(tmp_path / "part", 2, modules=MODULES[:1]), 0.5),
        (adapter(tmp_path / "unused", 3, modules=(*MODULES, "layer.9.query")), 0.0),
    ]


def test_concat_is_the_dense_sum_with_its_manifest(tmp_path, members):
    report = merge(members, tmp_path / "out")
    assert distance(dense_deltas(tmp_path / "out"), dense_sum(members[:3])) <= 1e-6
    assert (report.method, report.rank, report.relative_error) == ("concat", 7, 0.0)
    assert (report.servable_rank, report.is_servable, report.not_servable) == (8, True, "")
    weights = (tmp_path / "out" / WEIGHTS).read_bytes()
    assert report.weights_sha256 == hashlib.sha256(weights).hexdigest()
    assert json.loads((tmp_path / "out" / MANIFEST).read_text()) == {
        "method": "concat",
        "members": [
            {
                "weights_sha256": hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest(),
                "weight": weight,
            }
            for folder, weight in members
        ],
        "dtype": "float32",
        "asked": {"rank": None, "energy": None},
        "rank": 7,
        "servable_rank": 8,
        "servable_ranks": [8, 16, 32, 64, 128, 256, 320, 512],
        "is_servable": True,
        "not_servable": "",
        "relative_error": 0.0,
        "error_bound": 0.0,
        "rounding_ratio": 0.0,
        "modules": {},
        "weights_sha256": report.weights_sha256,
    }


def test_the_file_is_byte_for_byte_what_the_safetensors_library_writes(tmp_path, members):
    merge(members, tmp_path / "out")
    save_file(load_file(tmp_path / "out" / WEIGHTS), tmp_path / "x", metadata={"format": "pt"})
    assert (tmp_path / "out" / WEIGHTS).read_bytes() == (tmp_path / "x").read_bytes()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "asked", [{}, {"method": "svd", "rank": 2}, {"method": "svd", "energy": 0.7}]
)
def test_the_same_members_give_the_same_bytes_on_any_threads_and_anywhere(
    tmp_path, members, asked, dtype
):
    (tmp_path / "far").mkdir()
    places = [tmp_path / "x", tmp_path / "far" / "y"]
    reports = [
        merge(members, place, dtype=dtype, threads=threads, **asked)
        for place, threads in zip(places, (1, 2), strict=True)
    ]
    assert reports[0] == reports[1]
    assert bytes_of(places[0]) == bytes_of(places[1])
    assert str(tmp_path).encode() not in b"".join(bytes_of(places[0]).values())


def test_processes_of_one_and_two_threads_write_the_same_bytes(tmp_path):
    """Large enough for every kernel to split its work, in processes that start with 1 and 2."""
    shape, rank = (700, 900), 48
    members, weights = [], {"m.weight": torch.ones(shape), "n.weight": torch.ones(shape)}
    for seed in range(2):
        tensors = linear("m", rank=rank, shape=shape, seed=seed)
        tensors |= linear("n", rank=rank, shape=shape, seed=seed + 5)
        members.append(write_folder(tmp_path / f"a{seed}", tensors, r=rank))
    (tmp_path / "base").mkdir()
    save_file(weights, tmp_path / "base" / "model.safetensors")
    code = (
        "import sys; from pathlib import Path; from rpe_core.merging.merge import merge\n"
        "(one, two, base, out), n = map(Path, sys.argv[1:5]), int(sys.argv[5])\n"
        "for method in ('concat', 'svd', 'dense', 'fold'):\n"
        "    merge([(one, 0.6), (two, 0.5)], out / method, method=method, base=base, threads=n)"
    )
    for threads in ("1", "2"):
        out = tmp_path / f"out{threads}"
        out.mkdir()
        command = [sys.executable, "-c", code, *map(str, members), str(tmp_path / "base"), str(out)]
        subprocess.run([*command, threads], check=True, env={"OMP_NUM_THREADS": threads})
    for method in ("concat", "svd", "dense", "fold"):
        assert bytes_of(tmp_path / "out1" / method) == bytes_of(tmp_path / "out2" / method)


def test_svd_records_the_error_of_each_module_beside_the_bound(tmp_path, members):
    report = merge(members, tmp_path / "out", method="svd", rank=2)
    exact, found = dense_sum(members[:3]), dense_deltas(tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / MANIFEST).read_text())
    assert list(manifest["modules"]) == sorted(MODULES)
    for module, record in manifest["modules"].items():
        singular = torch.linalg.svdvals(exact[module])
        bound = float(singular[2:].norm() / singular.norm())
        error = float((found[module] - exact[module]).norm() / exact[module].norm())
        assert record["rank"] == 2
        assert record["error_bound"] == pytest.approx(bound, abs=1e-9)
        assert record["relative_error"] == pytest.approx(error, abs=1e-7)
        assert record["relative_error"] == pytest.approx(bound, abs=1e-6)
    assert report.relative_error == pytest.approx(distance(found, exact), abs=1e-7)
    assert report.error_bound == pytest.approx(report.relative_error, abs=1e-6)
    assert (report.rank, report.servable_rank) == (2, 8)


def test_svd_takes_the_largest_rank_of_a_member_by_default(tmp_path, members):
    assert merge(members, tmp_path / "out", method="svd").rank == 3


@pytest.mark.parametrize("energy", [0.3, 0.9, 0.99, 1.0])
def test_svd_by_energy_keeps_the_least_rank_that_has_the_share(tmp_path, members, energy):
    merge(members, tmp_path / "out", method="svd", energy=energy)
    exact = dense_sum(members[:3])
    modules = json.loads((tmp_path / "out" / MANIFEST).read_text())["modules"]
    for module, record in modules.items():
        shares = torch.linalg.svdvals(exact[module]).square().cumsum(0)
        shares = shares / shares[-1]
        assert shares[record["rank"] - 1] >= energy - 1e-12
        assert record["rank"] == 1 or shares[record["rank"] - 2] < energy


def test_bfloat16_goes_out_with_its_rounding_on_record(tmp_path):
    members = [
        (adapter(tmp_path / f"a{i}", i, dtype=torch.bfloat16), weight)
        for i, weight in enumerate((0.7, -0.4))
    ]
    report = merge(members, tmp_path / "out", dtype="bfloat16")
    state = load_file(tmp_path / "out" / WEIGHTS)
    assert {tensor.dtype for tensor in state.values()} == {torch.bfloat16}
    assert 0 < report.rounding_ratio < 2**-8
    error = distance(dense_deltas(tmp_path / "out"), dense_sum(members))
    assert 0 < error < 2**-8
    exact = merge(members, tmp_path / "exact")
    assert exact.rounding_ratio == 0.0
    wide = load_file(tmp_path / "exact" / WEIGHTS)
    for name, tensor in state.items():
        assert torch.equal(tensor, wide[name].bfloat16())  # one rounding, of the fp32 result


def test_what_no_norm_can_be_told_of_is_refused_in_any_dtype(tmp_path):
    tensors = linear("m")
    tensors["base_model.model.m.lora_A.weight"][0, 0] = 3.4e38
    one = write_folder(tmp_path / "one", tensors)
    for dtype in ("float32", "bfloat16"):
        with pytest.raises(InputError, match="too large to multiply"):
            merge([(one, 1.0)], tmp_path / dtype, dtype=dtype)
        assert not (tmp_path / dtype).exists()


def test_embeddings_and_convolutions_are_merged_in_their_own_shapes(tmp_path):
    members = [
        (
            write_folder(
                tmp_path / f"a{i}",
                {**linear("query", seed=i), **embedding("words", seed=i), **convolution("pixels")},
                target_modules=["query", "words", "pixels"],
            ),
            weight,
        )
        for i, weight in enumerate((0.6, -0.2))
    ]
    for asked in ({}, {"method": "svd", "rank": 4}, {"method": "dense"}):
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        report = merge(members, out, **asked)
        assert distance(dense_deltas(out), dense_sum(members)) <= 1e-6
        assert (report.is_servable, report.not_servable) == (False, "it adapts convolutions")
        with safe_open(out / WEIGHTS, framework="pt") as file:
            assert file.get_slice("base_model.model.pixels.lora_A.weight").get_shape()[1:] == [
                3,
                3,
                3,
            ]
            assert file.get_slice("base_model.model.words.lora_embedding_A").get_shape()[1] == 11


def test_members_that_share_their_a_add_no_rank(tmp_path):
    """As MiSS adapters of one rank do; the others are put beside them as ever."""
    one, other = (adapter(tmp_path / f"a{i}", i, rank=3) for i in range(2))
    tensors = load_file(one / WEIGHTS)
    changed = {name: -2 * t if "lora_B" in name else t for name, t in tensors.items()}
    sharing = write_folder(tmp_path / "b", changed, r=3, target_modules=list(MODULES), lora_alpha=1)
    members = [(one, 0.7), (sharing, -0.4)]
    assert merge(members, tmp_path / "two").rank == 3
    assert distance(dense_deltas(tmp_path / "two"), dense_sum(members)) <= 1e-6
    members.insert(1, (other, 0.7))
    assert merge(members, tmp_path / "three").rank == 6
    assert distance(dense_deltas(tmp_path / "three"), dense_sum(members)) <= 1e-6


def test_a_rank_beyond_every_server_is_said(tmp_path):
    one, two = (adapter(tmp_path / f"a{i}", i, rank=300) for i in range(2))
    report = merge([(one, 0.5), (two, 0.5)], tmp_path / "out")
    assert (report.rank, report.servable_rank, report.is_servable) == (600, 0, False)
    assert report.not_servable == "its rank exceeds 512"


def test_short_target_modules_are_kept_where_they_mean_the_same(tmp_path):
    one, two = (adapter(tmp_path / f"a{i}", i) for i in range(2))
    part = adapter(tmp_path / "part", 2, modules=MODULES[:2])
    for folder in (one, two, part):
        config = json.loads((folder / CONFIG).read_text())
        (folder / CONFIG).write_text(json.dumps({**config, "target_modules": ["value", "query"]}))
    merge([(one, 0.5), (two, 0.5)], tmp_path / "same")
    merge([(one, 0.5), (part, 0.5)], tmp_path / "other")
    same, other = (json.loads((tmp_path / x / CONFIG).read_text()) for x in ("same", "other"))
    assert same["target_modules"] == ["query", "value"]
    assert other["target_modules"] == sorted(MODULES)


def test_a_path_of_a_machine_is_reduced_to_a_name(tmp_path):
    one = adapter(tmp_path / "one", 0, base_model_name_or_path="/home/jane/models/pico")
    two = adapter(tmp_path / "two", 1)
    merge([(one, 0.5), (two, 0.5)], tmp_path / "out")
    assert json.loads((tmp_path / "out" / CONFIG).read_text())["base_model_name_or_path"] == "pico"
    assert b"jane" not in b"".join(bytes_of(tmp_path / "out").values())
