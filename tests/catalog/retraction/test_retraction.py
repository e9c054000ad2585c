"""Retraction on a real lake: what goes, what stays, what the bytes of the files say afterwards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from catalog.errors import ContractViolated, RecordNotFound
from catalog.intake.deliveries import pending_files
from catalog.intake.landing import ingest
from catalog.integrity.rows import read_chain
from catalog.records import promotion
from catalog.records.promotion import VerdictRecord
from catalog.retraction import byte_scan, erasure, retraction
from catalog.retraction.influence import Subject, influence_of, subject_of
from catalog.stores.lake import chain
from catalog.stores.lake.lake import Lake
from catalog.stores.registry.model_versions import VersionDraft
from catalog.stores.sqlite_files import vacuum
from catalog.stores.stores import Stores
from catalog.tables.schema import TABLES
from rpe_core.errors import UnknownName
from tests.catalog.embedded_stores import open_stores
from tests.catalog.lakes import RUN, contract, fresh_lake, open_lake

# the lexical extremes of a column, a key and a row set aside: where DuckLake keeps what it counted
MARKERS = ["!qzxleast", "~qzxmost", "qzxkey-0007", "qzxsetaside", "qzxfilename"]


def deliver(folder: Path, source: str, file: str, rows: list[dict[str, Any]]) -> Any:
    """Lines of JSON in a folder, and the contract that reads them."""
    folder.mkdir(exist_ok=True)
    (folder / file).write_text("".join(json.dumps(row) + "\n" for row in rows))
    declared = contract().model_dump(mode="json")
    declared |= {
        "source": source,
        "files": {"path": f"{folder}/*.jsonl", "format": "jsonl"},
        "on_violation": {"max_quarantined_ratio": 0.5},
    }
    return type(contract()).model_validate(declared)


def rows_of(name: str, n: int = 12) -> list[dict[str, Any]]:
    return [
        {"note_id": f"{name}-{i:04}", "text": f"{name} note {i}", "label": ["yes", "no"][i % 2]}
        for i in range(n)
    ]


def marked() -> list[dict[str, Any]]:
    rows = rows_of("qzxkey")
    rows[0]["text"], rows[1]["text"] = MARKERS[0], MARKERS[1]
    return [*rows, {"note_id": "qzxkey-0099", "text": "a note", "label": MARKERS[3]}]


def state_of(lake: Lake) -> dict[str, list[str]]:
    """Every row of every table of ours, without times."""
    times = ("recorded_at", "superseded_at", "retracted_at", "snapshot_id")
    return {
        table.name: sorted(
            str([value for name, value in row.items() if name not in times])
            for row in lake.rows(f"FROM core.{table.name}")
        )
        for table in TABLES
    }


def test_nothing_of_a_source_is_left_in_any_file_and_the_rest_is_as_it_was(tmp_path: Path) -> None:
    home = tmp_path / "home"
    stays = deliver(tmp_path / "b", "site_b", "b.jsonl", rows_of("other"))
    with fresh_lake(home) as lake:
        ingest(lake, stays, run=RUN)
        before = state_of(lake)
        went = deliver(tmp_path / "a", "site_a", "qzxfilename.jsonl", marked())
        ingest(lake, went, run=RUN)
        with lake.transaction(message=chain.CLOSING, run=RUN) as commit:
            steps = '[{"done":["site_a","site_b"],"failed":[],"name":"ingest"}]'
            chain.seal(commit, {"run_id": RUN.run_id, "steps_json": steps, "faults_json": "[]"})
        assert [m for m in MARKERS if byte_scan.scan([str(home)], [m]).found] == MARKERS
        influence = influence_of(lake, Subject("site_a"))
        texts = byte_scan.needles_of(lake, "site_a", list(influence.deliveries))
        assert {"!qzxleast", "~qzxmost"} <= set(texts)
        assert not any("other" in text for text in texts)
        for _ in range(2):  # a killed erasure is done again
            erasure.erase_rows(lake, influence, run=RUN)
            lake.forget_history()
    vacuum(home / "lake" / "catalog.sqlite")

    assert byte_scan.scan([str(home)], [*MARKERS, *texts]).found == ()
    with open_lake(home) as lake:
        after = state_of(lake)
        tombstones = [row for row in after["batches"] if row not in before["batches"]]
        assert len(tombstones) == 1
        for table in before:
            if table not in ("batches", "dataset_versions", "links", "runs"):
                assert after[table] == before[table], table
        found = read_chain(lake)
        assert (found.findings, found.n_amended > 0) == ((), True), "what went, went lawfully"
        comments = lake.rows("SELECT comment FROM duckdb_columns() WHERE table_name = 'batches'")
        assert all(row["comment"] for row in comments)
        assert pending_files(lake, [went, stays]) == {"site_a": [], "site_b": []}


def test_withdrawn_bytes_are_refused_under_any_name(tmp_path: Path) -> None:
    with fresh_lake(tmp_path / "home") as lake:
        first = deliver(tmp_path / "a", "site_a", "a.jsonl", rows_of("note"))
        version = ingest(lake, first, run=RUN).dataset_version_id
        assert version
        erasure.erase_rows(lake, influence_of(lake, Subject("site_a", version)), run=RUN)

        again = deliver(tmp_path / "c", "site_c", "c.jsonl", rows_of("note"))
        with pytest.raises(ContractViolated, match="retracted") as caught:
            ingest(lake, again, run=RUN)
        assert "c.jsonl" not in str(caught.value)
        assert pending_files(lake, [again]) == {"site_c": []}
        # the same rows in another order are other bytes, and the same content
        deliver(tmp_path / "a", "site_a", "b.jsonl", rows_of("note")[::-1])
        with pytest.raises(ContractViolated, match="withdrawn before"):
            ingest(lake, first, run=RUN)


def test_a_version_takes_its_deliveries_and_those_with_nothing_else(tmp_path: Path) -> None:
    with fresh_lake(tmp_path / "home") as lake:
        source = deliver(tmp_path / "a", "site_a", "1.jsonl", rows_of("note"))
        version = ingest(lake, source, run=RUN).dataset_version_id
        assert version
        deliver(tmp_path / "a", "site_a", "2.jsonl", rows_of("note")[::-1])
        deliver(tmp_path / "a", "site_a", "3.jsonl", rows_of("more"))
        ingest(lake, source, run=RUN)
        influence = influence_of(lake, subject_of(lake, version, declared=[]))
        assert (len(influence.deliveries), len(influence.staying)) == (2, 1)
        assert len(influence.dataset_versions) == 2

        texts = byte_scan.needles_of(lake, "site_a", list(influence.deliveries))
        assert any("note-" in text for text in texts)
        assert not any("more" in text for text in texts), "these rows are landed anew"
        erasure.erase_rows(lake, influence, run=RUN)
        assert ingest(lake, source, run=RUN).dataset_version_id not in influence.dataset_versions
        kept = lake.rows("SELECT note_id FROM raw.site_a")
        assert {row["note_id"][:4] for row in kept} == {"more"}


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    with fresh_lake(tmp_path / "home") as lake:
        with pytest.raises(UnknownName, match="site_b"):
            subject_of(lake, "site_c", declared=["site_b"])
        with pytest.raises(RecordNotFound):
            subject_of(lake, "dataset:site_b@0123456789ab", declared=["site_b"])


def promoted(stores: Stores, name: str) -> str:
    """A bare version of a target's model that the gate has let serve; its number."""
    ensemble_id = f"ensemble:site-t@{name}"
    tags = {"rpe.ensemble_id": ensemble_id}
    draft = VersionDraft("site-t", "rpe.ensemble_id", tags, "", lambda f: (f / "file").touch())
    ref = stores.registry.register(draft)
    named = {"target_name": "site-t", "dataset_version_id": "dataset:site_t@1"}
    ensemble = {**named, "ensemble_id": ensemble_id, "base_id": "pico@1", "artifact_sha256": name}
    version = {"model_name": ref.name, "model_version": ref.version, "record_id": ensemble_id}
    with stores.lake.transaction(message="test", run=RUN) as commit:
        commit.insert_new("ensembles", [ensemble])
        commit.insert_new("model_versions", [{**version, "kind": "ensemble"}])
    verdict = VerdictRecord(
        **named,
        arm="linear",
        ensemble_id=ensemble_id,
        champion_ensemble_id="",
        action="promoted",
        evidence="labels",
        reasons=("Because.",),
        actor="gate",
    )
    promotion.record_verdicts(stores, [(verdict, ())], run=RUN)
    return ref.version


