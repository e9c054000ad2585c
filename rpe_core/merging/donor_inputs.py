"""What the members of a merge were fed, by module: their files of Gram matrices. Touches files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rpe_core.errors import InputError
from rpe_core.merging.blueprint import Blueprint
from rpe_core.merging.files.gram_file import GramFile
from rpe_core.merging.regmean import InputMean, mean_of_inputs, require_width


@dataclass(frozen=True)
class DonorInputs:
    """What the members of a blueprint were fed; nothing where the merge does not ask for it."""

    blueprint: Blueprint
    grams: Sequence[GramFile | None] = ()

    def groups(self, modules: Iterable[str]) -> list[list[str]]:
        """The modules, those whose members were fed one input together: one mean is theirs."""
        groups: dict[object, list[str]] = {}
        for module in modules:
            taking = self.blueprint.modules[module]
            inputs = [(i, self._input(i, module)) for i in taking] if self.grams else []
            is_known = any(name for _, name in inputs)
            width = self.blueprint.spec(module).shape[1]
            groups.setdefault((width, *inputs) if is_known else module, []).append(module)
        return list(groups.values())

    def mean(self, module: str) -> InputMean | None:
        """The mean of what a module's members were fed, by their weights."""
        taking = self.blueprint.modules[module]
        files = [self.grams[i] for i in taking] if self.grams else []
        if not any(files):
            return None
        grams = [file.gram(module) if file else None for file in files]
        require_width(grams, self.blueprint.spec(module).shape[1])
        mean = mean_of_inputs(grams, [self.blueprint.weights[i] for i in taking])
        for file in filter(None, files):
            file.release(module)
        return mean

    def _input(self, i: int, module: str) -> str:
        file = self.grams[i]
        return file.input_of(module) if file else ""


def open_donor_inputs(blueprint: Blueprint, grams: Sequence[Path | None]) -> DonorInputs:
    """The files of Gram matrices of a blueprint's members.

    Raises:
        InputError: a file cannot be read, or holds no matrix of its member's modules.
    """
    files = [GramFile(Path(path)) if path else None for path in grams]
    for number, file in enumerate(files):
        layout = blueprint.members[number][0].layout
        if file and layout.modules and not set(file.modules) & set(layout.modules):
            raise InputError(
                "A file of Gram matrices is of other modules than its member's.",
                where=f"member {number + 1}",
                expected="the matrices that were gathered for this adapter",
            )
    return DonorInputs(blueprint, files)
