"""An object store (S3) as the stores need it: where a URI leads, who we are there, its errors."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pydantic import SecretStr

from catalog.errors import StoreError, StoreUnavailable
from rpe_core.errors import InputError

PREFIX = "s3://"
CONNECT_SECONDS = 10
REQUEST_SECONDS = 60
_URI = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[\w=-][\w.=-]*)*/?", re.ASCII)
_AMAZON = ".amazonaws.com"
# What is said by DuckDB, Arrow, Lance, boto3 or the server about one and the same thing
_NO_BUCKET = ("nosuchbucket", "no_such_bucket", "bucket does not exist")
_NO_CREDENTIALS = ("unable to locate credentials", "no credentials", "credentialsnotloaded")
_REFUSED = (
    *("accessdenied", "access_denied", "access denied", "forbidden", "unauthorized"),
    *("invalidaccesskeyid", "invalid_access_key_id", "signaturedoesnotmatch"),
    *("signature_does_not_match", "expiredtoken", "expired_token", "invalid_client_token_id"),
)


@dataclass(frozen=True)
class Access:
    """An object store and who we are there; an empty endpoint is Amazon's own."""

    endpoint: str
    region: str
    key_id: SecretStr
    secret: SecretStr
    token: SecretStr

    @property
    def is_encrypted(self) -> bool:
        """Whether we talk to it by TLS."""
        return not self.endpoint.startswith("http://")

    @property
    def keys(self) -> tuple[str, str, str]:
        """Key id, secret and session token, in plain."""
        values = (self.key_id, self.secret, self.token)
        return (
            values[0].get_secret_value(),
            values[1].get_secret_value(),
            values[2].get_secret_value(),
        )


def is_in_bucket(uri: str) -> bool:
    """Whether a URI leads to an object store."""
    return uri.startswith(PREFIX)


def path_in_store(uri: str, where: str) -> str:
    """Bucket and prefix of a URI, without a slash at the end.

    >>> path_in_store("s3://hospital-a/rpe/lake/", "RPE_LAKE_DATA_URI")
    'hospital-a/rpe/lake'

    Raises:
        InputError: it is no such URI, or holds a key, a password or a parameter.
    """
    if not _URI.fullmatch(uri):
        raise InputError(
            "The URI of an object store is not one that we use.",
            where=where,
            expected="s3://<bucket>/<prefix>, without user, key, password or parameter",
            remedy="give keys and endpoint by AWS_* variables, a profile or the machine's role",
        )
    return uri.removeprefix(PREFIX).rstrip("/")


def find_access() -> Access:
    """Endpoint, region and credentials as every client of AWS finds them.

    By boto3's chain: AWS_* variables, the profile of AWS_PROFILE, the role of the machine.

    Raises:
        StoreError: there are no credentials, or boto3 is not installed.
    """
    try:
        import botocore.session  # only object stores need it
    except ImportError:
        raise StoreError(
            "The client of object stores is not installed.",
            remedy="install rpe-platform[servers]",
        ) from None
    with object_store_errors("find out who we are at the object store"):
        session = botocore.session.get_session()
        client = session.create_client("s3")
        credentials = session.get_credentials()
        if credentials is None:
            raise client_error_of("no credentials", "use the object store", "")
        keys = credentials.get_frozen_credentials()
        endpoint = str(client.meta.endpoint_url)
        return Access(
            "" if endpoint.endswith(_AMAZON) else endpoint,
            str(client.meta.region_name),
            SecretStr(keys.access_key),
            SecretStr(keys.secret_key),
            SecretStr(keys.token or ""),
        )


def open_bucket(uri: str, where: str) -> tuple[Any, str]:
    """Arrow's file system for a URI, and the path in it, which begins with the bucket.

    Raises:
        InputError: the URI is none that we use.
        StoreUnavailable: the store did not answer.
        StoreError: there is no such bucket, or no credentials.
    """
    from pyarrow.fs import FileType, S3FileSystem  # 0.1 s, which only object stores need to pay

    path, access = path_in_store(uri, where), find_access()
    key_id, secret, token = access.keys
    files = S3FileSystem(
        access_key=key_id,
        secret_key=secret,
        session_token=token or None,
        region=access.region,
        endpoint_override=access.endpoint or None,
        connect_timeout=CONNECT_SECONDS,
        request_timeout=REQUEST_SECONDS,
    )
    doing = "open the object store"
    with object_store_errors(doing, uri):
        # Arrow lists a bucket that is not there as an empty one
        if files.get_file_info(path.partition("/")[0]).type == FileType.NotFound:
            raise client_error_of("NoSuchBucket", doing, uri)
    return files, path


def lance_options(access: Access) -> dict[str, str]:
    """Keys, region, endpoint and time limits of an object store as options of Lance."""
    key_id, secret, token = access.keys
    options = {
        "aws_access_key_id": key_id,
        "aws_secret_access_key": secret,
        "aws_session_token": token,
        "aws_region": access.region,
        "aws_endpoint": access.endpoint,
        "allow_http": "" if access.is_encrypted else "true",
        "connect_timeout": f"{CONNECT_SECONDS}s",
        "timeout": f"{REQUEST_SECONDS}s",
    }
    return {name: value for name, value in options.items() if value}


def duckdb_options(access: Access) -> dict[str, str | bool]:
    """Keys, region and endpoint of an object store as a secret of DuckDB's httpfs."""
    key_id, secret, token = access.keys
    options: dict[str, str | bool] = {
        "KEY_ID": key_id,
        "SECRET": secret,
        "SESSION_TOKEN": token,
        "REGION": access.region,
    }
    if access.endpoint:
        options |= {
            "ENDPOINT": access.endpoint.partition("://")[2],
            "USE_SSL": access.is_encrypted,
            "URL_STYLE": "path",  # a server of one's own has no name for every bucket
        }
    return options


@contextmanager
def object_store_errors(doing: str, where: str = "") -> Iterator[None]:
    """Turn what Arrow and boto3 raise into a StoreError without its text.

    Raises:
        StoreUnavailable: the store did not answer.
        StoreError: there is no such bucket, or it refuses us.
    """
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        if getattr(error, "errno", None) not in (None, errno.ENOENT):
            raise  # of this machine: those of Arrow's object stores have no number
        raise client_error_of(str(error), doing, where) from None
    except Exception as error:
        if type(error).__module__.partition(".")[0] in ("boto3", "botocore", "s3transfer"):
            raise client_error_of(str(error), doing, where) from None
        raise


def client_error_of(text: str, doing: str, where: str) -> StoreError:
    """Our error for a client's text, which is read to classify it and then dropped."""
    lowered = text.lower()
    if any(sign in lowered for sign in _NO_BUCKET):
        return StoreError(
            f"Could not {doing}: there is no such bucket.",
            where=where,
            remedy="make it (we never do), or correct the URI",
        )
    if any(sign in lowered for sign in _NO_CREDENTIALS):
        return StoreError(
            f"Could not {doing}: no credentials were found.",
            where=where,
            remedy="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
        )
    if any(sign in lowered for sign in _REFUSED):
        return StoreError(
            f"Could not {doing}: the object store refuses us.",
            where=where,
            remedy="look at the keys, whether they have expired, and at the bucket's policy",
        )
    return StoreUnavailable(
        f"Could not {doing}: the object store did not answer as it should.",
        where=where,
        remedy="look whether the endpoint of AWS_ENDPOINT_URL is there, then try again",
    )
