"""Predicting: what a target's champion, or the base where none serves, answers to given inputs."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from catalog.readers.items import read_item
from catalog.stores.registry.model_code import input_of
from flows.library.answers import predict_arm
from flows.runs.questions import open_for_question
from flows.targets.asking import NotedRows, Rows, why_none
from flows.verification.sound_version import no_kept_bytecode, sound_champion
from flows.workspace.settings import Settings
from flows.workspace.stores import tracking_to_read
from flows.workspace.workspace import load_declarations
from rpe_core.errors import InputError
from rpe_core.families.inputs import is_blank, spread


def predict_texts(settings: Settings, target: str, inputs: Sequence[str]) -> NotedRows:
    """A row of answers for each text, and who gave them."""
    if not inputs:
        raise InputError("There is nothing to predict.", expected="--text or --file")
    name = _name_asked(settings, target, "string", "this target takes --image")
    answered = _answers(settings, name, inputs)
    blank = [str(number) for number, text in enumerate(inputs, start=1) if is_blank(text)]
    if not blank:
        return answered
    note = f"{answered.note.rstrip('.')}; no answer to empty inputs: {', '.join(blank)}"
    return NotedRows(answered.rows, note)


def predict_images(settings: Settings, target: str, images: Sequence[Path], out: Path) -> NotedRows:
    """A row of answers for each image, and who gave them; a mask is written into a folder as .npy.

    An image is a PNG, TIFF, JPEG, NPZ or NIfTI file, or the folder of a DICOM series.
    """
    name = _name_asked(settings, target, "binary", "this target takes --text or --file")
    answered = _answers(settings, name, [_npy(image) for image in images])
    for row, image in zip(answered.rows, images, strict=True):
        for name, value in row.items():
            if isinstance(value, bytes):
                file = out / f"{row['input']}-{image.name.split('.')[0]}.{name}.npy"
                out.mkdir(parents=True, exist_ok=True)
                file.write_bytes(value)
                row[name] = str(file)
    return answered


def _answers(settings: Settings, target: str, inputs: Sequence[Any]) -> NotedRows:
    version = sound_champion(settings, target)
    if version is None:
        rows = _base_answers(settings, target, inputs)
        why = why_none(settings, target)
        return NotedRows(rows, f"{target} has no champion: the base answers. {why}")
    # MLflow's own loader, so that this is what any consumer gets
    import mlflow.pyfunc
    import pandas as pd

    with tracking_to_read(settings) as tracking, no_kept_bytecode():
        mlflow.set_tracking_uri(tracking)
        model = mlflow.pyfunc.load_model(version)  # no alias: that may be moved meanwhile
        column = model.metadata.get_input_schema().input_names()[0]
        answers = model.predict(pd.DataFrame({column: list(inputs)}))
    columns = {name: answers[name].tolist() for name in answers.columns}
    return NotedRows(_rows(columns, len(inputs)), f"champion of {target}")


def _base_answers(settings: Settings, target: str, inputs: Sequence[Any]) -> Rows:
    with open_for_question(settings) as workspace:
        spec = workspace.plan.target(target)
        task = workspace.contracts[spec.source].task_spec
        asked = [i for i, item in enumerate(inputs) if not is_blank(item)]
        predictions = predict_arm(workspace, spec.base, task, None, [inputs[i] for i in asked])
        prepared = workspace.prepared(spec.base, task)
        answers = workspace.family(spec.base).answers(prepared, predictions)
        return _rows(spread(answers, asked, len(inputs)), len(inputs))


def _rows(columns: Mapping[str, Any], n: int) -> Rows:
    """A row for each input, in their order; NaN, the null of numbers, is none of JSON."""
    return [
        {"input": i + 1}
        | {name: None if cells[i] != cells[i] else cells[i] for name, cells in columns.items()}
        for i in range(n)
    ]


def _name_asked(settings: Settings, target: str, kind: str, remedy: str) -> str:
    """The name of a target of the plan, once it is known to take this kind of input."""
    declared = load_declarations(settings)
    spec = declared.plan.target(target)
    task = declared.contracts[spec.source].task_spec
    if input_of(task) != kind:
        raise InputError("The target takes another kind of input.", where=target, remedy=remedy)
    return spec.name


def _npy(image: Path) -> bytes:
    """The bytes of a .npy file of an image, as a version takes them.

    Raises:
        InputError: the file is missing, or no image that can be read.
    """
    file = io.BytesIO()
    np.save(file, read_item(image), allow_pickle=False)
    return file.getvalue()
