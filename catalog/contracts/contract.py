"""SourceContract: everything that a source promises about its data, as one strict model."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import (
    ConfigDict,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    StringConstraints,
    Tag,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from catalog.contracts.files import Files, is_unsaid
from catalog.contracts.images import with_facts
from catalog.contracts.strict import Strict
from rpe_core.fingerprint import fingerprint
from rpe_core.records import TaskSpec

NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
SPLITS = ("train", "validation", "test")

Name = Annotated[str, StringConstraints(pattern=rf"^{NAME.pattern}$")]
Ratio = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
ColumnType = Literal["string", "integer", "number", "boolean", "date", "timestamp"]
Transform = Literal["flip_rows", "flip_columns", "quarter_turns", "brightness"]
PrivateElement = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{3}[13579bdf]xx[0-9a-f]{2}$")]
PixelValue = Annotated[int, Field(ge=1, le=65535)]  # 0 is always background


Mapped = StrictBool | StrictInt | StrictFloat | StrictStr | None


class ColumnRule(Strict):
    """What one column holds; `in_file` is what the file calls it, or its place there from 1.

    `from` is a path into nested columns, or several that `join` makes one text, see paths.py.
    `join` makes one text of a list, `explode` a row of each of its elements, `decode` a text of
    its base64. `map` says what lands for the text of a cell. `format` is how a date or timestamp
    is written that is not as ISO 8601 has it.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    type: ColumnType
    in_file: StrictInt | StrictStr | None = Field(default=None, exclude_if=is_unsaid)
    from_: StrictStr | tuple[StrictStr, ...] | None = Field(
        default=None, alias="from", exclude_if=is_unsaid
    )
    join: str | None = Field(default=None, exclude_if=is_unsaid)
    explode: bool = Field(default=False, exclude_if=is_unsaid)
    decode: Literal["base64"] | None = Field(default=None, exclude_if=is_unsaid)
    map: dict[str, Mapped] | None = Field(default=None, exclude_if=is_unsaid)
    key: bool = False
    group: bool = False
    slice: bool = False
    nullable: bool = False
    phi_scan: bool = False
    min_chars: int | None = Field(default=None, ge=0)
    max_chars: int | None = Field(default=None, ge=1)
    min: float | None = None
    max: float | None = None
    values: tuple[str, ...] | None = None
    pattern: str | None = None
    format: StrictStr | None = Field(default=None, exclude_if=lambda value: value is None)


class Classification(Strict):
    """Which label fits the text; labels map a name to the prompt that says it.

    The names are the texts of the cells: of an integer column `0`, of a boolean one `false`.
    """

    type: Literal["text-classification"]
    input: str
    target: str
    labels: dict[str, str] = Field(min_length=2)


class ImageClassification(Strict):
    """Which label fits the image; labels map a name to the prompt that says it.

    The target is a `{placeholder}` of files.path, a fact of DICOM headers, or a column without a
    value where no image is labelled. `unlabelled` is what stands in the path instead of a label.
    `window` is the values that become black and white: without one, all of 8 bits, or the outer
    percentiles of a wider image.
    """

    type: Literal["image-classification"]
    input: Literal["image"] = "image"
    target: str
    labels: dict[str, str] = Field(min_length=2)
    unlabelled: str | None = Field(default=None, min_length=1)
    window: tuple[float, float] | None = None


class Generation(Strict):
    """Which text follows from the input; the prompt says what is asked, around `{input}`."""

    type: Literal["text-generation"]
    input: str
    target: str
    prompt: str = "{input}\n"
    max_new_tokens: int = Field(default=128, ge=1, le=8192)
    stop: tuple[Annotated[str, StringConstraints(min_length=1)], ...] = ()


class Segmentation(Strict):
    """Which label each pixel has; labels map a name to its pixel value in the mask's file.

    `window` is the values that become black and white: without one, all of 8 bits, or the outer
    percentiles of a wider image. `transforms` may be done to an image in training without changing
    what its mask says.
    """

    model_config = ConfigDict(populate_by_name=True)

    type: Literal["image-segmentation"]
    input: Literal["image"] = Field(default="image", alias="image")
    target: Literal["mask"] = Field(default="mask", alias="mask")
    classes: dict[str, PixelValue] = Field(alias="labels", min_length=1, max_length=254)
    window: tuple[float, float] | None = None
    transforms: tuple[Transform, ...] = ()
    empty_mask: Literal["quarantine", "accept"] = "quarantine"


Task = Annotated[
    Classification | ImageClassification | Generation | Segmentation, Discriminator("type")
]
Labelled = Classification | ImageClassification  # a closed set of labels, each with its prompt
OfImages = ImageClassification | Segmentation


