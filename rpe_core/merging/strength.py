"""How strong a delta is beside the weight that it is added to: a bound on what is taken in.

||dW||_F may be 2^8 times ||W||_F. In bfloat16, which keeps eight bits, nothing of a weight is left
beyond that in a sum: the adapter is the model, and the base by which it was filed is none of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from rpe_core.delta import LowRankDelta, peft_names
from rpe_core.errors import InputError, shown_name
from rpe_core.merging.concat import merge_concat
from rpe_core.merging.files.adapter_reader import AdapterFolder
from rpe_core.merging.files.checkpoint import Checkpoint
from rpe_core.merging.files.reading import DTYPES
from rpe_core.merging.prompts import PromptFolder, holds_prompts
from rpe_core.merging.rounding import norm_of
from rpe_core.merging.threads import map_in_order

LARGEST_RATIO = 2.0**8
LARGEST_NORM = 2.0**64  # the square of a larger number is none of fp32, so that no norm is told
LARGEST_SUM = torch.finfo(torch.float32).max
_PIECE = 1 << 20  # numbers that are looked at together

Members = Sequence[tuple[AdapterFolder, float]]


def require_bounded(folder: Path, base: Checkpoint) -> None:
    """An adapter folder holds deltas and whole tensors that its base can bear, or sound prompts.

    Raises:
        InputError: a module's delta is too strong, or a number is not finite.
    """
    if holds_prompts(folder):
        prompts = PromptFolder(folder)
        for name in prompts.shapes:
            _require_norm(norm_of(prompts.read(name)), name, str(folder))
        return
    adapter = AdapterFolder(folder)
    names = [*(f"{module}.weight" for module in adapter.layout.modules), *adapter.layout.whole]
    check_strength([(adapter, 1.0)], base, base.find(names))


def require_bounded_deltas(deltas: Mapping[str, LowRankDelta], base: Checkpoint) -> None:
    """Deltas in memory, as a training leaves them, are such that their base can bear them.

    Raises:
        InputError: a module's delta is too strong, or a number is not finite.
    """
    names = [f"{module}.weight" for module in deltas]
    limits = _Limits(base, base.find(names), names)
    for module, delta in deltas.items():
        limit = limits.of(f"{module}.weight", math.prod(delta.shape))
        _require_delta(module, delta, peft_names(module), limit, "")


def check_strength(
    members: Members,
    base: Checkpoint | None,
    keys: Mapping[str, str],
    *,
    threads: int | None = None,
) -> None:
    """No member, and no weighted sum of them, is stronger than the base can bear.

    Without the base only what exceeds fp32 is refused. `keys` are its names of the tensors. A
    weight that is zero, or nearly, counts as one of the usual size of number.

    Raises:
        InputError: a module's delta is too strong, or a number is not finite.
    """
    used = [(member, weight) for member, weight in members if weight]
    modules = list(dict.fromkeys(m for member, _ in used for m in member.layout.modules))
    whole = list(dict.fromkeys(t for member, _ in used for t in member.layout.whole))
    limits = _Limits(base, keys, [*(f"{module}.weight" for module in modules), *whole])

    def check(name: str) -> None:
        if name in modules:
            _check_module(used, limits, name)
        else:
            _check_whole(used, limits, name)

    for _ in map_in_order(check, [*modules, *whole], threads=threads):
        pass


def delta_norm(delta: LowRankDelta) -> float:
    """||scaling B A||_F in fp64: the trace of B^T B and A A^T, without the product.

    >>> delta_norm(LowRankDelta(torch.tensor([[3.0, 4.0]]), torch.tensor([[2.0]]), 0.5))
    5.0
    """
    a, b = delta.a.double(), delta.b.double()
    square = float(((b.T @ b) * (a @ a.T)).sum())
    return abs(delta.scaling) * math.sqrt(max(square, 0.0))


class _Limits:
    """The largest norm that a change of each of the base's tensors may have."""

    def __init__(
        self, base: Checkpoint | None, keys: Mapping[str, str], names: Sequence[str]
    ) -> None:
        self.base, self._keys = base, keys
        self._usual = self._root_mean_square([self.key(name) for name in names])
        if not self._usual and base is not None:  # all that is adapted is zero: look at the rest
            self._usual = self._root_mean_square([k for k in base if _can_be_added(base, k)])

    def key(self, name: str) -> str | None:
        """The base's own name of a tensor of numbers that can be added up, if it has one."""
        key = self._keys.get(name)
        return key if self.base is not None and key and _can_be_added(self.base, key) else None

    def of(self, name: str, size: int) -> float:
        """The largest norm of a change of this tensor, of so many numbers."""
        if not self._usual:
            return LARGEST_SUM
        key, usual = self.key(name), self._usual * math.sqrt(size)
        own = self.base.norm(key) if self.base is not None and key else 0.0
        return LARGEST_RATIO * max(own, usual)

    def _root_mean_square(self, keys: Sequence[str | None]) -> float:
        of_base = [(self.base, key) for key in keys if self.base is not None and key]
        numbers = sum(math.prod(base.spec(key).shape) for base, key in of_base)
        square = math.fsum(base.norm(key) ** 2 for base, key in of_base)
        return math.sqrt(square / max(1, numbers))


