"""The registry: versions load anywhere, come once, appear whole, and tell no place or value."""

from __future__ import annotations

import ast
import dataclasses
import json
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import OperationalError

from catalog.errors import RecordConflict, RecordNotFound, StoreError, StoreUnavailable
from catalog.records import version_drafts
from catalog.stores.registry.connection import translate_mlflow_errors
from catalog.stores.registry.model_code import model_source
from catalog.stores.registry.model_versions import ModelVersionRef, RegisteredBase, VersionDraft
from catalog.stores.registry.registry import Registry
from catalog.stores.registry.sums import write_sums
from rpe_core.errors import UnknownName
from rpe_core.families.attachment import attach
from rpe_core.families.table import FAMILIES, load_family
from rpe_core.records import BaseModel
from tests.catalog.lakes import run_script
from tests.catalog.models import (
    TASK,
    TEXTS,
    adapter_card,
    ensemble_facts,
    pico_adapter,
    pico_base,
)

REPOSITORY = Path(__file__).parents[4]
SECRET = "Zebulon Quux"

# peft asks transformers for a property by its former name
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")


@dataclasses.dataclass
class Platform:
    """A registry with one base, and what its versions are made of."""

    root: Path
    registry: Registry
    base: BaseModel
    base_folder: Path
    base_ref: ModelVersionRef
    digests: dict[Path, str] = dataclasses.field(default_factory=dict)

    @property
    def tracking_uri(self) -> str:
        return f"sqlite:///{self.root / 'store' / 'mlflow.db'}"

    def adapter(self, source: str, *, seed: int) -> VersionDraft:
        folder = self.root / "adapters" / f"{source}-{seed}"
        if folder not in self.digests:
            folder.parent.mkdir(exist_ok=True)
            self.digests[folder] = pico_adapter(folder, seed=seed, base_id=self.base.base_id)
        digest = self.digests[folder]
        card = adapter_card(self.base, source=source, seed=seed, weights_sha256=digest)
        base = RegisteredBase(self.base_ref)
        return version_drafts.adapter_draft(card, registered_base=base, folder=folder)

    def expected(self, draft: VersionDraft, scratch: Path) -> np.ndarray:
        """What the platform itself answers with the adapter of a draft."""
        draft.write(scratch)
        family = load_family("text-encoder")
        base = family.load(str(self.base_folder), max_tokens=self.base.max_tokens)
        task = family.prepare(base, TASK.declared)
        attach(base, str(scratch / "artifacts" / "adapter"))
        return family.predict(base, task, TEXTS)


def open_registry(root: Path) -> Registry:
    store = root / "store"
    return Registry.open(
        tracking_uri=f"sqlite:///{store / 'mlflow.db'}",
        artifacts_uri=str(store / "mlartifacts"),
        lock_path=store / "writer.lock",
    )


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    root = tmp_path_factory.mktemp("platform")
    base, files = pico_base(root / "base")
    registry = open_registry(root)
    ref = registry.register(version_drafts.base_draft(base, files, model="pico", is_hub=False))
    return Platform(root, registry, base, root / "base", ref)


@pytest.fixture
def consumer(platform: Platform) -> Iterator[None]:
    """A consumer's process has one tracking URI; ours is put back afterwards."""
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(platform.tracking_uri)
    yield
    mlflow.set_tracking_uri(before)


def folder_of(platform: Platform, ref: ModelVersionRef) -> Path:
    return Path(platform.registry.version(ref).source)


def ask(model: mlflow.pyfunc.PyFuncModel, texts: list[str] = TEXTS) -> pd.DataFrame:
    return model.predict(pd.DataFrame({TASK.input: pd.Series(texts, dtype=str)}))


