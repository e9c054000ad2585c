"""What a draft says about how a CSV file is written: the keys that are not as RFC 4180 has them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from catalog.contracts.load import TO_FILL
from catalog.readers.csv_sample import CsvSample

_WHY = {
    "encoding": "a guess from its bytes: see that letters with accents are right",
    "skip_rows": "lines above the table, which are of another width or nearly empty",
    "decimal": "the sign before decimals",
    "thousands": "the mark between thousands",
    "comment": "what lines that are no rows begin with",
    "nulls": "words for nothing, found where all other cells are numbers, dates or truth values",
    "true": "words for true; 1 and 0 are none beside them",
}


def csv_lines(path: str, sample: CsvSample) -> Iterator[str]:
    """The lines of `files`, where `path` is its path as YAML."""
    header = {"sure": [], "unsure": [f"header: {TO_FILL}"], "none": ["header: false"]}
    lines = [f"path: {path}", "format: csv", *header[sample.header]]
    if keys := sample.csv.model_dump(mode="json"):
        yield from ("files:", *(f"  {line}" for line in lines), "  csv:")
        for key, value in keys.items():
            is_plain = key == "encoding" and sample.is_encoding_sure
            why = "" if is_plain else _WHY.get(key, "")
            yield f"    {key}: {_scalar(value)}{f'     # {why}' if why else ''}"
    else:
        yield f"files: {{{', '.join(lines)}}}"
    if sample.header == "unsure":
        yield "# header: true if the first line holds names of columns, false if it is a row"


def _scalar(value: Any) -> str:
    r"""A value as YAML reads it back, on one line.

    >>> _scalar("\t"), _scalar(3), _scalar(["n/a", "-"]), _scalar(None)
    ('"\\t"', '3', '["n/a", "-"]', 'null')
    """
    return json.dumps(value, ensure_ascii=isinstance(value, str) and not value.isprintable())
