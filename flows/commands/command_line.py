"""How every command takes its words: a value is one, is given once, and help tells exit codes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

DONE, FAILED, MISUSED, REFUSED, LOST = range(5)
_CODES = {
    DONE: "done",
    FAILED: "failed: a store or a file, or another run holds the workspace",
    MISUSED: "usage, or a fault of plan.yaml, a contract or the environment",
    REFUSED: "a delivered file was refused; the other files have landed",
    LOST: "the gate refuses the challenger of at least one target",
}
_STEP = {FAILED: "a step failed, or another run holds the workspace"}
# what a code means to one command, where that is more than the table says
_OWN = {
    "nightly": {DONE: "every step ran", REFUSED: _CODES[REFUSED]} | _STEP,
    "ingest": {REFUSED: _CODES[REFUSED]} | _STEP,
    **dict.fromkeys(("embed", "train", "ensemble", "evaluate"), _STEP),
    "promote": {LOST: _CODES[LOST]} | _STEP,
    "doctor": {DONE: "all is good", FAILED: "a check is bad", MISUSED: "usage, or no workspace"},
    "repair": {
        DONE: "every store is intact, or was repaired",
        FAILED: "the rest can only come from a backup",
    },
    "replay": {DONE: "every part is the same", FAILED: "a part differs, or a store failed"},
    "retract": {FAILED: "something is still to be rebuilt, or erased bytes were found"},
    "source check": {MISUSED: "usage, or the contract or its data have faults"},
    "source add": {MISUSED: "usage, or the contract or its data have faults"},
    "merge": {FAILED: "failed: a folder cannot be read or written", MISUSED: "usage"},
    "serve": {DONE: "stopped by SIGTERM or Ctrl-C"},
}


_MAY_BE_EMPTY = {("predict", "text")}  # an input, which is answered by null


class Command(TyperCommand):
    """A command that takes no value for another and says with which codes it ends."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse what is no value before any default can stand in for it."""
        if not ctx.resilient_parsing:
            given, _, order = self.make_parser(ctx).parse_args(list(args))
            self._require_values(ctx, given)
            self._require_once(ctx, order)
        return list(super().parse_args(ctx, args))

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """The exit codes, below the options."""
        _write_codes(formatter, exit_codes(" ".join(ctx.command_path.split()[1:])))

    def get_short_help_str(self, limit: int = 45) -> str:
        """What stands beside the command's name in a list: the first clauses that fit, whole."""
        first = (self.help or "").partition("\n")[0]
        if len(first) <= limit:
            return first
        clause, *rest = re.split(r"[,;:](?= )", first[:limit], maxsplit=1)
        return f"{clause}." if rest else first[: limit - 3].rpartition(" ")[0] + "..."

    def _require_values(self, ctx: Any, given: dict[str, Any]) -> None:
        options = {name for p in self.params for name in (*p.opts, *p.secondary_opts)}
        for parameter in self.params:
            for value in _texts(given.get(parameter.name)):
                if not value.strip() and (ctx.info_name, parameter.name) not in _MAY_BE_EMPTY:
                    _refuse(ctx, parameter, "must not be empty.")
                if value in options and value.startswith("-"):
                    _refuse(ctx, parameter, f"requires a value, and {value} is an option.")

    def _require_once(self, ctx: Any, order: Iterable[Any]) -> None:
        for parameter, count in Counter(order).items():
            is_flag, is_many = (
                getattr(parameter, "is_flag", True),
                getattr(parameter, "multiple", True),
            )
            if count > 1 and not is_flag and not is_many:
                _refuse(ctx, parameter, f"is given {count} times, and one value is taken.")


class Group(TyperGroup):
    """Commands under one word; their exit codes are told with them."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """The exit codes, below the commands; of each command those that apply to it."""
        names = ctx.command_path.split()[1:]
        code_sets = [exit_codes(" ".join([*names, name])) for name in self.commands]
        codes = {code for code_set in code_sets for code in code_set} if names else _CODES
        _write_codes(formatter, {code: _CODES[code] for code in sorted(codes)})


def exit_codes(words: str) -> dict[int, str]:
    """What each exit code of a command means, the command by its words after `rpe`."""
    common = {code: _CODES[code] for code in (DONE, FAILED, MISUSED)}
    return dict(sorted((common | _OWN.get(words, {})).items()))


def finish(*apps: typer.Typer) -> None:
    """Let every command of these be a `Command`."""
    for app in apps:
        for info in app.registered_commands:
            if info.cls in (None, TyperCommand):
                info.cls = Command


def _write_codes(formatter: Any, codes: Mapping[int, str]) -> None:
    with formatter.section("Exit codes"):
        formatter.write_dl([(str(code), text) for code, text in codes.items()])


def _texts(value: Any) -> Iterator[str]:
    for item in value if isinstance(value, list | tuple) else [value]:
        if isinstance(item, str):
            yield item


def _refuse(ctx: Any, parameter: Any, what: str) -> None:
    is_option = parameter.param_type_name == "option"
    name = parameter.opts[0] if is_option else parameter.name
    ctx.fail(f"{'Option' if is_option else 'Argument'} {name} {what}")
