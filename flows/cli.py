"""`rpe`: arguments in, flow call, ids out. Heavy modules are imported where they are needed."""

from __future__ import annotations

import sys
from typing import Annotated, Any

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
from flows.commands.command_line import Group, finish
from flows.commands.output import say, show_error, write_json
from rpe_core.errors import RpeError

app = typer.Typer(
    name="rpe",
    cls=Group,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
# typer carries a click of its own, whose errors are not those of the package `click`
USAGE_ERROR: Any = typer.BadParameter.__bases__[0]
for _commands in (upkeep, nights, targets, history, merging, reads):
    _commands.add_to(app)
app.add_typer(sources.app, name="source")
app.add_typer(adapters.app, name="adapters")
app.add_typer(experiments.app, name="experiment")
finish(app, sources.app, adapters.app, experiments.app)


def _show_version(is_asked: bool) -> None:
    if not is_asked:
        return
    from importlib.metadata import PackageNotFoundError, version  # 20 ms, for this alone

    try:
        typer.echo(f"rpe {version('rpe-platform')}")
    except PackageNotFoundError:
        typer.echo("rpe, of a folder of code that is not installed")
    raise typer.Exit


@app.callback()
def _rpe(
    _: Annotated[
        bool,
        typer.Option(
            "--version", "-V", callback=_show_version, is_eager=True, help="Show the version."
        ),
    ] = False,
) -> None:
    """Adapt a frozen foundation model to a new, unlabelled dataset every night."""


def main() -> None:
    """Run a command; every error ends in a message without values and the exit code of its kind.

    Exit: 0 done, 1 a step failed or the workspace is busy, 2 usage or declaration, 3 a batch was
    refused, 4 the gate refused (`promote` only).
    """
    as_json = "--json" in sys.argv
    try:
        code = app(prog_name="rpe", standalone_mode=False)
    except typer.Exit as done:
        code = done.exit_code
        if code and {"--show-completion", "--install-completion"} & set(sys.argv):
            say("type it in bash, zsh, fish or PowerShell: no shell was found to have started this")
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
        fault = _system_fault(error)
        if fault:
            show_error(fault, as_json=as_json)
            sys.exit(_code(fault))
        say(
            f"{type(error).__name__}: an unexpected error; its text is withheld, it may hold values"
        )
        say(f"  in: {_place(error)}")
        _tell(as_json, type(error).__name__, _place(error), "an unexpected error")
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


def _system_fault(error: Exception) -> RpeError | None:
    # the settings are not needed for `--help`
    from flows.runs.system_faults import system_fault

    return system_fault(error)


def _code(error: RpeError) -> int:
    # the ledger knows the table of exit codes; it is not needed for `--help`
    from flows.runs.exit_codes import exit_code_of

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
