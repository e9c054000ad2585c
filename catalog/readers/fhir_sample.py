"""A draft of FHIR: the ready mapping of the resources that hospitals write their reports into."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from catalog.contracts.contract import ColumnRule
from catalog.contracts.paths import flat_name
from catalog.readers.cells import CellRefusedError, decoded_cell
from catalog.readers.fhir import resources
from catalog.readers.files import FileUnreadable
from catalog.readers.naming import DraftName
from catalog.readers.nested import Shape
from catalog.readers.nested_sample import Field, drawn_fields, fields_below
from catalog.readers.rows import first_rows
from catalog.readers.sample import ColumnSample, cut_cell

_CODE = "coding[0].code"
_OF_ALL = (
    ("id", "id"),
    ("patient", "subject.reference"),
    ("status", "status"),
    ("code", f"code.{_CODE}"),
    ("code_text", "code.text"),
    ("category", f"category[0].{_CODE}"),
    ("effective", "effectiveDateTime"),
    ("issued", "issued"),
)
# Resource -> (column, path), as the documents of contracts have it; a `|` before the path is what
# its list is joined by, `base64:` how its text is written
MAPPINGS: Mapping[str, Sequence[tuple[str, str]]] = {
    "DiagnosticReport": (
        *_OF_ALL,
        ("conclusion", "conclusion"),
        ("conclusion_code", f"conclusionCode[0].{_CODE}"),
        ("report_text", "base64:presentedForm[contentType=text/plain*].data"),
    ),
    "Observation": (
        *_OF_ALL,
        ("value_text", "valueString"),
        ("value_code", f"valueCodeableConcept.{_CODE}"),
        ("value_code_text", "valueCodeableConcept.text"),
        ("value", "valueQuantity.value"),
        ("unit", "valueQuantity.unit"),
        ("interpretation", f"interpretation[0].{_CODE}"),
        ("body_site", f"bodySite.{_CODE}"),
        ("note", "|note[].text"),
    ),
}


@dataclass(frozen=True)
class FhirSample:
    """The sample of one type of resource."""

    resource: str
    sample: ColumnSample


def sample_fhir(uri: str, *, rows: int) -> FhirSample:
    """The first resources of one type: the most frequent one of those that have a mapping.

    Raises:
        FileUnreadable: if it cannot be read, or holds no resource.
    """
    drawn = first_rows(resources(uri), rows, lambda resource: resource.n_bytes)
    contents = [resource.content for resource in drawn if resource.content is not None]
    counts = Counter(str(content["resourceType"]) for content in contents)
    if not counts:
        remedy = "deliver resources, one a line, or a Bundle of them"
        raise FileUnreadable(uri, "none of its lines is a FHIR resource", remedy=remedy)
    ready = [kind for kind in counts if kind in MAPPINGS]
    resource = max(ready or counts, key=lambda kind: counts[kind])
    values = [content for content in contents if content["resourceType"] == resource]
    if resource in MAPPINGS:
        return FhirSample(resource, _mapped(resource, values))
    fields: list[Field] = []
    n_hidden = 0
    for top in dict.fromkeys(key for value in values for key in value if key != "resourceType"):
        below, hidden = fields_below(top, [value.get(top) for value in values])
        fields += below
        n_hidden += hidden
    return FhirSample(resource, replace(drawn_fields([], fields, values), n_hidden=n_hidden))


def is_fhir(uri: str) -> bool:
    """Whether the first line of a file of JSON is a FHIR resource.

    Raises:
        FileUnreadable: if it cannot be read.
    """
    try:
        first = next(resources(uri), None)
    except FileUnreadable:
        return False
    return first is not None and first.content is not None


def _mapped(resource: str, values: Sequence[dict[str, Any]]) -> ColumnSample:
    """The columns of a mapping that hold a cell."""
    said = {name: _said(path) for name, path in MAPPINGS[resource]}
    rules = {name: ColumnRule(type="string", **dict(keys)) for name, keys in said.items()}
    shape = Shape(rules)
    at_top = {name: flat_name(name, rule) for name, rule in rules.items()}
    cells: dict[str, list[Any]] = {name: [] for name in said}
    for value in values:
        (made,) = shape.rows(value, {})
        for name, column in cells.items():
            cell = made[name] if name in made else value.get(str(at_top[name]))
            column.append(_decoded(cell, rules[name]))
    held = [name for name, column in cells.items() if any(cell is not None for cell in column)]
    names = [
        DraftName(name, None, () if dict(said[name])["from"] == name else said[name])
        for name in held
    ]
    return ColumnSample(names, [[cut_cell(cell) for cell in cells[name]] for name in held])


def _said(path: str) -> tuple[tuple[str, str], ...]:
    if path.startswith("|"):
        return (("from", path[1:]), ("join", "\n"))
    if path.startswith("base64:"):
        return (("from", path.removeprefix("base64:")), ("decode", "base64"))
    return (("from", path),)


def _decoded(cell: Any, rule: ColumnRule) -> Any:
    try:
        return decoded_cell(cell, rule) if isinstance(cell, str) else cell
    except CellRefusedError:
        return None
