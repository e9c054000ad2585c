"""The parts of methods.md and commands.md that are written from the tables and the command line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import typer

from catalog.contracts.databases import DATABASE
from catalog.contracts.databases import DOC as DATABASE_DOC
from catalog.contracts.images import IMAGE_ENDINGS, IMAGE_FORMATS
from catalog.readers.formats import READERS
from flows.cli import app
from flows.commands.command_line import exit_codes
from flows.workspace.plan import AUTO, AUTO_DOC, BASELINE_MERGES
from rpe_core.adapters.table import ADAPTER_METHODS
from rpe_core.evaluation.metrics import GATE_METRIC, METRICS
from rpe_core.families.table import FAMILIES
from rpe_core.merging.merge import METHODS
from rpe_core.weighting.strategies import STRATEGIES

_PARAGRAPH = re.compile(r"\n\s*\n")
_EXAMPLE = re.compile(r"^Example: (.+)$", re.MULTILINE)


def _strategies() -> str:
    rows = [
        (f"`{entry.name}`", entry.doc, _parameters(entry.parameters))
        for entry in STRATEGIES.values()
    ]
    rows.append((f"`{AUTO}`", AUTO_DOC, ""))
    return _table(("strategy", "weights", "parameters"), rows)


def _parameters(parameters: Mapping[str, Any]) -> str:
    told = []
    for name, parameter in parameters.items():
        default = "from the data" if parameter.default is None else f"{parameter.default}"
        told.append(f"`{name}`: {parameter.rule.expected}; default {default}")
    return "<br>".join(told)


def _merge_methods() -> str:
    rows = [(f"`{name}`", doc) for name, doc in {**METHODS, **BASELINE_MERGES}.items()]
    return _table(("merge method", "result"), rows)


def _metrics() -> str:
    rows = [
        (
            f"`{metric.name}`",
            metric.doc,
            ", ".join(metric.task_types),
            "higher" if metric.is_higher_better else "lower",
            metric.version,
        )
        for metric in METRICS.values()
    ]
    table = _table(("metric", "is", "of tasks", "better", "version"), rows)
    gates = ", ".join(f"`{metric}` for {task}" for task, metric in GATE_METRIC.items())
    return f"{table}\n\n`metric: auto` of the gate is {gates}."


def _adapter_methods() -> str:
    rows = [
        (f"`{name}`", entry.doc, "<br>".join(_options(entry.options)))
        for name, entry in ADAPTER_METHODS.items()
    ]
    return _table(("adapter method", "is", "options and defaults"), rows)


def _options(options: Mapping[str, Any]) -> Iterator[str]:
    for name, option in options.items():
        default = "null" if option.default is None else str(option.default)
        yield f"`{name}`: {option.rule.expected}; default {default}"


def _families() -> str:
    rows = [
        (
            f"`{name}`",
            entry.doc,
            entry.task_type,
            ", ".join(entry.poolings),
            ", ".join(entry.dtypes),
        )
        for name, entry in FAMILIES.items()
    ]
    return _table(("base family", "is", "task", "pooling", "dtype"), rows)


def _formats() -> str:
    rows = [
        (f"`{reader.name}`", reader.doc, _quoted(reader.endings)) for reader in READERS.values()
    ]
    rows.append((f"`{DATABASE}`", DATABASE_DOC, ""))
    for name, doc in IMAGE_FORMATS.items():
        endings = [ending for ending, format_ in IMAGE_ENDINGS.items() if format_ == name]
        rows.append((f"`{name}`", doc, _quoted(endings)))
    return _table(("format", "reads", "endings"), rows)


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def commands(group: Any, words: tuple[str, ...] = ("rpe",)) -> Iterator[tuple[str, Any]]:
    """Every command under a group with the words that are typed for it, groups left out."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*words, name))
        else:
            yield " ".join((*words, name)), command


def _command_index() -> str:
    group: Any = typer.main.get_command(app)
    rows = []
    for words, command in commands(group):
        first = (command.help or "").partition("\n")[0]
        rows.append((f"[`{words}`](#{words.replace(' ', '-')})", first))
    return _table(("command", "does"), rows)


def _commands() -> str:
    group: Any = typer.main.get_command(app)
    return "\n\n".join(_command(words, command) for words, command in commands(group))


def _command(words: str, command: Any) -> str:
    said = command.help or ""
    examples = [f"```sh\n{example}\n```" for example in _EXAMPLE.findall(said)]
    paragraphs = [
        _plain(" ".join(paragraph.split()))
        for paragraph in _PARAGRAPH.split(_EXAMPLE.sub("", said).strip())
    ]
    rows = [(_shown(parameter), parameter.help or "") for parameter in command.params]
    table = [_table(("argument or option", "is"), rows)] if rows else []
    codes = exit_codes(words.removeprefix("rpe "))
    ends = "Exit codes: " + "; ".join(f"{code} {text}" for code, text in codes.items()) + "."
    return "\n\n".join([f"### {words}", *paragraphs, *examples, *table, ends])


def _shown(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        name = parameter.name.upper() + ("..." if parameter.nargs == -1 else "")
        return f"`{name}`" if parameter.required else f"`[{name}]`"
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    return f"{names} (required)" if parameter.required else names


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(_plain(text).replace("|", "\\|").split())


def _plain(text: str) -> str:
    """Text in which Markdown takes no word between angle brackets for a tag of HTML."""
    parts = text.split("`")  # every other part is code
    parts[::2] = [re.sub(r"<(?!br>)", "&lt;", part) for part in parts[::2]]
    return "`".join(parts)


SECTIONS: Mapping[str, Callable[[], str]] = {
    "strategies": _strategies,
    "merge_methods": _merge_methods,
    "metrics": _metrics,
    "adapter_methods": _adapter_methods,
    "base_families": _families,
    "formats": _formats,
    "command_index": _command_index,
    "commands": _commands,
}
