"""A PostgreSQL of its own for tests: Debian's server as a process on loopback, gone afterwards."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.faults import run_line

USER, UNPRIVILEGED = "rpe", "nobody"


@dataclass(frozen=True)
class Postgres:
    """A running server; its password lies in the file that PGPASSFILE names."""

    port: int
    passfile: Path
    binaries: Path
    user: str | None  # whose process it is, if not ours

    def libpq(self, database: str) -> str:
        """Keywords of libpq."""
        return f"host=127.0.0.1 port={self.port} dbname={database} user={USER}"

    def url(self, database: str, *, driver: str = "") -> str:
        """The URL of SQLAlchemy."""
        return f"postgresql{driver}://{USER}@127.0.0.1:{self.port}/{database}"

    def control(self, action: str) -> str:
        """A line of shell that starts the server, or stops or restarts it as a crash does."""
        names = {"data": self.passfile.parent / "data", "log": self.passfile.parent / "log"}
        caller = f"runuser -u {self.user} -- " if self.user else ""
        options = '-D "{data}" -l "{log}" -w'.format(**names)
        options += "" if action == "start" else " -m immediate"
        return f'cd / && {caller}"{self.binaries / "pg_ctl"}" {options} {action} > /dev/null'

    def make_database(self, database: str) -> None:
        """A new, empty database."""
        self._client("createdb", database)

    def dump_command(self, database: str, file: str) -> str:
        """A line of shell that writes a database to a file while it is in use."""
        at = f"-h 127.0.0.1 -p {self.port} -U {USER}"
        return f'"{self.binaries / "pg_dump"}" {at} -Fc -f "{file}" {database}'

    def empty(self, database: str) -> None:
        """The database without a table, whoever is connected to it."""
        self._client("dropdb", "--force", database)
        self.make_database(database)

    def restore(self, database: str, file: Path) -> None:
        """The database as it was when it was dumped, whoever is connected to it."""
        self.empty(database)
        self._client("pg_restore", "-d", database, str(file))

    def analyze(self, database: str) -> None:
        """Let the server look at the values of all tables, as it does by itself now and then."""
        self._client("psql", "-d", database, "-qAtc", "ANALYZE")

    def holds(self, database: str, marker: bytes) -> bool:
        """Whether a file of the database has these bytes, once all is written to it."""
        sql = "CHECKPOINT; SELECT oid FROM pg_database WHERE datname = current_database()"
        oid = self._client("psql", "-d", database, "-qAtc", sql)
        files = (self.passfile.parent / "data" / "base" / oid).iterdir()
        return any(marker in file.read_bytes() for file in files)

    def _client(self, program: str, *arguments: str) -> str:
        """What a client program of the server's package prints."""
        server = ("-h", "127.0.0.1", "-p", str(self.port), "-U", USER)
        asked = subprocess.run(
            [self.binaries / program, *server, *arguments],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PGPASSFILE": str(self.passfile)},
        )
        return asked.stdout.strip()


@contextmanager
def postgres(folder: Path) -> Iterator[Postgres]:
    """A server for the length of a `with` block, with a password that nobody else knows."""
    binaries, data = _binaries(), folder / "data"
    password = secrets.token_hex(16)
    pwfile = folder / "password"
    pwfile.write_text(password)
    user = _give_away(folder)
    _run(
        user,
        binaries / "initdb",
        "-D",
        data,
        "-U",
        USER,
        "-A",
        "scram-sha-256",
        "--pwfile",
        pwfile,
        "-N",
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (data / "postgresql.conf").open("a") as conf:
        conf.write(f"listen_addresses = '127.0.0.1'\nport = {port}\nmax_connections = 60\n")
        conf.write("unix_socket_directories = ''\n")
    passfile = folder / "pgpass"
    passfile.write_text(f"127.0.0.1:{port}:*:{USER}:{password}\n")
    passfile.chmod(0o600)
    server = Postgres(port, passfile, binaries, user)
    run_line(server.control("start"))
    try:
        yield server
    finally:
        run_line(server.control("stop"))


def _binaries() -> Path:
    """Where Debian's package, or any other, has put the server."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    if not found and not on_path:
        raise RuntimeError("no PostgreSQL server: install the package postgresql")
    return found[-1].parent if found else Path(str(on_path)).parent


def _give_away(folder: Path) -> str | None:
    """PostgreSQL refuses to run as root: then the folder and the server are somebody else's."""
    if os.geteuid() != 0:
        return None
    for path in (folder, *folder.iterdir()):
        shutil.chown(path, UNPRIVILEGED)
    return UNPRIVILEGED


def _run(user: str | None, *command: object) -> None:
    subprocess.run(
        [str(part) for part in command], check=True, user=user, cwd="/", stdout=subprocess.DEVNULL
    )
