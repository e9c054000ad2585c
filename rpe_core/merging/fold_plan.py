"""What a fold will write anew, by the base's names, before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rpe_core.delta import LINEAR
from rpe_core.errors import InputError, shown_name
from rpe_core.merging.blueprint import Blueprint
from rpe_core.merging.files.checkpoint import Checkpoint
from rpe_core.merging.orientation import is_stored_transposed, turns_that_fit
from rpe_core.merging.ties import Tie, is_head


@dataclass(frozen=True)
class Fold:
    """One tensor to write: by the deltas of a module, as members trained it, or as it was.

    `key` is where its numbers begin from, `name` what it is called in the new checkpoint: another
    name where an output layer that was the embedding gets numbers of its own.
    """

    key: str
    name: str
    module: str = ""
    whole: str = ""
    is_transposed: bool = False

    @property
    def is_added(self) -> bool:
        """Whether the base's files have no such tensor."""
        return self.key != self.name


@dataclass(frozen=True)
class FoldPlan:
    """All of them; whether output layer and embedding part ways, and how all names begin then."""

    folds: tuple[Fold, ...]
    unties: bool = False
    frame: str = ""


def plan_folds(blueprint: Blueprint, base: Checkpoint) -> FoldPlan:
    """What to write anew, by the base's names.

    Raises:
        InputError: a weight is not floating-point, two modules are one in the base, or an output
            layer that is the embedding too cannot be given numbers of its own.
    """
    tie = _tie(blueprint, base)
    turns = _turns(blueprint, base)
    folds = [
        Fold(blueprint.keys[tensor], _name(tensor, blueprint, tie), whole=tensor)
        for tensor in blueprint.whole
    ]
    for module in blueprint.modules:
        tensor = f"{module}.weight"
        name = _name(tensor, blueprint, tie)
        folds.append(Fold(blueprint.keys[tensor], name, module=module, is_transposed=turns[module]))
    _check_once(folds)
    base.check_floating([fold.key for fold in folds])
    written = {fold.name for fold in folds}
    if tie is None or not written & {tie.embedding, tie.head}:
        return FoldPlan(tuple(folds))
    if not tie.splits:
        raise _one_for_both(base)
    if tie.head not in written and tie.head not in base:
        folds.append(Fold(tie.embedding, tie.head))
    return FoldPlan(tuple(folds), unties=True, frame=tie.frame)


def _tie(blueprint: Blueprint, base: Checkpoint) -> Tie | None:
    tasks = {str(config.get("task_type")) for config in blueprint.configs}
    is_language = "CAUSAL_LM" in tasks or any(map(is_head, blueprint.keys))
    also = [
        blueprint.keys[f"{module}.weight"]
        for module in blueprint.modules
        if blueprint.spec(module).layout.is_embedding
    ]
    size = base.config.get("vocab_size")
    also += [
        blueprint.keys[tensor]
        for tensor in blueprint.whole
        if len(blueprint.whole_shape(tensor)) == 2 and blueprint.whole_shape(tensor)[0] == size
    ]
    return base.tie(is_language=is_language, also=also)


def _name(tensor: str, blueprint: Blueprint, tie: Tie | None) -> str:
    key = blueprint.keys[tensor]
    return tie.head if tie and key == tie.embedding and is_head(tensor) else key


def _turns(blueprint: Blueprint, base: Checkpoint) -> dict[str, bool]:
    """For each module whether dW is added transposed."""
    fits = {
        module: turns_that_fit(
            blueprint.spec(module), base.spec(blueprint.keys[f"{module}.weight"]).shape
        )
        for module in blueprint.modules
    }
    certain = [
        ways[0]
        for module, ways in fits.items()
        if len(ways) == 1 and blueprint.spec(module).layout == LINEAR
    ]
    return {
        module: ways[0]
        if len(ways) == 1
        else is_stored_transposed(
            blueprint.keys[f"{module}.weight"],
            base,
            flags=blueprint.flags(module),
            others=certain,
        )
        for module, ways in fits.items()
    }


def _check_once(folds: Sequence[Fold]) -> None:
    seen: dict[str, Fold] = {}
    for fold in folds:
        if fold.name in seen:
            raise InputError(
                "Members name one tensor of the base in two ways.",
                where=f"tensor {shown_name(fold.name)}",
                expected="members trained on the same class and version of the model",
            )
        seen[fold.name] = fold


def _one_for_both(base: Checkpoint) -> InputError:
    return InputError(
        "The adapted embedding is the output layer too: a fold would change both.",
        where=str(base.folder),
        expected="a decoder with a language model's head and one embedding, to give each its own",
        remedy="merge to an adapter instead",
    )
