"""What the kill matrix cuts off: a night, and each operation that begins where one has ended."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from catalog.stores.lake.catalog_uri import parse_catalog
from catalog.stores.lake.session import connect
from flows.workspace.settings import Settings
from tests.damage_files import FolderFiles
from tests.lake_rows import read_rows_of
from tests.pico import pico_texts
from tests.pico_world import make_pico_workspace

Words = tuple[str, ...]
MAINTAIN = ("--", "maintain", "--json")
NIGHT_WORDS = ("--", "nightly", "--json")
BEFORE_THE_CHAIN = 6  # the last migration of a release whose runs sealed nothing


@dataclass(frozen=True)
class Operation:
    """What is cut off, and every way in which somebody may go on.

    `{root}` in a word stands for the folder in which the workspace lies. An operation that makes
    something beside the workspace names it in `beside`: it is a workspace too, and its end state is
    what counts. `prepare` gets the folder, which holds `home` after a night, unless `is_first`.
    """

    name: str
    words: Words
    ways: tuple[Words, ...]
    prepare: Callable[[Path], None] = lambda root: None
    is_first: bool = False
    beside: str = ""

    def at(self, root: Path, words: Words) -> Words:
        """Words with the folder in them."""
        return tuple(word.format(root=root) for word in words)


def export_three(root: Path) -> None:
    """Three adapters that were trained elsewhere, with a sample of what they were trained on."""
    import numpy as np  # a training imports this module for nothing
    from transformers import BertModel

    from tests.foreign import trained

    for number in range(3):
        folder = root / "outside" / f"lab{number}"
        base = BertModel.from_pretrained(root / "base")
        trained(base, folder, seed=number, target_modules=["query", "value"])
        texts, _ = pico_texts(np.random.default_rng(number), 40, f"lab{number}")
        (folder / "sample.txt").write_text("\n".join(texts))


def age(root: Path, *, version: int = BEFORE_THE_CHAIN) -> None:
    """Take the workspace of a world back to the tables of an earlier release."""
    take_back(Settings(home=root / "home"), version=version)


def take_back(settings: Settings, *, version: int) -> None:
    """Take a lake back to the tables of an earlier release: what later ones added is dropped.

    Nothing of the chain stays where that release had none.
    """
    catalog = parse_catalog(settings.lake)
    with connect(catalog, settings.lake_data, is_read_only=False) as connection:
        connection.execute("USE lake")
        for statement in undoing(version):
            connection.execute(statement)


def spoil(root: Path) -> None:
    """Lose a vector's file, the files of a version, and the folder of an ensemble."""
    files = FolderFiles(root / "home")
    settings = Settings(home=root / "home")
    (ensemble, *_) = read_rows_of(
        settings,
        "SELECT artifact_sha256 FROM core.ensembles JOIN core.model_versions"
        " ON ensemble_id = record_id ORDER BY ensemble_id",
    )
    for store, within in (
        ("vectors", ".lance/data/"),
        ("model_artifacts", "adapter_model.safetensors"),
        ("artifacts", ensemble["artifact_sha256"]),
    ):
        names = [name for name in files.names(store) if within in name]
        files.write(store, names[0], b"spoilt")


def lose_registry(root: Path) -> None:
    """Lose MLflow's database."""
    FolderFiles(root / "home").lose_database("mlflow")


def undoing(version: int) -> list[str]:
    """SQL that undoes the migrations after one."""
    folder = files("catalog") / "tables" / "migrations"
    later = [e.read_text() for e in folder.iterdir() if _number(e.name) > version]
    added = [
        found
        for text in later
        for found in re.findall(r"ALTER TABLE core\.(\w+) ADD COLUMN (\w+)", text)
    ]
    drops = [f"ALTER TABLE core.{table} DROP COLUMN {column}" for table, column in added]
    links = ["DELETE FROM core.links"] if version <= BEFORE_THE_CHAIN else []
    return [*links, *drops, f"UPDATE core.migrations SET version = {version}"]


def _number(name: str) -> int:
    return int(name[:4]) if name.endswith(".sql") else 0


_IMPORT: Words = (
    *("--", "adapters", "import", "{root}/outside/*", "--base", "pico", "--source", "outside"),
    *("--license", "CC0-1.0", "--task-of", "site_a", "--sample", "sample.txt", "--json"),
)
_REPAIR: Words = ("--", "repair", "--json")
_REPAIRED: Words = (*_REPAIR, *MAINTAIN)
_BACKUP: Words = ("--", "backup", "{root}/kept", "--json")
NIGHT = Operation(
    "night",
    NIGHT_WORDS,
    ((*NIGHT_WORDS, *MAINTAIN),),
    prepare=lambda root: _make(root),
    is_first=True,
)
OPERATIONS: Mapping[str, Operation] = {
    one.name: one
    for one in (
        NIGHT,
        Operation(
            "import",
            _IMPORT,
            ((*_IMPORT, *MAINTAIN), (*MAINTAIN, *_IMPORT, *MAINTAIN)),
            prepare=export_three,
        ),
        Operation("backup", _BACKUP, (_BACKUP,), beside="kept"),
        Operation(
            "migration",
            MAINTAIN,
            ((*MAINTAIN, *NIGHT_WORDS), (*NIGHT_WORDS, *MAINTAIN)),
            prepare=age,
        ),
        Operation("repair", _REPAIR, ((*_REPAIR, *MAINTAIN),), prepare=spoil),
        Operation(
            "repair-of-a-lost-registry", _REPAIR, ((*_REPAIR, *MAINTAIN),), prepare=lose_registry
        ),
    )
}


def _make(root: Path) -> None:
    make_pico_workspace(root)


def remove_beside(root: Path, operation: Operation) -> None:
    """Nothing is left of what an operation makes beside the workspace."""
    if operation.beside:
        for place in (root / operation.beside, root / f"{operation.beside}.part"):
            shutil.rmtree(place, ignore_errors=True)
