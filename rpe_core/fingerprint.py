"""Canonical hashing of records and configurations into ids: what made a thing, and nothing else."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

SHORT = 12  # hexadecimal digits of the sha256 that an id shows
_SHA256, _SHORT_SHA256 = re.compile(r"[0-9a-f]{64}"), re.compile(rf"[0-9a-f]{{{SHORT}}}")


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces, equal for equal values.

    >>> canonical_json({"b": 1, "a": (0.5, None)})
    '{"a":[0.5,null],"b":1}'
    """
    return json.dumps(
        _plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def fingerprint(value: Any) -> str:
    """The sha256 of the canonical JSON, as 64 hexadecimal digits; key order does not matter."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def fingerprint_stream(parts: Iterable[str]) -> str:
    """The sha256 over many strings in the order given, each ended by a newline."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() + b"\n")
    return digest.hexdigest()


def make_id(kind: str, name: str, sha256: str) -> str:
    """`kind:name@sha12`, the way every id reads.

    >>> make_id("dataset", "site_a", "0123456789abcdef" * 4)
    'dataset:site_a@0123456789ab'
    """
    return f"{kind}:{name}@{sha256[:SHORT]}"


def is_id(value: str, kind: str, name: str) -> bool:
    """Whether a text is an id of this kind and name.

    >>> is_id("dataset:site_a@0123456789ab", "dataset", "site_a")
    True
    """
    head, at, digits = value.rpartition("@")
    return head == f"{kind}:{name}" and at == "@" and bool(_SHORT_SHA256.fullmatch(digits))


def is_sha256(value: str) -> bool:
    """Whether a text is a whole sha256 as ours are written."""
    return bool(_SHA256.fullmatch(value))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(_plain(item) for item in value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("NaN and infinity have no fingerprint")
    return value
