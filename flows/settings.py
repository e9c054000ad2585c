"""The only reader of the environment: where the workspace is, and every telemetry switch off.

Imported first by the CLI and by every flow file: dependencies read their switches at import.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from rpe_core.errors import DeclarationError, Fault

_QUIET = {
    "DO_NOT_TRACK": "true",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_CLI_COLORS": "false",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # the last screen tells it better
    "PREFECT_LOGGING_ROOT_LEVEL": "WARNING",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}
for _name, _value in _QUIET.items():
    os.environ.setdefault(_name, _value)


class Settings(BaseSettings):
    """Where things are; every URI has an embedded default under `RPE_HOME`."""

    model_config = SettingsConfigDict(env_prefix="RPE_", frozen=True, hide_input_in_errors=True)

    home: Path = Path(".rpe")
    lake_uri: str = ""
    lake_data_uri: str = ""
    vectors_uri: str = ""
    tracking_uri: str = ""
    artifacts_uri: str = ""
    device: str = "cpu"
    task_runner: Literal["thread"] = "thread"

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
    def lake(self) -> str:
        """DuckLake metadata."""
        return self.lake_uri or f"ducklake:sqlite:{self.root / 'lake' / 'catalog.sqlite'}"

    @property
    def lake_data(self) -> str:
        """Parquet files of the lake."""
        return self.lake_data_uri or f"{self.root / 'lake' / 'data'}"

    @property
    def vectors(self) -> str:
        """LoRA-VecDB."""
        return self.vectors_uri or f"{self.root / 'vectors'}"

    @property
    def tracking(self) -> str:
        """MLflow tracking and registry."""
        return self.tracking_uri or f"sqlite:///{self.root / 'mlflow.db'}"

    @property
    def model_artifacts(self) -> str:
        """Files of the MLflow versions."""
        return f"{self.root / 'mlartifacts'}"

    @property
    def artifacts(self) -> str:
        """Adapter folders by content hash."""
        return self.artifacts_uri or f"{self.root / 'artifacts'}"

    @property
    def prefect_home(self) -> Path:
        """The workspace's own Prefect server: database and server.json."""
        return self.root / "prefect"

    @property
    def report_file(self) -> Path:
        """What the operator reads in the morning."""
        return self.root / "report" / "index.html"

    @property
    def writer_lock(self) -> Path:
        """The one lock that every writer of the embedded stores takes, per commit."""
        return self.root / "writer.lock"

    @property
    def night_lock(self) -> Path:
        """Held by the one run that a workspace has at a time."""
        return self.root / "night.lock"

    @property
    def schedule_lock(self) -> Path:
        """Held by the one process that serves the workspace's schedule."""
        return self.root / "schedule.lock"


def prefect_api_url() -> str | None:
    """An API that the environment names; None means that the workspace starts its own server."""
    return os.environ.get("PREFECT_API_URL") or None


def child_environment(settings: Settings) -> dict[str, str]:
    """The environment for a server or worker process of this workspace."""
    return {
        **os.environ,
        "RPE_HOME": str(settings.root),
        "PREFECT_HOME": str(settings.prefect_home),
    }