def test_aliases_fall_back_to_what_came_before_the_source(tmp_path: Path) -> None:
    with open_stores(tmp_path) as stores:
        before = promoted(stores, "before")
        with stores.lake.transaction(message="test", run=RUN) as commit:
            for source, base in (("site_a", "pico@1"), ("site_b", "nano@1")):
                row = {"adapter_id": f"adapter:{source}@1", "source": source, "base_id": base}
                commit.insert_new("adapters", [{**row, "artifact_sha256": source}])
        # the source is no member of it: to have been a candidate is enough
        after = promoted(stores, "after")
        assert stores.registry.aliases("site-t")["champion"] == after

        elsewhere = influence_of(stores.lake, Subject("site_b"))
        assert (elsewhere.ensembles, elsewhere.targets) == ({}, {})
        influence = influence_of(stores.lake, Subject("site_a"))
        assert list(influence.ensembles) == ["ensemble:site-t@after"]
        assert influence.versions == (f"site-t/{after}",)
        one = retraction.begin(stores, influence, reason="consent withdrawn", run=RUN)
        assert (one.state, one.influence) == (retraction.WITHDRAWN, influence)
        assert set(stores.registry.aliases("site-t").values()) == {before}
        own = influence_of(stores.lake, Subject("site_t"))
        assert own.targets == {"site-t": ""}
        assert len(own.ensembles) == 2
        retraction.begin(stores, own, reason="consent withdrawn", run=RUN)
        assert stores.registry.aliases("site-t") == {}


