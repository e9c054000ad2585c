"""The parts of README and infra/docs that are written from code and from results; a command.

    python -m tests.house.write_docs

What stands between `<!-- written: NAME -->` and `<!-- end of NAME -->` is written by the section of
that name, and `NAME.TABLE` of a result is a table of tests/experiments/results/NAME.json.
`tests/house/test_docs.py` holds the pages to what this would write.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.house import code_sections, result_sections

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "infra" / "docs"
PART = re.compile(r"(<!-- written: (\S+) -->\n)(.*?)(<!-- end of \2 -->)", re.DOTALL)
SECTIONS: Mapping[str, Callable[[], str]] = {**code_sections.SECTIONS, **result_sections.SECTIONS}


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
    if name in SECTIONS:
        return SECTIONS[name]().strip()
    return result_sections.result_table(name).strip()


def write_pages() -> list[Path]:
    """Write every page whose parts have changed; those that were written."""
    changed = []
    for page in pages():
        text = page.read_text("utf-8")
        if (new := written(text)) != text:
            page.write_text(new, "utf-8")
            changed.append(page)
    return changed


if __name__ == "__main__":
    for path in write_pages():
        print(path.relative_to(ROOT))
    sys.exit(0)
