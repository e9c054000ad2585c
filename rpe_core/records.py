"""The frozen nouns that cross borders: small, hashable, made of plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal, Self

MeanOver = Literal["groups", "items"]
Result = Literal["win", "tie", "loss"]
Evidence = Literal["labels", "leave_one_out"]
Role = Literal["reference", "target"]


@dataclass(frozen=True)
class RunRef:
    """One doing of a flow; its id stands in every lake commit."""

    run_id: str
    flow: str
    started_at: datetime


@dataclass(frozen=True)
class TaskSpec:
    """What a model of this source answers: input column, target column, and how it is asked.

    A closed answer set has `labels`, name -> prompt, in the order of their index. Free text has a
    `prompt` around `{input}`, a cap on the tokens of an answer, and texts that end it. A mask has
    `classes`, names in the order of their index from 1 (0 is background), the `window` of values
    that an image is seen through, and the `transforms` that training may put it through.
    """

    type: str
    input: str
    target: str
    labels: Mapping[str, str] = field(default_factory=dict)
    prompt: str = ""
    max_new_tokens: int = 0
    stop: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    window: tuple[float, ...] = ()
    transforms: tuple[str, ...] = ()

    @property
    def declared(self) -> dict[str, Any]:
        """The task as plain values, as a family, a stored row or a served model is told of it."""
        return {name: value for name, value in asdict(self).items() if value}


@dataclass(frozen=True)
class DatasetVersion:
    """Immutable accepted content of a source, as far as a target is made of it."""

    dataset_version_id: str
    sha256: str
    n_test_labelled: int

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """The version that a row of core.dataset_versions tells of."""
        return cls(row["dataset_version_id"], row["sha256"], row["n_test_labelled"])


@dataclass(frozen=True)
class BaseModel:
    """A frozen foundation model theta_0, identified by the content of its files."""

    name: str
    family: str
    model: str
    revision: str
    dtype: str
    max_tokens: int
    sha256: str

    @property
    def base_id(self) -> str:
        """`name@sha12`."""
        return f"{self.name}@{self.sha256[:12]}"


@dataclass(frozen=True)
class StrategySpec:
    """A way to weigh: `kind` is a key of the strategy table, `name` the arm that it makes."""

    name: str
    kind: str
    parameters: Mapping[str, float | str] = field(default_factory=dict)


@dataclass(frozen=True)
class Representation:
    """z: the mean encoder feature of a dataset version, shape (d,), with count and variance.

    `n_groups` is how many groups (patients) the items come from, None where nobody counted;
    `shares` of variance are those of its largest directions, none where nobody looked.
    """

    representation_id: str
    dataset_version_id: str
    encoder_id: str
    role: Role
    n_items: int
    z: tuple[float, ...]
    variance: tuple[float, ...]
    n_groups: int | None = None
    shares: tuple[float, ...] = ()


@dataclass(frozen=True)
class Candidate:
    """An adapter as retrieval returns it: where it is filed (z) and how far that is (Euclidean)."""

    adapter_id: str
    source: str
    dataset_version_id: str
    distance: float
    z: tuple[float, ...]


@dataclass(frozen=True)
class Member:
    """An adapter inside an ensemble with its weight w_i (may be negative) and its distance."""

    adapter_id: str
    weight: float
    distance: float


@dataclass(frozen=True)
class Comparison:
    """Paired head-to-head on the same items: challenger minus baseline, with its interval.

    `mean_over` is what the difference is a mean of: groups, each by the mean of its items, or items
    with groups as clusters.
    """

    metric: str
    difference: float
    ci_low: float
    ci_high: float
    confidence: float
    n_items: int
    n_groups: int
    result: Result
    mean_over: MeanOver = "items"


@dataclass(frozen=True)
class Verdict:
    """What a gate decided, and why, in words that an operator reads."""

    is_promoted: bool
    reasons: tuple[str, ...]