def _can_be_added(base: Checkpoint, key: str) -> bool:
    return base.spec(key).dtype in DTYPES


def _check_module(used: Members, limits: _Limits, module: str) -> None:
    here = [(member, weight) for member, weight in used if module in member.layout.modules]
    terms, at_most = [], 0.0
    for member, weight in here:
        spec, delta = member.layout.modules[module], member.delta(module)
        limit, names = (
            limits.of(f"{module}.weight", math.prod(spec.shape)),
            (spec.a_name, spec.b_name),
        )
        norm = _require_delta(module, delta, names, limit, str(member.folder))
        terms.append((delta, weight))
        at_most += abs(weight) * norm
    if at_most > limit and not (summed := delta_norm(merge_concat(terms))) <= limit:
        raise _too_strong(module, summed, limit, "")
    for member, _ in here:
        member.release(module)


def _require_delta(
    module: str, delta: LowRankDelta, names: Sequence[str], limit: float, where: str
) -> float:
    """A bound on a delta's norm: |s| ||B|| ||A|| where that is low enough, else the norm itself."""
    scaling = abs(delta.scaling)
    a_norm, b_norm = norm_of(delta.a), norm_of(delta.b)
    for name, norm in zip(names, (a_norm, b_norm), strict=True):
        _require_norm(norm, name, where)
    bound = scaling * a_norm * b_norm
    if bound > limit and (bound := delta_norm(delta)) > limit:
        raise _too_strong(module, bound, limit, where)
    # merging and serving multiply it in: what is tiny before may be infinite in between
    if not (scaling <= LARGEST_SUM and scaling * b_norm <= LARGEST_NORM):
        raise InputError(
            f"The scaling of {shown_name(module)} is too large to multiply.",
            where=where,
            expected=f"a norm of at most {LARGEST_NORM:.2g} of lora_B times the scaling",
            remedy="check lora_alpha and r in adapter_config.json, or export the adapter again",
        )
    return bound


def _check_whole(used: Members, limits: _Limits, tensor: str) -> None:
    """What members made of a tensor of the base, less what it was; a new head is merely finite."""
    key, base = limits.key(tensor), limits.base
    for member, _ in used:
        if tensor not in member.layout.whole:
            continue
        name = member.layout.whole[tensor]
        trained = member.tensors.read(name).view(-1)
        own = base.read(key).view(-1) if base is not None and key else None
        norm = norm_of(trained) if own is None else _norm_of_change(trained, own)
        _require_norm(norm, name, str(member.folder))
        limit = LARGEST_SUM if own is None else limits.of(tensor, len(trained))
        if norm > limit:
            raise _too_strong(tensor, norm, limit, str(member.folder))
        member.tensors.release(name)
        if base is not None and key:
            base.release(key)


def _norm_of_change(after: torch.Tensor, before: torch.Tensor) -> float:
    pieces = range(0, len(after), _PIECE)
    return math.hypot(
        *(norm_of(after[i : i + _PIECE].double() - before[i : i + _PIECE]) for i in pieces)
    )


def _require_norm(norm: float, tensor: str, where: str) -> None:
    if not math.isfinite(norm):
        raise InputError(
            f"The tensor {shown_name(tensor)} holds NaN or infinity.",
            where=where,
            expected="finite floating-point numbers",
        )
    if norm > LARGEST_NORM:
        raise InputError(
            f"The numbers of the tensor {shown_name(tensor)} are too large to multiply.",
            where=where,
            expected=f"a norm of at most {LARGEST_NORM:.2g}: the square of more is no fp32 number",
            remedy="export the adapter again, or train it again with a lower learning rate",
        )


def _too_strong(name: str, norm: float, limit: float, where: str) -> InputError:
    whose = "The delta" if where else "The sum of the deltas"
    if limit == LARGEST_SUM:
        what, expected = "is more than fp32 can hold", "a product of finite numbers"
    else:
        times = norm / limit * LARGEST_RATIO
        what = f"has {times:.3g} times the norm of the weight that it is added to"
        expected = f"at most {LARGEST_RATIO:.0f} times, beyond which bfloat16 keeps no base"
    return InputError(
        f"{whose} of {shown_name(name)} {what}.",
        where=where,
        expected=expected,
        remedy="check lora_alpha, the weights and the export, or train with a lower learning rate",
    )
