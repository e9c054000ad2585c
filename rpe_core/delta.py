"""What an adapter adds to a module of the base: the factors, and how PEFT names and shapes them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import NamedTuple

import torch

from rpe_core.errors import InputError, ShapeMismatch

PREFIX = "base_model.model."
_FACTOR = re.compile(
    r"base_model\.model\.(?P<module>.+)\."
    r"(?:lora_(?P<linear>[AB])\.weight|lora_embedding_(?P<embedding>[AB]))"
)


@dataclass(frozen=True)
class Layout:
    """How the matrix dW lies in its module: a linear layer, an embedding, or a convolution.

    An embedding's weight is dW transposed. A convolution's is dW with its columns unfolded to
    (channels, *kernel).
    """

    is_embedding: bool = False
    kernel: tuple[int, ...] = ()


LINEAR = Layout()


class FactorName(NamedTuple):
    """What the name of a tensor says: the module, A or B, and whether it adapts an embedding."""

    module: str
    factor: str
    is_embedding: bool


@dataclass(frozen=True, eq=False)
class LowRankDelta:
    """dW = scaling * B A of one module, as matrices whatever the module is.

    a: A, (r, d_in); b: B, (d_out, r); scaling: alpha / r, or alpha / sqrt(r) with rsLoRA.

    >>> LowRankDelta(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0]]), 2.0).dense()
    tensor([[ 6., 12.]])
    """

    a: torch.Tensor
    b: torch.Tensor
    scaling: float = 1.0
    layout: Layout = LINEAR

    def __post_init__(self) -> None:
        """Refuse factors that cannot be multiplied."""
        a, b = tuple(self.a.shape), tuple(self.b.shape)
        if not (len(a) == len(b) == 2 and a[0] == b[1] and 0 not in (*a, *b)):
            raise ShapeMismatch(
                "LoRA factors do not fit.",
                where=f"A {a}, B {b}",
                expected="A (r, d_in), B (d_out, r)",
            )
        if not math.isfinite(self.scaling):
            raise InputError("The scaling of a delta must be finite.")

    @property
    def rank(self) -> int:
        """The rank r."""
        return int(self.a.shape[0])

    @property
    def shape(self) -> tuple[int, int]:
        """(d_out, d_in) of the module as a matrix."""
        return int(self.b.shape[0]), int(self.a.shape[1])

    def dense(self, *, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """The full dW, (d_out, d_in), multiplied in `dtype`."""
        return self.scaling * (self.b.to(dtype) @ self.a.to(dtype))


def peft_names(module: str, layout: Layout = LINEAR) -> tuple[str, str]:
    """The names of A and B of a module in adapter_model.safetensors.

    >>> peft_names("encoder.query")[0]
    'base_model.model.encoder.query.lora_A.weight'
    """
    if layout.is_embedding:
        return f"{PREFIX}{module}.lora_embedding_A", f"{PREFIX}{module}.lora_embedding_B"
    return f"{PREFIX}{module}.lora_A.weight", f"{PREFIX}{module}.lora_B.weight"


def peft_shapes(
    shape: tuple[int, int], rank: int, layout: Layout = LINEAR
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shapes of A and B of a (d_out, d_in) delta in adapter_model.safetensors.

    >>> peft_shapes((8, 27), 2, Layout(kernel=(3, 3)))
    ((2, 3, 3, 3), (8, 2, 1, 1))
    """
    d_out, d_in = shape
    if not layout.kernel:
        return (rank, d_in), (d_out, rank)
    channels = d_in // math.prod(layout.kernel)
    return (rank, channels, *layout.kernel), (d_out, rank, *(1 for _ in layout.kernel))


def read_factor_name(name: str) -> FactorName | None:
    """What the name of a LoRA factor says, or None where it is another tensor.

    >>> read_factor_name("base_model.model.embed.lora_embedding_B")
    FactorName(module='embed', factor='B', is_embedding=True)
    """
    match = _FACTOR.fullmatch(name)
    if match is None:
        return None
    factor = match["linear"] or match["embedding"]
    return FactorName(match["module"], factor, match["embedding"] is not None)
