"""What EVA knows of the data: filed by the pass that embeds, made again, erased with the data."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from catalog.retraction import retraction
from catalog.retraction.influence import Subject, influence_of
from flows.library import input_statistics
from flows.night.nightly import run_night
from flows.runs.run_record import open_run
from flows.steps import embed, train
from flows.upkeep.maintain import maintain
from flows.upkeep.retraction_steps import recover_and_open_stores
from flows.workspace.settings import Settings
from flows.workspace.stores import open_stores
from flows.workspace.workspace import Workspace, load_declarations
from rpe_core.adapters.input_statistics import InputStatistics
from rpe_core.adapters.recipe import Recipe
from rpe_core.errors import InputError
from rpe_core.merging.files.hyperparameters import Hyperparameters
from rpe_core.merging.peft_folders import read_adapter
from tests.flows.conftest import enter_copy
from tests.pico_world import ROWS, make_pico_workspace, write_rows

LORA = "{method: lora, r: 2, alpha: 4, target_modules: [query, value]"
EVA = "{method: eva, r: 3, alpha: 6, target_modules: [query, value, intermediate.dense]"


def set_plan(settings: Settings, old: str, new: str) -> None:
    plan = settings.plan_file.read_text()
    assert old in plan
    settings.plan_file.write_text(plan.replace(old, new))


@pytest.fixture(scope="session")
def embedded_once(make_once: Callable[..., Path], prefect_api: str) -> Settings:
    """A workspace whose references are to be adapted by EVA, after `rpe embed` and nothing else."""

    def embed_alone(root: Path) -> None:
        settings = make_pico_workspace(root)
        set_plan(settings, LORA, EVA)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PREFECT_API_URL", prefect_api)
            patch.setenv("RPE_HOME", str(settings.root))
            assert run_night(settings, only=("ingest", "embed")).faults == ()

    return Settings(home=make_once("embedded", embed_alone) / "home")


@pytest.fixture
def embedded(
    embedded_once: Settings, tmp_path: Path, prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    return enter_copy(embedded_once, tmp_path / "copy", prefect_api, monkeypatch)


@contextmanager
def opened(settings: Settings) -> Iterator[Workspace]:
    declared, run = load_declarations(settings), open_run("night")
    with closing((stores := open_stores(settings)).lake):
        yield Workspace(settings, declared.plan, declared.contracts, stores, run)


def files(settings: Settings) -> dict[str, Path]:
    """Of each source, the one file of its statistics."""
    found = sorted(settings.statistics_folder.glob("*/*"))
    assert all(file.suffix == ".safetensors" for file in found)
    return {file.parent.name.split("-")[1]: file for file in found}


def marks(settings: Settings) -> dict[str, tuple[int, int]]:
    """What tells whether a file was written again."""
    told = {source: file.stat() for source, file in files(settings).items()}
    return {source: (stat.st_ino, stat.st_mtime_ns) for source, stat in told.items()}


@pytest.mark.slow
@pytest.mark.ci_slow
def test_embedding_files_them_and_training_begins_there(embedded: Settings) -> None:
    before = marks(embedded)
    assert set(before) == {"site_a", "site_b"}, "of references, not of the target"
    with opened(embedded) as workspace:
        (unit, _) = train.pending(workspace)
        folder = train.prepare(workspace, unit)
        outcome = train.run_process(folder)
    assert marks(embedded) == before, "no second pass"
    statistics = InputStatistics.from_tensors(load_file(files(embedded)["site_a"]))
    deltas = read_adapter(folder / "adapter").deltas
    config = json.loads((folder / "adapter" / "adapter_config.json").read_text())
    assert config["rank_pattern"], "ranks differ by module"
    told = Hyperparameters(config)
    assert all(told.rank(name) == delta.rank for name, delta in deltas.items())
    assert all(told.scaling(name) == 1.0 for name in deltas), "the scaling is in B"
    assert sum(delta.rank for delta in deltas.values()) == 3 * len(statistics.ratios)
    assert outcome["rank"] == max(delta.rank for delta in deltas.values()) > 3
    for name, delta in deltas.items():
        learnt = delta.a - statistics.components[name][: delta.rank]
        assert 0 < float(learnt.abs().max()) < 0.1, "it began at the components"


@pytest.mark.slow
@pytest.mark.ci_slow
def test_what_is_missing_is_gathered_again_to_the_byte(embedded: Settings) -> None:
    file = files(embedded)["site_a"]
    kept = file.read_bytes()
    file.unlink()
    with opened(embedded) as workspace:
        (unit, _) = train.pending(workspace)
        folder = train.prepare(workspace, unit)
        assert file.read_bytes() == (folder / train.STATISTICS).read_bytes() == kept
        (encoded, _, _) = embed.units_of(workspace)
        made = embed.make(workspace, encoded)
        known = workspace.stores.vectors.representation(made.representation_id)
    assert made.z == known.z, "watched or not"


@pytest.mark.slow
@pytest.mark.ci_slow
def test_what_cannot_be_gathered_fails_the_training_alone(embedded: Settings) -> None:
    set_plan(embedded, "query, value, intermediate.dense", "nothing")
    before = marks(embedded)
    with opened(embedded) as workspace:
        made = embed.make(workspace, embed.units_of(workspace)[0])
        assert made.n_items > 0
        for unit in train.pending(workspace):
            with pytest.raises(InputError, match="does not fit the base"):
                train.prepare(workspace, unit)
    assert marks(embedded) == before


@pytest.mark.slow
@pytest.mark.ci_slow
def test_a_retraction_erases_those_of_its_dataset(embedded: Settings) -> None:
    assert set(files(embedded)) == {"site_a", "site_b"}
    with closing((stores := open_stores(embedded)).lake):
        influence = influence_of(stores.lake, Subject("site_b"))
        retraction.begin(stores, influence, reason="consent", run=open_run("retract"))
    recover_and_open_stores(embedded).lake.close()
    assert [folder.name for folder in embedded.statistics_folder.iterdir()] == [
        files(embedded)["site_a"].parent.name
    ]


@pytest.mark.slow
@pytest.mark.ci_slow
def test_maintenance_removes_those_of_versions_that_stand_no_more(
    pico_workspace: Settings, tmp_path: Path
) -> None:
    embedded = pico_workspace
    set_plan(embedded, LORA, EVA)
    assert run_night(embedded, only=("ingest", "embed")).faults == ()
    first = files(embedded)
    write_rows(tmp_path / "data" / "site_b_later.jsonl", "site_b", seed=7, first=ROWS)
    assert run_night(embedded, only=("ingest", "embed")).faults == ()
    assert len(list(embedded.statistics_folder.iterdir())) == 3
    rows = {row["what"]: row["count"] for row in maintain(embedded)}
    assert rows["input statistics of old dataset versions"] == 1
    assert files(embedded)["site_a"] == first["site_a"]
    assert files(embedded)["site_b"] != first["site_b"]


@pytest.mark.slow
@pytest.mark.ci_slow
def test_a_whole_night_with_eva(pico_workspace: Settings) -> None:
    set_plan(pico_workspace, LORA, EVA)
    assert run_night(pico_workspace).faults == ()
    again = run_night(pico_workspace)
    assert (again.exit_code, again.outcome) == (0, "unchanged")


def test_recipes_that_ask_for_the_same_share_a_file(embedded: Settings) -> None:
    version = "dataset:site_a@0123456789ab"
    with opened(embedded) as workspace:
        eva = workspace.plan.recipe("lora2")

        def file_of(recipe: Recipe) -> Path:
            question = input_statistics.question_of(recipe)
            assert question is not None
            return input_statistics.file_of(workspace, version, "pico", question.asked)

        file = file_of(eva)
        assert file.parent.name == "dataset-site_a-0123456789ab"
        assert file_of(replace(eva, seed=7, learning_rate=1e-4)) == file
        assert file_of(replace(eva, r=4)) != file
        assert input_statistics.question_of(replace(eva, method="lora", options={})) is None
