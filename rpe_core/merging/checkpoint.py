"""The base as a folder of safetensors, whole or in shards; only headers are read. Touches files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from rpe_core.errors import InputError, shown_name
from rpe_core.merging.adapters import read_json
from rpe_core.merging.reading import TensorFile, TensorSpec

INDEX, SINGLE, CONFIG = "model.safetensors.index.json", "model.safetensors", "config.json"
_MAX_INDEX_BYTES = 64 << 20
_PLAIN_NAME = re.compile(r"[\w.-]+\.safetensors")
# What belongs to a model beside its weights; never a pickle, never code.
_SMALL_SUFFIXES = (".json", ".txt", ".model", ".jinja", ".tiktoken", ".md", "")
_MAX_SMALL_BYTES = 64 << 20


class Checkpoint:
    """A base checkpoint; `shards` by file name, each a TensorFile.

    Raises:
        InputError: there is no safetensors checkpoint, or it is corrupt or incomplete.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        homes = self._read_index()
        names = sorted(set(homes.values())) or [SINGLE]
        if not (folder / names[0]).is_file():
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

    def release(self, key: str, of: tuple[int, int] | None = None) -> None:
        """Give back the memory of a tensor, or of a range of its numbers."""
        self.shards[self._homes[key]].release(key, of)

    def locate(self, tensors: Sequence[str]) -> dict[str, str]:
        """The keys here of tensors that an adapter names; one prefix may be more or less for all.

        Raises:
            InputError: one of them is not here.
        """
        if not tensors:
            return {}
        found = {prefix: keys for prefix, keys in self._by_prefix(tensors)}
        if len(found) == 1 or "" in found:
            keys = found.get("") or next(iter(found.values()))
            return dict(zip(tensors, keys, strict=True))
        missing = next((name for name in tensors if name not in self._homes), tensors[0])
        raise InputError(
            f"The base has no tensor {shown_name(missing)}, which a member adapts.",
            where=str(self.folder),
            expected="the base that the members were trained on, with every adapted weight in it",
        )

    @property
    def is_tied(self) -> bool:
        """Whether the input embedding is the output layer too, as far as config.json tells."""
        config = self._config()
        heads = [str(name) for name in config.get("architectures") or []]
        has_head = any(re.search("LMHead|CausalLM|MaskedLM|ConditionalGen", name) for name in heads)
        return has_head and config.get("tie_word_embeddings") is not False

    def small_files(self) -> Iterator[Path]:
        """Configuration, tokenizer and other texts beside the weights, by path in the folder."""
        for path in sorted(self.folder.rglob("*")):
            is_small = path.is_file() and path.stat().st_size <= _MAX_SMALL_BYTES
            if is_small and path.suffix in _SMALL_SUFFIXES and not path.name.startswith("."):
                yield path.relative_to(self.folder)

    def _config(self) -> dict[str, Any]:
        has_one = (self.folder / CONFIG).is_file()
        return read_json(self.folder / CONFIG, what="base") if has_one else {}

    def _read_index(self) -> dict[str, str]:
        if not (self.folder / INDEX).is_file():
            return {}
        index = read_json(self.folder / INDEX, what="base", max_bytes=_MAX_INDEX_BYTES)
        found = index.get("weight_map")
        homes: dict[str, str] = found if isinstance(found, dict) else {}
        if not homes or not all(_PLAIN_NAME.fullmatch(str(name)) for name in homes.values()):
            raise InputError(
                f"The base's {INDEX} names no shards.",
                where=str(self.folder),
                expected="a weight_map from tensors to safetensors files of the same folder",
            )
        return homes

    def _by_prefix(self, tensors: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
        first = tensors[0]
        more = [key[: -len(first)] for key in self._homes if key.endswith(f".{first}")]
        parts = first.split(".")
        less = [".".join(parts[:i]) + "." for i in range(1, len(parts))]
        for prefix in ["", *more]:
            keys = [prefix + tensor for tensor in tensors]
            if self._homes.keys() >= set(keys):
                yield prefix, keys
        for prefix in less:
            keys = [tensor[len(prefix) :] for tensor in tensors if tensor.startswith(prefix)]
            if len(keys) == len(tensors) and self._homes.keys() >= set(keys):
                yield f"-{prefix}", keys
