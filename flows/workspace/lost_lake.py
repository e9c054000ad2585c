"""A lost lake: its catalog is gone while other stores stand, so a new one would forget everything.

DuckLake makes a catalog wherever there is none. What tells a first night from a loss is what the
other stores hold: nothing is ever written to them before the lake has said so in a commit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from catalog.errors import RecordNotFound, StoreError
from catalog.queries.records import has_standing_rows
from catalog.stores.artifacts.artifacts import Artifacts
from catalog.stores.lake.catalog_uri import Catalog, parse_catalog
from catalog.stores.lake.lake import Lake
from catalog.stores.registry.database_file import count_versions_in
from catalog.stores.registry.registry import Registry
from catalog.stores.sqlite_files import file_of
from catalog.stores.vectors.vectors import Vectors
from flows.workspace.settings import Settings
from rpe_core.errors import RpeError

NEW_LAKE = "rpe init --new-lake"
_YOUNG = 8  # snapshots: nobody makes so many and records nothing
_FIRST = "core/migrations/"  # what the making of a lake leaves where it was cut off


class LakeLost(StoreError):
    """The catalog is gone or empty and other stores stand: nothing was touched."""

    def __init__(self, catalog: Catalog, standing: list[str]) -> None:
        what = "lake/" if catalog.path else "that database"
        super().__init__(
            "The catalog of the lake is gone or empty, but other stores of this workspace exist.",
            where=catalog.where,
            expected=f"the catalog that knows {', '.join(standing)}: with a new one all history,"
            " every source, score and verdict, and what was retracted, would be forgotten",
            remedy=f"bring {what} back from the backup (Restore, in infra/runbook.md);"
            f" `{NEW_LAKE}` says on purpose that the history is lost",
        )


class StoreGone(StoreError):
    """A whole store is gone while the lake knows what it held: nothing was touched."""

    def __init__(self, where: str, gone: list[str]) -> None:
        super().__init__(
            f"A store of this workspace is gone or empty: {', '.join(gone)}.",
            where=where,
            expected="what the lake has on record of it; without it no target can be made or moved",
            remedy="`rpe repair` makes it again from what the lake holds",
        )


@dataclass(frozen=True)
class Others:
    """The other stores of a workspace, each opened for reading when it is asked for."""

    settings: Settings
    vectors: Callable[[], Vectors]
    registry: Callable[[], Registry]
    artifacts: Callable[[], Artifacts]

    def require_catalog(self) -> None:
        """Raise LakeLost where there is no catalog, or an empty file, and other stores stand.

        The file is not opened: SQLite loses its locks when somebody else closes it.

        Raises:
            LakeLost: as said.
            StoreUnavailable: the server of the catalog does not answer.
        """
        catalog = parse_catalog(self.settings.lake)
        if _is_begun(catalog):
            return
        standing = self.standing() + _files(self.settings, is_young=False)
        if standing and not _is_begun(catalog):  # others may have begun it, and written, meanwhile
            raise LakeLost(catalog, standing)

    def require_tables(self) -> None:
        """Raise LakeLost where a catalog that could not be opened is a file of another database."""
        catalog = parse_catalog(self.settings.lake)
        if catalog.is_foreign and (standing := self.standing()):
            raise LakeLost(catalog, standing)

    def require_records(self, lake: Lake) -> None:
        """Raise LakeLost where a lake holds no record at all and other stores stand."""
        if lake.snapshot_id > _YOUNG or lake.has_records:
            return
        standing = self.standing() + _files(self.settings, is_young=True)
        if standing and not lake.has_records:  # others may have begun meanwhile
            lake.close()
            raise LakeLost(parse_catalog(self.settings.lake), standing)

    def require_stores(self, lake: Lake) -> None:
        """Raise StoreGone where a local store is gone, or empty, of which the lake has records.

        To open it for writing would make it anew, and the night would go on without what it held.
        """
        settings, gone = self.settings, list[str]()
        file = file_of(settings.tracking)
        if file and not _has_bytes(file):
            gone += _known(lake, "model_versions", "the model registry (mlflow.db)")
        if "://" not in settings.vectors and not any(Path(settings.vectors).glob("*.lance")):
            gone += _known(lake, "representations", "the vector store (vectors/)")
        if "://" not in settings.artifacts and not Path(settings.artifacts).is_dir():
            gone += _known(lake, "ensembles", "the artifact store (artifacts/)")
        if gone:
            lake.close()
            raise StoreGone(str(settings.root), gone)

    def standing(self) -> list[str]:
        """What they hold, in words; nothing in a workspace that was just made.

        One that cannot be read holds something.
        """
        counts = {
            "representations": self._n_vectors,
            "artifacts": self._n_artifacts,
            "model versions": self._n_versions,
        }
        parts = []
        for what, count in counts.items():
            try:
                n = count()
            except RpeError:
                parts.append(f"{what} that cannot be read")
            else:
                parts += [f"{n} {what}"] if n else []
        return parts

    def _n_vectors(self) -> int:
        uri = self.settings.vectors
        if "://" not in uri and not any(Path(uri).glob("*.lance")):
            return 0  # spares the second that LanceDB takes to be imported
        return len(self.vectors().keys())

    def _n_artifacts(self) -> int:
        uri = self.settings.artifacts
        return len(self.artifacts().list()) if "://" in uri or Path(uri).is_dir() else 0

    def _n_versions(self) -> int:
        """Versions of registered models; a model without any says only what a target is."""
        file = file_of(self.settings.tracking)
        if file:
            return count_versions_in(file) if _has_bytes(file) else 0
        try:
            registry = self.registry()
        except RecordNotFound:  # nobody has made its tables
            return 0
        return sum(len(registry.versions(name)) for name in registry.models())


def _is_begun(catalog: Catalog) -> bool:
    return _has_bytes(catalog.path) if catalog.path else catalog.exists()


def _has_bytes(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _files(settings: Settings, *, is_young: bool) -> list[str]:
    """Files of rows, in words, but for those of a first commit that was cut off.

    Without a catalog that is the making of the lake; under a young one it may have been any, but
    none that lands rows after a run has closed. Those of a bucket are not listed: others tell.
    """
    root = Path(settings.lake_data)
    names = [path.relative_to(root).as_posix() for path in root.rglob("*.parquet")]
    names = [name for name in names if not name.startswith(_FIRST)]
    if is_young and not all(any(n.startswith(at) for n in names) for at in ("core/runs/", "raw/")):
        return []
    return [f"{len(names)} files of rows"] if names else []


def _known(lake: Lake, table: str, what: str) -> list[str]:
    """A store's name, where a table of the lake has standing rows about it."""
    return [what] if has_standing_rows(lake, table) else []
