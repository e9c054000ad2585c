"""Nouns of the registry: versions as they stand, and drafts of versions to be made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from catalog.lineage import source_of
from catalog.stores.outgoing import HubName


@dataclass(frozen=True)
class ModelVersionRef:
    """A version of a registered model; MLflow numbers them from 1, we pass the number as text."""

    name: str
    version: str

    @property
    def uri(self) -> str:
        """What `mlflow.pyfunc.load_model` takes."""
        return f"models:/{self.name}/{self.version}"


@dataclass(frozen=True)
class ModelVersion:
    """A version as the registry holds it."""

    ref: ModelVersionRef
    tags: Mapping[str, str]
    description: str
    source: str
    run_id: str


@dataclass(frozen=True)
class RegisteredModel:
    """A registered model as it stands, with versions or without."""

    description: str
    tags: Mapping[str, str]
    aliases: Mapping[str, str]  # alias -> version


@dataclass(frozen=True)
class RegisteredBase:
    """The version of the base that another version is made on, and where it lies on the hub."""

    ref: ModelVersionRef
    hub: HubName | None = None  # None of a base that the registry holds itself


@dataclass(frozen=True)
class DatasetRef:
    """A dataset behind a version: name and digest only, no schema, no profile, no sample."""

    dataset_version_id: str
    context: str

    @property
    def name(self) -> str:
        """The source."""
        return source_of(self.dataset_version_id)

    @property
    def digest(self) -> str:
        """The short hash of the dataset version."""
        return self.dataset_version_id.rpartition("@")[2]


@dataclass(frozen=True)
class VersionDraft:
    """A version to register: `id_tag` names the tag that makes it this version and no other.

    `write` fills an empty folder with the version's files. `about` describes the registered model,
    which is more than one version.
    """

    name: str
    id_tag: str
    tags: Mapping[str, str]
    card: str
    write: Callable[[Path], None]
    datasets: tuple[DatasetRef, ...] = field(default=())
    about: str = ""

    @property
    def record_id(self) -> str:
        """The record that the version stands for."""
        return self.tags[self.id_tag]

    @property
    def served_sha256(self) -> str:
        """Hash over what the version answers by; '' for a base."""
        return self.tags.get("rpe.served_sha256", "")


def ref_of(row: Mapping[str, Any]) -> ModelVersionRef:
    """The version that a row of the lake is about."""
    return ModelVersionRef(row["model_name"], row["model_version"])
