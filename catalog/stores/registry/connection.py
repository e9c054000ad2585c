"""The door to MLflow: how it is opened without telemetry, and what its errors become."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from secrets import token_hex
from typing import Any

from catalog.errors import RecordConflict, RecordNotFound, StoreError, StoreUnavailable
from catalog.stores.disk import disk_errors
from catalog.stores.object_store import object_store_errors
from catalog.stores.postgres import has_table, require_no_password, vacuum_full
from catalog.stores.sqlite_files import file_of, vacuum

# of SQLite, and of PostgreSQL about tables that are not there
_DAMAGED = re.compile(
    r'not a database|image is malformed|no such table|relation "[\w.]+" does not exist'
)
_OF_DATABASE = ("BAD_REQUEST", "INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE")


@contextmanager
def translate_mlflow_errors(where: str) -> Iterator[None]:
    """Raise our own errors for MLflow's and SQLAlchemy's, without their text."""
    # 1.6 s to import: at the top, commands that never touch the registry would pay for it
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with (
            object_store_errors("use the files of the model registry", where),
            disk_errors("the model registry", where),
        ):
            yield
    except MlflowException as error:
        code = str(error.error_code)
        is_lost = code in _OF_DATABASE and _DAMAGED.search(str(error))
        raise _damaged(where) if is_lost else _store_error(code, where) from None
    except SQLAlchemyError as error:
        is_lost = _DAMAGED.search(str(error))
        raise _damaged(where) if is_lost else _unavailable(where) from None


def pages(ask: Callable[..., Any]) -> Iterator[Any]:
    """What a search of the client finds, over all pages; `ask` takes the `page_token` of one."""
    token = None
    while True:
        page = ask(page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _store_error(code: str, where: str) -> StoreError:
    if code in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"):
        return RecordNotFound(
            "The model registry has no such model, version or alias.",
            where=where,
            remedy="`rpe doctor` lists what the registry lacks; `rpe repair` makes it again",
        )
    if code in ("RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS", "RESOURCE_CONFLICT"):
        return RecordConflict("The model registry holds another record of this name.", where=where)
    if code in ("TEMPORARILY_UNAVAILABLE", "INTERNAL_ERROR", "REQUEST_LIMIT_EXCEEDED"):
        return _unavailable(where)
    return StoreError(
        f"The model registry refused the call ({code}).",
        where=where,
        remedy="`rpe doctor` compares the versions of MLflow and of its database",
    )


def _damaged(where: str) -> StoreError:
    """The error of a database that is none any more."""
    return StoreError(
        "The database of the model registry is damaged or was emptied: nothing it serves is known.",
        where=where,
        remedy="`rpe repair` makes it again from the lake and the artifacts",
    )


def let_go(tracking_uri: str) -> None:
    """Close what MLflow keeps open of a database: it would go on in a file that was moved away."""
    from mlflow.store.model_registry import sqlalchemy_store as models
    from mlflow.store.tracking import sqlalchemy_store as tracking

    for store in (models.SqlAlchemyStore, tracking.SqlAlchemyStore):
        if engine := store._engine_map.get(tracking_uri):
            engine.dispose()


def _unavailable(where: str) -> StoreUnavailable:
    return StoreUnavailable(
        "The model registry cannot be reached or is busy.",
        where=where,
        remedy="try again; check that the database or server of RPE_TRACKING_URI is there",
    )


def connect(tracking_uri: str, artifacts_uri: str) -> Any:
    """An MlflowClient on this URI, whose database has its tables.

    Raises:
        InputError: the URI holds a password.
    """
    make_client = _client_class(tracking_uri)
    scheme = tracking_uri.partition(":")[0].partition("+")[0]
    if scheme in ("sqlite", "postgresql", "mysql", "mssql"):
        _prepare_database(tracking_uri, artifacts_uri)
    return make_client(tracking_uri=tracking_uri, registry_uri=tracking_uri)


def connect_reading(tracking_uri: str) -> Any:
    """An MlflowClient on a database that is there already; nothing is made.

    Raises:
        InputError: the URI holds a password.
        RecordNotFound: its file is not there, or its server's database has no tables yet.
    """
    make_client = _client_class(tracking_uri)
    file, server = file_of(tracking_uri), _postgres_of(tracking_uri)
    # MLflow would make the tables at once, without a lock, while others do; this one comes last
    if (file and not file.is_file()) or (server and not has_table(server, "alembic_version")):
        raise RecordNotFound(
            "There is no model registry here: it is gone, or was never made.",
            where=str(file or "the database of RPE_TRACKING_URI"),
            remedy="`rpe repair` makes it again from the lake, `rpe init` in a new workspace",
        )
    return make_client(tracking_uri=tracking_uri, registry_uri=tracking_uri)


def _client_class(tracking_uri: str) -> Any:
    """MLflow's client, imported without telemetry or chatter; made, it opens its database."""
    require_no_password(tracking_uri, "RPE_TRACKING_URI")
    # not at the top for the same reason
    from mlflow import MlflowClient
    from mlflow.environment_variables import MLFLOW_DISABLE_TELEMETRY

    MLFLOW_DISABLE_TELEMETRY.set(True)  # settings did so before the import; a library user may not
    for chatty in ("mlflow", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # prints each fault of the database with its statement and values; ours say what is to be done
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    return MlflowClient


def _prepare_database(tracking_uri: str, artifacts_uri: str) -> None:
    """Create the tables, and the default experiment with a place under the workspace.

    Left to the client, that experiment would name a folder under whatever the current directory is.
    A database in a file appears whole: MLflow opens none whose tables were cut off half-way.
    """
    # behind the door of open(), like the client
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    file = file_of(tracking_uri)
    if file is None or file.exists():
        SqlAlchemyStore(tracking_uri, artifacts_uri)
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    for cut_off in file.parent.glob(f"{file.name}.*.part*"):
        cut_off.unlink()
    part = file.with_name(f"{file.name}.{token_hex(4)}.part")  # MLflow remembers a name it opened
    SqlAlchemyStore(f"sqlite:///{part}", artifacts_uri).engine.dispose()
    part.replace(file)


def vacuum_tracking(tracking_uri: str) -> None:
    """Rewrite MLflow's database without what was deleted from it; one behind a server is its own.

    Raises:
        StoreUnavailable: somebody uses it for too long, or the server does not answer.
    """
    if file := file_of(tracking_uri):
        vacuum(file)
    elif server := _postgres_of(tracking_uri):
        vacuum_full(server)


def _postgres_of(tracking_uri: str) -> str:
    """The database on PostgreSQL as its own clients name it; '' where it is another."""
    kind, _, rest = tracking_uri.partition("://")
    return f"postgresql://{rest}" if kind.partition("+")[0] == "postgresql" else ""
