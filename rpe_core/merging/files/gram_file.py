"""Files of Gram matrices, by module: what the modules of an adapter were fed. Touches files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from rpe_core.errors import InputError, shown_name
from rpe_core.input_gram import DENSE_WIDTH, N_SKETCHED, InputGram
from rpe_core.merging.files.reading import TensorFile

_PRODUCTS, _SQUARES, _SHARED, _ROWS = ".products", ".squares", "same_input_as", "n_rows"
_FACTS = (
    "grams"  # one key: safetensors writes several in any order, and a file is known by its hash
)


def write_grams(path: Path, grams: Mapping[str, InputGram]) -> None:
    """Write matrices by module; those of modules that share one input are stored once."""
    leaders: dict[int, str] = {}
    shared = {name: leaders.setdefault(id(gram), name) for name, gram in grams.items()}
    tensors, n_rows = {}, {}
    for name in sorted(set(shared.values())):
        tensors[name + _PRODUCTS] = grams[name].products.contiguous()
        tensors[name + _SQUARES] = grams[name].squares.contiguous()
        n_rows[name] = grams[name].n_rows
    facts = json.dumps({_SHARED: shared, _ROWS: n_rows}, sort_keys=True)
    save_file(tensors, path, metadata={_FACTS: facts})


class GramFile:
    """A file that `write_grams` wrote; a matrix is read when it is asked for.

    Raises:
        InputError: the file is no such file.
    """

    def __init__(self, path: Path) -> None:
        self._file = TensorFile(path, what="The file of Gram matrices")
        self._fault = InputError(
            "The file of Gram matrices is not whole.",
            where=str(path.parent),
            expected="a file that `rpe adapters grams` or a night wrote",
            remedy="write it again",
        )
        try:
            with safe_open(path, framework="pt") as opened:
                facts = json.loads((opened.metadata() or {})[_FACTS])
            self._shared: dict[str, str] = dict(facts[_SHARED])
            self._rows: dict[str, int] = dict(facts[_ROWS])
        except Exception:  # safetensors' own error is no subclass of anything, and names no fault
            raise self._fault from None
        for leader in self._shared.values():
            self._check(leader)

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules that it has a matrix of."""
        return tuple(sorted(self._shared))

    def input_of(self, module: str) -> str:
        """The name under which a module's input is stored, which others may share; or nothing."""
        return self._shared.get(module, "")

    def sha256(self) -> str:
        """The hash of the whole file."""
        return self._file.sha256()

    def gram(self, module: str) -> InputGram | None:
        """What a module was fed; None where it is not told, or no row ever came to it."""
        leader = self._shared.get(module)
        if leader is None or not self._rows[leader]:
            return None
        return InputGram(
            self._rows[leader], self._read(leader + _PRODUCTS), self._read(leader + _SQUARES)
        )

    def release(self, module: str) -> None:
        """Give back the memory of a module's matrix; it can be read again."""
        if leader := self._shared.get(module):
            self._file.release(leader + _PRODUCTS)
            self._file.release(leader + _SQUARES)

    def _read(self, name: str) -> torch.Tensor:
        spec = self._file.specs[name]
        data = self._file.bytes_between(
            self._file.data_start + spec.start, self._file.data_start + spec.end
        )
        return torch.frombuffer(data, dtype=torch.int64).view(spec.shape)

    def _check(self, leader: str) -> None:
        products = self._file.specs.get(leader + _PRODUCTS)
        squares = self._file.specs.get(leader + _SQUARES)
        if products is None or squares is None or not isinstance(self._rows.get(leader), int):
            raise self._fault
        (width,) = squares.shape if len(squares.shape) == 1 else (0,)
        columns = width if width <= DENSE_WIDTH else N_SKETCHED
        is_whole = products.shape == (width, columns) and width > 0 and self._rows[leader] >= 0
        if not is_whole or {products.dtype, squares.dtype} != {"I64"}:
            raise InputError(
                "The file of Gram matrices is of another release, or damaged.",
                where=f"module {shown_name(leader)}",
                expected=f"integer sums of width {width} and {columns} columns",
            )
