"""Promotion: a verdict is kept once, an alias is what the rows say, people are named."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.errors import RecordConflict, RecordNotFound
from catalog.records import promotion
from catalog.records.promotion import VerdictRecord
from catalog.stores.registry.model_versions import ModelVersionRef, VersionDraft
from catalog.stores.stores import Stores
from rpe_core.errors import InputError, UnknownName
from tests.catalog.embedded_stores import RUN, open_stores

TARGET = "site-t"


@dataclasses.dataclass
class Gate:
    """A target whose challengers are bare versions: promotion needs no weights."""

    stores: Stores

    def challenger(self, name: str, *, target: str = TARGET) -> str:
        """Register a version and its lake row; returns the ensemble's id."""
        ensemble_id = f"ensemble:{target}@{name}"
        draft = VersionDraft(
            target,
            "rpe.ensemble_id",
            {"rpe.ensemble_id": ensemble_id},
            "card",
            lambda folder: (folder / "file").touch(),
        )
        ref = self.stores.registry.register(draft)
        row = {
            "model_name": ref.name,
            "model_version": ref.version,
            "kind": "ensemble",
            "record_id": ensemble_id,
        }
        with self.stores.lake.transaction(message="test", run=RUN) as commit:
            commit.insert_new("model_versions", [row])
        return ensemble_id

    def verdict(self, ensemble_id: str, action: str, *, champion: str = "") -> VerdictRecord:
        return VerdictRecord(
            target_name=TARGET,
            dataset_version_id="dataset:site_t@0123456789ab",
            arm="linear" if ensemble_id else "base",
            ensemble_id=ensemble_id,
            champion_ensemble_id=champion,
            action=action,
            evidence="labels",
            reasons=("Because.",),
            actor="gate",
            policy={"metric": "accuracy"},
        )

    def record(self, ensemble_id: str, action: str, *, champion: str = "") -> dict[str, object]:
        verdict = self.verdict(ensemble_id, action, champion=champion)
        return promotion.record_verdicts(self.stores, [(verdict, ())], run=RUN)[0]

    @property
    def aliases(self) -> dict[str, str]:
        return self.stores.registry.aliases(TARGET)

    @property
    def actions(self) -> list[str]:
        rows = self.stores.lake.rows("SELECT action FROM core.promotions ORDER BY recorded_at")
        return [row["action"] for row in rows]


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    with open_stores(tmp_path) as stores:
        yield Gate(stores)


def test_a_win_moves_the_champion_and_a_refusal_only_the_challenger(gate: Gate) -> None:
    first, second = gate.challenger("a"), gate.challenger("b")
    row = gate.record(first, "promoted")
    assert (row["model_name"], row["model_version"]) == (TARGET, "1")
    assert (row["action"], row["run_id"], row["actor"]) == ("promoted", RUN.run_id, "gate")
    assert gate.aliases == {"challenger": "1", "champion": "1"}
    gate.record(second, "refused", champion=first)
    assert gate.aliases == {"challenger": "2", "champion": "1"}


def test_an_abstention_is_recorded_and_moves_nothing(gate: Gate) -> None:
    gate.record(gate.challenger("a"), "promoted")
    row = gate.record("", "abstained", champion="ensemble:site-t@a")
    assert (row["model_name"], row["arm"]) == ("", "base")
    assert gate.aliases == {"challenger": "1", "champion": "1"}


def test_the_same_verdict_is_kept_once_and_writes_nothing(gate: Gate) -> None:
    first = gate.challenger("a")
    row = gate.record(first, "promoted")
    before = gate.stores.lake.snapshot_id
    later = dataclasses.replace(RUN, run_id="run:night@ffffffffffff")
    verdict = gate.verdict(first, "promoted")
    assert promotion.record_verdicts(gate.stores, [(verdict, ())], run=later) == [row]
    assert gate.stores.lake.snapshot_id == before
    assert promotion.repair_aliases(gate.stores) == []


@pytest.mark.parametrize("field", ["action", "evidence", "champion_ensemble_id", "policy"])
def test_the_id_tells_verdicts_apart_by_what_was_decided(gate: Gate, field: str) -> None:
    verdict = gate.verdict("ensemble:site-t@a", "refused")
    other = {
        "action": "promoted",
        "evidence": "leave_one_out",
        "champion_ensemble_id": "ensemble:site-t@z",
        "policy": {"metric": "macro_f1"},
    }
    assert (
        dataclasses.replace(verdict, **{field: other[field]}).promotion_id != verdict.promotion_id
    )
    assert dataclasses.replace(verdict, reasons=("x",)).promotion_id == verdict.promotion_id


def test_comparisons_are_kept_with_the_verdict_or_not_at_all(gate: Gate) -> None:
    first = gate.challenger("a")
    comparison = {
        "comparison_id": "0123456789ab",
        "run_id": RUN.run_id,
        "target_name": TARGET,
        "difference": 0.1,
        "n_items": 100,
    }
    verdict = gate.verdict(first, "promoted")
    with pytest.raises(InputError):
        promotion.record_verdicts(gate.stores, [(verdict, [comparison, {"nothing": 1}])], run=RUN)
    assert gate.actions == []
    promotion.record_verdicts(gate.stores, [(verdict, [comparison])], run=RUN)
    assert len(gate.stores.lake.rows("SELECT * FROM core.comparisons")) == 1


