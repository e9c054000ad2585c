"""Proof: every store of a workspace held against what was kept; of a copy too. Changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from catalog.errors import RecordNotFound, StoreError
from catalog.integrity.artifacts import damage_of_artifacts, measure_artifacts
from catalog.integrity.damage import BACKUP, CHANGED, GONE, REPAIR, Damage
from catalog.integrity.lake_files import damage_of_lake, measure_files
from catalog.integrity.registry import damage_of_registry, n_unfiled
from catalog.integrity.rows import EditedRow, at_of, read_chain
from catalog.integrity.vectors import count_unhashed, count_unhashed_files, damage_of_vectors
from catalog.queries.adapters import count_representations
from catalog.queries.nights import count_runs
from catalog.queries.versions import count_model_versions
from catalog.records import intents
from catalog.records.champions import CHAMPION
from catalog.stores.lake.catalog_uri import parse_catalog
from catalog.stores.places import files_below
from catalog.stores.sqlite_files import fault_of, file_of
from flows.workspace.locking import is_free
from flows.workspace.settings import Settings
from flows.workspace.stores import open_artifacts, open_lake, open_registry, open_vectors
from flows.workspace.workspace import load_declarations
from rpe_core.errors import RpeError

CATALOG, FILES = "catalog", "files"
PROVED = (
    *("declarations", CATALOG, "lake", "registry", FILES, "vectors", "records", "artifacts"),
    "versions",
)
RESTORE = "restore it from a back-up, or withdraw what was made of it"
_ALL_HISTORY = (
    "All history is lost with it: every source, score and verdict, and what was retracted"
)
_NEW_LAKE = f"{BACKUP}; `rpe init --new-lake` says on purpose that the history is lost"
_HALF_LOOKED = (
    f"not looked at to the end: it reads files of the lake that are damaged, see `{FILES}`"
)
_UNLOOKED = "not looked at: the lake that would tell what was kept cannot be read"

Row = dict[str, Any]
Told = tuple[str, Sequence[EditedRow | Damage]]
Look = Callable[[], Told]


def prove(settings: Settings, *, is_deep: bool) -> list[Row]:
    """A row for each thing that is not what was kept, then one for each store; none stops another.

    With `is_deep` every file and vector is hashed, else looked at by existence and size.
    """
    rows = check_store(CATALOG, partial(_catalog, settings, is_deep=is_deep))
    if is_good(rows):
        rows += check_store("lake", partial(_lake, settings))
    has_lake = is_good(rows)
    rows += check_store("registry", partial(_registry, settings, is_deep=is_deep))
    has_registry = is_good(rows)
    if not has_lake:
        alone = check_store("artifacts", partial(_artifacts_alone, settings, is_deep=is_deep))
        return [*rows, *alone, row_of("records", False, _UNLOOKED)]
    rows += check_store(FILES, partial(_files, settings, is_deep=is_deep))
    looks: dict[str, Look] = {
        "intents": partial(_intents, settings),
        "vectors": partial(_vectors, settings, is_deep=is_deep),
        "records": partial(_records, settings),
        "artifacts": partial(_artifacts, settings, is_deep=is_deep),
    }
    if has_registry:
        looks["versions"] = partial(_versions, settings, is_deep=is_deep)
    if not is_good(rows):
        looks = {name: partial(_as_far_as_it_reads, look) for name, look in looks.items()}
    return rows + [row for name, look in looks.items() for row in check_store(name, look)]


def is_good(rows: Sequence[Row]) -> bool:
    """Whether the last thing that was looked at is what was kept."""
    return bool(rows[-1]["status"] == "good")


def check_store(name: str, look: Look) -> list[Row]:
    """A row for each thing that is not what was kept, then one about all; whatever happens.

    What is no error of ours keeps its words to itself: a driver may quote what it read.
    """
    try:
        detail, odd = look()
    except RpeError as error:
        return [row_of(name, False, str(error))]
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # panics of Lance are no Exception
        detail_of_panic = f"could not be checked ({type(error).__name__}): what it reads is damaged"
        return [row_of(name, False, detail_of_panic)]
    rows = [row_of(name, False, _told(finding)) for finding in odd]
    return [*rows, row_of(name, not odd, detail)]


def row_of(check: str, is_good: bool, detail: str) -> Row:
    """A row of doctor."""
    return {"check": check, "status": "good" if is_good else "bad", "detail": detail}


def _told(finding: EditedRow | Damage) -> str:
    return str(finding) if isinstance(finding, Damage) else f"{finding}; {RESTORE}"


def _as_far_as_it_reads(look: Look) -> Told:
    """Take a look; where damaged files of the lake end it early, say so in the error."""
    try:
        return look()
    except StoreError:
        raise StoreError(_HALF_LOOKED) from None


def _catalog(settings: Settings, *, is_deep: bool) -> Told:
    """The database that knows the lake: a file of SQLite, of which nothing else has a copy."""
    catalog = parse_catalog(settings.lake)
    if catalog.path is None:
        if catalog.exists() or not _standing(settings):
            return "on a server, whose own tools look after it", ()
        return "", [_lost("The database of RPE_LAKE_URI", GONE)]
    where = f"lake/{catalog.path.name}"
    if not catalog.path.exists():
        if standing := _standing(settings):
            return f"{where} is gone, and {standing} are there", [_lost(where, GONE)]
        raise RecordNotFound("There is no lake here yet.", where=where, remedy="run `rpe init`")
    if fault := fault_of(catalog.path, is_deep=is_deep):
        return f"{where} {fault}", [_lost(where, f"{CHANGED}: it {fault}")]
    return f"{where}, {catalog.path.stat().st_size:,} bytes", ()


def _lost(where: str, what: str) -> Damage:
    return Damage("catalog", where, what, (), _ALL_HISTORY, _NEW_LAKE)


def _standing(settings: Settings) -> str:
    """Stores beside the lake's catalog that hold something, in words."""
    places = {"files of the lake": settings.lake_data, "artifacts": settings.artifacts}
    return " and ".join(
        name for name, path in places.items() if next(iter(files_below(path)), None)
    )


