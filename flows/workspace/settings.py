"""The only reader of the environment: where the workspace is, and every telemetry switch off.

Imported first by the CLI and by every flow file: dependencies read their switches at import.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from rpe_core.errors import DeclarationError, Fault, InputError

_QUIET = {
    "DO_NOT_TRACK": "true",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_CLI_COLORS": "false",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # the last screen tells it better
    "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",  # prints each event that finds no server
    "PREFECT_LOGGING_ROOT_LEVEL": "WARNING",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",  # core.runs has what counts
    "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(30 * 86_400),
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "RAY_AUTH_MODE": "token",  # whoever reaches a Ray without one runs what he likes on it
    "RAY_USAGE_STATS_ENABLED": "0",
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}
for _name, _value in _QUIET.items():
    os.environ.setdefault(_name, _value)


class Settings(BaseSettings):
    """Where things are; every URI has an embedded default under `RPE_HOME`."""

    model_config = SettingsConfigDict(
        env_prefix="RPE_", frozen=True, hide_input_in_errors=True, env_ignore_empty=True
    )

    home: Path = Path(".rpe")
    lake_uri: str = ""
    lake_data_uri: str = ""
    vectors_uri: str = ""
    tracking_uri: str = ""
    artifacts_uri: str = ""
    model_artifacts_uri: str = ""
    device: str = "cpu"
    task_runner: Literal["thread", "ray"] = "thread"
    webhook_url: SecretStr | None = None  # is told of each night
    metrics_port: int | None = Field(default=None, ge=1, le=65_535)  # `rpe serve` answers there
    metrics_host: str = "127.0.0.1"

    @field_validator("webhook_url")
    @classmethod
    def _require_http(cls, url: SecretStr | None) -> SecretStr | None:
        if url and not url.get_secret_value().startswith(("https://", "http://")):
            raise PydanticCustomError("must_begin_with_https://_or_http://", "no URL")
        return url or None

    def __init__(self, **values: Any) -> None:
        """Read the environment.

        Raises:
            DeclarationError: with the variables that hold no valid choice.
        """
        try:
            super().__init__(**values)
        except ValidationError as error:
            # only a faulty environment pays for this import
            from catalog.contracts.faults import declaration_faults

            faults = [
                Fault(f"RPE_{fault.path.upper()}", fault.what, fault.expected)
                for fault in declaration_faults(error, Settings)
            ]
            raise DeclarationError("the environment", faults) from None

    @property
    def root(self) -> Path:
        """The workspace folder, absolute."""
        return self.home.expanduser().absolute()

    @property
    def plan_file(self) -> Path:
        """What the night does."""
        return self.root / "plan.yaml"

    @property
    def sources_folder(self) -> Path:
        """One contract per source."""
        return self.root / "sources"

    @property
    def extracts_folder(self) -> Path:
        """What queries of sources gave, an extract a delivery."""
        return self.root / "extracts"

    @property
    def lake(self) -> str:
        """DuckLake metadata."""
        return self.lake_uri or f"ducklake:sqlite:{self.root / 'lake' / 'catalog.sqlite'}"

    @property
    def has_lake(self) -> bool:
        """Whether a lake was begun, as far as a look at the folder tells."""
        return bool(self.lake_uri) or (self.root / "lake").is_dir()

    @property
    def lake_data(self) -> str:
        """Parquet files of the lake."""
        return self.lake_data_uri or f"{self.root / 'lake' / 'data'}"

    @property
    def vectors(self) -> str:
        """LoRA-VecDB."""
        return self.vectors_uri or f"{self.root / 'vectors'}"

    @property
    def vector_parts(self) -> Path:
        """What a search maps into memory: on this machine, wherever LoRA-VecDB is."""
        return (self.root if "://" in self.vectors else Path(self.vectors)) / "shelves"

    @property
    def tracking(self) -> str:
        """MLflow tracking and registry."""
        return self.tracking_uri or f"sqlite:///{self.root / 'mlflow.db'}"

    @property
    def model_artifacts(self) -> str:
        """Files of the MLflow versions."""
        return self.model_artifacts_uri or f"{self.root / 'mlartifacts'}"

    @property
    def artifacts(self) -> str:
        """Adapter folders by content hash."""
        return self.artifacts_uri or f"{self.root / 'artifacts'}"

    @property
    def artifact_cache(self) -> Path:
        """Copies of those that lie in an object store: what loads them wants files."""
        return self.root / "cache" / "artifacts"

    @property
    def aside_folder(self) -> Path:
        """What was damaged or given up, until `rpe maintain` clears it: see stores/set_aside.py."""
        return self.root / "aside"

    @property
    def statistics_folder(self) -> Path:
        """What adapter methods know of dataset versions, see input_statistics.py: made again."""
        return self.root / "cache" / "statistics"

    @property
    def places(self) -> list[str]:
        """Where files of the stores lie: the workspace, and what is outside of it."""
        stores = (self.lake_data, self.vectors, self.artifacts, self.model_artifacts)
        inside = [uri for uri in stores if Path(uri).is_relative_to(self.root)]
        return [str(self.root), *(uri for uri in stores if uri not in inside)]

    @property
    def prefect_home(self) -> Path:
        """The workspace's own Prefect server: database and server.json."""
        return self.root / "prefect"

    @property
    def report_file(self) -> Path:
        """What the operator reads in the morning."""
        return self.root / "report" / "index.html"

    @property
    def writer_lock(self) -> Path | str:
        """The one lock that every writer takes, per commit: a file, or on the lake's server."""
        address = self.lake.removeprefix("ducklake:")
        return address if address.startswith("postgres:") else self.root / "writer.lock"

    @property
    def night_lock(self) -> Path:
        """Held by the one run that a workspace has at a time."""
        return self.root / "night.lock"

    @property
    def store_places(self) -> dict[str, str]:
        """Where each store lies, by the variable that can place it elsewhere."""
        schemes = ("ducklake:sqlite:", "sqlite:///")
        places = {
            "RPE_LAKE_URI": self.lake,
            "RPE_LAKE_DATA_URI": self.lake_data,
            "RPE_VECTORS_URI": self.vectors,
            "RPE_TRACKING_URI": self.tracking,
            "RPE_ARTIFACTS_URI": self.artifacts,
            "RPE_MODEL_ARTIFACTS_URI": self.model_artifacts,
        }
        for scheme in schemes:
            places = {name: uri.removeprefix(scheme) for name, uri in places.items()}
        return places

    @property
    def stores_elsewhere(self) -> tuple[str, ...]:
        """Variables that place a store outside of the workspace folder."""
        places = self.store_places.items()
        return tuple(n for n, path in places if not Path(path).is_relative_to(self.root))

    @property
    def schedule_lock(self) -> Path:
        """Held by the one process that serves the workspace's schedule."""
        return self.root / "schedule.lock"


def require_workspace(settings: Settings) -> None:
    """Raise InputError where there is no workspace: neither a plan nor a lake."""
    if not (settings.plan_file.exists() or settings.has_lake):
        raise InputError(
            "There is no workspace here.",
            where=str(settings.root),
            remedy="`rpe init` makes one; RPE_HOME names another place",
        )


def prefect_api_url() -> str | None:
    """An API that the environment names; None means that the workspace starts its own server."""
    return os.environ.get("PREFECT_API_URL") or None


def ray_address() -> str | None:
    """A Ray that the environment names; None means that a run starts its own on this machine."""
    return os.environ.get("RAY_ADDRESS") or None


def child_environment(settings: Settings) -> dict[str, str]:
    """The environment for a server or worker process of this workspace."""
    return {
        **os.environ,
        "RPE_HOME": str(settings.root),
        "PREFECT_HOME": str(settings.prefect_home),
    }
