"""Where the parts of an adapter lie in a base, by names and shapes: certain, or refused by name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from rpe_core.errors import InputError, ShapeMismatch, shown_name
from rpe_core.merging.files.layout import AdapterLayout, ModuleSpec, Shape
from rpe_core.merging.names import ends_in

LINEAR, TRANSPOSED, EMBEDDING, CONVOLUTION = "linear", "transposed", "embedding", "convolution"
# A prefix with such a part is that of another part of a composite model: no name of the base
_ANOTHER_PART = re.compile("audio|decoder|draft|image|speech|teacher|tower|video|vision|visual")
_SHOWN = 3  # names of the base that a refusal holds up


@dataclass(frozen=True)
class BaseShapes:
    """What a family loads: each module that LoRA can adapt, as kind and stored shape; all tensors.

    A transposed module is transformers' Conv1D, which stores (d_in, d_out). `others` are parts of
    names that mean a model of another kind, so that they are no prefix of this one's.
    """

    modules: Mapping[str, tuple[str, Shape]]
    tensors: Mapping[str, Shape]
    others: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Placement:
    """One prefix that all names lose or gain to be the base's own; what the base has no place for.

    `left_out` are whole tensors of a head that the family does not load.
    """

    less: str = ""
    more: str = ""
    left_out: tuple[str, ...] = ()

    def name(self, own: str) -> str:
        """The base's name of a module or tensor."""
        return self.more + own.removeprefix(self.less)

    def covers(self, own: str) -> bool:
        """Whether a name has what all of them lose."""
        return own.startswith(self.less)


def place(layout: AdapterLayout, base: BaseShapes, *, where: str = "") -> Placement:
    """How the adapter's names become the base's: as they are, else by the only prefix that fits.

    >>> spec = ModuleSpec("a", "b", 2, 1.0, (4, 6))
    >>> base = BaseShapes({"layer.0.q": (LINEAR, (4, 6)), "layer.1.q": (LINEAR, (4, 6))}, {})
    >>> place(AdapterLayout({"bert.layer.0.q": spec}, {}, {}), base).less
    'bert.'

    Raises:
        ShapeMismatch: a part fits the base under no name, or under several.
    """
    own = Placement()
    if _fault(layout, base, own, where) is None:
        return _with_left_out(layout, base, own)
    ways = [own, *_ways(layout, base)]
    fitting = [way for way in ways if _fault(layout, base, way, where) is None]
    if not fitting:
        nearest = max(
            ways, key=lambda way: sum(way.name(m) in base.modules for m in layout.modules)
        )
        raise _fault(layout, base, nearest, where) or _misfit("The adapter", "the base's", where)
    if len(fitting) > 1:
        first = next(iter([*layout.modules, *layout.whole]))
        names = ", ".join(shown_name(way.name(first)) for way in fitting[:_SHOWN])
        raise ShapeMismatch(
            f"Module {shown_name(first)} fits the base in {len(fitting)} places: {names}.",
            where=where,
            expected="the base's own names of all modules",
        )
    return _with_left_out(layout, base, fitting[0])


def _ways(layout: AdapterLayout, base: BaseShapes) -> Iterator[Placement]:
    """One prefix less, of those that all names share, or one more, of those that the base has."""
    names = list(layout.modules) or list(layout.whole)
    known = base.modules if layout.modules else base.tensors
    parts = names[0].split(".")
    for count in range(1, len(parts)):
        prefix = ".".join(parts[:count]) + "."
        if _ANOTHER_PART.search(prefix) or parts[count - 1] in base.others:
            break
        if all(name.startswith(prefix) for name in names):
            yield Placement(less=prefix)
    for name in known:
        if name != names[0] and ends_in(name, names[0]):
            yield Placement(more=name.removesuffix(names[0]))


def _fault(
    layout: AdapterLayout, base: BaseShapes, way: Placement, where: str
) -> ShapeMismatch | None:
    """The first part that has no place in the base under this way of naming, if any."""
    for module, spec in layout.modules.items():
        name = way.name(module)
        if name not in base.modules:
            return _unknown(f"Module {shown_name(module)}", name, list(base.modules), where)
        kind, shape = base.modules[name]
        if not _fits(spec, kind, shape):
            return _misfit(f"Module {shown_name(module)}", _told(kind, shape), where)
    heads = 0
    for tensor in layout.whole:
        name = way.name(tensor)
        if not way.covers(tensor) or name not in base.tensors:
            heads += 1
            if _is_another_spelling(tensor, base.tensors):
                return _unknown(f"Tensor {shown_name(tensor)}", name, list(base.tensors), where)
    if heads == len(layout.whole) and not layout.modules:
        return _misfit("The adapter", "at least one module that the family loads", where)
    return None


def misfit_of_whole(
    shapes: Mapping[str, Shape], base: BaseShapes, way: Placement, *, where: str = ""
) -> InputError | None:
    """The first tensor saved whole that has another shape than the base's, if any."""
    for tensor, shape in shapes.items():
        base_shape = base.tensors.get(way.name(tensor))
        if tensor in way.left_out or base_shape is None or base_shape == shape:
            continue
        if len(shape) == len(base_shape) and shape[1:] == base_shape[1:]:
            return ShapeMismatch(
                f"Tensor {shown_name(tensor)} does not fit the base: it has {shape[0]} rows.",
                where=where,
                expected=f"{base_shape[0]} rows: an adapter whose vocabulary or head was not"
                " resized",
            )
        return _misfit(f"Tensor {shown_name(tensor)}", str(base_shape), where)
    return None


def _with_left_out(layout: AdapterLayout, base: BaseShapes, way: Placement) -> Placement:
    out = [t for t in layout.whole if not way.covers(t) or way.name(t) not in base.tensors]
    return Placement(way.less, way.more, tuple(out))


def _fits(spec: ModuleSpec, kind: str, shape: Shape) -> bool:
    expected = EMBEDDING if spec.layout.is_embedding else CONVOLUTION if spec.layout.kernel else ""
    if (expected or LINEAR) != (LINEAR if kind == TRANSPOSED else kind):
        return False
    return spec.weight_shape(is_transposed=kind == TRANSPOSED) == shape


def _is_another_spelling(tensor: str, known: Mapping[str, Shape]) -> bool:
    """Whether the base has the tensor under a longer or a shorter name, so that it is no head."""
    return any(
        name != tensor and (ends_in(name, tensor) or ends_in(tensor, name)) for name in known
    )


def _told(kind: str, shape: Shape) -> str:
    turned = tuple(reversed(shape)) if kind in (TRANSPOSED, EMBEDDING) else shape
    return f"{turned}, (d_out, d_in) of this {'linear' if kind == TRANSPOSED else kind} module"


def _unknown(what: str, name: str, known: Sequence[str], where: str) -> ShapeMismatch:
    near = sorted(known, key=lambda each: -_common_tail(each, name))[:_SHOWN]
    close = [each for each in near if _common_tail(each, name)] or near
    expected = ", ".join(shown_name(each) for each in close) or "a module of the base"
    return _misfit(what, f"a name that the family loads, such as {expected}", where)


def _common_tail(name: str, other: str) -> int:
    pairs = zip(reversed(name.split(".")), reversed(other.split(".")), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _misfit(what: str, expected: str, where: str) -> ShapeMismatch:
    return ShapeMismatch(f"{what} does not fit the base.", where=where, expected=expected)
