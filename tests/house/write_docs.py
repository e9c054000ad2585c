"""The parts of README and infra/docs that are written from code and from results; a command.

    python -m tests.house.write_docs [PAGE ...]

What stands between `<!-- written: NAME -->` and `<!-- end of NAME -->` is written by the section of
that name, and `NAME.TABLE` of a result is a table of tests/experiments/results/NAME.json.
`tests/house/test_docs.py` holds the pages to what this would write.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.house import code_sections

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "infra" / "docs"
PART = re.compile(r"(<!-- written: (\S+) -->\n)(.*?)(<!-- end of \2 -->)", re.DOTALL)


def pages() -> list[Path]:
    """README and every page of the documents."""
    return [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def parts_of(text: str) -> list[str]:
    """The names of the written parts of a page."""
    return [name for _, name, _, _ in PART.findall(text)]


def written(text: str) -> str:
    """The page with its written parts as they are to be now.

    Raises:
        KeyError: a part has a name that no section and no result has.
    """
    return PART.sub(lambda part: f"{part[1]}\n{section(part[2])}\n\n{part[4]}", text)


def section(name: str) -> str:
    """What stands between the marks of this name."""
    if name in code_sections.SECTIONS:
        return code_sections.SECTIONS[name]().strip()
    # protocols take seconds to import, and pages of code do without
    from tests.house import result_sections

    if name in result_sections.SECTIONS:
        return result_sections.SECTIONS[name]().strip()
    return result_sections.result_table(name).strip()


def write_pages(chosen: Sequence[Path] = ()) -> list[Path]:
    """Write the pages whose parts have changed, of all or of those chosen; those written."""
    changed = []
    for page in chosen or pages():
        text = page.read_text("utf-8")
        if (new := written(text)) != text:
            page.write_text(new, "utf-8")
            changed.append(page)
    return changed


if __name__ == "__main__":
    for path in write_pages([ROOT / argument for argument in sys.argv[1:]]):
        print(path.relative_to(ROOT))
    sys.exit(0)