def test_a_person_approves_what_waits(gate: Gate) -> None:
    first, second = gate.challenger("a"), gate.challenger("b")
    gate.record(first, "promoted")
    gate.record(second, "pending", champion=first)
    assert gate.aliases == {"challenger": "2", "champion": "1"}
    gate.record("", "abstained", champion=first)
    row = promotion.approve(gate.stores, TARGET, actor="jane.roe", run=RUN)
    assert (row["action"], row["actor"], row["ensemble_id"]) == ("approved", "jane.roe", second)
    assert str(row["reasons"]).splitlines() == ["Approved by jane.roe.", "Because."]
    assert gate.aliases == {"challenger": "2", "champion": "2"}
    with pytest.raises(RecordNotFound, match="Nothing waits"):
        promotion.approve(gate.stores, TARGET, actor="jane.roe", run=RUN)


def test_what_was_compared_with_another_champion_is_not_approved(gate: Gate) -> None:
    first, second, third = (gate.challenger(name) for name in "abc")
    gate.record(first, "promoted")
    gate.record(third, "promoted", champion=first)
    gate.record(second, "pending", champion=first)
    with pytest.raises(RecordConflict, match="champion has changed"):
        promotion.approve(gate.stores, TARGET, actor="jane.roe", run=RUN)
    assert gate.aliases["champion"] == "3"


def test_rolling_back_walks_down_the_champions(gate: Gate) -> None:
    first, second, third = (gate.challenger(name) for name in "abc")
    gate.record(first, "promoted")
    gate.record(second, "promoted", champion=first)
    gate.record(third, "promoted", champion=second)
    row = promotion.roll_back(gate.stores, TARGET, actor="jane.roe", run=RUN)
    assert (row["ensemble_id"], row["champion_ensemble_id"]) == (second, third)
    assert gate.aliases["champion"] == "2"
    promotion.roll_back(gate.stores, TARGET, actor="jane.roe", run=RUN)
    assert gate.aliases == {"challenger": "3", "champion": "1"}
    with pytest.raises(RecordNotFound, match="only one champion") as caught:
        promotion.roll_back(gate.stores, TARGET, actor="jane.roe", run=RUN)
    assert "rpe sql" in caught.value.remedy


def test_the_same_roll_back_from_another_state_is_a_new_one(gate: Gate) -> None:
    first, second = gate.challenger("a"), gate.challenger("b")
    gate.record(first, "promoted")
    gate.record(second, "promoted", champion=first)
    promotion.roll_back(gate.stores, TARGET, actor="jane.roe", run=RUN)
    gate.record(second, "pending", champion=first)
    promotion.approve(gate.stores, TARGET, actor="john.doe", run=RUN)
    assert gate.aliases["champion"] == "2"
    promotion.roll_back(gate.stores, TARGET, actor="jane.roe", run=RUN)
    assert gate.aliases["champion"] == "1"
    served = ["promoted", "promoted", "rolled_back"]
    assert gate.actions == [*served, "pending", "approved", "rolled_back"]


def test_without_a_champion_there_is_nothing_to_roll_back(gate: Gate) -> None:
    with pytest.raises(RecordNotFound, match="no champion"):
        promotion.roll_back(gate.stores, TARGET, actor="jane.roe", run=RUN)
    for act in (promotion.roll_back, promotion.approve):
        with pytest.raises(InputError, match="the name of the person"):
            act(gate.stores, TARGET, actor=" ", run=RUN)


def test_aliases_follow_the_rows_whatever_happened_to_them(gate: Gate) -> None:
    first, second = gate.challenger("a"), gate.challenger("b")
    gate.record(first, "promoted")
    registry = gate.stores.registry
    registry.set_alias(ModelVersionRef(TARGET, "2"), "champion")
    registry.set_alias(ModelVersionRef(TARGET, "2"), "mine")
    registry.delete_alias(TARGET, "challenger")
    elsewhere = gate.challenger("x", target="fraud")
    registry.set_alias(ModelVersionRef("fraud", "1"), "champion")
    assert second != elsewhere
    assert promotion.repair_aliases(gate.stores) == [
        "site-t@challenger -> 1",
        "site-t@champion -> 1",
    ]
    assert gate.aliases == {"challenger": "1", "champion": "1", "mine": "2"}
    assert registry.aliases("fraud") == {"champion": "1"}
    with gate.stores.lake.transaction(message="retract", run=RUN) as commit:
        commit.execute("UPDATE core.promotions SET retracted_at = recorded_at")
    promotion.repair_aliases(gate.stores)
    assert gate.aliases == {"mine": "2"}


def test_a_kill_between_row_and_alias_is_repaired_at_the_next_start(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = gate.challenger("a")

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(gate.stores.registry), "set_alias", die)
        with pytest.raises(KeyboardInterrupt):
            gate.record(first, "promoted")
    assert gate.aliases == {}
    promotion.repair_aliases(gate.stores)
    assert gate.aliases == {"challenger": "1", "champion": "1"}


def test_verdicts_that_make_no_sense_are_refused(gate: Gate) -> None:
    verdict = gate.verdict("ensemble:site-t@nobody", "promoted")
    with pytest.raises(RecordNotFound, match="no version"):
        promotion.record_verdicts(gate.stores, [(verdict, ())], run=RUN)
    for wrong, error in (
        ({"action": "promote"}, UnknownName),
        ({"evidence": "label"}, UnknownName),
        ({"ensemble_id": ""}, InputError),
    ):
        spoilt = dataclasses.replace(verdict, **wrong)
        with pytest.raises(error):
            promotion.record_verdicts(gate.stores, [(spoilt, ())], run=RUN)
    assert gate.actions == []