def test_an_experiment_with_the_source_goes_whole_and_another_stays(tmp_path: Path) -> None:
    kinds = ("scores", "distances", "findings", "methods")
    tables = ("experiments", *(f"experiment_{kind}" for kind in kinds))
    with fresh_lake(tmp_path / "home") as lake:
        ingest(lake, deliver(tmp_path / "a", "site_a", "a.jsonl", rows_of("qzx")), run=RUN)
        for name, sources in (("went", '["site_a","site_b"]'), ("stays", '["site_b","site_c"]')):
            one = {"experiment_id": f"experiment:{name}@1"}
            with lake.transaction(message="test", run=RUN) as commit:
                commit.insert_new("experiments", [{**one, "sources_json": sources}])
                scored = {"source": "site_b", "arm": "base", "metric": "accuracy"}
                commit.insert_new("experiment_scores", [{**one, **scored, "evaluation_id": name}])
                commit.insert_new(
                    "experiment_distances",
                    [{**one, "kind": "mean", "source": "site_b", "reference": "site_c"}],
                )
                commit.insert_new("experiment_findings", [{**one, "finding": "sft_above"}])
                measured = {"method": "lora", "source": "site_b", "quantity": "own"}
                commit.insert_new("experiment_methods", [{**one, **measured}])
        influence = influence_of(lake, Subject("site_a"))
        assert influence.experiments == ("experiment:went@1",)
        erasure.erase_rows(lake, influence, run=RUN)
        for table in tables:
            left = lake.rows(f"SELECT DISTINCT experiment_id FROM core.{table}")
            assert left == [{"experiment_id": "experiment:stays@1"}], table
