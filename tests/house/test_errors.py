"""The house itself: rpe_core/errors.py draws every error of the house under one that it is."""

import ast
import re
from pathlib import Path

from rpe_core import errors

ROOT = Path(__file__).parents[2]
MODULES = [
    p for top in ("rpe_core", "catalog", "flows") for p in sorted((ROOT / top).rglob("*.py"))
]
LINE = re.compile(r"(?P<indent>[│ ]*)[├└]── (?P<name>\w+)")


def drawn(text: str) -> dict[str, str]:
    """Error -> the one that it is drawn under."""
    above, found = ["RpeError"], {}
    for match in LINE.finditer(text):
        depth = len(match["indent"].strip("\n")) // 4 + 1
        del above[depth:]
        found[match["name"]] = above[-1]
        above.append(match["name"])
    return found


def declared() -> dict[str, set[str]]:
    """Error -> the classes that it says it is, of all that come of RpeError."""
    bases = {
        node.name: {ast.unparse(base) for base in node.bases}
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    }
    found = {"RpeError"}
    while more := {name for name, above in bases.items() if above & found} - found:
        found |= more
    return {name: bases[name] for name in found - {"RpeError"}}


def test_every_error_is_drawn_where_it_belongs() -> None:
    tree, classes = drawn(errors.__doc__ or ""), declared()
    assert set(tree) == set(classes)
    assert {name: above for name, above in tree.items() if above not in classes[name]} == {}


def test_the_drawing_is_read_as_it_is_meant() -> None:
    text = "RpeError\n├── A   a\n│   ├── B\n│   └── C   c\n│       └── D\n└── E\n"
    assert drawn(text) == {"A": "RpeError", "B": "A", "C": "A", "D": "C", "E": "RpeError"}


def test_the_core_names_no_file_of_the_flows() -> None:
    assert not re.search(r"flows[/.]\w+", (ROOT / "rpe_core" / "errors.py").read_text())
