"""Every error of DuckDB, said in our words: its own text may quote cells and is dropped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from catalog.errors import StoreError, StoreUnavailable
from catalog.stores import object_store
from catalog.stores.disk import disk_full, not_allowed

_STORE = "the lake"
_FULL = ("no space left", "disk is full", "file too large", "disk quota exceeded")
_FORBIDDEN = ("permission denied", "readonly database", "read-only", "unable to open database")
_DEVICE = ("disk i/o error",)  # SQLite's word for a full disk too, where it cannot open its log
_DAMAGED = ("not a database", "disk image is malformed")
_NO_SERVER = "error for HTTP "  # of an object store that could not be connected to
_NO_CATALOG = ("connection to server", "server closed the connection", "terminating connection")
_BUSY = ("database is locked", "busy", "conflict")

# (DuckDB's class, whether the same call may succeed later, what it means here), specific ones first
_MEANINGS: tuple[tuple[type[duckdb.Error], bool, str], ...] = (
    (duckdb.IOException, True, "a file of the lake could not be read or written"),
    (duckdb.ConnectionException, True, "the connection is closed or was refused"),
    (duckdb.TransactionException, True, "the transaction could not be committed"),
    (duckdb.OutOfMemoryException, True, "the memory limit was reached"),
    (duckdb.SerializationException, False, "a stored value could not be read back"),
    (duckdb.OperationalError, True, "the database failed"),
    (duckdb.InterruptException, True, "the statement was interrupted"),
    (duckdb.ConversionException, False, "a value does not fit its type"),
    (duckdb.OutOfRangeException, False, "a value is out of the range of its type"),
    (duckdb.TypeMismatchException, False, "a value has another type than its column"),
    (duckdb.DataError, False, "a value does not fit"),
    (duckdb.ConstraintException, False, "a row breaks a constraint"),
    (duckdb.IntegrityError, False, "a row breaks a constraint"),
    (duckdb.ParserException, False, "the statement is not SQL"),
    (duckdb.SyntaxException, False, "the statement is not SQL"),
    (duckdb.BinderException, False, "the statement names a column or function that is not known"),
    (duckdb.CatalogException, False, "the statement names a table or function that is not known"),
    (duckdb.InvalidInputException, False, "the statement is not allowed here"),
    (duckdb.InvalidTypeException, False, "the statement uses a type that is not known"),
    (duckdb.ProgrammingError, False, "the statement cannot be run"),
    (duckdb.NotImplementedException, False, "the database cannot do this"),
    (duckdb.NotSupportedError, False, "the database cannot do this"),
    (duckdb.PermissionException, False, "the access is forbidden by the configuration"),
    (duckdb.DependencyException, False, "another object depends on this one"),
    (duckdb.SequenceException, False, "a sequence has no further value"),
    (duckdb.InternalException, False, "the database hit a fault of its own"),
    (duckdb.InternalError, False, "the database hit a fault of its own"),
    (duckdb.FatalException, False, "the database gave up and must be opened again"),
    (duckdb.DatabaseError, False, "the database failed"),
    (duckdb.Error, False, "the database failed"),
)


@contextmanager
def lake_errors(doing: str, *, where: str = "") -> Iterator[None]:
    """Turn what DuckDB raises into a StoreError; usable as a decorator.

    Raises:
        StoreUnavailable: disk full, catalog locked, file or connection gone: it may pass.
        StoreError: anything else.
    """
    try:
        yield
    except duckdb.Error as error:
        raise store_error_of(error, doing=doing, where=where) from None


def store_error_of(error: duckdb.Error, *, doing: str, where: str = "") -> StoreError:
    """Our error for one of DuckDB's; its text is read to classify it and then dropped."""
    if isinstance(error, duckdb.HTTPException) or _is_without_server(error):
        return object_store.client_error_of(str(error), doing, where)
    text = str(error).lower() if _is_about_storage(error) else ""
    if any(sign in text for sign in _FULL):
        return disk_full(_STORE, where)
    if any(sign in text for sign in _FORBIDDEN):
        return not_allowed(_STORE, where)
    if any(sign in text for sign in _NO_CATALOG):
        return StoreUnavailable(
            f"Could not {doing}: the server of its catalog does not answer.",
            where=where,
            remedy="start the server that RPE_LAKE_URI names, and run the same command again",
        )
    if any(sign in text for sign in _DEVICE):
        return StoreUnavailable(
            f"Could not {doing}: the device of its catalog is full, or failed.",
            where=where,
            remedy="free some space and try again; then look at the device itself",
        )
    if any(sign in text for sign in _DAMAGED):
        return StoreError(
            f"Could not {doing}: the file of its catalog is damaged.",
            where=where,
            remedy="bring the workspace back from its backup",
        )
    if any(sign in text for sign in _BUSY):
        return StoreUnavailable(
            f"Could not {doing}: another process holds the catalog.",
            where=where,
            remedy="try again; writers must take the writer lock of the workspace",
        )
    return _by_class(error, doing, where)


def _is_without_server(error: duckdb.Error) -> bool:
    return isinstance(error, duckdb.IOException) and _NO_SERVER in str(error)


def _is_about_storage(error: duckdb.Error) -> bool:
    # SQLite's own faults arrive as the bare class; the text of every other class may quote a cell
    return isinstance(error, duckdb.OperationalError) or type(error) is duckdb.Error


def _by_class(error: duckdb.Error, doing: str, where: str) -> StoreError:
    is_transient, meaning = next(
        (transient, words) for kind, transient, words in _MEANINGS if isinstance(error, kind)
    )
    if is_transient:
        return StoreUnavailable(
            f"Could not {doing}: {meaning}.",
            where=where,
            remedy="check the folder of the lake and its device, then try again",
        )
    return StoreError(f"Could not {doing}: {meaning}.", where=where)
