"""What stands in a base's folder beside its weights: copied to a fold, or named as left out.

Touches files.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from rpe_core.errors import InputError
from rpe_core.merging.files.checkpoint import INDEX, Checkpoint
from rpe_core.merging.files.reading import TensorFile

# Weights in other formats, which a fold does not write, and what can hold a pickle or is code.
_LEFT_OUT = {
    *(".bin", ".ckpt", ".ggml", ".gguf", ".h5", ".joblib", ".keras", ".mlmodel", ".msgpack"),
    *(".nemo", ".npy", ".npz", ".onnx", ".onnx_data", ".ot", ".pb", ".pickle", ".pkl", ".pt"),
    *(".pth", ".pte", ".pyc", ".py", ".sh", ".so", ".tflite"),
}
_WEIGHTS = ".safetensors"
_OTHER_INDEX = ".index.json"


def copy_beside(base: Checkpoint, out: Path) -> tuple[str, ...]:
    """Copy what is no weight of the base, subfolders included; the paths of what is left out.

    A safetensors file in a subfolder is copied unless its tensors are the base's again: it is the
    weight of another module, as sentence-transformers keeps them.
    """
    left_out = []
    for path in _files(base.folder):
        name = path.relative_to(base.folder)
        if name.as_posix() in base.shards or out.is_relative_to(path):
            continue
        if path.is_dir() or not path.is_file() or _is_left_out(path, name, base):
            left_out.append(f"{name.as_posix()}/" if path.is_dir() else name.as_posix())
            continue
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, out / name)
    return tuple(left_out)


def _files(folder: Path) -> Iterator[Path]:
    """The files below a folder in sorted order; of a hidden or linked folder only itself."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not (path.is_symlink() or path.name.startswith(".")):
            yield from _files(path)
        else:
            yield path


def _is_left_out(path: Path, name: Path, base: Checkpoint) -> bool:
    if path.suffix.lower() == _WEIGHTS:
        return len(name.parts) == 1 or _is_base_again(path, base)
    is_index = path.name.endswith(_OTHER_INDEX) and not (base.index and name.as_posix() == INDEX)
    return is_index or path.suffix.lower() in _LEFT_OUT


def _is_base_again(path: Path, base: Checkpoint) -> bool:
    try:
        specs = TensorFile(path, what="A file beside the base").specs
    except InputError:
        return True
    return any(key in base and base.spec(key).shape == spec.shape for key, spec in specs.items())
