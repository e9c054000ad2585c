"""Portable bundles: an adapter with card, representation and hashes, and no row of data."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catalog.stores.artifacts.artifacts import Artifacts
from catalog.stores.disk import disk_errors, flush
from catalog.stores.outgoing import HubName, write_outgoing
from rpe_core.errors import InputError
from rpe_core.regular_files import NotRegularFile, read_regular, special_kind

ADAPTER, CARD, REPRESENTATION, HASHES = (
    "adapter",
    "card.json",
    "representation.json",
    "hashes.json",
)
FORMAT = 1
MAX_JSON_BYTES = 16 << 20
_FILES = ("adapter_config.json", "adapter_model.safetensors")


@dataclass(frozen=True)
class Bundle:
    """What a bundle says of itself, once every hash has been found right."""

    adapter: Path
    card: Mapping[str, Any]
    representation: Mapping[str, Any]


def is_bundle(folder: Path) -> bool:
    """Whether a folder claims to be a bundle."""
    return (folder / CARD).is_file() or bool(special_kind(folder / CARD))


def write_bundle(
    out: Path,
    adapter: Path,
    *,
    card: Mapping[str, Any],
    representation: Mapping[str, Any],
    hub: HubName | None = None,
) -> None:
    """Write a bundle; it appears whole or not at all, and equal contents give equal bytes.

    Raises:
        InputError: the place is taken.
        StoreError: it cannot be written.
    """
    if out.exists():
        raise InputError("The bundle's place is taken.", where=str(out), remedy="choose a new one")
    with disk_errors("the bundle", out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as scratch:
            part = Path(scratch) / "part"
            (part / ADAPTER).mkdir(parents=True)
            for name in _FILES:
                shutil.copyfile(adapter / name, part / ADAPTER / name)
            write_outgoing(part / ADAPTER, family=card["base"]["family"], hub=hub)
            _write_json(part / CARD, {"format": FORMAT, **card})
            _write_json(part / REPRESENTATION, representation)
            files = [part / CARD, part / REPRESENTATION, *(part / ADAPTER / n for n in _FILES)]
            names = {file.relative_to(part).as_posix(): file for file in files}
            hashes = {name: Artifacts.hash_file(file) for name, file in names.items()}
            _write_json(part / HASHES, hashes)
            for file in part.rglob("*.*"):
                flush(file)
            part.replace(out)


def read_bundle(folder: Path) -> Bundle:
    """A bundle whose files are those that its hashes name.

    Raises:
        InputError: a file is missing, changed, or written by a newer release.
    """
    hashes = _read_json(folder / HASHES)
    wanted = {CARD, REPRESENTATION, *(f"{ADAPTER}/{name}" for name in _FILES)}
    if set(hashes) != wanted:
        raise InputError(
            "The bundle's hashes name other files.", expected=", ".join(sorted(wanted))
        )
    for name in sorted(wanted):
        file = folder / name
        if not file.is_file() or file.is_symlink() or Artifacts.hash_file(file) != hashes[name]:
            raise InputError(
                f"{name} is missing or is not what the bundle's hashes say.",
                remedy="copy or export the bundle again",
            )
    card = _read_json(folder / CARD)
    if card.get("format") != FORMAT:
        raise InputError("The bundle has a format of another release.", expected=f"{FORMAT}")
    return Bundle(folder / ADAPTER, card, _read_json(folder / REPRESENTATION))


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    text = json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def _refuse(constant: str) -> None:
    raise ValueError(constant)  # NaN and infinity are no JSON


def _read_json(path: Path) -> dict[str, Any]:
    try:
        text = read_regular(path, limit=MAX_JSON_BYTES + 1)
        content = None
        if len(text) <= MAX_JSON_BYTES:
            content = json.loads(text, parse_constant=_refuse)
    except NotRegularFile as error:
        raise InputError(
            f"The bundle's {path.name} is {error.kind}.", expected="a regular file"
        ) from None
    except (OSError, ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise InputError(f"The bundle's {path.name} cannot be read.", expected="a JSON object")
    return content
