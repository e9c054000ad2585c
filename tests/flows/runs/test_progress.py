"""Progress: on stderr alone, with times, in lines or in bars."""

import os
import pty
import re
import subprocess
import sys

import pytest

from flows.runs import progress
from flows.runs.progress import announce, announce_step, progress_on_stderr

SCRIPT = """
from flows.runs.progress import announce, announce_step, progress_on_stderr
with progress_on_stderr("starting"):
    announce_step("embed", 2, 6)
    for i in (1, 2, 3):
        announce("embed", "[/site_a]", i, 3)
print("the result")
"""


def test_plain_lines_tell_the_time_and_what_is_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = iter([0.0, 0.0, 2.0, 2.0, 12.0, 12.0, 3674.0, 3674.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(seconds))
    with progress_on_stderr("starting"):
        announce_step("embed", 1, 2)
        announce("embed", "site_a", 1, 3)
        announce("embed", "site_b", 2, 3)
        announce("train", "site_a", 1, 1)
    announce("train", "nobody listens", 1, 1)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "[0:00] starting",
        "[0:02] embed 1/3: site_a",
        "[0:12] embed 2/3: site_b, 0:20 left of embed",
        "[1:01:14] train 1/1: site_a",
    ]


def test_a_terminal_has_bars_and_the_result_stands_alone_on_stdout() -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", SCRIPT]
    env = os.environ | {"TERM": "xterm", "COLUMNS": "80"}
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, env=env, check=True)
    os.close(theirs)
    shown = b""
    while chunk := _read(ours):
        shown += chunk
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert done.stdout == b"the result\n"
    assert "step 2 of 6: embed" in text
    assert "embed [/site_a]" in text
    assert re.search(r"2/3 +0:00:0\d", text)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # the other side is closed, and all is read
        return b""
