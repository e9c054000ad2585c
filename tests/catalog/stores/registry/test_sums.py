"""SHA256SUMS as coreutils writes and reads it, odd names too."""

import subprocess
from pathlib import Path

import pytest

from catalog.stores.registry.sums import SUMS, read_sums, sums_of, write_head, write_sums
from rpe_core.errors import InputError

NAMES = ("plain.txt", "a b.bin", "back\\slash", "line\nend", "d/inside", "\u00fcmlaut")


def test_coreutils_agrees_on_every_name(tmp_path: Path) -> None:
    for number, name in enumerate(NAMES):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(bytes(number))
    write_sums(tmp_path)
    told = subprocess.run(
        ["sha256sum", *sorted(NAMES)], cwd=tmp_path, capture_output=True, check=True
    ).stdout
    assert sorted((tmp_path / SUMS).read_bytes().split(b"\n")) == sorted(told.split(b"\n"))
    checked = subprocess.run(["sha256sum", "--strict", "-c", SUMS], cwd=tmp_path, check=False)
    assert checked.returncode == 0
    assert set(read_sums(told)) == set(NAMES)
    assert sums_of(told, {name: 1 for name in NAMES}).n_bytes == len(NAMES)


def test_written_anew_they_name_no_sums(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    write_sums(tmp_path)
    write_head(tmp_path, "0" * 64)
    (tmp_path / "a").write_bytes(b"2")
    write_sums(tmp_path)
    assert set(read_sums((tmp_path / SUMS).read_bytes())) == {"a"}
    checked = subprocess.run(["sha256sum", "--strict", "-c", SUMS], cwd=tmp_path, check=False)
    assert checked.returncode == 0


def test_a_comment_is_no_file_and_another_text_is_refused() -> None:
    assert read_sums(b"# of a release\n" + b"0" * 64 + b"  a\n") == {"a": "0" * 64}
    with pytest.raises(InputError, match="sha256sum"):
        read_sums(b"these are no sums\n")