def test_a_version_answers_as_the_platform_does(
    platform: Platform, consumer: None, tmp_path: Path
) -> None:
    draft = platform.adapter("site_a", seed=1)
    ref = platform.registry.register(draft)
    answer = ask(mlflow.pyfunc.load_model(ref.uri))
    expected = platform.expected(draft, tmp_path / "own")
    assert list(answer.columns) == ["label", "score"]
    assert answer["label"].tolist() == [list(TASK.labels)[i] for i in expected.argmax(axis=1)]
    np.testing.assert_allclose(answer["score"], expected.max(axis=1), atol=1e-6)
    without_adapter = load_family("text-encoder").load(str(platform.base_folder), max_tokens=32)
    family = load_family("text-encoder")
    plain = family.predict(without_adapter, family.prepare(without_adapter, TASK.declared), TEXTS)
    assert np.abs(plain - expected).max() > 1e-3, "the adapter must matter for this test to tell"


def test_a_version_declares_signature_example_and_requirements(platform: Platform) -> None:
    ref = platform.registry.register(platform.adapter("site_a", seed=1))
    folder = folder_of(platform, ref)
    model = mlflow.models.Model.load(folder)
    assert model.signature.inputs.input_names() == [TASK.input]
    assert model.signature.outputs.to_dict() == [
        {"type": "string", "name": "label", "required": True},
        {"type": "double", "name": "score", "required": True},
    ]
    example = model.load_input_example(str(folder))
    assert list(example.columns) == [TASK.input]
    named = {line.split("==")[0] for line in (folder / "requirements.txt").read_text().splitlines()}
    assert named >= {"mlflow", "torch", "transformers", "peft"}
    adapter = sorted(path.name for path in (folder / "artifacts" / "adapter").iterdir())
    assert adapter == ["adapter_config.json", "adapter_model.safetensors"]


def test_missing_inputs_are_told_by_row_and_no_input_is_no_fault(
    platform: Platform, consumer: None
) -> None:
    ref = platform.registry.register(platform.adapter("site_a", seed=1))
    model = mlflow.pyfunc.load_model(ref.uri)
    assert len(ask(model, [])) == 0
    inner = model.unwrap_python_model()
    with pytest.raises(ValueError, match=r"1 inputs are missing, the first in row 1") as caught:
        inner.predict(None, pd.DataFrame({TASK.input: [SECRET, None]}))
    assert SECRET not in str(caught.value)


def test_versions_with_other_family_code_run_their_own_in_one_process(
    platform: Platform, consumer: None
) -> None:
    draft = platform.adapter("site_b", seed=2)

    def write_flatter(folder: Path) -> None:
        draft.write(folder)
        code = folder / "model.py"
        changed = code.read_text().replace("SHARPNESS = 20.0", "SHARPNESS = 2.0")
        code.write_text(changed)
        write_sums(folder)

    tags = {**draft.tags, "rpe.adapter_id": "adapter:site_b@flatter"}
    other = dataclasses.replace(draft, tags=tags, write=write_flatter)
    refs = [platform.registry.register(draft), platform.registry.register(other)]
    models = [mlflow.pyfunc.load_model(ref.uri) for ref in refs]
    sharp, flat = (ask(model)["score"].to_numpy() for model in models)
    assert (flat < sharp - 0.05).all()
    assert (ask(models[0])["score"].to_numpy() == sharp).all(), "loading one changed the other"
    kinds = {type(model.unwrap_python_model()) for model in models}
    assert len({kind.__module__ for kind in kinds}) == len(kinds) == 2


def test_a_base_with_changed_files_is_not_served(
    platform: Platform, consumer: None, tmp_path: Path
) -> None:
    base, files = pico_base(tmp_path / "other")
    changed = dataclasses.replace(base, name="tampered")
    ref = platform.registry.register(
        version_drafts.base_draft(changed, files, model="pico", is_hub=False)
    )
    (folder_of(platform, ref) / "model" / "config.json").write_text("{}")
    folder = tmp_path / "adapter"
    digest = pico_adapter(folder, seed=3, base_id=changed.base_id)
    card = adapter_card(changed, source="site_c", seed=3, weights_sha256=digest)
    draft = version_drafts.adapter_draft(card, registered_base=RegisteredBase(ref), folder=folder)
    version = platform.registry.register(draft)
    with pytest.raises(RuntimeError, match="not those that this adapter was made for"):
        mlflow.pyfunc.load_model(version.uri)


