"""What lies in infra says what the code says: deployments, settings, commands, closed ports."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from prefect.cli.deploy._config import _load_deploy_configs_and_actions
from rich.console import Console

from flows.cli import app
from flows.night.deployments import deployments_of
from flows.workspace.plan import Plan
from flows.workspace.settings import Settings

INFRA = Path(__file__).parents[2] / "infra"
PLAN = INFRA.parent / "catalog" / "examples" / "plan.yaml"


def test_prefect_yaml_deploys_what_serve_serves(capsys: pytest.CaptureFixture[str]) -> None:
    file = INFRA / "prefect.yaml"
    found, actions = _load_deploy_configs_and_actions(file, console=Console())
    assert capsys.readouterr().out == "", "Prefect's loader tells faults there"
    plan = Plan.model_validate(yaml.safe_load(PLAN.read_text()))
    assert actions["pull"] == []
    assert found == [
        {
            "name": one.name,
            "entrypoint": f"{one.flow.fn.__module__}.{one.flow.fn.__name__}",
            "parameters": one.parameters,
            "tags": list(one.tags),
            "schedules": [{"cron": one.cron, "timezone": one.timezone}],
            "work_pool": {"name": "rpe"},
        }
        for one in deployments_of(plan, home="/srv/rpe")
    ]


def test_the_example_of_an_environment_names_every_setting() -> None:
    text = (INFRA / "env.example").read_text()
    named = set(re.findall(r"^#? ?(RPE_[A-Z_]+)=", text, flags=re.MULTILINE))
    assert named == {f"RPE_{name.upper()}" for name in Settings.model_fields}
    assert not re.findall(r"^RPE_.*$", text, flags=re.MULTILINE), "as it is it changes nothing"


def test_images_are_pinned_and_run_as_nobody_special() -> None:
    files = sorted((INFRA / "docker").glob("*.Dockerfile"))
    assert [file.name.split(".")[0] for file in files] == ["server", "tracking", "worker"]
    for file in files:
        lines = file.read_text().splitlines()
        words = {line.split(" ")[0]: line for line in lines if line[:1].isupper()}
        assert re.fullmatch(r"FROM [a-z]+:\d+\.\d+\.\d+-\S+", words["FROM"])
        assert words["USER"] == "USER 10001"
        assert {"HEALTHCHECK", "CMD"} <= set(words)
        assert not re.search(r"(?i)passw|token|secret", file.read_text())


def test_containers_listen_on_loopback_and_hold_no_secret() -> None:
    compose = yaml.safe_load((INFRA / "compose.yaml").read_text())
    for name, service in compose["services"].items():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), name
        build = service.get("build")
        if build:
            assert (INFRA / build["context"] / build["dockerfile"]).is_file()
        else:
            assert re.fullmatch(r"\S+:\d+\.\d+-\S+", service["image"])
        for variable, value in service.get("environment", {}).items():
            if "PASSWORD" in variable:
                assert value.startswith("/run/secrets/")
            assert not re.search(r"//[^/@]*:[^/@]*@", value), "a password in a URI"
    assert all(set(secret) == {"file"} for secret in compose["secrets"].values())


def test_units_and_cron_lines_type_commands_that_exist() -> None:
    known = {command.callback.__name__ for command in app.registered_commands}
    typed = set()
    for file in (*(INFRA / "systemd").iterdir(), INFRA / "crontab.example"):
        lines = [line for line in file.read_text().splitlines() if "/srv/venv/bin/rpe " in line]
        typed |= {shlex.split(line.partition("/srv/venv/bin/rpe ")[2])[0] for line in lines}
    assert typed == {"serve", "nightly", "maintain"}
    assert typed <= known
