"""Files of one ingest that say a key otherwise, where nothing tells which of them is the later."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from catalog.tables.quoting import quote_texts

ClashRow = tuple[int, int]  # place in the scratch file, number in the delivered one
# A file whose own rows disagree is refused for that, and is left out here.
_SAID = """
CREATE OR REPLACE TEMP VIEW said AS
SELECT f.number, f.rank, p._item_sha256 AS item, p._row_sha256 || {split} AS content,
    p.file_row_number AS n, p._row_number AS line
FROM read_parquet([{paths}], filename = true, file_row_number = true) p
    JOIN clash_files f ON f.path = p.filename
"""
_CLASHING = """
CREATE OR REPLACE TEMP TABLE clashing AS
WITH own AS (
    SELECT DISTINCT number FROM (
        SELECT number, item FROM said GROUP BY number, item HAVING min(content) <> max(content)))
SELECT s.* FROM said s ANTI JOIN own USING (number) SEMI JOIN (
    SELECT item, rank FROM said ANTI JOIN own USING (number)
    GROUP BY item, rank HAVING min(content) <> max(content)) USING (item, rank)
"""
# Each row with the first file of its key, or the first that differs from that one.
_PAIRS = """
WITH first AS (
    SELECT item, rank, min(number) AS number, min_by(content, number) AS content
    FROM clashing GROUP BY item, rank
), second AS (
    SELECT c.item, c.rank, min(c.number) AS number
    FROM clashing c JOIN first f USING (item, rank) WHERE c.content <> f.content GROUP BY ALL)
SELECT c.number, CASE WHEN c.content <> f.content THEN f.number ELSE s.number END AS other, c.n,
    c.line
FROM clashing c JOIN first f USING (item, rank) JOIN second s USING (item, rank)
ORDER BY ALL
"""


@dataclass(frozen=True)
class ClashFile:
    """Accepted rows of a file; only files of equal rank are held against each other."""

    number: int
    path: Path
    rank: int


def find_clashes(
    database: Any, files: Sequence[ClashFile], *, split: str
) -> dict[int, dict[int, list[ClashRow]]]:
    """Number of a file -> number of another that says one of its keys otherwise -> rows.

    A row is told with one other file, so that a thousand files cost no million pairs. `split` is
    the SQL of a row's split, which belongs to what the row says.
    """
    if len(files) < 2:
        return {}
    columns = {
        "number": pa.array([file.number for file in files], pa.int64()),
        "rank": pa.array([file.rank for file in files], pa.int64()),
        "path": pa.array([str(file.path) for file in files], pa.string()),
    }
    paths = quote_texts(file.path for file in files)
    database.register("clash_files", pa.table(columns))
    try:
        database.execute(_SAID.format(paths=paths, split=f"({split})"))
        database.execute(_CLASHING)
        pairs = database.execute(_PAIRS).fetchall()
    finally:
        database.execute("DROP VIEW IF EXISTS said; DROP TABLE IF EXISTS clashing")
        database.unregister("clash_files")
    clashes: dict[int, dict[int, list[ClashRow]]] = defaultdict(lambda: defaultdict(list))
    for number, other, position, line in pairs:
        clashes[number][other].append((position, line))
    return {number: dict(others) for number, others in clashes.items()}
