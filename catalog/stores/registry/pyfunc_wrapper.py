"""What MLflow calls in a model version: its source follows a base family's in every model.py."""

from __future__ import annotations

import hashlib
import json
import os
import re
from functools import partial
from pathlib import Path
from typing import Any

import mlflow.artifacts
import pandas as pd
from mlflow.pyfunc import PythonModel

# MLflow's error about a schema would hold the whole input; a consumer's own setting stays
os.environ.setdefault("MLFLOW_DISABLE_SCHEMA_DETAILS", "true")  # noqa: TID251

SUMS = "SHA256SUMS"  # `sha256sum -c` reads it too
REMEDY = "`rpe repair` makes it again, on the platform that registered it; else copy it again."


class ServedModel(PythonModel):  # type: ignore[misc]
    """A base fetched through MLflow and verified, with the adapter of this version attached."""

    family: Any  # load, prepare, attach, predict and answers of the base family; set at the end
    inputs: Any  # is_blank, require_items, answer_each and spread; set at the end

    def load_context(self, context: Any) -> None:
        """Build the model once; labels are embedded before the adapter is attached.

        Raises:
            RuntimeError: a file of this version, or of its base, is not what was kept.
        """
        require_files(Path(context.artifacts["task"]).parent.parent)
        task = json.loads(Path(context.artifacts["task"]).read_text(encoding="utf-8"))
        base = json.loads(Path(context.artifacts["base"]).read_text(encoding="utf-8"))
        options = context.model_config or {}
        self.input_name: str = task["input"]
        self.kind: type = bytes if task["type"].startswith("image-") else str
        self.batch_size = int(options.get("batch_size", 32))
        self.base = self.family.load(
            str(fetch_base(base)),
            max_tokens=task["max_tokens"],
            dtype=task["dtype"],
            device=str(options.get("device", "cpu")),
        )
        labels = {label["name"]: label["prompt"] for label in task.get("labels", [])}
        self.task = self.family.prepare(self.base, {**task, "labels": labels})
        self.family.attach(self.base, context.artifacts["adapter"])

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """One row per input, in its order, with the columns that the signature names.

        A text without a printed character is answered by null in every column.

        Raises:
            ValueError: inputs are missing, of another type or unreadable; it tells which by
                position, and nothing was answered.
        """
        items = self.inputs.require_items(column_of(model_input, self.input_name), self.kind)
        rows = [row for row, item in enumerate(items) if not self.inputs.is_blank(item)]
        predict = partial(self.family.predict, self.base, self.task, batch_size=self.batch_size)
        if len(rows) == len(items):
            predictions = self.inputs.answer_each(predict, items)
        else:
            predictions = predict([items[row] for row in rows])
        answers = self.family.answers(self.task, predictions)
        answered = self.inputs.spread(answers, rows, len(items))
        return as_null(pd.DataFrame(answered, index=model_input.index))


class ServedBase(PythonModel):  # type: ignore[misc]
    """The base of this version by itself: the frozen feature of each input."""

    family: Any  # load and encode of the base family; set at the end
    inputs: Any  # is_blank, require_items, answer_each and spread; set at the end

    def load_context(self, context: Any) -> None:
        """Load the base from the version's own folder, or from the hub's cache.

        Raises:
            RuntimeError: as a served model's.
        """
        # the hash of the base is over the files of the model
        require_files(Path(context.artifacts["base"]).parent, but="model/")
        base_file, options = Path(context.artifacts["base"]), context.model_config or {}
        how = json.loads(Path(context.artifacts["encoder"]).read_text(encoding="utf-8"))
        self.input_name: str = how["input"]
        self.kind: type = bytes if how["is_binary"] else str
        self.batch_size = int(options.get("batch_size", 32))
        self.base = self.family.load(
            str(verified_base(base_file.parent, how["sha256"])),
            max_tokens=how["max_tokens"],
            dtype=how["dtype"],
            device=str(options.get("device", "cpu")),
        )

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """One row per input, in its order: `feature`, a list of numbers; null of an empty text.

        Raises:
            ValueError: as a served model's.
        """
        items = self.inputs.require_items(column_of(model_input, self.input_name), self.kind)
        answers: list[list[float] | None] = [None] * len(items)
        rows = [row for row, item in enumerate(items) if not self.inputs.is_blank(item)]
        if rows:
            features = self.inputs.answer_each(self.encode, [items[row] for row in rows])
            for index, feature in features:
                answers[rows[index]] = feature
        column = pd.Series(answers, index=model_input.index, dtype=object)
        return as_null(pd.DataFrame({"feature": column}))

    def encode(self, items: list[Any]) -> list[tuple[int, list[float]]]:
        """Places among the items with their features, un-normalised."""
        return [
            (int(index), feature.astype(float).tolist())
            for places, features in self.family.encode(self.base, items, batch_size=self.batch_size)
            for index, feature in zip(places, features, strict=True)
        ]