def test_registering_twice_gives_the_same_version_and_writes_nothing(platform: Platform) -> None:
    draft = platform.adapter("site_twice", seed=4)
    first = platform.registry.register(draft)
    before = fingerprint_of(platform)
    assert platform.registry.register(draft) == first
    assert open_registry(platform.root).register(draft) == first
    assert fingerprint_of(platform) == before


def fingerprint_of(platform: Platform) -> tuple[list[str], list[tuple[str, int]]]:
    """Every row of the database, and every file with its modification time."""
    store = platform.root / "store"
    with sqlite3.connect(store / "mlflow.db") as database:
        rows = list(database.iterdump())
    files = sorted(
        (str(path), path.stat().st_mtime_ns)
        for path in (store / "mlartifacts").rglob("*")
        if path.is_file()
    )
    return rows, files


def test_equal_parts_make_equal_bytes(platform: Platform, tmp_path: Path) -> None:
    draft = platform.adapter("site_a", seed=1)
    for name in ("one", "two"):
        draft.write(tmp_path / name)
    files = [sorted(p for p in (tmp_path / n).rglob("*") if p.is_file()) for n in ("one", "two")]
    assert [p.relative_to(tmp_path / "one") for p in files[0]] == [
        p.relative_to(tmp_path / "two") for p in files[1]
    ]
    assert [p.read_bytes() for p in files[0]] == [p.read_bytes() for p in files[1]]


def test_a_killed_attempt_shows_nothing_and_is_taken_up_again(platform: Platform) -> None:
    draft = platform.adapter("site_killed", seed=5)

    def write_half(folder: Path) -> None:
        (folder / "model.py").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        platform.registry.register(dataclasses.replace(draft, write=write_half))
    assert platform.registry.versions(draft.name) == []
    assert draft.name not in platform.registry.all_aliases()
    ref = platform.registry.register(draft)
    assert ref.version == "1"
    client = mlflow.MlflowClient(platform.tracking_uri)
    runs = client.search_runs(
        ["1"], f"tags.`rpe.adapter_id` = '{draft.record_id}'", run_view_type=ViewType.ALL
    )
    assert [run.info.status for run in runs] == ["FINISHED"]


def test_a_version_that_never_got_its_row_is_made_again(platform: Platform) -> None:
    draft = platform.adapter("site_again", seed=6)
    first = platform.registry.register(draft)
    old = folder_of(platform, first)
    tags = {**draft.tags, "rpe.weights_sha256": "0" * 64}
    second = platform.registry.register(dataclasses.replace(draft, tags=tags))
    assert [v.ref for v in platform.registry.versions(draft.name)] == [second]
    assert not old.exists()


def test_a_copied_workspace_reads_and_writes_its_own_files(
    platform: Platform, tmp_path: Path
) -> None:
    kept = platform.registry.register(platform.adapter("site_moved", seed=5))
    shutil.copytree(platform.root, tmp_path / "copy")
    before = sorted(path for path in platform.root.rglob("*") if path.is_file())
    copy = open_registry(tmp_path / "copy")
    for ref in (kept, copy.register(platform.adapter("site_moved", seed=6))):
        source = Path(copy.version(ref).source)
        assert source.is_relative_to(tmp_path / "copy")
        assert (source / "model.py").is_file()
    files = sorted(path for path in platform.root.rglob("*") if path.is_file())
    made = set(files) - set(before)
    assert {path.relative_to(platform.root).parts[0] for path in made} <= {"adapters"}
    assert Path(platform.registry.version(kept).source).is_relative_to(platform.root)


def test_datasets_are_logged_by_name_and_digest_only(platform: Platform) -> None:
    ref = platform.registry.register(platform.adapter("site_data", seed=7))
    run_id = platform.registry.version(ref).run_id
    run = mlflow.MlflowClient(platform.tracking_uri).get_run(run_id)
    (logged,) = run.inputs.dataset_inputs
    assert (logged.dataset.name, logged.dataset.digest) == ("site_data", "700000000000")
    assert logged.dataset.schema is None
    assert logged.dataset.profile is None


