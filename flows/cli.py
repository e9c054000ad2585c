"""`rpe`: arguments in, flow call, ids out. Heavy modules are imported where they are needed."""

from __future__ import annotations

import sys

import typer

from flows.commands import (
    adapters,
    experiments,
    history,
    merging,
    nights,
    reads,
    sources,
    targets,
    upkeep,
)
from flows.output import say, show_error, write_json
from rpe_core.errors import RpeError

app = typer.Typer(
    name="rpe",
    help="Adapt a frozen foundation model to a new, unlabelled dataset every night.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
# typer carries a click of its own, whose errors are not those of the package `click`
(USAGE_ERROR,) = typer.BadParameter.__bases__
for _commands in (upkeep, nights, targets, history, merging, reads):
    _commands.add_to(app)
app.add_typer(sources.app, name="source")
app.add_typer(adapters.app, name="adapters")
app.add_typer(experiments.app, name="experiment")


def main() -> None:
    """Run a command; every error ends in a message without values and the exit code of its kind.

    Exit: 0 done, 1 a step failed or the workspace is busy, 2 usage or declaration, 3 a batch was
    refused, 4 the gate refused (`promote` only).
    """
    as_json = "--json" in sys.argv
    try:
        code = app(standalone_mode=False)
    except typer.Exit as done:
        code = done.exit_code
    except USAGE_ERROR as usage:
        usage.show()
        _tell(as_json, "UsageError", "arguments", usage.format_message())
        code = usage.exit_code
    except RpeError as error:
        show_error(error, as_json=as_json)
        code = _code(error)
    except (KeyboardInterrupt, typer.Abort):
        say("stopped; run the same command again to go on where it was")
        code = 130
    except Exception as error:
        say(
            f"{type(error).__name__}: an unexpected error; its text is withheld, it may hold values"
        )
        say(f"  in: {_place(error)}")
        _tell(as_json, type(error).__name__, _place(error), "an unexpected error")
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


def _code(error: RpeError) -> int:
    # the ledger knows the table of exit codes; it is not needed for `--help`
    from flows.ledger import exit_code_of

    return exit_code_of(error)


def _tell(as_json: bool, kind: str, path: str, what: str) -> None:
    """The stable object on stdout, for an error that is not one of ours."""
    if as_json:
        faults = [{"path": path, "what": what, "expected": ""}]
        write_json({"status": "error", "kind": kind, "faults": faults})


def _place(error: BaseException) -> str:
    frame = error.__traceback__
    while frame and frame.tb_next:
        frame = frame.tb_next
    code = frame.tb_frame.f_code if frame else None
    return f"{code.co_filename}:{frame.tb_lineno}" if code and frame else "unknown place"


if __name__ == "__main__":
    main()
