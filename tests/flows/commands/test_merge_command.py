"""`rpe merge` by itself: no workspace, no platform, an exit code that says what happened."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.adapter_folders import bytes_of, dense_deltas, dense_sum, distance, linear, write_folder

Rpe = Callable[..., int]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for i, name in enumerate(("a", "b", "c=d")):
        write_folder(tmp_path / name, linear("query", rank=i + 1, seed=i), r=i + 1)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "members",
    [
        ["--members", "a=0.6", "b=-0.1", "c=d=2"],
        ["--members", "a=0.6", "--members", "b=-0.1", "--members", "c=d=2"],
    ],
)
def test_members_may_follow_one_option_or_each_their_own(
    desk: Path, rpe: Rpe, capsys: pytest.CaptureFixture[str], members: list[str]
) -> None:
    assert rpe("merge", *members, "--out", "merged", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert (row["folder"], row["method"], row["rank"]) == ("merged", "concat", 6)
    exact = dense_sum([(desk / "a", 0.6), (desk / "b", -0.1), (desk / "c=d", 2.0)])
    assert distance(dense_deltas(desk / "merged"), exact) <= 1e-6


def test_every_option_reaches_the_merge(desk: Path, rpe: Rpe) -> None:
    from safetensors.torch import load_file, save_file

    (desk / "base").mkdir()
    save_file({"query.weight": torch.ones(5, 6)}, desk / "base" / "model.safetensors")
    members = ("--members", "b=1", "c=d=1")
    assert rpe("merge", *members, "--method", "svd", "--energy", "0.5", "--out", "e") == 0
    assert json.loads((desk / "e" / "rpe_merge.json").read_text())["asked"]["energy"] == 0.5
    assert rpe("merge", *members, "--dtype", "bfloat16", "--threads", "1", "--out", "h") == 0
    weights = load_file(desk / "h" / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}
    assert rpe("merge", *members, "--method", "fold", "--base", "base", "--out", "f") == 0
    assert (desk / "f" / "model.safetensors").is_file()


def test_a_fold_tells_what_it_left_out(
    desk: Path, rpe: Rpe, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors.torch import save_file

    (desk / "base").mkdir()
    save_file({"query.weight": torch.ones(5, 6)}, desk / "base" / "model.safetensors")
    for name in ("source.spm", "training_args.bin"):
        (desk / "base" / name).write_bytes(b"x")
    how = ("--method", "fold", "--base", "base", "--out", "f", "--json")
    assert rpe("merge", "--members", "b=1", *how) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row["left_out"] == ["training_args.bin"]
    assert (desk / "f" / "source.spm").read_bytes() == b"x"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("--members", "a", "--out", "x"), 2, "FOLDER=WEIGHT"),
        (("--members", "a=much", "--out", "x"), 2, "FOLDER=WEIGHT"),
        (("--members", "a=1", "secret", "--out", "x"), 2, "FOLDER=WEIGHT"),
        (("--members", "a=1"), 2, "--out"),
        (("--members", "a=1", "--method", "concatt", "--out", "x"), 2, "did you mean"),
        (("--members", "nowhere=1", "--out", "x"), 2, "adapter_config.json"),
        (("--members", "a=nan", "--out", "x"), 2, "not finite"),
        (("--members", "a=1", "--out", "a"), 2, "taken"),
        (("--members", "a=1", "--out", "missing/x"), 1, "could not be written"),
    ],
)
def test_what_goes_wrong_is_told_and_leaves_nothing(
    desk: Path,
    rpe: Rpe,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    code: int,
    says: str,
) -> None:
    before = bytes_of(desk / "a")
    found = rpe("merge", *words)
    told = capsys.readouterr().err
    assert (found, says in told) == (code, True), told
    assert "secret" not in told
    assert sorted(path.name for path in desk.iterdir()) == ["a", "b", "c=d"]
    assert bytes_of(desk / "a") == before


def test_it_needs_no_platform(desk: Path) -> None:
    """The arithmetic alone: nothing of the platform is imported, and no workspace is made."""
    code = (
        "import sys; from flows.cli import app\n"
        "app(['merge', '--members', 'a=1', '--out', 'x'], standalone_mode=False)\n"
        "heavy = {'prefect', 'mlflow', 'lancedb', 'duckdb', 'great_expectations', 'peft',\n"
        "         'transformers', 'pandas', 'flows.workspace.settings'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in desk.iterdir()) == ["a", "b", "c=d", "x"]
