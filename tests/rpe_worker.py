"""A process that runs commands of `rpe` on many workspaces, its drivers loaded once.

A workspace should be named to one worker once: a driver may keep a file of it open.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HANGS_AFTER = 600.0  # seconds


@dataclass(frozen=True)
class Answer:
    """What a command wrote, and its exit code; one that hung was killed."""

    command: tuple[str, ...]
    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """All that it wrote."""
        return self.out + self.err

    @property
    def is_clear(self) -> bool:
        """Whether it failed, if it did, in words of ours."""
        return self.code >= 0 and "Traceback" not in self.said and "withheld" not in self.said

    def __str__(self) -> str:
        return f"`rpe {' '.join(self.command)}` ended with {self.code}: {self._end}"

    @property
    def _end(self) -> str:
        """The bad rows of a doctor, or the last words."""
        if self.command[:1] == ("doctor",) and self.out.startswith("{"):
            rows = json.loads(self.out).get("rows", [])
            return "; ".join(row["detail"] for row in rows if row["status"] == "bad")
        return " ".join(self.said.split())[-600:]


class Worker:
    """Commands one after the other, each on the workspace that is named with it."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        self._process: subprocess.Popen[str] | None = None

    def ask(self, home: Path, *commands: Sequence[str]) -> list[Answer]:
        """The answer of each command."""
        return [Answer(**self._told({"home": str(home), "command": list(c)})) for c in commands]

    def end_state(self, home: Path) -> dict[str, Any]:
        """The end state of a workspace."""
        found = self._told({"home": str(home), "command": []})
        if found["code"]:
            return {"end state": str(Answer(**found))}
        state: dict[str, Any] = json.loads(found["out"])
        return state

    def close(self) -> None:
        """End the process."""
        if self._process:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _told(self, request: dict[str, Any]) -> dict[str, Any]:
        process = self._process or self._start()
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        watch = threading.Timer(HANGS_AFTER, process.kill)
        watch.start()
        line = process.stdout.readline()
        watch.cancel()
        if not line:
            self.close()
            return {"command": request["command"], "code": -9, "out": "", "err": "hung or died"}
        told: dict[str, Any] = json.loads(line)
        return {**told, "command": tuple(told["command"])}

    def _start(self) -> subprocess.Popen[str]:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.rpe_worker"],
            env={**os.environ, **self._environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        return self._process


@contextmanager
def workers(number: int, environment: Mapping[str, str]) -> Iterator[list[Worker]]:
    """So many of them, gone afterwards."""
    made = [Worker(environment) for _ in range(number)]
    try:
        yield made
    finally:
        for worker in made:
            worker.close()


def main() -> None:
    """Answer requests until nobody asks any more."""
    from flows import cli  # the stores take seconds to import
    from tests.faults import ended_state, told_apart

    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        request = json.loads(line)
        os.environ["RPE_HOME"] = request["home"]
        answer: dict[str, Any] = {"command": request["command"], "code": 0}
        with told_apart(answer):
            try:
                if request["command"]:
                    sys.argv = ["rpe", *request["command"]]
                    cli.main()
                else:
                    print(json.dumps(ended_state()))
            except SystemExit as ended:
                answer["code"] = int(ended.code or 0)
            except BaseException as error:
                answer["code"] = 1
                print(f"Traceback: {type(error).__name__}: {error}", file=sys.stderr)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
