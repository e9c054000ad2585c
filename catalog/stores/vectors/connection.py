"""The door to LanceDB: how a folder or a bucket is opened, and what its errors become."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pyarrow as pa

from catalog.errors import StoreError
from catalog.stores.disk import disk_errors
from catalog.stores.object_store import (
    client_error_of,
    find_access,
    is_in_bucket,
    lance_options,
    path_in_store,
)
from rpe_core.errors import RpeError

_KINDS = (OSError, RuntimeError, ValueError, TypeError, pa.ArrowException)


def connect(uri: str) -> Any:
    """A LanceDB connection to a folder, which is made if it is missing, or to a bucket.

    Raises:
        InputError: the URI of a bucket is none that we use.
        StoreError: the folder cannot be made, or there are no credentials.
    """
    # imported here because it takes 1.4 s, which `rpe --help` must not pay
    import lancedb

    options = None
    if is_in_bucket(uri):
        path_in_store(uri, "RPE_VECTORS_URI")
        options = lance_options(find_access())
    with vector_errors("open the vectors", uri):
        return lancedb.connect(uri, storage_options=options)


@contextmanager
def without_words() -> Iterator[None]:
    """Keep what Lance says of a panic off stderr: it writes there itself, past every handler."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def vector_errors(doing: str, uri: str) -> Iterator[None]:
    """Turn what Lance and Arrow raise, panics of Lance too, into a StoreError without its text."""
    try:
        with nullcontext() if is_in_bucket(uri) else disk_errors("the vector store", uri):
            yield
    except RpeError:
        raise
    except BaseException as error:
        if not isinstance(error, _KINDS) and "Panic" not in type(error).__name__:
            raise
        if is_in_bucket(uri):
            raise client_error_of(str(error), doing, uri) from None
        raise StoreError(
            f"Could not {doing}.",
            where=uri,
            remedy="`rpe doctor` tells whether vectors are damaged, `rpe repair` makes them"
            " again; else check the folder and its free space",
        ) from None
