"""What is encoded: a dataset version in one role, and the id of its representation."""

from __future__ import annotations

from dataclasses import dataclass

from flows.workspace.workspace import Workspace
from rpe_core.fingerprint import fingerprint, make_id
from rpe_core.records import Role


@dataclass(frozen=True)
class EmbedUnit:
    """A dataset version to encode, in one role."""

    source: str
    base_name: str
    role: Role
    dataset_version_id: str
    representation_id: str

    def __str__(self) -> str:
        return f"{self.source} as {self.role}"


def embed_unit_of(
    workspace: Workspace, source: str, base_name: str, role: Role
) -> EmbedUnit | None:
    """What to encode for a source as it stands, or None while it has no data."""
    version = workspace.standing.versions.get(source)
    if version is None:
        return None
    encoder = workspace.encoder(base_name)
    made_of = fingerprint({"dataset": version["sha256"], "encoder": encoder, "role": role})
    representation_id = make_id("representation", source, made_of)
    return EmbedUnit(source, base_name, role, version["dataset_version_id"], representation_id)
