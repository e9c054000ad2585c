"""The model registry: versions, tags and aliases in MLflow. No other module writes to it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from catalog.errors import RecordConflict, StoreError
from catalog.stores.locks import WriterLock
from catalog.stores.registry.connection import (
    connect,
    connect_reading,
    pages,
    translate_mlflow_errors,
)
from catalog.stores.registry.model_versions import (
    ModelVersion,
    ModelVersionRef,
    RegisteredModel,
    VersionDraft,
)
from catalog.stores.registry.purge import delete_drafts, erase_deleted, remove_run_files
from catalog.stores.registry.relocation import follow
from catalog.stores.registry.restoration import (
    files_left,
    give_up_folder,
    keep_sound,
    lay_files,
    renumber,
    stray_folders,
)
from catalog.stores.registry.sums import SEALS, SUMS, Sums, seal, sums_of
from catalog.stores.registry.version_files import (
    FOLDER,
    VersionFile,
    files_of,
    folder_of,
    replace_files,
)
from rpe_core.errors import InputError, shown_name

EXPERIMENT = "rpe"
RESERVED = "rpe-"  # registered models of ours; a target may not be called so
DESCRIPTION_LIMIT = 5000  # characters that MLflow's column holds
_DRAFT_TAG = "rpe.draft"


class Registry:
    """MLflow through its client alone: no global tracking URI, no active run."""

    def __init__(
        self, client: Any, *, experiment_id: str, artifacts_uri: str, lock: WriterLock
    ) -> None:
        self._client, self._experiment_id, self._lock = client, experiment_id, lock
        self._artifacts_uri = artifacts_uri

    @classmethod
    def open(
        cls,
        *,
        tracking_uri: str,
        artifacts_uri: str,
        lock_path: Path | str,
        read_only: bool = False,
    ) -> Registry:
        """Open the registry, making its database and experiment where they do not exist.

        With `read_only` nothing is made, locked or brought up to date: versions, tags and aliases
        can be read.

        Raises:
            RecordNotFound: read-only, and there is no database yet.
            StoreUnavailable: the database or the server cannot be reached.
            StoreError: the database belongs to another MLflow version.
        """
        lock = WriterLock(lock_path)
        if read_only:
            with translate_mlflow_errors(tracking_uri):
                client = connect_reading(tracking_uri)
            return cls(client, experiment_id="", artifacts_uri=artifacts_uri, lock=lock)
        with translate_mlflow_errors(tracking_uri), lock.hold():
            client = connect(tracking_uri, artifacts_uri)
            follow(tracking_uri, artifacts_uri, experiment=EXPERIMENT)
            experiment = client.get_experiment_by_name(EXPERIMENT)
            if experiment is None:
                location = artifacts_uri or None
                experiment_id = client.create_experiment(EXPERIMENT, artifact_location=location)
            else:
                experiment_id = experiment.experiment_id
        return cls(client, experiment_id=str(experiment_id), artifacts_uri=artifacts_uri, lock=lock)

    def register(self, draft: VersionDraft, *, head: str = "") -> ModelVersionRef:
        """A version of these files and tags; one of the same record and tags is returned as it is.

        Beside its files it says what SHA256SUMS of them is, and where the chain ended: `head`.

        The version appears last and with all of its tags in one transaction, so a version that
        can be seen is whole; what a killed attempt left is its run, which is taken up again.
        A version of the same record with other tags never got its row: it is made again.

        Raises:
            StoreUnavailable: MLflow was busy or the disk is full.
        """
        with translate_mlflow_errors(draft.name), self._lock.hold():
            version = self._find(draft.name, draft.id_tag, draft.record_id)
            if version is not None:
                recorded_tags = {k: v for k, v in version.tags.items() if k not in SEALS}
                if recorded_tags == dict(draft.tags):
                    return version.ref
                self._delete(version)
            run = self._run_of(draft)
            seals = self._upload(run.info.run_id, draft, head)
            self._require_model(draft.name, draft.about)
            number = self._create(draft, run, {**draft.tags, **seals})
        return ModelVersionRef(draft.name, str(number))

    def remake(
        self,
        draft: VersionDraft,
        ref: ModelVersionRef,
        *,
        head: str,
        sums_sha256: str | None,
        aside: Callable[[Path, str], None],
    ) -> Sums:
        """Let a version on record be what its draft says under its number, entry and files.

        Of its files those that lie there and are what SHA256SUMS on record says stay; damaged ones
        go `aside` once what takes their place is whole. A kill leaves what a second call mends.

        Raises:
            RecordConflict: the number is another record's.
            StoreError: a server that does not let a version have that number.
        """
        with (
            translate_mlflow_errors(ref.uri),
            self._lock.hold(),
            tempfile.TemporaryDirectory() as scratch,
        ):
            folder, root = Path(scratch) / FOLDER, self._artifacts_uri
            folder.mkdir()
            draft.write(folder)
            version = self._under_its_number(ref, draft)
            old: Mapping[str, VersionFile] = {}
            if version is not None:
                old = files_of(version.source, version.run_id, self._client, root=root)
            keep_sound(folder, old or files_left(root, sums_sha256), sums_sha256)
            tags = {**draft.tags, **seal(folder, head)}
            if version is None:
                run = self._run_of(draft)
                self._client.log_artifacts(run.info.run_id, str(folder), FOLDER)
                self._log_inputs(run.info.run_id, draft)
                self._require_model(draft.name, draft.about)
                number = self._create(draft, run, tags)
                renumber(self._client, ref.name, number, int(ref.version))
            else:
                location = {"source": version.source, "run_id": version.run_id, "root": root}
                lay_files(self._client, folder, **location, aside=aside)
                for key in set(version.tags) - set(tags):
                    self._client.delete_model_version_tag(ref.name, ref.version, key)
                for key, value in tags.items():
                    if version.tags.get(key) != value:
                        self._client.set_model_version_tag(ref.name, ref.version, key, value)
        return self.sums(ref)

    def give_up_strays(self, *, aside: Callable[[Path, str], None]) -> int:
        """Hand folders of runs that no entry tells of any more to `aside`; how many they were."""
        with translate_mlflow_errors("files of versions"), self._lock.hold():
            root = self._artifacts_uri
            strays = stray_folders(self._client, self._experiment_id, root=root)
            for name in strays:
                give_up_folder(root, name, aside=aside)
        return len(strays)

    def _under_its_number(self, ref: ModelVersionRef, draft: VersionDraft) -> ModelVersion | None:
        """The version of a record as it stands, given its own number back; None if it is gone."""
        there = self._find_number(ref)
        if there is None:
            there = self._find(ref.name, draft.id_tag, draft.record_id)
            if there is not None:
                renumber(self._client, ref.name, int(there.ref.version), int(ref.version))
                there = self._find_number(ref)
        elif there.tags.get(draft.id_tag, draft.record_id) != draft.record_id:
            raise RecordConflict("The number of this version is another record's.", where=ref.uri)
        return there

    def _find_number(self, ref: ModelVersionRef) -> ModelVersion | None:
        versions = self._search(f"name = '{ref.name}'")
        return next((_version(v) for v in versions if str(v.version) == ref.version), None)

    def _create(self, draft: VersionDraft, run: Any, tags: Mapping[str, str]) -> int:
        """Make the entry of a version, by which it appears; the number that it got."""
        made = self._client.create_model_version(
            draft.name,
            f"{run.info.artifact_uri}/{FOLDER}",
            run_id=run.info.run_id,
            tags=dict(tags),
            description=_description(draft.card),
            await_creation_for=0,
        )
        return int(made.version)

    def version(self, ref: ModelVersionRef) -> ModelVersion:
        """A version as it stands.

        Raises:
            RecordNotFound: if there is none.
        """
        with translate_mlflow_errors(ref.uri):
            return _version(self._client.get_model_version(ref.name, ref.version))

    def read(self, ref: ModelVersionRef, file: str) -> bytes:
        """The bytes of a file of a version.

        Raises:
            RecordNotFound: there is no such version.
            StoreError: it has no such file.
        """
        version_file = self.files(self.version(ref)).get(file)
        if version_file is None:
            raise StoreError(f"The version has no file {file}.", where=ref.uri)
        with translate_mlflow_errors(ref.uri), version_file.opened() as stream:
            content: bytes = stream.read()
            return content

    def files(self, version: ModelVersion) -> dict[str, VersionFile]:
        """Every file of a version by its name, wherever it lies; none where its folder is gone.

        Raises:
            StoreError: the place cannot be listed.
        """
        with translate_mlflow_errors(version.ref.uri):
            return files_of(version.source, version.run_id, self._client, root=self._artifacts_uri)

    def folder(self, version: ModelVersion) -> Path | None:
        """Where the files of a version lie, if that is on this machine."""
        return folder_of(version.source, version.run_id, root=self._artifacts_uri)

    def sums(self, ref: ModelVersionRef) -> Sums:
        """What is put on record of the files of a version that was just registered.

        Raises:
            StoreError: it has no SHA256SUMS.
        """
        files = self.files(self.version(ref))
        return sums_of(self.read(ref, SUMS), {name: file.n_bytes for name, file in files.items()})

    def versions(self, name: str) -> list[ModelVersion]:
        """All versions of a registered model, the oldest first; none if it does not exist."""
        with translate_mlflow_errors(name):
            versions = [_version(v) for v in self._search(f"name = '{name}'")]
        return sorted(versions, key=lambda v: int(v.ref.version))

    def put_files(self, version: ModelVersion, folder: Path, tags: Mapping[str, str]) -> None:
        """Write the files of a folder among those of a version, and set its tags."""
        with translate_mlflow_errors(version.ref.uri), self._lock.hold():
            if target := self.folder(version):
                # MLflow's client would write where this process saw the run last
                replace_files(target, folder)
            else:
                self._client.log_artifacts(version.run_id, str(folder), FOLDER)
            ref = version.ref
            for key, value in tags.items():
                self._client.set_model_version_tag(ref.name, ref.version, key, value)

    def all_versions(self) -> list[ModelVersion]:
        """Every version of every registered model, in one question."""
        with translate_mlflow_errors("versions"):
            return [_version(entry) for entry in self._search("")]

    def aliases(self, name: str) -> dict[str, str]:
        """Alias -> version of one registered model; empty if it does not exist."""
        return self.all_aliases().get(name, {})

    def all_aliases(self) -> dict[str, dict[str, str]]:
        """Registered model -> alias -> version, for every model, in one question."""
        return {name: dict(model.aliases) for name, model in self.models().items()}

    def models(self) -> dict[str, RegisteredModel]:
        """Every registered model by its name, in one question."""
        with translate_mlflow_errors("registered models"):
            return {
                model.name: RegisteredModel(
                    model.description or "",
                    dict(model.tags),
                    {a: str(v) for a, v in sorted(model.aliases.items())},
                )
                for model in pages(self._client.search_registered_models)
            }

    def describe(self, name: str, about: str) -> None:
        """Say what a registered model is, making it where there is none."""
        with translate_mlflow_errors(name), self._lock.hold():
            if not self._require_model(name, about):
                self._client.update_registered_model(name, _description(about))

    def tag(self, name: str, key: str, value: str) -> None:
        """Set a tag of a registered model; '' takes it away.

        Raises:
            RecordNotFound: if there is no such model.
        """
        with translate_mlflow_errors(name), self._lock.hold():
            if value:
                self._client.set_registered_model_tag(name, key, value)
            else:
                self._client.delete_registered_model_tag(name, key)

    def set_alias(self, ref: ModelVersionRef, alias: str) -> None:
        """Let an alias point at a version.

        Raises:
            RecordNotFound: if there is no such version.
        """
        with translate_mlflow_errors(ref.uri), self._lock.hold():
            self._client.set_registered_model_alias(ref.name, alias, ref.version)

    def delete_alias(self, name: str, alias: str) -> None:
        """Take an alias away; the versions stay."""
        with translate_mlflow_errors(name), self._lock.hold():
            self._client.delete_registered_model_alias(name, alias)

    def delete_version(self, ref: ModelVersionRef) -> None:
        """Remove a version, its run and its files from the disk.

        Raises:
            RecordNotFound: if there is no such version.
        """
        with translate_mlflow_errors(ref.uri), self._lock.hold():
            self._delete(_version(self._client.get_model_version(ref.name, ref.version)))

    def delete_drafts(self) -> int:
        """Remove what killed attempts to register left, with its files; returns how many they were.

        Whoever registers holds the writer lock until the version is there.
        """
        with translate_mlflow_errors("drafts"), self._lock.hold():
            return delete_drafts(self._client, self._experiment_id, root=self._artifacts_uri)

    def erase_deleted(self, models: Collection[str] = ()) -> None:
        """Remove for good what was deleted and what a crash left without a version.

        Of `models` those without a version go too; nothing may be being registered meanwhile.

        Raises:
            StoreError: a tracking server that does not let its clients erase.
        """
        with translate_mlflow_errors("what was deleted"), self._lock.hold():
            erase_deleted(
                self._client, self._experiment_id, models=models, root=self._artifacts_uri
            )

    def _search(self, condition: str) -> Iterator[Any]:
        return pages(partial(self._client.search_model_versions, condition))

    def _find(self, name: str, tag: str, value: str) -> ModelVersion | None:
        versions = self._search(f"name = '{name}' and tags.`{tag}` = '{value}'")
        return next((_version(v) for v in versions), None)

    def _run_of(self, draft: VersionDraft) -> Any:
        """The run that holds a draft's files and datasets: a killed attempt's, or a new one."""
        key = f"{draft.name} {draft.record_id}"
        left = self._client.search_runs([self._experiment_id], f"tags.`{_DRAFT_TAG}` = '{key}'")
        if left:
            return left[0]
        tags = {_DRAFT_TAG: key, draft.id_tag: draft.record_id}
        return self._client.create_run(self._experiment_id, run_name=draft.record_id, tags=tags)

    def _upload(self, run_id: str, draft: VersionDraft, head: str) -> dict[str, str]:
        """Write the files of a draft; the tags that tell of them."""
        with tempfile.TemporaryDirectory() as scratch:
            draft.write(Path(scratch))
            seals = seal(Path(scratch), head)
            self._client.log_artifacts(run_id, scratch, FOLDER)
        self._log_inputs(run_id, draft)
        return seals

    def _log_inputs(self, run_id: str, draft: VersionDraft) -> None:
        """Name the datasets behind a draft, and end its run."""
        from mlflow.entities import Dataset, DatasetInput, InputTag  # loaded by open() already

        inputs = [
            DatasetInput(
                Dataset(d.name, d.digest, source_type="rpe", source=d.dataset_version_id),
                [InputTag("mlflow.data.context", d.context)],
            )
            for d in draft.datasets
        ]
        if inputs:
            self._client.log_inputs(run_id, inputs)
        self._client.set_terminated(run_id)

    def _require_model(self, name: str, about: str) -> bool:
        """Make the registered model; to be told that there is one costs less than to ask first."""
        from mlflow.exceptions import MlflowException  # loaded by open() already

        try:
            self._client.create_registered_model(name, description=_description(about) or None)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            return False
        return True

    def _delete(self, version: ModelVersion) -> None:
        self._client.delete_model_version(version.ref.name, version.ref.version)
        if version.run_id:
            remove_run_files(version.source, version.run_id, root=self._artifacts_uri)
            self._client.delete_run(version.run_id)


def require_target_name(name: str) -> None:
    """Raise InputError if a target's name is taken by registered models of the platform."""
    if name.startswith(RESERVED):
        raise InputError(
            f"A target cannot be called {shown_name(name)}.",
            expected=f"a name that does not begin with {RESERVED}",
        )


def _version(entry: Any) -> ModelVersion:
    return ModelVersion(
        ModelVersionRef(entry.name, str(entry.version)),
        dict(entry.tags),
        entry.description or "",
        entry.source,
        entry.run_id or "",
    )


def _description(card: str) -> str:
    if len(card) <= DESCRIPTION_LIMIT:
        return card
    end = "\n\n(shortened; the whole card is model_card.md among the version's files)\n"
    return card[: DESCRIPTION_LIMIT - len(end)] + end
