"""The merge: adapter folders and weights in, an adapter or a checkpoint out. Touches files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from rpe_core.errors import InputError, UnknownName
from rpe_core.merging.blueprint import Blueprint, draw_blueprint
from rpe_core.merging.donor_inputs import open_donor_inputs
from rpe_core.merging.files.adapter_reader import CONFIG, WEIGHTS
from rpe_core.merging.files.checkpoint import Checkpoint
from rpe_core.merging.files.configs import (
    any_targets,
    common_base,
    common_targets,
    common_text,
    peft_config,
)
from rpe_core.merging.files.reading import TensorFile
from rpe_core.merging.files.writing import write_folder_whole, write_json
from rpe_core.merging.fold import fold_into
from rpe_core.merging.fold_plan import plan_folds
from rpe_core.merging.manifest import (
    MANIFEST,
    MergeReport,
    adapter_manifest,
    adapter_report,
    fold_manifest,
    fold_report,
    regmean_manifest,
)
from rpe_core.merging.prompts import holds_prompts, merge_prompts
from rpe_core.merging.rounding import DTYPES
from rpe_core.merging.stream import MergeStatistics, stream_adapter
from rpe_core.merging.strength import check_strength
from rpe_core.merging.table import (
    MERGE_METHODS,
    MergeMethod,
    MergeOptions,
    check_grams,
    find_method,
)
from rpe_core.merging.threads import map_in_order

FOLD = "fold"
METHODS: dict[str, str] = {  # what each makes, in words
    **{name: method.doc for name, method in MERGE_METHODS.items()},
    FOLD: (
        "`rpe merge` only: the sum added to the base's own weights, in a new checkpoint; where"
        " members changed one of a tied embedding and output layer, it holds both and says so."
        " Weights in other formats, pickles and code beside the base are named in `left_out`, the"
        " rest is copied"
    ),
}


def merge(
    members: Sequence[tuple[Path, float]],
    out: Path,
    *,
    method: str = "concat",
    rank: int | None = None,
    energy: float | None = None,
    base: Path | None = None,
    dtype: str = "float32",
    threads: int | None = None,
    is_base_confirmed: bool = False,
    grams: Sequence[Path | None] = (),
) -> MergeReport:
    """Merge PEFT LoRA folders by their weights: dW = sum_i w_i s_i B_i A_i, by streaming.

    Folders of learned prompts are added up too, among themselves, by the exact methods.
    A module that a member lacks counts as zero; weights may be negative and need not sum to one.
    What wrapped a model at its training is no part of a module's name. The base model is never
    loaded: its files are read, tensor by tensor, where a member holds whole tensors
    (modules_to_save, whose change is theta_i - theta_0), and for `fold`. Where it is given, every
    module is looked for in it. The folder appears
    whole or not at all, with rpe_merge.json beside the weights: inputs by hash, weights, method,
    errors, ranks. The same members give the same bytes, whatever the number of threads.

    Args:
        members: adapter folders (adapter_config.json, adapter_model.safetensors) with weights.
        out: the folder to make; must not exist, or be empty. Its parent must exist.
        method: `concat` (exact, ranks add), `svd` (the best adapter of a rank), `dense` (exact,
            full rank), `regmean` (weighed by what each member was fed), or `fold` (a new
            checkpoint: the base with the sum added to its weights).
        rank: the largest rank, `svd` and `regmean` only; by default the largest of a member for
            `svd`, and all that there is for `regmean`.
        energy: instead of a rank: the share of each ||dW||_F^2 to keep, in ]0, 1].
        base: the folder of the base's safetensors, whole or in shards.
        dtype: of the adapter: `float32`, or `bfloat16` with the rounding recorded. A fold keeps the
            dtype of every tensor of the base; its arithmetic is fp32.
        threads: by default as many as the process may use.
        is_base_confirmed: whether members are of one base though they name it differently. A path
            and a hub id that end alike name one.
        grams: `regmean` only: for each member its file of Gram matrices, or None; without any the
            sum is the plain one.

    Raises:
        UnknownName: the merge method or dtype is not known.
        InputError: the members cannot be merged exactly, bases differ, a file is corrupt or holds
            NaN, a delta is too strong, or `out` is taken. Nothing is written then.
        WriteFailed: the disk is full, or the place cannot be written to. Nothing is left then.
    """
    if dtype not in DTYPES:
        raise UnknownName("dtype", dtype, DTYPES)
    if method not in METHODS:
        raise UnknownName("merge method", method, METHODS)
    are_prompts = bool(members) and holds_prompts(members[0][0])
    is_asked = (rank, energy, dtype, *grams) != (None, None, "float32")
    if (method == FOLD or are_prompts) and is_asked:
        raise InputError(
            "A fold or a merge of prompts takes no rank, energy or dtype, and no Gram matrix:"
            " it is exact."
        )
    confirmed = {"is_base_confirmed": is_base_confirmed}
    if method == FOLD:
        return _merge_into_base(members, Path(out), base=base, threads=threads, **confirmed)
    if are_prompts:
        return merge_prompts(members, Path(out), method=method, **confirmed)
    entry = find_method(method, rank=rank, energy=energy)
    check_grams(entry, grams, n_members=len(members))
    blueprint = _bounded_blueprint(members, base=base, threads=threads, **confirmed)
    form = _with_default_rank(MergeOptions(rank, energy, DTYPES[dtype]), entry, blueprint)
    return _merge_to_adapter(blueprint, Path(out), entry, form, grams, threads=threads)


def _merge_to_adapter(
    blueprint: Blueprint,
    out: Path,
    method: MergeMethod,
    form: MergeOptions,
    grams: Sequence[Path | None],
    *,
    threads: int | None,
) -> MergeReport:
    with write_folder_whole(out) as part:
        weights = part / WEIGHTS
        donors = open_donor_inputs(blueprint, grams)
        account = stream_adapter(
            blueprint, weights, method=method, form=form, donors=donors, threads=threads
        )
        write_json(part / CONFIG, _config(blueprint, account))
        files = [member.tensors for member, _ in blueprint.members]
        files += [TensorFile(weights, what="The result")]
        *inputs, output = hash_files(files, threads=threads)
        report = adapter_report(blueprint, account, method=method.name, weights_sha256=output)
        manifest = adapter_manifest(blueprint, account, report, form, inputs)
        of_grams = regmean_manifest(account, donors) if method.weighs_inputs else {}
        write_json(part / MANIFEST, {**manifest, **of_grams})
    return report


def hash_files(files: Sequence[TensorFile], *, threads: int | None = None) -> list[str]:
    """The sha256 of each file, several at a time."""
    return list(map_in_order(TensorFile.sha256, files, threads=threads))


def _merge_into_base(
    members: Sequence[tuple[Path, float]],
    out: Path,
    *,
    base: Path | None,
    threads: int | None,
    is_base_confirmed: bool,
) -> MergeReport:
    blueprint = _bounded_blueprint(
        members,
        base=base,
        threads=threads,
        needs_base=True,
        is_base_confirmed=is_base_confirmed,
    )
    checkpoint = blueprint.needed_base()
    plan = plan_folds(blueprint, checkpoint)
    with write_folder_whole(out) as part:
        rounding, left_out = fold_into(blueprint, checkpoint, plan, part, threads=threads)
        written = Checkpoint(part)
        tensors = [member.tensors for member, _ in blueprint.members]
        shards = [*checkpoint.shards.values(), *written.shards.values()]
        hashes = hash_files([*tensors, *shards], threads=threads)
        inputs, of_shards = hashes[: len(tensors)], hashes[len(tensors) :]
        before = dict(zip(checkpoint.shards, of_shards, strict=False))
        after = dict(zip(written.shards, of_shards[len(before) :], strict=True))
        report = fold_report(
            blueprint, rounding, weights_sha256=_hash_of(after), plan=plan, left_out=left_out
        )
        manifest = fold_manifest(blueprint, report, inputs=inputs, before=before, after=after)
        write_json(part / MANIFEST, manifest)
    return report


def _bounded_blueprint(
    members: Sequence[tuple[Path, float]],
    *,
    base: Path | None,
    threads: int | None,
    **how: bool,
) -> Blueprint:
    """What will be added up, once no member nor the sum is found stronger than the base bears."""
    blueprint = draw_blueprint(members, base=base, **how)
    check_strength(blueprint.members, blueprint.base, blueprint.keys, threads=threads)
    return blueprint


def _with_default_rank(
    form: MergeOptions, method: MergeMethod, blueprint: Blueprint
) -> MergeOptions:
    """Where nothing is asked for, `svd` gives the largest rank of a member."""
    if not method.has_default_rank or form.rank is not None or form.energy is not None:
        return form
    ranks = [max(blueprint.ranks(module)) for module in blueprint.modules]
    return replace(form, rank=max(ranks, default=1))


def _config(blueprint: Blueprint, account: MergeStatistics) -> dict[str, Any]:
    configs = blueprint.configs
    is_covered = all(
        set(member.layout.modules) == set(blueprint.modules) for member, _ in blueprint.members
    )
    targets: list[str] | str | None = common_targets(configs) if is_covered else None
    if not blueprint.modules:
        targets = targets or any_targets(configs)
    saved = {name for config in configs for name in config.get("modules_to_save") or ()}
    return peft_config(
        account.ranks,
        base_name=common_base(configs, is_confirmed=True),
        task_type=common_text(configs, "task_type"),
        target_modules=targets,
        modules_to_save=sorted(saved) if blueprint.whole else (),
        fan_in_fan_out=any(config.get("fan_in_fan_out") for config in configs),
    )


def _hash_of(shards: Mapping[str, str]) -> str:
    """The hash of a file where there is one, else of the table of the shards' hashes."""
    if len(shards) == 1:
        return next(iter(shards.values()))
    return sha256(json.dumps(shards, sort_keys=True).encode()).hexdigest()
