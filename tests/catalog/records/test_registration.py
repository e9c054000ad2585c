"""Registration: everything before the row, the row last, and a redo that finds what is there."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from catalog import lineage
from catalog.errors import RecordConflict, RecordNotFound
from catalog.lineage import ancestors
from catalog.records import intents, orphans, registration
from catalog.records.registration import AdapterCard, Challenger, EnsembleCard, MergedEnsemble
from catalog.stores.registry.model_versions import ModelVersionRef
from catalog.stores.stores import Stores
from rpe_core.errors import InputError
from rpe_core.fingerprint import make_id
from rpe_core.merging.merge import merge
from rpe_core.records import BaseModel, Member, Representation, StrategySpec
from tests.catalog.embedded_stores import RUN, open_stores
from tests.catalog.models import TASK, TEXTS, WIDTH, adapter_card, pico_adapter, pico_base

# peft asks transformers for a property by its former name
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")


@dataclasses.dataclass
class House:
    """Stores with a registered base, and a place for what is to be registered."""

    root: Path
    stores: Stores
    base: BaseModel
    files: list[Path]

    def keep_z(self, card: AdapterCard, *, seed: int) -> Representation:
        z = np.random.default_rng(seed).normal(size=WIDTH)
        representation = Representation(
            card.representation_id,
            card.dataset_version_id,
            f"encoder:{self.base.name}@1",
            "reference",
            10,
            tuple(z.tolist()),
            tuple(np.ones(WIDTH).tolist()),
        )
        registration.keep_representations(self.stores, [representation], run=RUN)
        return representation

    def adapter(self, source: str, *, seed: int) -> tuple[AdapterCard, Path]:
        folder = self.root / f"trained-{source}-{seed}"
        digest = pico_adapter(folder, seed=seed, base_id=self.base.base_id)
        return adapter_card(self.base, source=source, seed=seed, weights_sha256=digest), folder

    def registered(self, source: str, *, seed: int) -> AdapterCard:
        card, folder = self.adapter(source, seed=seed)
        self.keep_z(card, seed=seed)
        registration.register_adapter(self.stores, card, folder, run=RUN)
        return card

    def folder_of(self, card: AdapterCard) -> Path:
        (row,) = self.rows("adapters", "adapter_id", card.adapter_id)
        return self.stores.artifacts.folder(str(row["artifact_sha256"]))

    def ensemble(self, *members: tuple[AdapterCard, float]) -> tuple[EnsembleCard, str]:
        folder = self.root / "merged"
        report = merge([(self.folder_of(card), w) for card, w in members], folder)
        card = EnsembleCard(
            ensemble_id=make_id("ensemble", "site-t", report.weights_sha256),
            sha256=report.weights_sha256,
            target_name="site-t",
            dataset_version_id="dataset:site_t@0123456789ab",
            base=self.base,
            task=TASK,
            strategy=StrategySpec("linear", "linear"),
            details={"ridge": 1e-6, "residual_ratio": 0.25},
            merge="concat",
            members=tuple(Member(c.adapter_id, w, 0.5) for c, w in members),
            representation_id="representation:site_t@0123456789ab",
            weights_sha256=report.weights_sha256,
            rank=report.rank,
            merge_error_ratio=report.relative_error,
            distance_ratio=0.9,
            abstained=False,
            reason="uncalibrated",
            license="internal",
            threads=1,
        )
        return card, self.stores.artifacts.put_folder(folder)

    def rows(self, table: str, column: str, value: str) -> list[dict[str, object]]:
        return self.stores.lake.rows(f"SELECT * FROM core.{table} WHERE {column} = ?", [value])

    def snapshot(self) -> tuple[int, dict[str, int], list[str], set[str]]:
        """What a second call must not change."""
        return (
            self.stores.lake.snapshot_id,
            {name: len(self.stores.registry.versions(name)) for name in self.models},
            sorted(self.stores.artifacts.list()),
            set(self.stores.vectors.keys()),
        )

    @property
    def models(self) -> list[str]:
        return sorted(self.stores.registry.all_aliases())


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    base, files = pico_base(tmp_path / "base")
    with open_stores(tmp_path) as stores:
        registration.register_base(stores, base, files, run=RUN)
        yield House(tmp_path, stores, base, files)


def test_a_base_is_registered_once_with_its_files(house: House) -> None:
    before = house.snapshot()
    ref = registration.register_base(house.stores, house.base, house.files, run=RUN)
    assert ref == ModelVersionRef("rpe-base-pico", "1")
    assert house.snapshot() == before
    (row,) = house.rows("bases", "base_id", house.base.base_id)
    assert (row["model"], row["revision"]) == ("base", "")
    assert str(house.root) not in json.dumps(row, default=str)
    source = Path(house.stores.registry.version(ref).source)
    assert {p.name for p in (source / "model").iterdir()} == {p.name for p in house.files}


def test_a_hub_base_is_registered_by_id_and_revision_only(house: House) -> None:
    base = dataclasses.replace(house.base, name="hub", model="org/model", revision="abc")
    ref = registration.register_base(house.stores, base, house.files, is_hub=True, run=RUN)
    source = Path(house.stores.registry.version(ref).source)
    listed = json.loads((source / "base.json").read_text())
    assert (listed["model"], listed["revision"]) == ("org/model", "abc")
    assert not {p.name for p in source.rglob("*")} & {"model", *(p.name for p in house.files)}


def test_a_base_whose_files_changed_is_refused(house: House) -> None:
    base = dataclasses.replace(house.base, name="other", sha256="0" * 64)
    with pytest.raises(RecordConflict, match="changed after it was identified"):
        registration.register_base(house.stores, base, house.files, run=RUN)
    assert "rpe-base-other" not in house.models


def test_an_adapter_is_kept_in_all_four_stores(house: House) -> None:
    card = house.registered("site_a", seed=1)
    (row,) = house.rows("adapters", "adapter_id", card.adapter_id)
    assert row["base_id"] == house.base.base_id
    assert json.loads(str(row["recipe_json"])) == {"method": "lora", "r": 4}
    assert house.stores.artifacts.folder(str(row["artifact_sha256"])).is_dir()
    version = house.stores.registry.version(ModelVersionRef("rpe-adapter-site_a", "1"))
    assert version.tags["rpe.adapter_id"] == card.adapter_id
    library = house.stores.vectors.library("encoder:pico@1", allow=[card.adapter_id])
    (found,) = library.search(np.zeros(WIDTH), k=1)
    assert found.adapter_id == card.adapter_id
    above = ancestors(house.stores.lake.rows, card.adapter_id)
    parents = {(row["role"], row["parent_id"]) for row in above}
    assert parents == {
        ("base", house.base.base_id),
        ("dataset", card.dataset_version_id),
        ("representation", card.representation_id),
    }


def test_registering_an_adapter_twice_writes_nothing(house: House) -> None:
    card = house.registered("site_a", seed=1)
    before = house.snapshot()
    folder = house.root / "trained-site_a-1"
    assert registration.register_adapter(house.stores, card, folder, run=RUN).version == "1"
    assert house.snapshot() == before
    other = dataclasses.replace(card, weights_sha256="0" * 64)
    with pytest.raises(RecordConflict, match="other weights"):
        registration.register_adapter(house.stores, other, folder, run=RUN)


@pytest.mark.parametrize("stop", ["artifact", "registry", "vectors", "row"])
def test_an_adapter_killed_anywhere_is_not_true_and_is_finished_by_a_redo(
    house: House, stop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    card, folder = house.adapter("site_a", seed=1)
    house.keep_z(card, seed=1)
    with monkeypatch.context() as patch:
        _kill_after(patch, house, stop)
        with pytest.raises(KeyboardInterrupt):
            registration.register_adapter(house.stores, card, folder, run=RUN)
    assert house.rows("adapters", "adapter_id", card.adapter_id) == []
    assert house.rows("model_versions", "record_id", card.adapter_id) == []
    assert [one.record_id for one in intents.open_intents(house.stores.lake)] == [card.adapter_id]
    registration.register_adapter(house.stores, card, folder, run=RUN)
    assert intents.open_intents(house.stores.lake) == []
    versions = house.stores.registry.versions("rpe-adapter-site_a")
    assert [v.ref.version for v in versions] == ["1"]
    assert len(house.rows("adapters", "adapter_id", card.adapter_id)) == 1
    assert len(house.stores.artifacts.list()) == 1


def test_what_another_workspace_is_writing_is_no_orphan_for_a_day(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    card, folder = house.adapter("site_a", seed=1)
    house.keep_z(card, seed=1)
    before = house.snapshot()[1:]
    with monkeypatch.context() as patch:
        _kill_after(patch, house, "vectors")
        with pytest.raises(KeyboardInterrupt):
            registration.register_adapter(house.stores, card, folder, run=RUN)
    lake = house.stores.lake
    lake.workspace = "another"
    assert not any(orphans.remove_orphans(house.stores).values())
    assert intents.left_behind(lake) == []
    with monkeypatch.context() as patch:
        patch.setattr(intents, "TAKES", timedelta(0))
        assert [one.workspace for one in intents.left_behind(lake)] == [""]
        removed = orphans.remove_orphans(house.stores)
    assert [kind for kind, n in removed.items() if n == 1] == [
        *("orphan artifacts", "orphan vectors", "orphan model versions"),
    ]
    assert house.snapshot()[2:] == before[1:]
    assert house.stores.registry.versions("rpe-adapter-site_a") == []
    assert house.stores.vectors.adapter_ids() == set()


def test_a_draft_without_a_version_is_an_orphan(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    card, folder = house.adapter("site_a", seed=1)
    house.keep_z(card, seed=1)
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "create_model_version", _die)
        with pytest.raises(KeyboardInterrupt):
            registration.register_adapter(house.stores, card, folder, run=RUN)
    kept = {path.name for path in (house.root / "mlartifacts").iterdir()}
    assert orphans.remove_orphans(house.stores)["half-registered model versions"] == 1
    assert len({path.name for path in (house.root / "mlartifacts").iterdir()}) == len(kept) - 1


def _die(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def _kill_after(patch: pytest.MonkeyPatch, house: House, stop: str) -> None:
    """Die right after a step, as a signal would."""
    owner, name = {
        "artifact": (type(house.stores.artifacts), "put_folder"),
        "registry": (type(house.stores.registry), "register"),
        "vectors": (type(house.stores.vectors), "put"),
        "row": (lineage, "edges"),
    }[stop]
    whole = getattr(owner, name)

    def dying(*arguments: object, **options: object) -> object:
        whole(*arguments, **options)
        raise KeyboardInterrupt

    patch.setattr(owner, name, dying)


def test_an_adapter_needs_its_base_and_its_representation(house: House) -> None:
    card, folder = house.adapter("site_a", seed=1)
    stranger = dataclasses.replace(card, base=dataclasses.replace(house.base, name="stranger"))
    with pytest.raises(RecordNotFound, match="base model is not registered"):
        registration.register_adapter(house.stores, stranger, folder, run=RUN)
    with pytest.raises(RecordNotFound):
        registration.register_adapter(house.stores, card, folder, run=RUN)
    assert house.rows("adapters", "adapter_id", card.adapter_id) == []


def test_a_representation_must_be_finite(house: House) -> None:
    card, _ = house.adapter("site_a", seed=1)
    kept = house.keep_z(card, seed=1)
    (row,) = house.rows("representations", "representation_id", card.representation_id)
    assert row["norm"] == pytest.approx(np.linalg.norm(kept.z))
    assert row["standard_error"] == pytest.approx(np.sqrt(WIDTH / 10))
    broken = dataclasses.replace(
        kept, representation_id="representation:b@1", z=(float("nan"), *kept.z[1:])
    )
    with pytest.raises(InputError, match="finite"):
        registration.keep_representations(house.stores, [broken], run=RUN)
    assert not house.rows("representations", "representation_id", "representation:b@1")


def test_an_ensemble_is_kept_and_only_a_challenger_gets_a_version(house: House) -> None:
    first, second = house.registered("site_a", seed=1), house.registered("site_b", seed=2)
    card, artifact = house.ensemble((first, 1.25), (second, -0.25))
    registration.register_ensembles(house.stores, [MergedEnsemble(card, artifact)], run=RUN)
    assert "site-t" not in house.models
    (row,) = house.rows("ensembles", "ensemble_id", card.ensemble_id)
    assert row["l1_norm"] == 1.5
    assert (row["residual_ratio"], row["kkt_residual_ratio"]) == (0.25, None)
    assert json.loads(str(row["parameters"]))["strategy"]["kind"] == "linear"
    before = house.snapshot()
    registration.register_ensembles(house.stores, [MergedEnsemble(card, artifact)], run=RUN)
    assert house.snapshot() == before

    ref = _challenge(house, card)
    assert ref == ModelVersionRef("site-t", "1")
    after = house.snapshot()
    assert _challenge(house, card) == ref
    assert house.snapshot() == after
    told = house.stores.registry.version(ref)
    assert [m["weight"] for m in json.loads(told.tags["rpe.members"])] == [1.25, -0.25]
    (edge,) = house.stores.lake.rows(
        "SELECT count(*) AS n FROM mart.adapter_lineage WHERE model_name = 'site-t'"
    )
    assert edge["n"] == 2
    before_uri = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{house.root / 'mlflow.db'}")
    answer = mlflow.pyfunc.load_model(ref.uri).predict(pd.DataFrame({TASK.input: TEXTS}))
    mlflow.set_tracking_uri(before_uri)
    assert len(answer) == len(TEXTS)


def _challenge(house: House, card: EnsembleCard) -> ModelVersionRef:
    challenger = Challenger(card.ensemble_id, house.base, TASK, "labels")
    (ref,) = registration.register_challengers(house.stores, [challenger], run=RUN)
    return ref


def test_an_ensemble_that_cannot_be_is_refused(house: House) -> None:
    member = house.registered("site_a", seed=1)
    card, artifact = house.ensemble((member, 1.0))

    def other(**changes: Any) -> MergedEnsemble:
        return MergedEnsemble(dataclasses.replace(card, **changes), artifact)

    with pytest.raises(InputError, match="sum to one"):
        registration.register_ensembles(
            house.stores,
            [other(members=(Member(member.adapter_id, 0.9, 0.5),))],
            run=RUN,
        )
    with pytest.raises(RecordNotFound, match="not on record"):
        registration.register_ensembles(
            house.stores,
            [other(members=(Member("adapter:nobody@1", 1.0, 0.5),))],
            run=RUN,
        )
    with pytest.raises(InputError, match="cannot be called"):
        registration.register_ensembles(
            house.stores,
            [other(target_name="rpe-base-pico")],
            run=RUN,
        )
    stranger = dataclasses.replace(house.base, sha256="f" * 64)
    with pytest.raises(InputError, match="another base model"):
        registration.register_ensembles(house.stores, [other(base=stranger)], run=RUN)
    assert house.stores.lake.rows("SELECT * FROM core.ensembles") == []
    with pytest.raises(RecordNotFound, match="no such ensemble"):
        _challenge(house, card)


def test_a_merge_of_another_base_is_no_challenger(house: House) -> None:
    card, artifact = house.ensemble((house.registered("site_a", seed=1), 1.0))
    registration.register_ensembles(house.stores, [MergedEnsemble(card, artifact)], run=RUN)
    stranger = dataclasses.replace(house.base, sha256="f" * 64)
    challenger = Challenger(card.ensemble_id, stranger, TASK, "labels")
    with pytest.raises(InputError, match="another base model"):
        registration.register_challengers(house.stores, [challenger], run=RUN)
