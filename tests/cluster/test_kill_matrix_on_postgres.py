"""The kill matrix with lake and MLflow on PostgreSQL, and a PostgreSQL that goes away itself."""

from __future__ import annotations

import signal

import pytest

from tests.cluster.postgres import Postgres
from tests.faults import KILL, run_line
from tests.kill_matrix import World, go_on, put_back, run_undisturbed, told, try_copies
from tests.kill_operations import NIGHT_WORDS

pytestmark = pytest.mark.cluster


def test_every_tenth_call(world: World) -> None:
    n_tried, n_survived = told(try_copies(world, every=10))
    assert n_survived == n_tried >= 5


def test_a_true_kill_after_ten_calls(world: World) -> None:
    """The server sees the connection end and frees its locks: nobody restores a database here."""
    calm, calls = run_undisturbed(world)
    for number in range(3, len(calls), len(calls) // 10):
        put_back(world, world.fresh())
        killed = world.run("--at", number, "--do", KILL, *NIGHT_WORDS)
        assert killed.code == -signal.SIGKILL, killed
        assert go_on(world, calm) == (), calls[number - 1]


def test_the_server_goes_away(server: Postgres, world: World) -> None:
    """The night goes on or says what failed; once the server is back, the next one ends it."""
    calm, _ = run_undisturbed(world)
    for moment in ("lake ingest site_a", "registry create_run", "lake evaluate"):
        for action in ("restart", "stop"):
            put_back(world, world.fresh())
            night = world.run("--at", moment, "--do", server.control(action), *NIGHT_WORDS)
            print(moment, action, night, flush=True)
            if action == "stop":
                run_line(server.control("start"))
            assert night.is_clear
            assert go_on(world, calm) == ()
