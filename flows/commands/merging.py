"""`rpe merge`: exact merging of adapter folders, without a workspace."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.commands.output import AsJson, show_rows

Grams = Annotated[
    list[str] | None,
    typer.Option(help="regmean: FOLDER=FILE of `rpe adapters grams`, one or more."),
]
ConfirmBase = Annotated[
    bool, typer.Option("--confirm-base", help="Members are of one base, whatever they call it.")
]


def add_to(app: typer.Typer) -> None:
    """Add this command to `rpe`."""
    # several members after one --members: those after the first arrive as extra arguments
    app.command(context_settings={"allow_extra_args": True})(merge)


def merge(
    context: typer.Context,
    members: Annotated[
        list[str], typer.Option(help="FOLDER=WEIGHT, one or more; a weight may be negative.")
    ],
    out: Annotated[Path, typer.Option(help="The folder to make; it must not hold anything.")],
    method: Annotated[str, typer.Option(help="concat, svd, dense, regmean or fold.")] = "concat",
    rank: Annotated[
        int | None, typer.Option(min=1, help="svd, regmean: the largest rank of a module.")
    ] = None,
    energy: Annotated[
        float | None, typer.Option(help="svd, regmean: the squared norm's share to keep, up to 1.")
    ] = None,
    grams: Grams = None,
    base: Annotated[
        Path | None,
        typer.Option(help="Folder of the base: for fold, modules_to_save, and to check names."),
    ] = None,
    confirm_base: ConfirmBase = False,
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads; the bytes do not depend on it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Merge PEFT LoRA folders by their weights, exactly, and without loading the base.

    Example: rpe merge --members a=0.6 b=-0.1 --method svd --rank 16 --out merged
    """
    weighted, files = _members_and_files([*members, *context.args], grams or [])
    if method == "regmean" and not files:
        raise typer.BadParameter("regmean asks what members were fed: --grams FOLDER=FILE.")
    from flows.runs.progress import progress_on_stderr
    from rpe_core.merging.merge import merge as merge_folders  # torch takes a second to import

    asked: dict[str, Any] = {"method": method, "rank": rank, "energy": energy, "base": base}
    with progress_on_stderr(f"merging {len(weighted)} folders"):
        asked |= {"dtype": dtype, "threads": threads, "is_base_confirmed": confirm_base}
        asked["grams"] = files
        report = merge_folders(weighted, out, **asked)
    row = {"folder": str(out), **asdict(report)}
    facts = [{"field": key, "value": value} for key, value in row.items()]
    show_rows([row] if as_json else facts, as_json=as_json, title="merged")


def _members_and_files(
    words: list[str], grams: list[str]
) -> tuple[list[tuple[Path, float]], list[Path | None]]:
    """The members, and for each its file of Gram matrices or None; no file where none is named.

    A word after the first of --grams comes among the members, and has no weight behind its sign.
    """
    others = [word for word in words if grams and not _has_weight(word)]
    members = [_member(word) for word in words if word not in others]
    named = (word.rpartition("=") for word in [*grams, *others])
    files = {Path(folder): Path(file) for folder, _, file in named}
    if unknown := [folder for folder in files if folder not in dict(members)]:
        raise typer.BadParameter(f"--grams names folders that are no members: {len(unknown)}.")
    return members, [files.get(folder) for folder, _ in members] if files else []


def _has_weight(text: str) -> bool:
    try:
        float(text.rpartition("=")[2])
    except ValueError:
        return False
    return True


def _member(text: str) -> tuple[Path, float]:
    folder, _, number = text.rpartition("=")
    try:
        weight = float(number)
    except ValueError:
        weight = None
    if not folder or weight is None:
        raise typer.BadParameter(f"a member is FOLDER=WEIGHT, and {len(text)} characters are none.")
    return Path(folder), weight
