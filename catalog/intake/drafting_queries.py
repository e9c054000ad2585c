"""Help for a data engineer whose source is a database: a contract drafted from a query."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from catalog.contracts.database_rules import database_faults
from catalog.contracts.files import Files
from catalog.intake.databases import write_rows
from catalog.intake.drafting import draft_contract
from rpe_core.errors import DeclarationError

_CURSOR = (
    "# With `cursor: COLUMN` in `files` a night reads only rows of which COLUMN is at least the\n"
    "# highest seen: a number or moment that the database sets whenever it writes a row.\n"
)


def draft_query(
    uri: str,
    query: str,
    credentials: Path | None = None,
    *,
    source: str = "",
    sample_rows: int = 5000,
) -> str:
    """A commented YAML contract drafted from some rows that a query gives, as of files.

    Raises:
        DeclarationError: with every fault of URI, query and place of the credentials.
        StoreUnavailable, InputError, ContractViolated: as `databases.write_rows`.
    """
    keys = {"query": query, "uri": uri}
    if credentials is not None:
        keys["credentials"] = str(credentials.absolute())
    files = Files.model_validate(keys)
    if faults := [*database_faults(keys, files, {})]:
        raise DeclarationError("the command", faults)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{Path(urlsplit(uri).path).stem or 'source'}.parquet"
        write_rows(files, file, limit=sample_rows)
        drafted = draft_contract(str(file), source=source, sample_rows=sample_rows)
        drafted = drafted.replace(f"rows of {file.name}.", "rows that the query gave.", 1)
    line = ", ".join(
        f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in keys.items()
    )
    return re.sub(r"^files: .*$", lambda _: f"files: {{{line}}}\n{_CURSOR}".rstrip(), drafted,
                  count=1, flags=re.MULTILINE)  # fmt: skip
