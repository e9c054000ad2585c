"""Names of rows and groups as hashes, and which split a group belongs to."""

from __future__ import annotations

import fnmatch
import hashlib
import json
from collections.abc import Mapping
from datetime import date
from typing import Any

from catalog.contracts.contract import SourceContract, SplitColumn, SplitGlobs, SplitShares
from rpe_core.errors import InputError

# One salt for the whole platform and no source name: a patient of two sources falls in the same
# split of both. To change it is to reshuffle every split.
PLATFORM_SALT = "rpe-platform/groups/1"
_DIGITS = 13  # hexadecimal digits of a hash that place it in [0, 1): 52 bits, exact in a float

Value = str | int | bool | date | None


def item_sha256(source: str, key: Value) -> str:
    """The row's name outside its table: sha256 over source and key."""
    return _sha256(f"{source}\n{_text(key)}")


def group_sha256(group: Value) -> str:
    """The group's name, the same in every source: sha256 over the platform's salt and the value."""
    return _sha256(f"{PLATFORM_SALT}\n{_text(group)}")


def row_sha256(row: Mapping[str, Any]) -> str:
    """The sha256 of a row's content; the order of columns and the file format do not matter.

    >>> row_sha256({"a": 1, "b": None}) == row_sha256({"b": None, "a": 1})
    True
    """
    plain = {name: _plain(value) for name, value in row.items()}
    return _sha256(json.dumps(plain, sort_keys=True, ensure_ascii=False, separators=(",", ":")))


def position(group: str) -> float:
    """Where a group's sha256 lies in [0, 1), evenly over groups.

    >>> position("8" + "0" * 63)
    0.5
    """
    return float(int(group[:_DIGITS], 16) / 16**_DIGITS)


def hash_below(share: float) -> str:
    """The prefix below which lie the groups of the first `share`: SQL compares text with it.

    >>> hash_below(0.5), "7f" + "f" * 62 < hash_below(0.5)
    ('8000000000000', True)
    """
    return f"{min(round(share * 16**_DIGITS), 16**_DIGITS - 1):0{_DIGITS}x}"


def split_by_share(group: str, shares: SplitShares) -> str:
    """The split of a group, from its hash alone: stable as the source grows.

    Train takes the lower end and test the upper, so that sources with like shares agree.
    """
    share = position(group)
    if share < shares.train:
        return "train"
    return "test" if share >= 1.0 - shares.test else "validation"


def split_of_file(contract: SourceContract, file_uri: str) -> str | None:
    """The split that the file's name decides, or None where no glob of the contract names it.

    Test and validation are asked before train, so that `train: '*'` means the rest.
    """
    splits = contract.splits
    if not isinstance(splits, SplitGlobs):
        return None
    name = file_uri.rsplit("/", 1)[-1]
    for split in ("test", "validation", "train"):
        pattern = getattr(splits, split)
        if pattern is not None and _matches(name, file_uri, pattern):
            return split
    return None


def carved_share(contract: SourceContract) -> float:
    """The share of train's groups that becomes validation where nothing else names validation."""
    splits = contract.splits
    if isinstance(splits, SplitColumn):
        return splits.validation
    if isinstance(splits, SplitGlobs) and splits.validation is None:
        return splits.carve_validation
    return 0.0


def _matches(name: str, uri: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern) or (
        "/" in pattern and fnmatch.fnmatchcase(uri, f"*{pattern.lstrip('*')}")
    )


def _text(value: Value) -> str:
    if isinstance(value, float):
        # Two names of 17 digits may be one float: no row or group is called by one
        raise InputError("A key or group is a float.", expected="text or a whole number")
    return value.isoformat() if isinstance(value, date) else str(value)


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