class Deidentified(Strict):
    """The owner's attestation that the data are de-identified; stored with every batch.

    `other_scripts_read` says that another gate has read the texts in other letters than Latin ones,
    which ours cannot. Of images `defaced` says that no face can be made from a head;
    `safe_private` names private DICOM elements that identify nobody: creator -> elements such as
    `0019xx0c`.
    """

    method: Literal["safe_harbor", "expert_determination", "public", "synthetic"]
    attested_by: str = Field(min_length=1)
    attested_on: date
    defaced: bool = False
    safe_private: dict[str, tuple[PrivateElement, ...]] = Field(default_factory=dict)
    other_scripts_read: bool = False

    @model_serializer(mode="wrap")
    def _leave_out(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What a contract does not say is not part of its hash."""
        written: dict[str, Any] = write(self)
        if not self.other_scripts_read:
            written.pop("other_scripts_read", None)
        return written


class OnViolation(Strict):
    """What happens to data that do not keep the contract."""

    unknown_column: Literal["refuse", "ignore"] = "refuse"
    bad_row: Literal["quarantine", "refuse"] = "quarantine"
    changed_row: Literal["refuse", "supersede"] = "refuse"
    max_quarantined_ratio: Ratio = 0.01
    max_phi_ratio: Ratio = 0.02


class Freshness(Strict):
    """How old the newest batch may be before silence is an alert."""

    max_age_days: int = Field(ge=1)


class DeclaredExpectation(Strict):
    """A custom expectation from the fixed table in catalog/validation/expectations.py."""

    name: str
    column: str
    parameters: dict[str, float | str | list[str]] = Field(default_factory=dict)


class SplitShares(Strict):
    """Shares of a split by hash of the group; they sum to one."""

    train: Ratio = 0.8
    validation: Ratio = 0.1
    test: Ratio = 0.1

    @model_validator(mode="before")
    @classmethod
    def _carve_validation(cls, data: Any) -> Any:
        """Where train and test alone sum to one, a tenth of train becomes validation."""
        if not isinstance(data, dict) or set(data) != {"train", "test"}:
            return data
        train, test = data["train"], data["test"]
        if not isinstance(train, float | int) or not isinstance(test, float | int):
            return data
        if abs(train + test - 1.0) > 1e-9:
            return data
        carved = round(0.1 * train, 12)
        return {"train": round(train - carved, 12), "validation": carved, "test": test}

    @model_validator(mode="after")
    def _sums_to_one(self) -> SplitShares:
        if abs(self.train + self.validation + self.test - 1.0) > 1e-9:
            # The type of the error is its text: see faults.py
            raise PydanticCustomError("the_shares_must_sum_to_one", "the shares must sum to one")
        return self


class SplitColumn(Strict):
    """The split is written in a column, by the names train, validation and test."""

    column: str
    validation: Ratio = 0.1  # carved from train, by group, where the column never says validation


class SplitGlobs(Strict):
    """The split is told by the file's name: one glob each."""

    train: str
    test: str | None = None
    validation: str | None = None
    carve_validation: Ratio = 0.1  # carved from train, by group, where no glob names validation


def _split_kind(data: Any) -> str:
    """Tell the three ways to split apart by their keys, so that faults name one way only."""
    keys = data if isinstance(data, dict) else getattr(data, "__dict__", {})
    if "column" in keys:
        return "column"
    names_files = any(isinstance(keys.get(name), str) for name in SPLITS)
    return "globs" if names_files or "carve_validation" in keys else "shares"


Splits = Annotated[
    Annotated[SplitShares, Tag("shares")]
    | Annotated[SplitColumn, Tag("column")]
    | Annotated[SplitGlobs, Tag("globs")],
    Discriminator(_split_kind),
]


class SourceContract(Strict):
    """What a source promises: columns, task, splits, limits and the de-identification claim."""

    source: Name
    title: str = Field(min_length=1)
    owner: str = Field(min_length=1)
    license: str = Field(min_length=1)
    files: Files
    task: Task
    deidentified: Deidentified
    columns: dict[str, ColumnRule] = Field(min_length=1)
    splits: Splits = Field(default_factory=SplitShares)
    on_violation: OnViolation = Field(default_factory=OnViolation)
    freshness: Freshness | None = None
    expectations: tuple[DeclaredExpectation, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _join_facts(cls, data: Any) -> Any:
        """Image sources have columns that nobody declares."""
        return with_facts(data)

    @property
    def key_column(self) -> str:
        """The column that names a row; exactly one has `key: true`."""
        return next(name for name, rule in self.columns.items() if rule.key)

    @property
    def group_column(self) -> str:
        """The column that splits never cut; the key where none is declared."""
        return next((n for n, rule in self.columns.items() if rule.group), self.key_column)

    @property
    def keeps_places(self) -> bool:
        """Whether what stands is told by the places of files alone, whenever each arrived."""
        return self.files.order is not None and self.on_violation.changed_row == "supersede"

    @property
    def task_spec(self) -> TaskSpec:
        """The task as the core knows it."""
        task = self.task
        if isinstance(task, ImageClassification):
            window = task.window or ()
            return TaskSpec(task.type, task.input, task.target, task.labels, window=window)
        if not isinstance(task, Segmentation):
            return TaskSpec(**task.model_dump())
        return TaskSpec(
            type=task.type,
            input=task.input,
            target=task.target,
            classes=tuple(task.classes),
            window=task.window or (),
            transforms=task.transforms,
        )

    @property
    def content_columns(self) -> tuple[str, str]:
        """The columns of which equal cells mean an equal input and an equal answer."""
        task = self.task
        if isinstance(task, Segmentation):
            return "image_sha256", "mask_sha256"
        if isinstance(task, ImageClassification):
            return "image_sha256", task.target
        return task.input, task.target

    @property
    def labels(self) -> tuple[str, ...]:
        """The closed answer set; none of a task that is answered in another way."""
        return tuple(self.task.labels) if isinstance(self.task, Labelled) else ()

    @property
    def sha256(self) -> str:
        """Hash of the whole contract."""
        return fingerprint(self.model_dump(mode="json"))

    @property
    def shape_sha256(self) -> str:
        """Hash of what decides the meaning of a row: columns, task and splits."""
        return fingerprint(self.model_dump(mode="json", include={"columns", "task", "splits"}))
