"""Mending artifacts: a folder is made again in scratch, and kept where its hash is the same."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from catalog.integrity.damage import Damage
from catalog.queries.ensemble_record import read_ensemble
from catalog.queries.records import read_record
from catalog.queries.versions import is_data_standing, model_versions_of
from catalog.records.imports import CONFIG, config_text
from catalog.stores.artifacts.artifacts import Artifacts
from catalog.stores.registry.model_versions import ModelVersionRef, ref_of
from flows.steps import train
from flows.steps.train import TrainUnit
from flows.targets.replay import merge_again
from flows.verification.repair_parts import Mending, NotMended
from flows.workspace.workspace import Workspace
from rpe_core.adapters.recipe import Recipe
from rpe_core.errors import RpeError
from rpe_core.regular_files import read_regular

TRAINED = "trained"
ADAPTER = "artifacts/adapter"  # of a version in the registry
Row = dict[str, Any]


def in_order(damages: list[Damage]) -> list[Damage]:
    """Adapters before ensembles, which are merged of them."""
    return sorted(damages, key=lambda damage: damage.ids[0].startswith("ensemble:"))


def foretell(damage: Damage) -> str:
    """How it would be made again."""
    if damage.ids[0].startswith("ensemble:"):
        return "merged again from its members, and kept if its hash is the same"
    return "copied from its version in the registry, or trained again; kept if its hash is the same"


def mend(workspace: Workspace, damage: Damage, mending: Mending) -> str:
    """Make the folder of an adapter or an ensemble again; how it was made.

    Raises:
        NotMended: nothing gives the same hash.
    """
    row = read_record(workspace.stores.lake, damage.ids[0])
    wanted, reasons = row["artifact_sha256"], []
    for how, make in _ways(workspace, damage.ids, row):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "adapter"
            try:
                make(folder)
                if Artifacts.hash_folder(folder) == wanted:
                    _keep(workspace, wanted, folder, mending)
                    return how
                reasons.append(f"{how}, it is another")
            except RpeError as error:
                reasons.append(f"it cannot be {how}: {error.what}")
    raise NotMended("; ".join(reasons))


def _ways(
    workspace: Workspace, ids: tuple[str, ...], row: Row
) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Ways to make a folder, the surest first."""
    ensembles = [record_id for record_id in ids if record_id.startswith("ensemble:")]
    if ensembles:
        yield "merged again", partial(_merged, workspace, ensembles[0])
    for version in model_versions_of(workspace.stores.lake, ids):
        ref = ref_of(version)
        wanted = row["artifact_sha256"]
        yield f"copied from {ref.uri}", partial(_copied, workspace, ref, wanted)
    if not ensembles:
        yield "trained again", partial(_trained, workspace, row)


def _keep(workspace: Workspace, sha256: str, folder: Path, mending: Mending) -> None:
    """Only now is the damaged folder moved: a kill leaves it, or none, and repair comes again."""
    artifacts = workspace.stores.artifacts
    artifacts.give_up(sha256, aside=mending.aside)
    artifacts.put_folder(folder)


def _merged(workspace: Workspace, ensemble_id: str, out: Path) -> None:
    merge_again(workspace, read_ensemble(workspace.stores.lake, ensemble_id), out)


def _copied(workspace: Workspace, ref: ModelVersionRef, wanted: str, out: Path) -> None:
    """The adapter's folder of a version, its configuration as it was before it left the store."""
    registry = workspace.stores.registry
    files = registry.files(registry.version(ref))
    names = [name for name in files if name.startswith(f"{ADAPTER}/")]
    if not names:
        raise NotMended("its files there are gone too")
    for name in names:
        target = out / name.removeprefix(f"{ADAPTER}/")
        target.parent.mkdir(parents=True, exist_ok=True)
        with files[name].opened() as stream, target.open("wb") as copy:
            shutil.copyfileobj(stream, copy)
    config = out / CONFIG
    if not config.is_file():  # learned prompts have none
        return
    try:
        config_facts = json.loads(read_regular(config))
    except ValueError:
        raise NotMended("its configuration there is damaged too") from None
    for text in (write(config_facts) for write in _CONFIGS):
        config.write_text(text, encoding="utf-8")
        if Artifacts.hash_folder(out) == wanted:
            return


def _as_trained(config: Row) -> str:
    return json.dumps(config, sort_keys=True, indent=2, allow_nan=False) + "\n"


def _untold(config: Row) -> Row:
    return {name: value for name, value in config.items() if name != "auto_mapping"}


# what a version tells PEFT beside what was kept is taken out again, in each form that is written
_CONFIGS: tuple[Callable[[Row], str], ...] = (
    lambda config: _as_trained({**config, "auto_mapping": None}),
    lambda config: _as_trained(_untold(config)),
    _as_trained,
    lambda config: config_text({**config, "auto_mapping": None}) + "\n",
    lambda config: config_text(_untold(config)) + "\n",
    lambda config: config_text(config) + "\n",
)


def _trained(workspace: Workspace, row: Row, out: Path) -> None:
    """The adapter once more from its rows and its recipe: on equal threads it has equal bytes."""
    unit = _unit(workspace, row)
    folder = train.prepare(workspace, unit)
    try:
        train.run_process(folder)
        shutil.move(folder / "adapter", out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unit(workspace: Workspace, row: Row) -> TrainUnit:
    if row["origin"] != TRAINED:
        raise NotMended("it was trained elsewhere")
    base = next((n for n, b in workspace.bases.items() if b.base_id == row["base_id"]), None)
    if base is None:
        raise NotMended(f"the plan has no base {row['base_id']}")
    if row["source"] not in workspace.contracts:
        raise NotMended(f"the workspace has no contract of {row['source']}")
    if not is_data_standing(workspace.stores.lake, row["dataset_version_id"]):
        raise NotMended("its data are not there any more")
    recipe = Recipe.from_json(row["recipe_json"])
    sha256 = f"repair-{row['adapter_id'].rpartition('@')[2]}"
    return TrainUnit(
        row["source"],
        base,
        recipe,
        row["dataset_version_id"],
        row["representation_id"],
        sha256,
    )
