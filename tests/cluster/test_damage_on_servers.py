"""The table of damages with lake and MLflow on PostgreSQL and every store in an object store."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest

from flows.workspace.settings import Settings
from tests.cluster.postgres import Postgres
from tests.damage import NIGHTLY
from tests.damage_table import CASES, mend, notice
from tests.faults import run_line
from tests.pico_world import make_pico_workspace
from tests.rpe_worker import workers

pytestmark = pytest.mark.cluster


@dataclass
class ServerFiles:
    """Files of the stores in a bucket, and databases on a server; kept once, put back often."""

    server: Postgres
    databases: list[str]
    bucket: str
    dumps: Path
    client: Any = field(default_factory=lambda: boto3.client("s3"))
    kept: dict[str, bytes] = field(default_factory=dict)

    def names(self, store: str) -> list[str]:
        root = f"{store.replace('_', '-')}/"
        return [key.removeprefix(root) for key in self._keys() if key.startswith(root)]

    def read(self, store: str, name: str) -> bytes:
        return self._read(f"{store.replace('_', '-')}/{name}")

    def write(self, store: str, name: str, content: bytes) -> None:
        key = f"{store.replace('_', '-')}/{name}"
        self.client.put_object(Bucket=self.bucket, Key=key, Body=content)

    def delete(self, store: str, name: str) -> None:
        self.client.delete_object(Bucket=self.bucket, Key=f"{store.replace('_', '-')}/{name}")

    def lose_database(self, name: str) -> None:
        self.server.empty(self.databases[("lake", "mlflow").index(name)])

    def keep(self) -> None:
        """Remember all of it."""
        self.kept = {key: self._read(key) for key in self._keys()}
        for name in self.databases:
            run_line(self.server.dump_command(name, str(self.dumps / name)))

    def put_back(self) -> None:
        """Let all be as it was when it was kept."""
        for key in self._keys():
            self.client.delete_object(Bucket=self.bucket, Key=key)
        for key, content in self.kept.items():
            self.client.put_object(Bucket=self.bucket, Key=key, Body=content)
        for name in self.databases:
            self.server.restore(name, self.dumps / name)

    def _keys(self) -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        return sorted(one["Key"] for page in pages for one in page.get("Contents", []))

    def _read(self, key: str) -> bytes:
        content: bytes = self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return content


def test_every_row_of_the_table(
    server: Postgres,
    lake_on_servers: list[str],
    bucket: str,
    prefect_api: str,
    tmp_path: Path,
) -> None:
    files = ServerFiles(server, lake_on_servers, bucket.removeprefix("s3://"), tmp_path)
    environment = {"PREFECT_API_URL": prefect_api, "OMP_NUM_THREADS": "1"}
    settings = make_pico_workspace(tmp_path)
    settings.root.chmod(0o700)
    plan = settings.plan_file.read_text().replace("epochs: 1", "epochs: 6")
    settings.plan_file.write_text(plan.replace("learning_rate: 5.0e-3", "learning_rate: 2.0e-2"))
    with workers(1, environment) as (worker,):
        (night,) = worker.ask(settings.root, NIGHTLY)
    assert night.code == 0, night
    files.keep()
    settings.root.rename(tmp_path / "kept")
    faults: dict[str, list[str]] = {}
    for name, case in CASES.items():
        shutil.rmtree(settings.root, ignore_errors=True)
        shutil.copytree(tmp_path / "kept", settings.root)
        files.put_back()
        with workers(2, environment) as (look, hand):
            case.spoil(Settings(home=settings.root), files)
            found = notice(look, settings.root, case)
            found += mend(hand, settings.root, case)
        if Path("ran").exists():
            found.append("code that nobody kept was run")
        print(name, found or "good", flush=True)
        if found:
            faults[name] = found
    assert faults == {}
