"""Commands about a target: what is near, what was weighed, who serves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.completion import complete_target
from flows.commands.output import AsJson, say, show_ids, show_rows
from rpe_core.errors import InputError

Target = Annotated[
    str, typer.Argument(help="Name of a target of the plan.", autocompletion=complete_target)
]
AsOf = Annotated[
    str,
    typer.Option(
        "--as-of",
        help="A past date or time (ISO 8601, UTC unless it names a zone): what stood then.",
    ),
]
Actor = Annotated[str, typer.Option(help="Who decides; it goes on record.")]


def add_to(app: typer.Typer) -> None:
    """Add these commands to `rpe`."""
    for command in (nearest, ensemble, replay, predict, promote, rollback):
        app.command()(command)


def nearest(
    target: Target,
    k: Annotated[int, typer.Option("-k", min=1, help="How many.")] = 5,
    as_of: AsOf = "",
    as_json: AsJson = False,
) -> None:
    """Show the adapters nearest to a target, and whether the library spans it.

    With --as-of what would have been nearest then, by the plan as it is now; of a date its first
    instant counts.

    Example: rpe nearest site-d -k 3
    """
    # torch and the stores take seconds to import
    from flows.targets.as_of import moment_of, nearest_as_of
    from flows.targets.asking import nearest_adapters
    from flows.workspace.settings import Settings

    if as_of:
        nearest_rows = nearest_as_of(Settings(), target, k=k, moment=moment_of(as_of))
    else:
        nearest_rows = nearest_adapters(Settings(), target, k=k)
    show_rows(nearest_rows.rows, as_json=as_json, title=f"nearest to {target}")
    if nearest_rows.note:
        say(nearest_rows.note)


def ensemble(
    target: Target,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain", help="Show members, weights, distances, guards, and each one's part."
        ),
    ] = False,
    scores: Annotated[
        bool,
        typer.Option("--scores", help="Show the score without each source: one merge for each."),
    ] = False,
    as_of: AsOf = "",
    as_json: AsJson = False,
) -> None:
    """Build the ensembles of a target that are missing; or explain those that stand.

    With --as-of nothing is built: it shows what would have been retrieved then and how weighed, by
    the plan as it is now.

    Example: rpe ensemble site-d --explain
    """
    # torch takes seconds to import
    from flows.targets.as_of import moment_of, weighed_as_of
    from flows.targets.asking import explain_ensembles, explain_scores
    from flows.workspace.settings import Settings

    if scores and (as_of or explain):
        other = "--as-of looks at the past" if as_of else "--explain has a table of its own"
        raise InputError(f"--scores compares newest scores, {other}.", expected="one of the two")
    if as_of:
        weighed = weighed_as_of(Settings(), target, moment=moment_of(as_of))
        show_rows(weighed.rows, as_json=as_json, title=f"{target} as of {as_of}")
        say(weighed.note)
        return
    if scores:
        rows = explain_scores(Settings(), target)
        show_rows(rows, as_json=as_json, title=f"{target} without a source")
        return
    if not explain:
        from flows.commands.nights import run_steps

        run_steps(("ensemble",), as_json=as_json, targets=(target,))
        return
    rows = explain_ensembles(Settings(), target)
    show_rows(rows, as_json=as_json, title=f"ensembles of {target}")


def replay(
    ensemble: Annotated[str, typer.Argument(help="An ensemble id.")], as_json: AsJson = False
) -> None:
    """Recompute an ensemble from what is on record, and compare the hashes; nothing is written.

    Per part - representation, weights, merge, stored artifact - same, differs, or cannot be
    recomputed and why, with threads and library versions of then and now.

    Example: rpe replay ensemble:site-d@0123456789ab
    """
    from flows.runs.progress import progress_on_stderr
    from flows.targets.replay import DIFFERS, as_row  # torch and the stores take seconds to import
    from flows.targets.replay import replay as replay_ensemble
    from flows.workspace.settings import Settings

    with progress_on_stderr("reading what is on record"):
        rows = [as_row(part) for part in replay_ensemble(Settings(), ensemble)]
    columns = "part outcome recorded_sha256 sha256 threads_then threads_now changed reason"
    show_rows(rows, as_json=as_json, title=f"replay of {ensemble}", columns=columns)
    if any(row["outcome"] == DIFFERS for row in rows):
        raise typer.Exit(1)


def predict(
    target: Target,
    text: Annotated[list[str] | None, typer.Option(help="An input; may be repeated.")] = None,
    file: Annotated[Path | None, typer.Option(help="A file with one input a line.")] = None,
    image: Annotated[
        list[Path] | None,
        typer.Option(help="An image file, or the folder of a DICOM series; may be repeated."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the masks of images; masks where none is named.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Predict with the champion as a registry consumer would; with the base where none serves.

    Example: rpe predict site-d --text "Chest film without infiltrate."
    """
    # torch and MLflow take seconds to import
    from flows.targets.predict import predict_images, predict_texts
    from flows.workspace.settings import Settings

    if (image or out) and (text or file):
        named = "--image" if image else "--out"
        raise InputError(
            f"{named} is an input of images, --text and --file are inputs of texts.",
            expected="one of the two",
        )
    if image:
        answered = predict_images(Settings(), target, image, out or Path("masks"))
    else:
        inputs = [*(text or []), *(_lines(file) if file else [])]
        answered = predict_texts(Settings(), target, inputs)
    say(answered.note)
    show_rows(answered.rows, as_json=as_json, title=target)


def promote(
    target: Annotated[
        str,
        typer.Argument(help="A target that waits for approval.", autocompletion=complete_target),
    ] = "",
    actor: Actor = "",
    as_json: AsJson = False,
) -> None:
    """Ask the gate about every target; with a target and an actor, approve its pending challenger.

    Example: rpe promote site-d --actor jane.roe
    """
    if target:
        from flows.targets.decisions import approve  # the stores take seconds to import
        from flows.workspace.settings import Settings

        show_ids([approve(Settings(), target, actor=actor)], as_json=as_json)
        return
    if actor:
        raise typer.BadParameter("--actor NAME decides about a target, and none is named.")
    from flows.commands.last_screen import read_standing
    from flows.commands.nights import run_steps
    from flows.workspace.settings import Settings

    run_steps(("promote",), as_json=as_json)
    if any(row["verdict"] == "refused" for row in read_standing(Settings())):
        raise typer.Exit(4)


def rollback(target: Target, actor: Actor = "", as_json: AsJson = False) -> None:
    """Give a target back its former champion; the night will not promote the other one again.

    Example: rpe rollback site-d --actor jane.roe
    """
    from flows.targets.decisions import roll_back  # the stores take seconds to import
    from flows.workspace.settings import Settings

    show_ids([roll_back(Settings(), target, actor=actor)], as_json=as_json)


def _lines(file: Path) -> list[str]:
    """The lines as an editor counts them: other marks that Python takes for ends are of a text."""
    from rpe_core.regular_files import NotRegularFile, read_regular

    try:
        text = read_regular(file).decode("utf-8-sig")
        lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        return lines if lines[-1] else lines[:-1]
    except NotRegularFile as error:
        raise InputError(
            f"The file of inputs is {error.kind}.", where=str(file), expected="a regular file"
        ) from None
    except (OSError, UnicodeDecodeError):
        raise InputError(
            "The file of inputs cannot be read.",
            where=str(file),
            expected="a file of UTF-8 text, one input a line",
        ) from None
