"""Import: adapters that were trained elsewhere enter the library; every fault is told at once."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from catalog.contracts.contract import NAME
from catalog.records.cards import AdapterCard
from catalog.records.imports import AdapterToImport, file_adapters
from catalog.stores.artifacts.portable import Bundle, is_bundle, read_bundle
from flows.adapters.base_check import base_weights, fit, require_base_name, require_fit
from flows.adapters.bundle_card import read_card
from flows.adapters.samples import SampleRepresentation, read_sample_representation
from flows.runs.progress import announce
from flows.runs.run_record import open_run
from flows.steps.train import register_base_of
from flows.workspace.locking import hold_workspace
from flows.workspace.settings import Settings
from flows.workspace.stores import open_stores
from flows.workspace.workspace import Workspace, load_declarations
from rpe_core.errors import DeclarationError, Fault, InputError, RpeError, UnknownName, shown_name
from rpe_core.families.table import FAMILIES
from rpe_core.fingerprint import SHORT, fingerprint, make_id
from rpe_core.merging.files.hyperparameters import NARROWING, Hyperparameters
from rpe_core.merging.peft_folders import AdapterFiles, read_adapter
from rpe_core.merging.strength import require_bounded
from rpe_core.records import BaseModel, Representation
from rpe_core.regular_files import special_kind

Row = dict[str, Any]
_HEADED = ("SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS", "SEQ_2_SEQ_LM")
_ORDERED = ("rank_pattern", "alpha_pattern")  # of several that fit, PEFT takes the first
_NARROWED = (*NARROWING, "fan_in_fan_out")


@dataclass(frozen=True)
class ImportSpec:
    """What a plain PEFT folder does not say of itself; a bundle says it."""

    base: str = ""
    source: str = ""
    license: str = ""
    task_of: str = ""
    sample: str = ""
    representation: str = ""
    is_base_confirmed: bool = False


def import_adapters(
    settings: Settings,
    places: Sequence[str],
    spec: ImportSpec,
    *,
    is_registered: bool = True,
    is_dry_run: bool = False,
    on_checked: Callable[[list[Row]], None] = lambda rows: None,
) -> list[str]:
    """File every adapter at the places, or none of them; ids of those that are new.

    `on_checked` is told what was found right, hashes included, before any of it is filed; a dry run
    ends there, with the ids of all.

    Raises:
        DeclarationError: with the reason for each adapter that is refused.
    """
    with hold_workspace(settings):
        declared = load_declarations(settings)
        with open_stores(settings) as stores:
            run = open_run("import")
            workspace = Workspace(settings, declared.plan, declared.contracts, stores, run)
            with tempfile.TemporaryDirectory() as scratch:
                checked, names = _checked(workspace, _folders(places), spec, Path(scratch))
                on_checked([_reported(adapter) for adapter in checked])
                filed = [adapter.filed for adapter in checked]
                if is_dry_run:
                    return [adapter.card.adapter_id for adapter in filed]
                for name in names:
                    register_base_of(workspace, name)
                return file_adapters(stores, filed, is_registered=is_registered, run=run)


@dataclass(frozen=True)
class _Checked:
    """An adapter to file, and in words what was done to it so that it fits the base."""

    filed: AdapterToImport
    changes: str = ""


def _reported(adapter: _Checked) -> Row:
    """An adapter as it would be filed."""
    card, representation = adapter.filed.card, adapter.filed.representation
    return {
        "adapter_id": card.adapter_id,
        "license": card.license,
        "rank": card.rank,
        "n_parameters": card.n_parameters,
        "n_items": representation.n_items,
        "n_groups": representation.n_groups,
        "weights_sha256": card.weights_sha256,
        "mapped": adapter.changes,
    }


def _folders(places: Sequence[str]) -> list[Path]:
    """Folders of adapters: named, matched by a pattern, or lying in a folder that is named."""
    candidates: list[Path] = []
    for pattern in places:
        path = Path(pattern).expanduser()
        matched = [path] if path.exists() else sorted(path.parent.glob(path.name))
        for folder in matched:
            inside = (
                [p for p in sorted(folder.iterdir()) if _is_adapter(p)] if folder.is_dir() else []
            )
            candidates += [folder] if _is_adapter(folder) or not inside else inside
    if kinds := [
        special_kind(path) for path in candidates if not path.is_dir() and special_kind(path)
    ]:
        raise InputError(f"What is to be imported is {kinds[0]}.", expected="folders of adapters")
    folders = [folder.absolute() for folder in dict.fromkeys(candidates) if folder.is_dir()]
    if not folders:
        raise InputError(
            "There is no adapter to import.",
            expected="a folder with adapter_config.json, a bundle, or a pattern that matches some",
        )
    return folders


def _is_adapter(folder: Path) -> bool:
    config = folder / "adapter_config.json"
    return is_bundle(folder) or config.is_file() or bool(special_kind(config))


def _checked(
    workspace: Workspace, folders: Sequence[Path], spec: ImportSpec, scratch: Path
) -> tuple[list[_Checked], list[str]]:
    """Everything to file and the bases it needs.

    Raises:
        DeclarationError: at least one adapter is refused; nothing was written.
    """
    checked: dict[str, _Checked] = {}
    bases: dict[str, None] = {}
    faults: list[Fault] = []
    for number, folder in enumerate(folders, start=1):
        announce("import", folder.name, number, len(folders))
        try:
            folder_scratch = scratch / str(number)
            name, adapter = _one(
                workspace, folder, spec, folder_scratch, is_alone=len(folders) == 1
            )
            twin = checked.setdefault(adapter.filed.card.adapter_id, adapter).filed
            if _are_two(twin, adapter.filed):
                raise InputError(
                    "Two adapters would have one id.", where=adapter.filed.card.adapter_id
                )
            bases[name] = None
        except DeclarationError as error:
            faults += [Fault(f"{folder.name}: {f.path}", f.what, f.expected) for f in error.faults]
        except RpeError as error:
            expected = "; ".join(part for part in (error.expected, error.remedy) if part)
            faults.append(Fault(folder.name, error.what.rstrip("."), expected))
    if faults:
        raise DeclarationError("the import", faults)
    return list(checked.values()), list(bases)


def _are_two(adapter: AdapterToImport, other: AdapterToImport) -> bool:
    mine, its = adapter.card, other.card
    is_same = mine.weights_sha256 == its.weights_sha256 and mine.recipe_id == its.recipe_id
    return not is_same or (mine.source == its.source and adapter is not other)


def _one(
    workspace: Workspace, folder: Path, spec: ImportSpec, scratch: Path, *, is_alone: bool
) -> tuple[str, _Checked]:
    if is_bundle(folder):
        name, filed = _from_bundle(workspace, read_bundle(folder))
        return name, _Checked(filed)
    faults = [
        Fault(f"--{option}", "is needed for a plain PEFT folder")
        for option, value in (("base", spec.base), ("source", spec.source),
                              ("license", spec.license), ("task-of", spec.task_of))
        if not value
    ]  # fmt: skip
    if bool(spec.sample) == bool(spec.representation):
        faults.append(Fault("--sample", "give either a sample or a representation"))
    if faults:
        raise DeclarationError("the options", faults)
    return spec.base, _from_peft(workspace, folder, spec, scratch, is_alone=is_alone)


def _from_peft(
    workspace: Workspace, folder: Path, spec: ImportSpec, scratch: Path, *, is_alone: bool
) -> _Checked:
    source = _source(workspace, folder, spec, is_alone=is_alone)
    base, task = workspace.bases[spec.base], workspace.contracts[spec.task_of].task_spec
    plain = _read_plain(workspace, folder, spec)
    fitted = fit(workspace, spec.base, folder, scratch)
    require_bounded(fitted.folder, base_weights(workspace, spec.base))
    adapter = plain if fitted.folder == folder else read_adapter(fitted.folder)
    sample = read_sample_representation(
        workspace, spec.base, folder, task, spec.sample, spec.representation
    )
    representation = _representation(workspace, source, workspace.encoder(spec.base), sample)
    made_of = {"dataset": sample.sha256, "base": base.sha256, "tokens": base.max_tokens}
    made_of["weights"] = adapter.weights_sha256
    recipe = _recipe(plain)
    card = AdapterCard(
        adapter_id=make_id("adapter", source, fingerprint(made_of)),
        source=source,
        dataset_version_id=representation.dataset_version_id,
        base=base,
        task=task,
        recipe_id=_recipe_ids(recipe)[0],
        recipe=recipe,
        representation_id=representation.representation_id,
        license=spec.license,
        weights_sha256=adapter.weights_sha256,
        rank=adapter.rank,
        n_parameters=adapter.n_parameters,
        n_steps=0,
        validation_score=None,
        threads=0,
        origin="imported",
    )
    config, recipe_ids = _named(adapter.config, base), _recipe_ids(recipe)
    new = AdapterToImport(card, representation, fitted.folder, config, recipe_ids=recipe_ids)
    return _Checked(new, fitted.changes)


def _read_plain(workspace: Workspace, folder: Path, spec: ImportSpec) -> AdapterFiles:
    adapter = read_adapter(folder)
    if adapter.prompts:
        raise InputError("Learned prompts are imported as a bundle.", remedy="rpe adapters export")
    if not spec.is_base_confirmed:
        require_base_name(workspace, spec.base, adapter)
    return adapter


def _recipe_ids(recipe: dict[str, Any]) -> tuple[str, ...]:
    """The id of a recipe, and the one that it had before patterns were part of it."""
    earlier = {key: value for key, value in recipe.items() if key not in _ORDERED + _NARROWED}
    return fingerprint(recipe)[:SHORT], fingerprint(earlier)[:SHORT]


def _source(workspace: Workspace, folder: Path, spec: ImportSpec, *, is_alone: bool) -> str:
    if spec.base not in workspace.bases:
        raise UnknownName("base", spec.base, workspace.bases)
    if spec.task_of not in workspace.contracts:
        raise UnknownName("source", spec.task_of, workspace.contracts)
    source = spec.source if is_alone else f"{spec.source}_{_slug(folder.name)}"
    if not NAME.fullmatch(source):
        raise InputError(f"{shown_name(source)} is no name of a source.", expected=NAME.pattern)
    return source


def _from_bundle(workspace: Workspace, bundle: Bundle) -> tuple[str, AdapterToImport]:
    name, encoder_id = _base_of(workspace, bundle.card.get("base"))
    base = workspace.bases[name]
    card, filed = read_card(bundle, base, encoder_id)
    _require_usable(workspace, filed)
    adapter = read_adapter(bundle.adapter)
    if adapter.weights_sha256 != card.weights_sha256:
        raise InputError("The bundle's card names other weights.", remedy="export it again")
    require_fit(workspace, name, bundle.adapter)
    require_bounded(bundle.adapter, base_weights(workspace, name))
    return name, AdapterToImport(card, filed, bundle.adapter, _named(adapter.config, base))


def _base_of(workspace: Workspace, declared: object) -> tuple[str, str]:
    """The plan's base with the files that a bundle was made on, and its encoder."""
    facts = declared if isinstance(declared, dict) else {}
    sha256, encoder_id = str(facts.get("sha256")), str(facts.get("encoder_id"))
    for name, base in workspace.bases.items():
        if base.sha256 == sha256:
            encoder = workspace.encoder(name)
            if encoder.rpartition("@")[2] == encoder_id.rpartition("@")[2]:
                return name, encoder
    raise InputError(
        "No base of the plan has the files and the encoder of this bundle.",
        expected=f"base files {shown_name(sha256[:SHORT])} with equal dtype and max_tokens",
        remedy="add the base to plan.yaml",
    )


