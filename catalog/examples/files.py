"""The files of a demo: its rows in the format that a name tells, its declarations as text."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

Row = dict[str, str | None]


def encode_file(file: str, columns: Sequence[str], rows: Sequence[Row]) -> bytes:
    """The bytes of a file in the format that its name tells, the same on every run."""
    if file.endswith(".jsonl"):
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    if file.endswith(".parquet"):
        sink = pa.BufferOutputStream()
        schema = pa.schema([(name, pa.string()) for name in columns])
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), sink)
        return bytes(sink.getvalue())
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    plain = text.getvalue().encode()
    return gzip.compress(plain, mtime=0) if file.endswith(".gz") else plain


def read_base(demo: str) -> dict[str, Any]:
    """How the base of a demo is pretrained."""
    text = resources.files("catalog.examples").joinpath(demo, "base.yaml").read_text("utf-8")
    facts: dict[str, Any] = yaml.safe_load(text)
    return facts


def render(demo: str, **places: Path | str) -> dict[str, str]:
    """The declarations of a demo as text by relative path; `{data}` is the place of that name."""
    root = resources.files("catalog.examples").joinpath(demo)
    texts = {"plan.yaml": root.joinpath("plan.yaml").read_text("utf-8")}
    for file in root.joinpath("sources").iterdir():
        texts[f"sources/{file.name}"] = file.read_text("utf-8")
    for name, location in places.items():
        quoted = json.dumps(str(location), ensure_ascii=False)[1:-1]
        texts = {path: text.replace(f"{{{name}}}", quoted) for path, text in texts.items()}
    return texts