def test_no_place_of_this_machine_stays_in_a_version(platform: Platform) -> None:
    places = [str(platform.root), str(REPOSITORY), str(Path.home()) + "/", sys.prefix]
    refs = [platform.base_ref, platform.registry.register(platform.adapter("site_a", seed=1))]
    for ref in refs:
        files = [path for path in folder_of(platform, ref).rglob("*") if path.is_file()]
        assert files
        for path in files:
            assert not [p for p in places if p.encode() in path.read_bytes()], path.name
        version = platform.registry.version(ref)
        told = json.dumps(dict(version.tags)) + version.description
        assert not [p for p in places if p in told]
    with sqlite3.connect(platform.root / "store" / "mlflow.db") as database:
        holding = {
            (table, column)
            for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            for column, *_ in database.execute(f"SELECT name FROM pragma_table_info('{table}')")
            for (value,) in database.execute(f'SELECT "{column}" FROM "{table}"')
            if any(p in str(value) for p in places)
        }
    assert holding == {
        ("experiments", "artifact_location"),
        ("model_versions", "source"),
        ("model_versions", "storage_location"),
        ("runs", "artifact_uri"),
    }


def test_an_ensembles_version_tells_members_evidence_and_licence(
    platform: Platform, consumer: None, tmp_path: Path
) -> None:
    folder = tmp_path / "merged"
    digest = pico_adapter(folder, seed=9, base_id=platform.base.base_id)
    cards = [
        adapter_card(platform.base, source=s, seed=i, weights_sha256="1" * 64)
        for i, s in enumerate(("site_y", "site_x"))
    ]
    facts = ensemble_facts("site-t", [(cards[0], 1.25), (cards[1], -0.25)])
    ref = platform.registry.register(
        version_drafts.ensemble_draft(
            facts,
            platform.base,
            TASK,
            registered_base=RegisteredBase(platform.base_ref),
            folder=folder,
            weights_sha256=digest,
        )
    )
    version = platform.registry.version(ref)
    assert ref.name == "site-t"
    members = json.loads(version.tags["rpe.members"])
    assert [(m["adapter_id"].split("@")[0], m["weight"]) for m in members] == [
        ("adapter:site_x", -0.25),
        ("adapter:site_y", 1.25),
    ]
    assert version.tags["rpe.evidence"] == "labels"
    assert version.tags["rpe.license"] == "internal"
    assert version.tags["rpe.base_sha256"] == platform.base.sha256
    for told in ("1.250000", "-0.250000", "1 weights are negative", "models:/site-t@champion"):
        assert told in version.description
    assert (folder_of(platform, ref) / "model_card.md").read_text() == version.description
    platform.registry.set_alias(ref, "champion")
    assert platform.registry.aliases("site-t") == {"champion": ref.version}
    assert len(ask(mlflow.pyfunc.load_model("models:/site-t@champion"))) == len(TEXTS)
    platform.registry.delete_alias("site-t", "champion")
    assert platform.registry.aliases("site-t") == {}


@pytest.mark.parametrize("family", FAMILIES)
def test_model_code_names_nothing_of_ours_and_no_name_twice(family: str) -> None:
    source = model_source(family)
    compile(source, "model.py", "exec")
    for package in ("rpe_core", "catalog", "flows"):
        assert f"import {package}" not in source
        assert f"from {package}" not in source
    defined = [node.name for node in ast.parse(source).body if hasattr(node, "name")]
    defined += [
        target.id
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    ]
    assert len(defined) == len(set(defined)) > 20, "its parts would overwrite one another"


def test_there_is_no_model_code_of_an_unknown_family() -> None:
    with pytest.raises(UnknownName):
        model_source("text-decoder")


def test_what_is_not_there_is_not_found(platform: Platform) -> None:
    nowhere = ModelVersionRef("nobody", "1")
    for call in (
        lambda: platform.registry.version(nowhere),
        lambda: platform.registry.delete_version(nowhere),
        lambda: platform.registry.set_alias(nowhere, "champion"),
    ):
        with pytest.raises(RecordNotFound):
            call()
    assert platform.registry.versions("nobody") == []


