"""A shard of the base written anew: its tensors where they were, others behind them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rpe_core.merging.files.reading import TensorFile, TensorSpec
from rpe_core.merging.ties import framed_tensor_name

_METADATA = "__metadata__"


@dataclass(frozen=True)
class NewShard:
    """The header and the size of the file, and the place of every tensor in it, in bytes.

    `shift` is by how much the old tensors move, because the header grew.
    """

    header: bytes
    size: int
    shift: int
    places: dict[str, int]


def lay_out(shard: TensorFile, added: Mapping[str, TensorSpec], *, frame: str) -> NewShard:
    """Where everything comes to stand; without additions and a frame the header is the very same.

    Places go by the names that the base has.
    """
    header, start = bytes(shard.bytes_between(0, shard.data_start)), shard.data_start
    ends = {}
    end = shard.size - shard.data_start
    if added or frame:
        entries: dict[str, Any] = {
            name if name == _METADATA else framed_tensor_name(name, frame): entry
            for name, entry in json.loads(header[8:]).items()
        }
        for name, spec in added.items():
            first, end = end, end + (spec.end - spec.start)
            ends[name] = first
            entries[name] = {
                "dtype": spec.dtype,
                "shape": list(spec.shape),
                "data_offsets": [first, end],
            }
        text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
        text = text.ljust(-(-len(text) // 8) * 8)
        header, start = len(text).to_bytes(8, "little") + text, 8 + len(text)
    places = {name: start + spec.start for name, spec in shard.specs.items()}
    places |= {name: start + first for name, first in ends.items()}
    return NewShard(header, start + end, start - shard.data_start, places)


def with_entries(
    index: Mapping[str, Any], added: Mapping[str, str], *, n_bytes: int, frame: str = ""
) -> dict[str, Any]:
    """The index of a sharded checkpoint, with tensors that were added to its shards.

    >>> index = {"weight_map": {"a": "1"}, "metadata": {"total_size": 4}}
    >>> with_entries(index, {"b": "1"}, n_bytes=8)
    {'weight_map': {'a': '1', 'b': '1'}, 'metadata': {'total_size': 12}}
    """
    homes = {framed_tensor_name(name, frame): home for name, home in index["weight_map"].items()}
    made = {**index, "weight_map": {**homes, **added}}
    metadata = index.get("metadata")
    if isinstance(metadata, Mapping) and isinstance(metadata.get("total_size"), int):
        total = metadata["total_size"] + n_bytes
        made["metadata"] = {**metadata, "total_size": total}
    return made


def size_of(spec: TensorSpec) -> int:
    """The bytes of a tensor."""
    return spec.end - spec.start
