"""The base as a folder of safetensors, whole or in shards; only headers are read. Touches files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from rpe_core.errors import InputError, shown_name
from rpe_core.merging.files.adapter_reader import read_json
from rpe_core.merging.files.reading import DTYPES, TensorFile, TensorSpec
from rpe_core.merging.names import find_all
from rpe_core.merging.rounding import norm_of
from rpe_core.merging.ties import Tie, find_tie, is_head
from rpe_core.regular_files import special_kind

INDEX, SINGLE, CONFIG = "model.safetensors.index.json", "model.safetensors", "config.json"
_MAX_INDEX_BYTES = 64 << 20
_PLAIN_NAME = re.compile(r"[\w.-]+\.safetensors")


class Checkpoint:
    """A base checkpoint; `shards` by file name, each a TensorFile.

    Raises:
        InputError: there is no safetensors checkpoint, or it is corrupt or incomplete.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._norms: dict[str, float] = {}
        homes = self._read_index()
        names = sorted(set(homes.values())) or [SINGLE]
        first = folder / names[0]
        if not first.is_file() and not special_kind(first):
            raise InputError(
                "The base is no safetensors checkpoint.",
                where=str(folder),
                expected=f"a folder with {SINGLE}, or {INDEX} and its shards",
            )
        self.shards = {name: TensorFile(folder / name, what=f"The base's {name}") for name in names}
        self._homes = {key: name for name, file in self.shards.items() for key in file.specs}
        if homes and homes != self._homes:
            raise InputError(
                f"The base's {INDEX} and its shards name different tensors.", where=str(folder)
            )

    def home(self, key: str) -> str:
        """The name of the shard that holds a tensor."""
        return self._homes[key]

    def spec(self, key: str) -> TensorSpec:
        """Dtype, shape and place of a tensor."""
        return self.shards[self._homes[key]].specs[key]

    def check_floating(self, keys: Sequence[str]) -> None:
        """Raise InputError unless these tensors hold floating-point numbers that we can add."""
        for key in keys:
            self.shards[self._homes[key]].check_floating([key])

    def read(self, key: str) -> torch.Tensor:
        """A tensor as a view of its shard."""
        return self.shards[self._homes[key]].read(key)

    def norm(self, key: str) -> float:
        """The Frobenius norm of a tensor of floating-point numbers, computed once."""
        if key not in self._norms:
            self._norms[key] = norm_of(self.read(key))
            self.release(key)
        return self._norms[key]

    def release(self, key: str, of: tuple[int, int] | None = None) -> None:
        """Give back the memory of a tensor, or of a range of its numbers."""
        self.shards[self._homes[key]].release(key, of)

    def __iter__(self) -> Iterator[str]:
        """The tensors' names, shard by shard."""
        return iter(self._homes)

    def __contains__(self, key: object) -> bool:
        """Whether a tensor of this very name is here."""
        return key in self._homes

    def find(self, tensors: Sequence[str]) -> dict[str, str]:
        """The keys here of tensors that an adapter names, as far as it is certain which they are.

        A tied output layer is the embedding.
        """
        keys = find_all(tensors, list(self._homes))
        heads = [name for name in tensors if name not in keys and is_head(name)]
        tie = self.tie(is_language=True) if heads else None
        return keys | dict.fromkeys(heads, tie.embedding) if tie else keys

    def locate(self, tensors: Sequence[str]) -> dict[str, str]:
        """The keys here of all tensors that an adapter names.

        Raises:
            InputError: one of them is not here.
        """
        keys = self.find(tensors)
        if missing := [name for name in tensors if name not in keys]:
            raise self.lacks(missing[0])
        return keys

    def lacks(self, tensor: str) -> InputError:
        """The refusal of a tensor that no name here can mean."""
        return InputError(
            f"The base has no tensor {shown_name(tensor)}, which a member adapts.",
            where=str(self.folder),
            expected="the base that the members were trained on, with every adapted weight in it"
            " under the name that it has in memory, in an older version, or with a prefix",
        )

    def tie(self, *, is_language: bool = False, also: Sequence[str] = ()) -> Tie | None:
        """The tie of the output layer to the embedding; None where both have their own numbers."""
        tie = find_tie(self._homes, self.config, is_language=is_language, also=also)
        is_own = tie is not None and tie.head in self and not self._are_equal(*tie[:2])
        return None if is_own else tie

    @cached_property
    def config(self) -> dict[str, Any]:
        """Its config.json; empty where there is none."""
        has_one = (self.folder / CONFIG).is_file() or special_kind(self.folder / CONFIG)
        return read_json(self.folder / CONFIG, what="base") if has_one else {}

    def _are_equal(self, key: str, other: str) -> bool:
        if self.spec(key).shape != self.spec(other).shape:
            return False
        if not {self.spec(key).dtype, self.spec(other).dtype} <= DTYPES.keys():
            return False
        is_equal = torch.equal(self.read(key), self.read(other))
        self.release(key)
        self.release(other)
        return is_equal

    @cached_property
    def index(self) -> dict[str, Any]:
        """Its index; empty where all tensors are in one file, which goes first as elsewhere."""
        if not self._has_index:
            return {}
        return read_json(self.folder / INDEX, what="base", max_bytes=_MAX_INDEX_BYTES)

    @property
    def _has_index(self) -> bool:
        index = self.folder / INDEX
        is_there = index.is_file() or bool(special_kind(index))
        return is_there and not (self.folder / SINGLE).is_file()

    def _read_index(self) -> dict[str, str]:
        if not self._has_index:
            return {}
        weight_map = self.index.get("weight_map")
        homes: dict[str, str] = weight_map if isinstance(weight_map, dict) else {}
        if not homes or not all(_PLAIN_NAME.fullmatch(str(name)) for name in homes.values()):
            raise InputError(
                f"The base's {INDEX} names no shards.",
                where=str(self.folder),
                expected="a weight_map from tensors to safetensors files of the same folder",
            )
        return homes