def _representation(
    workspace: Workspace, source: str, encoder: str, sample: SampleRepresentation
) -> Representation:
    made_of = {"dataset": sample.sha256, "encoder": encoder, "role": "reference"}
    representation = Representation(
        make_id("representation", source, fingerprint(made_of)),
        make_id("dataset", source, sample.sha256),
        encoder,
        "reference",
        sample.n_items,
        sample.z,
        sample.variance,
    )
    _require_usable(workspace, representation)
    return representation


def _require_usable(workspace: Workspace, representation: Representation) -> None:
    values = (
        np.array([representation.z, representation.variance])
        if len(representation.z) == len(representation.variance)
        else None
    )
    if (
        values is None
        or not values.size
        or not np.isfinite(values).all()
        or representation.n_items < 1
    ):
        raise InputError("The representation is not finite, or has no items.")
    expected = workspace.stores.vectors.dimension(representation.encoder_id)
    if expected not in (None, len(representation.z)):
        raise InputError(
            f"The representation has {len(representation.z)} dimensions.", expected=f"{expected}"
        )


def _recipe(adapter: AdapterFiles) -> dict[str, Any]:
    """How it was trained, as far as its configuration tells: what decides on its delta.

    What few configurations say stands in it only where one does, so that ids of others stay.
    """
    config, hyperparameters = adapter.config, Hyperparameters(adapter.config)
    targets = config.get("target_modules")
    patterns = {key: [list(pair) for pair in (config.get(key) or {}).items()] for key in _ORDERED}
    narrowed = {key: config.get(key) for key in _NARROWED}
    return {
        "method": "lora",
        "r": hyperparameters.default_rank,
        "alpha": config.get("lora_alpha", hyperparameters.default_alpha),
        "target_modules": sorted(targets) if isinstance(targets, list) else targets,
        **({"modules_to_save": sorted(config["modules_to_save"])} if adapter.whole else {}),
        "use_rslora": bool(config.get("use_rslora")),
        **{key: pairs for key, pairs in patterns.items() if pairs},
        **{
            key: sorted(value, key=str) if isinstance(value, list) else value
            for key, value in narrowed.items()
            if value not in (None, False, "", [])
        },
    }


def _named(config: dict[str, Any], base: BaseModel) -> dict[str, Any]:
    """The configuration as ours: the base by its id, no path or revision of another machine.

    A task that wants a head of its own becomes the family's, which loads none.
    """
    try:
        json.dumps(config, allow_nan=False)
    except ValueError:
        raise InputError("adapter_config.json holds NaN or infinity.") from None
    own: dict[str, Any] = {"base_model_name_or_path": base.base_id, "revision": None}
    if config.get("auto_mapping") == FAMILIES[base.family].auto_mapping:
        own["auto_mapping"] = None  # what an export told PEFT; in the store it says nothing
    if config.get("task_type") in _HEADED:
        own["task_type"] = FAMILIES[base.family].peft_type
    return {**config, **own}


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
