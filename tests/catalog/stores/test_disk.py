"""Files written whole: the old content or the new one, whatever happens in between."""

import subprocess
import sys
from pathlib import Path

import pytest

from catalog.stores.disk import write_whole

KILLED = """
import os, signal, sys
from pathlib import Path
from catalog.stores.disk import write_whole
with write_whole(Path(sys.argv[1])) as part:
    part.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_file_is_written_where_no_folder_was(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b" / "file.json"
    with write_whole(file) as part:
        part.write_text("new")
        assert not file.exists()
    assert file.read_text() == "new"
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("is_contended", [False, True])
def test_an_error_leaves_the_old_content_and_nothing_beside_it(
    tmp_path: Path, is_contended: bool
) -> None:
    file = tmp_path / "file.json"
    file.write_text("old")
    with pytest.raises(UnicodeEncodeError), write_whole(file, is_contended=is_contended) as part:
        part.write_text("half" * 9999 + "\ud800", encoding="utf-8")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_what_a_killed_process_left_is_written_over(tmp_path: Path) -> None:
    file = tmp_path / "file.json"
    file.write_text("old")
    done = subprocess.run([sys.executable, "-c", KILLED, str(file)], check=False)
    assert done.returncode == -9
    assert file.read_text() == "old"
    (left,) = set(tmp_path.iterdir()) - {file}
    assert left.name.endswith(".part"), "what sweeps reports away goes by this"
    with write_whole(file) as part:
        part.write_text("new")
    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]


def test_two_that_write_at_once_are_in_each_others_way_no_more_than_two_renames(
    tmp_path: Path,
) -> None:
    file = tmp_path / "file.json"
    with write_whole(file, is_contended=True) as first:
        first.write_text("first")
        with write_whole(file, is_contended=True) as second:
            second.write_text("second")
        assert file.read_text() == "second"
    assert file.read_text() == "first"
    assert list(tmp_path.iterdir()) == [file]
