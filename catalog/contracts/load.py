"""YAML into a contract: text to plain values, values to a SourceContract, all faults at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from catalog.contracts.contract import SourceContract
from catalog.contracts.faults import declaration_faults, shown_path
from catalog.contracts.rules import (
    TO_FILL,
    contract_faults,
    drop_covered,
    file_name_faults,
    to_fill_faults,
)
from catalog.errors import ContractInvalid, Fault
from rpe_core.errors import DeclarationError
from rpe_core.regular_files import read_regular, special_kind

__all__ = ["MAX_BYTES", "TO_FILL", "load_contract", "parse_contract", "parse_yaml", "read_yaml"]

MAX_BYTES = 1_000_000
MAX_DEPTH = 20


def load_contract(path: Path) -> SourceContract:
    """The contract that a file declares; the file is named `<source>.yaml`.

    Raises:
        ContractInvalid: with every fault of the file, its path inside it and the valid choices.
    """
    data = read_yaml(path, error=ContractInvalid)
    return _contract(data, file=path.name, more=file_name_faults(data, path))


def parse_contract(text: str, *, file: str) -> SourceContract:
    """The contract that a text declares; `file` names it in the message.

    Raises:
        ContractInvalid: with every fault of the text.
    """
    return _contract(parse_yaml(text, file=file, error=ContractInvalid), file=file, more=[])


def read_yaml(path: Path, *, error: type[DeclarationError] = DeclarationError) -> dict[str, Any]:
    """The mapping that a YAML file holds, as plain values with text keys.

    Raises:
        DeclarationError: as `error`, if the file cannot be read, is over 1 MB or is refused by
            `parse_yaml`.
    """
    fault = _file_fault(path)
    text = ""
    if fault is None:
        try:
            text = read_regular(path, limit=MAX_BYTES + 1).decode("utf-8-sig")
        except UnicodeDecodeError:
            fault = Fault("(file)", "is not UTF-8 text", "a YAML file saved as UTF-8")
        except OSError:
            fault = Fault("(file)", "cannot be read", "a file that you may read")
    if fault is not None:
        raise error(path.name, [fault])
    return parse_yaml(text, file=path.name, error=error)


def parse_yaml(
    text: str, *, file: str, error: type[DeclarationError] = DeclarationError
) -> dict[str, Any]:
    """The mapping that a YAML text holds: keys are text, `yes` and `no` are text, dates are text.

    Duplicate keys, anchors, aliases and tags are refused, and so is a second document. A message
    holds lines, columns and keys, never a value.

    Raises:
        DeclarationError: as `error`, with every fault that could be told.
    """
    faults: list[Fault] = []
    value: Any = None
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        faults.append(_TOO_LARGE)
    else:
        value, faults = _parse(text)
    if not faults and not isinstance(value, dict):
        faults.append(Fault("(file)", "must be a mapping of keys to values", "lines `key: value`"))
    if faults:
        raise error(file, faults)
    return dict(value)


_TOO_LARGE = Fault("(file)", "is larger than 1 MB", "a declaration, not data")


def _contract(data: Mapping[str, Any], *, file: str, more: list[Fault]) -> SourceContract:
    unfilled = to_fill_faults(data)
    faults: list[Fault] = []
    contract: SourceContract | None = None
    try:
        contract = SourceContract.model_validate(data)
    except ValidationError as error:
        faults = declaration_faults(error, SourceContract)
    faults = [*unfilled, *drop_covered([*faults, *contract_faults(data), *more], unfilled)]
    # Raised outside the handler, so that pydantic's error is not even this one's context
    if faults or contract is None:
        raise ContractInvalid(file, list(dict.fromkeys(faults)))
    return contract


_YAML_FILE = "the path of a YAML file"


def _file_fault(path: Path) -> Fault | None:
    if not path.exists():
        return Fault("(file)", "does not exist", _YAML_FILE)
    if not path.is_file():
        kind = "" if path.is_dir() else special_kind(path)
        return Fault("(file)", f"is {kind}, no file" if kind else "is not a file", _YAML_FILE)
    return _TOO_LARGE if path.stat().st_size > MAX_BYTES else None


class _Refused(yaml.MarkedYAMLError):
    """Valid YAML that a declaration may not use; `problem` is one of our own sentences."""


class _Loader(yaml.SafeLoader):
    """YAML 1.2's core types only: `no` is text and 0755 is a number, as a reader expects."""

    yaml_implicit_resolvers = {}
    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        mark = event.start_mark
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _Refused(problem="uses an anchor or alias; write it out", problem_mark=mark)
        if getattr(event, "tag", None):
            raise _Refused(problem="uses a tag (!...); leave it out", problem_mark=mark)
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _Refused(problem="is nested too deeply", problem_mark=mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


_SCALARS: tuple[tuple[str, re.Pattern[str], str, Callable[[str], Any]], ...] = (
    ("null", re.compile(r"~|null|Null|NULL|"), "~nN\0", lambda _: None),
    ("bool", re.compile(r"true|True|TRUE|false|False|FALSE"), "tTfF", lambda t: t[0] in "tT"),
    ("int", re.compile(r"[-+]?[0-9]{1,18}"), "-+0123456789", int),
    (
        "float",
        re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan"),
        "-+.0123456789",
        lambda t: float(t.replace(".inf", "inf").replace(".nan", "nan")),
    ),
)
for _name, _pattern, _first, _ in _SCALARS:
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_name}",
        re.compile(rf"(?:{_pattern.pattern})\Z"),
        ["" if letter == "\0" else letter for letter in _first],
    )
_BUILD = {f"tag:yaml.org,2002:{name}": build for name, _, _, build in _SCALARS}


def _parse(text: str) -> tuple[Any, list[Fault]]:
    faults: list[Fault] = []
    try:
        node = yaml.compose(text, Loader=_Loader)
        return _value(node, [], faults), faults
    except _Refused as error:
        return None, [Fault(_place(error.problem_mark), str(error.problem))]
    except yaml.MarkedYAMLError as error:
        return None, [Fault(_place(error.problem_mark or error.context_mark), "is not valid YAML")]
    except yaml.YAMLError:
        return None, [Fault("(file)", "holds characters that YAML does not allow")]


def _place(mark: Any) -> str:
    return "(file)" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}"


def _value(node: Any, path: list[str | int], faults: list[Fault]) -> Any:
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, faults)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, [*path, i], faults) for i, item in enumerate(node.value)]
    return None if node is None else _BUILD.get(node.tag, str)(node.value)


def _mapping(node: Any, path: list[str | int], faults: list[Fault]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            faults.append(Fault(_place(key_node.start_mark), "a key must be a single word"))
            continue
        key = str(key_node.value)
        if key in result:
            line = key_node.start_mark.line + 1
            faults.append(
                Fault(shown_path([*path, key]), f"is written twice, again on line {line}")
            )
        result[key] = _value(value_node, [*path, key], faults)
    return result