def test_a_task_that_cannot_be_served_is_refused(platform: Platform) -> None:
    card = adapter_card(platform.base, source="s", seed=1, weights_sha256="1" * 64)
    card = dataclasses.replace(card, task=dataclasses.replace(TASK, type="translation"))
    base = RegisteredBase(ModelVersionRef("b", "1"))
    with pytest.raises(UnknownName, match="translation"):
        version_drafts.adapter_draft(card, registered_base=base, folder=platform.root)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MlflowException(SECRET, error_code=3004), StoreError),
        (MlflowException.invalid_parameter_value(SECRET), StoreError),
        (MlflowException(SECRET), StoreUnavailable),
        (OperationalError(SECRET, {}, Exception(SECRET)), StoreUnavailable),
    ],
)
def test_errors_of_mlflow_lose_their_text(error: Exception, kind: type[StoreError]) -> None:
    with pytest.raises(kind) as caught, translate_mlflow_errors("somewhere"):
        raise error
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_name_that_is_taken_is_a_conflict(platform: Platform) -> None:
    client = mlflow.MlflowClient(platform.tracking_uri)
    with pytest.raises(RecordConflict), translate_mlflow_errors("rpe-base-pico"):
        client.create_registered_model("rpe-base-pico")


def test_opening_leaves_nothing_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    open_registry(tmp_path)
    assert list(here.iterdir()) == []


CONSUMER = """
import json, sys
repository, tracking_uri, uri, column, texts = sys.argv[1:]
sys.path = [p for p in sys.path if p and ("site-packages" in p or not p.startswith(repository))]
sys.meta_path = [f for f in sys.meta_path if "editable" not in getattr(f, "__module__", "").lower()]
for name in ("flows", "catalog", "rpe_core"):
    try:
        __import__(name)
    except ImportError:
        continue
    sys.exit(f"{name} can be imported: this consumer proves nothing")
import mlflow, pandas
mlflow.set_tracking_uri(tracking_uri)
model = mlflow.pyfunc.load_model(uri)
answer = model.predict(pandas.DataFrame({column: json.loads(texts)}))
print("ANSWER" + json.dumps(answer.to_dict("list")))
"""


@pytest.mark.slow
def test_a_consumer_without_the_repository_gets_the_same_answers(
    platform: Platform, tmp_path: Path
) -> None:
    draft = platform.adapter("site_a", seed=1)
    ref = platform.registry.register(draft)
    arguments = [str(REPOSITORY), platform.tracking_uri, ref.uri, TASK.input, json.dumps(TEXTS)]
    done = subprocess.run(
        [sys.executable, "-I", "-c", textwrap.dedent(CONSUMER), *arguments],
        cwd=tmp_path,
        env={"MLFLOW_DISABLE_TELEMETRY": "true", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answer = json.loads(done.stdout.split("ANSWER")[1])
    expected = platform.expected(draft, tmp_path / "own")
    np.testing.assert_allclose(answer["score"], expected.max(axis=1), atol=1e-6)
    assert answer["label"] == [list(TASK.labels)[i] for i in expected.argmax(axis=1)]


@pytest.mark.slow
@pytest.mark.ci_slow
def test_a_database_that_was_cut_off_at_its_birth_is_made_anew(tmp_path: Path) -> None:
    """As by a disk that is full: no file may grow beyond what a few of its tables take."""
    script = """
        import resource, sys
        from pathlib import Path
        from catalog.errors import StoreError
        from catalog.stores.registry.registry import Registry
        root = Path(sys.argv[1])
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, resource.RLIM_INFINITY))
        place = {"tracking_uri": f"sqlite:///{root / 'mlflow.db'}", "lock_path": root / "lock"}
        try:
            Registry.open(**place, artifacts_uri=str(root / "files"))
        except StoreError:
            print("refused")
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        print(Registry.open(**place, artifacts_uri=str(root / "files")).all_aliases())
    """
    assert run_script(script, tmp_path).split() == ["refused", "{}"]
    assert list(tmp_path.glob("*.part*")) == []
