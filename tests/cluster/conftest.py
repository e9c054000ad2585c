"""Fixtures of the tests on servers: one of each a session, a database and a bucket for a test."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import boto3
import pytest

from flows.runs.prefect_server import prefect_server
from flows.workspace.settings import Settings
from tests.cluster.object_store import object_store
from tests.cluster.postgres import Postgres, postgres
from tests.cluster.ray_nodes import ray_nodes
from tests.kill_matrix import World


@pytest.fixture(scope="session")
def server() -> Iterator[Postgres]:
    """A real PostgreSQL; pytest's own folders are closed to the user that it runs as."""
    with TemporaryDirectory(prefix="rpe-postgres-") as folder, postgres(Path(folder)) as running:
        yield running


@pytest.fixture
def database(server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of an empty database, and the environment that lets every client in."""
    name = f"rpe_{abs(hash(str(tmp_path))) % 10**9}"
    monkeypatch.setenv("PGPASSFILE", str(server.passfile))
    server.make_database(name)
    return name


@pytest.fixture
def databases(server: Postgres, database: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The environment of a workspace with lake and MLflow on PostgreSQL; names of its databases."""
    names = [database, f"{database}_mlflow"]
    server.make_database(names[1])
    monkeypatch.setenv("RPE_LAKE_URI", f"ducklake:postgres:{server.libpq(names[0])}")
    monkeypatch.setenv("RPE_TRACKING_URI", server.url(names[1]))
    return names


@pytest.fixture
def world(server: Postgres, databases: list[str], tmp_path: Path, prefect_api: str) -> World:
    """A world with lake and MLflow on PostgreSQL; its copies hold both databases."""

    def restore(copy: Path) -> None:
        for name in databases:
            server.restore(name, copy / f"{name}.dump")

    also = " && ".join(server.dump_command(name, f"$COPY/{name}.dump") for name in databases)
    environment = {"PREFECT_API_URL": prefect_api, "OMP_NUM_THREADS": "1"}
    return World(tmp_path, environment, also=also, restore=restore)


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    """A real object store, whatever its keys are."""
    with object_store() as url:
        yield url


@pytest.fixture
def bucket(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of an empty bucket, and the environment that lets every client in."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "cluster-test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secrets.token_hex(16))
    name = f"rpe-{secrets.token_hex(6)}"
    boto3.client("s3").create_bucket(Bucket=name)
    return f"s3://{name}"


@pytest.fixture
def prefect(
    server: Postgres, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The name of the database of a Prefect server, which every flow then uses."""
    name = f"{database}_prefect"
    server.make_database(name)
    url = server.url(name, driver="+asyncpg")
    monkeypatch.setenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", url)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with prefect_server(Settings(home=tmp_path / "prefect")) as api:
        monkeypatch.setenv("PREFECT_API_URL", api)
        yield name


@pytest.fixture
def lake_on_servers(
    databases: list[str], bucket: str, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """The environment of a workspace whose stores are all on servers; names of its databases."""
    for place in ("lake_data", "vectors", "artifacts", "model_artifacts"):
        uri = f"{bucket}/{place.replace('_', '-')}"
        monkeypatch.setenv(f"RPE_{place.upper()}_URI", uri)
    return databases


@pytest.fixture
def workers(
    lake_on_servers: list[str], prefect: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Two workers of a Ray, which have the environment of everything before them."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    with TemporaryDirectory(prefix="rpe-ray-") as folder, ray_nodes(Path(folder)) as address:
        monkeypatch.setenv("RAY_ADDRESS", address)
        monkeypatch.setenv("RPE_TASK_RUNNER", "ray")
        yield
