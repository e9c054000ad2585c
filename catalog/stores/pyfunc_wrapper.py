"""What MLflow calls in a model version: its source follows a base family's in every model.py."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import mlflow.artifacts
import pandas as pd
from mlflow.pyfunc import PythonModel


class ServedModel(PythonModel):  # type: ignore[misc]
    """A base fetched through MLflow and verified, with the adapter of this version attached."""

    family: Any  # load, prepare, attach, predict and answers of the base family; set at the end

    def load_context(self, context: Any) -> None:
        """Build the model once; labels are embedded before the adapter is attached."""
        task = json.loads(Path(context.artifacts["task"]).read_text(encoding="utf-8"))
        base = json.loads(Path(context.artifacts["base"]).read_text(encoding="utf-8"))
        options = context.model_config or {}
        self.input_name: str = task["input"]
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
        """One row per input, in its order, with the columns that the signature names."""
        inputs = model_input[self.input_name]
        missing = [row for row, is_missing in enumerate(inputs.isna()) if is_missing]
        if missing:
            raise ValueError(f"{len(missing)} inputs are missing, the first in row {missing[0]}.")
        predictions = self.family.predict(
            self.base, self.task, inputs.tolist(), batch_size=self.batch_size
        )
        answers = self.family.answers(self.task, predictions)
        return pd.DataFrame(answers, index=model_input.index)


def fetch_base(base: dict[str, str]) -> Path:
    """The folder of the base model, its files checked against the hash that the adapter needs."""
    version = f"models:/{base['name']}/{base['version']}"
    folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=version))
    listed = json.loads((folder / "base.json").read_text(encoding="utf-8"))
    model = _hub_folder(listed) if listed["is_hub"] else folder / "model"
    if hash_files([model / name for name in listed["files"]]) != base["sha256"]:
        raise RuntimeError(f"The files of {version} are not those that this adapter was made for.")
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
        with file.open("rb") as content:
            inner = hashlib.file_digest(content, "sha256").hexdigest()
        digest.update(f"{file.name} {inner}\n".encode())
    return digest.hexdigest()
