"""PEFT adapter folders as they are read: safetensors and JSON, nothing else. Touches files."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rpe_core.delta import LowRankDelta
from rpe_core.errors import InputError, shown_name
from rpe_core.merging.files.hyperparameters import check_config
from rpe_core.merging.files.layout import read_layout
from rpe_core.merging.files.reading import TensorFile
from rpe_core.merging.rounding import is_finite
from rpe_core.regular_files import NotRegularFile, read_regular, special_kind

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
MAX_JSON_BYTES = 1 << 20


class AdapterFolder:
    """An adapter whose headers have been read and judged, and whose numbers are still on the disk.

    Raises:
        InputError: a file is missing, oversized, truncated or corrupt, or the adapter is none that
            can be merged exactly.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, where = folder, str(folder)
        self.config = read_json(folder / CONFIG, what="adapter")
        check_config(self.config, where=where)
        path = folder / WEIGHTS
        if not path.is_file() and not special_kind(path):
            hint = " (a .bin file is never opened)" if list(folder.glob("*.bin")) else ""
            raise InputError(f"The adapter has no {WEIGHTS}{hint}.", where=where)
        self.tensors = TensorFile(path, what=f"The adapter's {WEIGHTS}")
        shapes = {name: spec.shape for name, spec in self.tensors.specs.items()}
        self.layout = read_layout(shapes, self.config, where=where)
        self.tensors.check_floating(shapes)

    def delta(self, module: str) -> LowRankDelta:
        """The delta of a module; its factors are views of the file."""
        spec = self.layout.modules[module]
        a = self.tensors.read(spec.a_name).view(spec.rank, -1)
        b = self.tensors.read(spec.b_name).view(-1, spec.rank)
        return LowRankDelta(a, b, spec.scaling, spec.layout)

    def release(self, module: str) -> None:
        """Give back the memory of a module's factors."""
        spec = self.layout.modules[module]
        self.tensors.release(spec.a_name)
        self.tensors.release(spec.b_name)

    def fault_in(self, names: Iterable[str]) -> InputError | None:
        """The refusal that names the first of these tensors with NaN or infinity in it, if any."""
        for name in names:
            if not is_finite(self.tensors.read(name)):
                return not_finite(name, self.folder)
        return None


def not_finite(tensor: str, folder: Path) -> InputError:
    """The refusal that names a tensor with NaN or infinity in it."""
    return InputError(
        f"The tensor {shown_name(tensor)} holds NaN or infinity.",
        where=str(folder),
        expected="finite floating-point numbers",
    )


def read_json(path: Path, *, what: str, max_bytes: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """A JSON object of bounded size; nothing of its text enters a message.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    try:
        text = read_regular(path, limit=max_bytes + 1)
        value = json.loads(text) if len(text) <= max_bytes else None
    except FileNotFoundError:
        raise InputError(f"The {what} has no {path.name}.", where=str(path.parent)) from None
    except NotRegularFile as error:
        raise InputError(
            f"The {what}'s {path.name} is {error.kind}.",
            where=str(path.parent),
            expected="a regular file",
        ) from None
    except (OSError, ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InputError(
            f"The {what}'s {path.name} cannot be read.",
            where=str(path.parent),
            expected=f"a JSON object of at most {max_bytes} bytes",
        )
    return value