def _lake(settings: Settings) -> Told:
    with open_lake(settings, read_only=True) as lake:
        return f"snapshot {lake.snapshot_id}, {count_runs(lake)} runs", ()


def _files(settings: Settings, *, is_deep: bool) -> Told:
    with open_lake(settings, read_only=True) as lake:
        there, odd = measure_files(lake), damage_of_lake(lake, is_deep=is_deep)
    size = f"{there.n_files} files of the lake, {there.n_bytes:,} bytes"
    parts = [f"{size} read and hashed" if is_deep else f"{size}, looked at by size"]
    if there.n_unhashed:
        parts.append(f"the hash of {there.n_unhashed} is not on record yet: the next run takes it")
    if there.extra:
        parts.append(f"{len(there.extra)} more that no commit names, such as {there.extra[0]}")
    return "; ".join(parts), odd


def _vectors(settings: Settings, *, is_deep: bool) -> Told:
    with open_lake(settings, read_only=True) as lake:
        n = count_representations(lake)
        n_unhashed = count_unhashed(lake)
        try:
            vectors = open_vectors(settings, read_only=True)
        except RecordNotFound:
            vectors = None
        odd = damage_of_vectors(lake, vectors, is_deep=is_deep)
        n_files = count_unhashed_files(lake, vectors) if vectors else 0
    text = f"{n} representations with their vectors" + (" read and hashed" if is_deep else "")
    if n_files:
        text += f"; the hash of {n_files} files is not on record yet: the next run takes it"
    if n_unhashed:
        text += f"; {n_unhashed} from before their hash was on record are held against their length"
    return text, odd


def _intents(settings: Settings) -> Told:
    with open_lake(settings, read_only=True) as lake:
        begun, left = intents.open_intents(lake), intents.left_behind(lake)
    if left and is_free(settings):
        raise RpeError(
            f"{len(left)} records were begun and not finished since {at_of(asdict(left[0]))}.",
            where=", ".join(sorted({intent.run_id for intent in left})),
            remedy="`rpe maintain` or the next `rpe nightly` finishes or undoes them",
        )
    return f"{len(begun)} records are being written", ()


def _records(settings: Settings) -> Told:
    with open_lake(settings, read_only=True) as lake:
        chain = read_chain(lake)
    head = (
        f", head {chain.head['link_sha256'][:12]} of {chain.head['run_id']}" if chain.head else ""
    )
    amended = f", {chain.n_amended} commits amended" if chain.n_amended else ""
    detail = f"{chain.n_rows} rows read under {chain.n_links} links{head}{amended}"
    return f"{detail}, {chain.n_open} rows not sealed yet", chain.findings


def _artifacts(settings: Settings, *, is_deep: bool) -> Told:
    try:
        store = open_artifacts(settings, read_only=True)
    except RecordNotFound:
        store = None
    with open_lake(settings, read_only=True) as lake:
        measured = measure_artifacts(lake, store)
        odd = damage_of_artifacts(lake, store, is_deep=is_deep)
    size = f"{measured.n_folders} folders, {measured.n_bytes:,} bytes"
    if is_deep:
        return f"{size} read and hashed", odd
    return f"{size}, weights not read: `rpe doctor --deep` hashes them", odd


def _artifacts_alone(settings: Settings, *, is_deep: bool) -> Told:
    """Folders by the hash that is their name, where no row tells whose they are."""
    store = open_artifacts(settings, read_only=True)
    folders, odd = store.list(), []
    for sha256 in folders if is_deep else ():
        try:
            store.verify(sha256)
        except RpeError:
            cost = "The lake would tell whose it is, and cannot be read"
            odd.append(Damage("artifacts", f"Artifact {sha256[:12]}", CHANGED, (), cost, BACKUP))
    return f"{len(folders)} folders{' read and hashed' if is_deep else ''}; {_UNLOOKED}", odd


def _registry(settings: Settings, *, is_deep: bool) -> Told:
    """The database of the models; a damaged one is made again from the lake."""
    if file := file_of(settings.tracking):
        fault = fault_of(file, is_deep=is_deep) if file.exists() else "is gone"
        if fault:
            what = GONE if fault == "is gone" else f"{CHANGED}: it {fault}"
            cost = "No model can be served, promoted or rolled back"
            return f"{file.name} {fault}", [Damage("registry", file.name, what, (), cost, REPAIR)]
    registry = open_registry(settings, read_only=True)
    plan = load_declarations(settings).plan
    served = [name for name in plan.target_names if CHAMPION in registry.aliases(name)]
    return f"{len(served)} of {len(plan.targets)} targets have a champion", ()


def _versions(settings: Settings, *, is_deep: bool) -> Told:
    with open_lake(settings, read_only=True) as lake:
        n = count_model_versions(lake)
        odd = damage_of_registry(lake, open_registry(settings, read_only=True), is_deep=is_deep)
        n_left = n_unfiled(lake)
    text = f"{n} versions of models on record"
    if n_left:
        text += (
            f"; the files of {n_left} are not on record yet: the next night or `rpe maintain`"
            " takes them, until then their weights alone are held against it"
        )
    return text, odd
