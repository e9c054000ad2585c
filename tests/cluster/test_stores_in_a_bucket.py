"""The four stores with their files in an object store: kept, read, guarded, erased, told."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path

import boto3
import numpy as np
import pytest

from catalog.errors import StoreError, StoreUnavailable
from catalog.integrity.lake_files import damage_of_lake
from catalog.retraction.byte_scan import scan
from catalog.stores.artifacts.artifacts import Artifacts
from catalog.stores.lake.files import named_files, sealed_hashes
from catalog.stores.lake.lake import Lake, guarded_reader
from catalog.stores.places import files_below, require_forgetting
from catalog.stores.registry.model_versions import VersionDraft
from catalog.stores.registry.registry import Registry
from catalog.stores.vectors.vectors import Vectors
from flows.runs.run_record import open_run
from flows.verification.champions import Looker
from flows.workspace.stores import open_stores
from flows.workspace.workspace import Workspace, load_declarations
from rpe_core.errors import InputError
from rpe_core.records import Representation
from tests.catalog.integrity.test_chain import edges, run_of
from tests.catalog.lakes import EDGE, NOON
from tests.pico_world import make_pico_workspace

pytestmark = pytest.mark.cluster

CELL = "quorvexil of the left lung"


def open_lake(tmp_path: Path, data: str, *, read_only: bool = False) -> Lake:
    return Lake.open(
        uri=f"ducklake:sqlite:{tmp_path}/catalog.sqlite",
        data_uri=data,
        lock_path=tmp_path / "writer.lock",
        clock=lambda: NOON,
        read_only=read_only,
    )


def keys_of(bucket: str) -> list[str]:
    """Names of all objects that hold anything, as the server tells them."""
    found = boto3.client("s3").list_objects_v2(Bucket=bucket.removeprefix("s3://"))
    return [one["Key"] for one in found.get("Contents", []) if one["Size"]]


def representation(name: str) -> Representation:
    z = tuple(np.random.default_rng(len(name)).normal(size=4).tolist())
    ids = (f"representation:{name}@1", f"dataset:{name}@1", "encoder")
    return Representation(*ids, "reference", 9, z, (1.0,) * 4, 9)


def test_rows_are_read_by_our_sql_and_by_theirs_and_go_for_good(
    bucket: str, tmp_path: Path
) -> None:
    data = f"{bucket}/rpe/lake"
    boto3.client("s3").put_object(
        Bucket=bucket.removeprefix("s3://"), Key="rpe/other.csv", Body=b"a\n1\n"
    )
    with open_lake(tmp_path, data) as lake:
        lake.migrate()
        for number in range(40):  # enough for the small files to be merged
            edge = {**EDGE, "child_id": f"dataset:{number}@1", "role": CELL}
            with lake.transaction(message="write", run=None) as tx:
                tx.insert_new("lineage", [edge])
        assert lake.merge_files() + lake.n_commits >= 40
    with open_lake(tmp_path, data, read_only=True) as lake:
        assert lake.rows("SELECT count(*) AS n FROM core.lineage") == [{"n": 40}]
    with guarded_reader(f"ducklake:sqlite:{tmp_path}/catalog.sqlite", data) as reader:
        assert reader.query("SELECT count(*) AS n FROM core.lineage").to_pylist() == [{"n": 40}]
        for sql in (
            f"SELECT * FROM read_csv('{bucket}/rpe/other.csv')",
            f"SELECT * FROM '{bucket}/rpe/other.csv'",
            f"SELECT * FROM '{data}/../other.csv'",
            "SELECT * FROM duckdb_secrets()",
        ):
            with pytest.raises((InputError, StoreError)) as caught:
                reader.query(sql)
            assert "not allowed" in str(caught.value) or "not read" in str(caught.value)
    assert scan([data], [CELL]).found, "it is there before"
    with open_lake(tmp_path, data) as lake:
        with lake.transaction(message="drop", run=None) as tx:
            tx.execute("DROP TABLE core.lineage")
        lake.forget_history()
    assert scan([f"{bucket}/rpe"], [CELL]).found == ()


def test_a_close_hashes_files_in_a_bucket_and_damage_to_them_is_told(
    bucket: str, tmp_path: Path
) -> None:
    client, name = boto3.client("s3"), bucket.removeprefix("s3://")
    with open_lake(tmp_path, f"{bucket}/hashed") as lake:
        lake.migrate()
        for number in (1, 2):
            with run_of(lake, number) as commit:
                commit.insert_new("lineage", edges(3, child=f"c{number}"))
        one = next(file for file in named_files(lake) if file.table == "lineage")
        assert one.name in sealed_hashes(lake)
        assert damage_of_lake(lake, is_deep=True) == []
        key = f"hashed/{one.path}"
        content = client.get_object(Bucket=name, Key=key)["Body"].read()
        for left, is_deep in ((content[:-1] + b"?", True), (content[:-1], False), (b"", False)):
            client.put_object(Bucket=name, Key=key, Body=left)
            (found,) = damage_of_lake(lake, is_deep=is_deep)
            assert found.where == f"core/lineage/{one.name}"
            assert found.what.startswith("is not what was kept")
        client.delete_object(Bucket=name, Key=key)
        assert [found.what for found in damage_of_lake(lake, is_deep=False)] == ["is gone"]


def test_a_night_looks_at_the_artifact_in_the_bucket_and_not_at_its_copy(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RPE_ARTIFACTS_URI", f"{bucket}/artifacts")
    settings, folder = make_pico_workspace(tmp_path), tmp_path / "adapter"
    folder.mkdir()
    (folder / "weights.bin").write_bytes(b"quorvexil")
    declared, stores = load_declarations(settings), open_stores(settings)
    with stores.lake:
        run = open_run("night", at=stores.lake.now)
        workspace = Workspace(settings, declared.plan, declared.contracts, stores, run)
        row = {"artifact_sha256": stores.artifacts.put_folder(folder)}
        assert Looker(workspace).wrong_artifact(row) == ""
        boto3.client("s3").put_object(
            Bucket=bucket.removeprefix("s3://"),
            Key=f"artifacts/{row['artifact_sha256']}/weights.bin",
            Body=b"quorvexim",
        )
        assert "is not what was kept" in Looker(workspace).wrong_artifact(row)


def test_vectors_are_found_and_leave_no_old_version(bucket: str, tmp_path: Path) -> None:
    def opened(name: str) -> Vectors:
        return Vectors.open(
            f"{bucket}/vectors", lock_path=tmp_path / "writer.lock", parts=tmp_path / name
        )

    here, there = opened("here"), opened("there")
    gone, stays = representation("gone"), representation("stays")
    here.put(gone, adapter_id="adapter:gone@1")
    here.put(stays, adapter_id="adapter:stays@1")
    allowed = {"adapter:gone@1", "adapter:stays@1"}
    nearest = there.library("encoder", allow=allowed).search(gone.z, k=2)
    assert [one.adapter_id for one in nearest] == ["adapter:gone@1", "adapter:stays@1"]
    assert there.representation(gone.representation_id).z == gone.z
    here.delete([gone.representation_id])
    assert there.keys() == {stays.representation_id}
    nearest = there.library("encoder", allow=allowed).search(gone.z, k=2)
    assert [one.adapter_id for one in nearest] == ["adapter:stays@1"]
    assert scan([f"{bucket}/vectors"], ["adapter:gone@1"]).found == ()


def open_registry(bucket: str, folder: Path) -> Registry:
    return Registry.open(
        tracking_uri=f"sqlite:///{folder}/mlflow.db",
        artifacts_uri=f"{bucket}/models",
        lock_path=folder / "writer.lock",
    )


def draft() -> VersionDraft:
    def write(folder: Path) -> None:
        (folder / "weights.bin").write_bytes(b"quorvexil")

    return VersionDraft("pico", "rpe.id", {"rpe.id": "adapter:pico@1"}, "a card", write)


def test_files_that_a_lost_database_knew_are_set_aside_and_leave_the_bucket(
    bucket: str, tmp_path: Path
) -> None:
    def put(path: Path, name: str) -> None:
        shutil.copytree(path, tmp_path / "aside" / name)

    lost = open_registry(bucket, tmp_path / "lost")
    lost.register(draft())
    assert lost.give_up_strays(aside=put) == 0
    known = set(keys_of(bucket))
    made_anew = open_registry(bucket, tmp_path / "new")
    ref = made_anew.register(draft())
    wanted = set(keys_of(bucket)) - known
    assert made_anew.give_up_strays(aside=put) == 1
    assert set(keys_of(bucket)) == wanted
    assert made_anew.read(ref, "weights.bin") == b"quorvexil"
    (kept,) = (tmp_path / "aside").rglob("weights.bin")
    assert kept.read_bytes() == b"quorvexil"
    assert made_anew.give_up_strays(aside=put) == 0


def test_files_of_a_version_come_and_go(bucket: str, tmp_path: Path) -> None:
    registry = open_registry(bucket, tmp_path)
    ref = registry.register(draft())
    assert [file.name for file in files_below(f"{bucket}/models")] != []
    assert scan([f"{bucket}/models"], ["quorvexil"]).found
    registry.delete_version(ref)
    registry.erase_deleted(["pico"])
    assert keys_of(bucket) == []


def test_a_bucket_that_keeps_versions_is_told(bucket: str) -> None:
    require_forgetting(f"{bucket}/lake")
    boto3.client("s3").put_bucket_versioning(
        Bucket=bucket.removeprefix("s3://"), VersioningConfiguration={"Status": "Enabled"}
    )
    with pytest.raises(StoreError, match="keeps what is deleted"):
        require_forgetting(f"{bucket}/lake")


def test_no_bucket_and_no_server_are_told_without_a_key(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = secrets.token_hex(16)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key)

    def fail(place: str, number: int) -> list[StoreError]:
        told: list[StoreError] = []
        with open_lake(tmp_path / f"lake{number}", f"{place}/lake") as lake:
            with pytest.raises(StoreError) as caught:
                lake.migrate()
            told.append(caught.value)
        with pytest.raises(StoreError) as caught:
            Vectors.open(f"{place}/vectors", lock_path=tmp_path / "writer.lock")
        told.append(caught.value)
        with pytest.raises(StoreError) as caught:
            list(files_below(f"{place}/artifacts"))
        told.append(caught.value)
        assert not [error for error in told if key in str(error)]
        return told

    for error in fail("s3://there-is-none", 0):
        assert "no such bucket" in str(error)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    for error in fail(bucket, 1):
        assert isinstance(error, StoreUnavailable), error
        assert "did not answer" in str(error)


def test_without_credentials_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(StoreError, match="no credentials"):
        Artifacts.open("s3://bucket/x", cache=tmp_path / "cache")
