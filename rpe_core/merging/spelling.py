"""Whether members mean one module by two names, which a sum would add as two."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rpe_core.errors import InputError, shown_name
from rpe_core.merging.files.adapter_reader import AdapterFolder
from rpe_core.merging.files.checkpoint import Checkpoint
from rpe_core.merging.files.layout import AdapterLayout
from rpe_core.merging.names import ends_in, plain
from rpe_core.merging.ties import is_head


def align_names(members: Sequence[AdapterFolder], base: Checkpoint | None) -> None:
    """Give members one name for what is one module; without a base nobody can tell, and they must.

    Where the base's files have a tensor that members name differently, the name is the files' own.

    Raises:
        InputError: names share a tail and there is no base, or none of them is that of the files.
    """
    if base is None:
        _require_one_spelling([_shapes(member) for member in members])
        return
    located = [base.find(_tensors(member.layout)) for member in members]
    spelled: dict[tuple[str, bool], dict[str, None]] = {}
    for keys in located:
        for name, key in keys.items():
            spelled.setdefault(_place(name, key), {})[name] = None
    for member, keys in zip(members, located, strict=True):
        own = {}
        for name, key in keys.items():
            others = [n for n in spelled[_place(name, key)] if n != name]
            if others and (key not in (name, *others) or not _is_spelling(name, key)):
                raise _two_names(name, others[0])
            if others:
                own[name] = key
        member.layout = member.layout.renamed(own)


def _is_spelling(name: str, key: str) -> bool:
    """Whether a name is a tensor's own, longer or shorter, or that of another version."""
    return ends_in(name, key) or ends_in(key, name) or plain(name) == plain(key)


def _place(name: str, key: str) -> tuple[str, bool]:
    """A tensor of the files, and of a tied one which of its two places in the model is meant."""
    return key, is_head(name)


def _require_one_spelling(members: Sequence[Mapping[str, object]]) -> None:
    holders: dict[str, set[int]] = {}
    for number, names in enumerate(members):
        for name in names:
            holders.setdefault(name, set()).add(number)
    for name in sorted(holders):
        for tail, is_part in _tails(name):
            if not holders[name].isdisjoint(holders.get(tail, holders[name])):
                continue  # no such name, or a member that tells the two apart
            shapes = [members[min(holders[each])][each] for each in (name, tail)]
            if is_part or shapes[0] == shapes[1]:
                raise _two_names(name, tail)


def _tails(name: str) -> Iterator[tuple[str, bool]]:
    """What a name ends in, and whether that is whole parts; also its last part cut in its place.

    A part is cut between letters only: `10` is another layer than `0`.
    """
    parent = name[: name.rfind(".") + 1]
    for at in range(1, len(name)):
        if name[at - 1] == ".":
            yield name[at:], True
        elif name[at].isalpha() and not name[at - 1].isdigit():
            yield name[at:], False
            if at > len(parent):
                yield parent + name[at:], False


def _shapes(member: AdapterFolder) -> dict[str, object]:
    layout, specs = member.layout, member.tensors.specs
    modules: dict[str, object] = {m: (s.shape, s.layout) for m, s in layout.modules.items()}
    return modules | {tensor: specs[name].shape for tensor, name in layout.whole.items()}


def _tensors(layout: AdapterLayout) -> list[str]:
    weights = [f"{module}.weight" for module in layout.modules]
    return list(dict.fromkeys([*weights, *layout.whole, *layout.copies]))


def _two_names(name: str, other: str) -> InputError:
    return InputError(
        f"Members seem to mean one module by two names: {shown_name(name)} and"
        f" {shown_name(other)}.",
        expected="names of the modules of one model, from the same part of it on",
        remedy="pass the base's folder, --base, or train or export them on one class of model",
    )
