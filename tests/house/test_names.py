"""Names of the house in plain English: a class once, a function by its verb, a docstring whole."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(p for top in ("rpe_core", "catalog", "flows") for p in (ROOT / top).rglob("*.py"))

# Each file of a family is shipped by itself, beside the models that it loads, and is found there by
# these names: whatever the family, its base is `Base` and its task is `Task`.
SHIPPED_ALONE = {
    name: {f"rpe_core/families/{family}.py" for family in ("causal_lm", "clip", "sam",
                                                          "text_encoder")}
    for name in ("Base", "Task")
}  # fmt: skip

WRITTEN_OTHERWISE = """
begun bent bought bound broken brought built caught chosen cut done drawn driven fallen fed felt
forgotten fought found frozen given gone gotten grown heard held hidden hit kept known laid learnt
led left lent lost made meant met paid proven put read risen run said seen sent shown shrunk shut
spelt spent split spoken spread stolen stood stricken sunk sworn taken taught told torn thrown
thought understood undone upheld withdrawn withheld won worn written
"""
IRREGULAR = frozenset(WRITTEN_OTHERWISE.split())
# verbs and nouns that are written like a participle
NO_PARTICIPLES = {
    "cut", "embed", "feed", "hit", "need", "put", "read", "run", "seed", "shut", "speed", "split",
    "spread", "string",
}  # fmt: skip
# every step of the night answers one question by this name: which units it would do
ASKED_OF_EVERY_STEP = {"pending"}


def is_participle(name: str) -> bool:
    """Whether a whole name is a participle, or an adjective of one, without its noun."""
    if name in NO_PARTICIPLES:
        return False
    stems = {name, name.removeprefix("un"), name.removeprefix("re")}
    return bool(stems & IRREGULAR) or re.fullmatch(r"[a-z]{2,}(ed|ing)", name) is not None


def test_a_class_name_stands_once_in_the_house() -> None:
    places: dict[str, set[str]] = defaultdict(set)
    repeated = []
    for path in MODULES:
        name = str(path.relative_to(ROOT))
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                if name in places[node.name]:
                    repeated.append(f"{node.name} twice in {name}")
                places[node.name].add(name)
    assert repeated == []
    twice = {name: files for name, files in places.items() if len(files) > 1}
    assert twice == SHIPPED_ALONE


@pytest.mark.parametrize(
    "name", ["told", "shrunk", "weighed", "drafted", "untold", "unseen", "making", "withdrawn"]
)
def test_a_bare_participle_is_known(name: str) -> None:
    assert is_participle(name)


@pytest.mark.parametrize("name", ["embed", "seed", "spread", "red", "weigh", "told_by", "unmask"])
def test_a_verb_or_a_noun_is_no_participle(name: str) -> None:
    assert not is_participle(name)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_public_functions_say_what_they_do(path: Path) -> None:
    bare = {
        node.name
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and is_participle(node.name)
    }
    assert bare <= ASKED_OF_EVERY_STEP, "say of what: a verb with its object, or a noun"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_docstrings_name_their_subject(path: Path) -> None:
    tree = ast.parse(path.read_text())
    told = [
        ast.get_docstring(node) or ""
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert [text for text in told if re.match(r"The same\b", text)] == []


# they say that something is there and not what; these files name what a file or a record calls so
SAY_NOTHING = {"found", "one", "place", "told"}
NAMED_BY_DATA = {
    ("catalog/examples/reports_world.py", "place"),  # a word of the site's own phrases
    ("catalog/retraction/byte_scan.py", "found"),  # a key of every certificate
}


def bound_names(tree: ast.Module) -> Iterator[str]:
    """Locals, parameters and fields of a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr.removeprefix("_")
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.ExceptHandler) and node.name:
            yield node.name


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_locals_say_what_is_in_them(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    vague = SAY_NOTHING & set(bound_names(ast.parse(path.read_text())))
    assert {(name, each) for each in vague} <= NAMED_BY_DATA