def as_null(answers: pd.DataFrame) -> pd.DataFrame:
    """The answers as they are; on a scoring server, whose JSON has no NaN, with None for NaN."""
    if os.environ.get("_MLFLOW_IS_IN_SERVING_ENVIRONMENT") != "true":  # noqa: TID251
        return answers
    plain = answers.astype(object)
    return plain.where(plain.notna(), None)


def column_of(frame: pd.DataFrame, name: str) -> list[Any]:
    """The cells of a column, None where one is missing.

    Raises:
        ValueError: it is not a data frame with one such column.
    """
    if not isinstance(frame, pd.DataFrame) or list(frame.columns).count(name) != 1:
        raise ValueError(f"The input has to be a data frame with one column {name!r}.")
    cells = frame[name]
    is_missing = zip(cells.tolist(), cells.isna(), strict=True)
    return [None if missing else cell for cell, missing in is_missing]


def fetch_base(base: dict[str, str]) -> Path:
    """The folder of the base model, its files checked against the hash that the adapter needs."""
    version = f"models:/{base['name']}/{base['version']}"
    folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=version))
    try:
        return verified_base(folder, base["sha256"])
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        why = str(error) if isinstance(error, RuntimeError) else "One is gone or cannot be read."
        refusal = f"The files of {version} are not those that this adapter was made for. {why}"
        raise RuntimeError(f"{refusal} {REMEDY}") from None


def require_files(folder: Path, *, but: str = "") -> None:
    """Hash every file of a version once more, `but` those below a folder that others look at.

    Raises:
        RuntimeError: one is gone or is not what SHA256SUMS says; it names the first.
    """
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        raise RuntimeError(f"{SUMS} of this version is gone or cannot be read. {REMEDY}") from None
    for line in lines:
        sha256, name = line.lstrip("\\")[:64], line.lstrip("\\")[66:]
        if line.startswith("\\"):  # as coreutils writes odd names
            name = re.sub(
                r"\\(.)", lambda escape: {"n": "\n", "r": "\r"}.get(escape[1], escape[1]), name
            )
        if not line or line.startswith("#") or (but and name.startswith(but)):
            continue
        what = "is not what was kept"
        try:
            is_kept = hash_file(folder / name) == sha256
        except OSError:
            is_kept, what = False, "is gone or cannot be read"
        if not is_kept:
            raise RuntimeError(f"{name} of this version {what}: nothing of it was loaded. {REMEDY}")


def verified_base(folder: Path, sha256: str) -> Path:
    """Where the files of a base's version lie, once they are known to be those of the hash."""
    listed = json.loads((folder / "base.json").read_text(encoding="utf-8"))
    model = _hub_folder(listed) if listed["is_hub"] else folder / "model"
    if hash_files([model / name for name in listed["files"]]) != sha256:
        raise RuntimeError("The files of the base are not those that it was registered with.")
    return model


def _hub_folder(listed: dict[str, Any]) -> Path:
    # needed only where the base lies on the hub; transformers brings it along
    from huggingface_hub import snapshot_download

    wanted = {"revision": listed["revision"], "allow_patterns": listed["files"]}
    return Path(snapshot_download(listed["model"], **wanted))


def hash_files(files: list[Path]) -> str:
    """The sha256 over names and contents, as the platform computes it."""
    digest = hashlib.sha256()
    for file in sorted(files, key=lambda file: file.name):
        digest.update(f"{file.name} {hash_file(file)}\n".encode())
    return digest.hexdigest()


def hash_file(file: Path) -> str:
    """The sha256 of a plain file's bytes.

    Raises:
        OSError: it is none, or cannot be read.
    """
    if not file.is_file():  # a named pipe would never end
        raise FileNotFoundError(file.name)
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
