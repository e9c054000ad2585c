"""Rules of a contract about image files: its templates, its placeholders and its labels."""

from __future__ import annotations

import re
from collections.abc import Iterator

from catalog.contracts.contract import (
    ImageClassification,
    OfImages,
    Segmentation,
    SplitGlobs,
    Task,
)
from catalog.contracts.faults import shown_path
from catalog.contracts.files import Files
from catalog.contracts.images import IMAGE_ENDINGS, IMAGE_FORMATS, facts_of, image_format
from catalog.contracts.parts import Parts
from catalog.contracts.template import PLACEHOLDER, Template
from catalog.errors import Fault
from rpe_core.errors import shown_name

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")


def image_faults(parts: Parts) -> list[Fault]:
    """Every fault of files and task that concerns images; of a table, that it is none."""
    files = parts.files
    if files is None:
        return list(_label_faults(parts.task))
    if files.format not in IMAGE_FORMATS:
        return list(_table_faults(parts, files))
    template = Template(files.path)
    form = list(_form_faults("files.path", template))
    placeholders = [] if form else [
        *_placeholder_faults(parts, files, template),
        *_series_faults(files, template),
    ]  # fmt: skip
    masks = _mask_faults(files.mask, template) if files.mask is not None else ()
    labels = [*_label_faults(parts.task), *_class_faults(parts, files, template)]
    return [*_task_faults(parts), *form, *placeholders, *masks, *labels]


def _table_faults(parts: Parts, files: Files) -> Iterator[Fault]:
    if files.mask is not None:
        yield Fault("files.mask", "is for images only", f"format: {', '.join(IMAGE_FORMATS)}")
    if isinstance(parts.task, OfImages):
        yield Fault("files.format", "holds no images", ", ".join(IMAGE_FORMATS))


def _task_faults(parts: Parts) -> Iterator[Fault]:
    if parts.task is not None and not isinstance(parts.task, OfImages):
        expected = "image-classification, image-segmentation"
        yield Fault("task.type", "is no task for images", expected)
    if isinstance(parts.splits, SplitGlobs):
        expected = "{column: split} with a placeholder {split} in files.path, or shares"
        yield Fault("splits", "names files, and all images are one delivery", expected)


def _form_faults(path: str, template: Template) -> Iterator[Fault]:
    rest = PLACEHOLDER.sub("", template.text)
    if "{" in rest or "}" in rest:
        yield Fault(path, "has a brace without its other half", "{name}")
    if "**" in rest or "[" in rest:
        yield Fault(path, "has ** or a bracket", "only *, ? and {name}")
    for name in template.names:
        if not _NAME.fullmatch(name):
            what = f"has a placeholder {shown_name(name)} that is no name"
            yield Fault(path, what, "letters, digits and underscores")
    if not template.names:
        yield Fault(path, "names no placeholder", "a path such as /data/{case}.png")


def _placeholder_faults(parts: Parts, files: Files, template: Template) -> Iterator[Fault]:
    facts = facts_of({"format": files.format}, parts.task.type if parts.task else "")
    unlabelled = _unlabelled_column(parts)
    for name in template.names:
        if name in facts:
            yield Fault("files.path", f"has a placeholder {name}, which is a fact of every image")
        elif name not in parts.names:
            yield Fault(shown_path(["columns", name]), "is missing", "{type: string}")
        elif name in parts.columns and parts.columns[name].type != "string":
            yield Fault(shown_path(["columns", name, "type"]), "is a part of a name", "string")
    for name, rule in parts.columns.items():
        if name in facts and rule.type != facts[name]["type"]:
            path = shown_path(["columns", name, "type"])
            yield Fault(path, "is a fact of another type", str(facts[name]["type"]))
        elif name not in facts and name not in template.names and name != unlabelled:
            expected = "a placeholder of files.path, or a fact of images"
            yield Fault(shown_path(["columns", name]), "has no value in any file", expected)


def _unlabelled_column(parts: Parts) -> str | None:
    """The column that no file fills, because no image of the source has a label."""
    target = parts.task.target if isinstance(parts.task, ImageClassification) else ""
    return target if target in parts.columns and parts.columns[target].nullable else None


def _class_faults(parts: Parts, files: Files, template: Template) -> Iterator[Fault]:
    """What is wrong with an image's label, besides what is with any label's."""
    task = parts.task
    if not isinstance(task, ImageClassification):
        return
    if files.mask is not None:
        yield Fault("files.mask", "is of no use: these images have labels", "no such key")
    if task.unlabelled is None:
        return
    if task.unlabelled in task.labels:
        yield Fault("task.unlabelled", "is one of task.labels", "a word that is no label")
    if task.target not in template.names:
        expected = "of task.target, a placeholder of files.path"
        yield Fault("task.unlabelled", "is a placeholder of no file's name", expected)
    elif task.target in parts.columns and not parts.columns[task.target].nullable:
        path = shown_path(["columns", task.target, "nullable"])
        yield Fault(path, "is false, and task.unlabelled leaves it empty", "true")


def _series_faults(files: Files, template: Template) -> Iterator[Fault]:
    if files.format == "dicom" and set(template.names) != set(template.folder.names):
        expected = "a folder a series, such as /data/{patient}/{series}/*.dcm"
        yield Fault("files.path", "has a placeholder after the last slash", expected)


def _mask_faults(mask: str, images: Template) -> Iterator[Fault]:
    template = Template(mask)
    yield from _form_faults("files.mask", template)
    for name in template.names:
        if name not in images.names and _NAME.fullmatch(name):
            known = ", ".join(images.names)
            yield Fault("files.mask", f"has a placeholder {name} that files.path has not", known)
    if image_format(mask) is None:
        yield Fault("files.mask", "has an ending of no known format", ", ".join(IMAGE_ENDINGS))
    if mask == images.text:
        yield Fault("files.mask", "is files.path too", "another path")


def _label_faults(task: Task | None) -> Iterator[Fault]:
    if not isinstance(task, OfImages):
        return
    if task.window is not None and not task.window[0] < task.window[1]:
        yield Fault("task.window", "is empty", "two numbers, the lower one first")
    if not isinstance(task, Segmentation):
        return
    for label in task.classes:
        if not label.strip() or not label.isprintable():
            yield Fault(shown_path(["task", "labels", label]), "is no name of a label", "a word")
    if len(set(task.classes.values())) < len(task.classes):
        yield Fault("task.labels", "two labels have the same pixel value", "distinct values")
    if len(set(task.transforms)) < len(task.transforms):
        yield Fault("task.transforms", "repeats itself", "distinct names")
