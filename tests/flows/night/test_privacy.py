"""Planted secrets are in no message, log, report, registry file or Prefect record."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect import flow
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.commands.output import show_error
from flows.night.nightly import run_night
from flows.night.run_steps import do_unit
from flows.workspace.plan_file import load_plan
from flows.workspace.settings import Settings
from rpe_core.errors import RpeError
from tests.lake_rows import read_rows_of

ACCEPTED = "qzxaccepted"  # in a row that lands and is trained on
SECRETS = {
    "accepted text": ACCEPTED,
    "telephone": "(312) 555-0199",
    "medical record number": "MRN 77314159",
    "broken line": "qzxbrokenline",
    "wrong type": "qzxwrongtype",
    "unknown label": "qzxunknownlabel",
    "too long": "qzxtoolong",
}


def spoil(file: Path) -> None:
    """Plant each secret where another guard has to deal with it."""
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[0]["text"] += f" {SECRETS['accepted text']}"
    rows[1]["text"] = f"Please call {SECRETS['telephone']} about the scan."
    rows[2]["text"] = f"Filed under {SECRETS['medical record number']} before the scan."
    rows[3]["text"] = {"nested": SECRETS["wrong type"]}
    rows[4]["label"] = SECRETS["unknown label"]
    rows[5]["text"] = SECRETS["too long"] + "x" * 1_100_000
    lines = [json.dumps(row) for row in rows]
    lines[6] = '{"id": "' + SECRETS["broken line"]
    file.write_text("\n".join(lines) + "\n")


def places(settings: Settings, prefect: Settings) -> Iterator[tuple[str, bytes]]:
    """Every file that is no store of rows: registry, artifacts, vectors, report, Prefect."""
    home = settings.root
    folders = [home / n for n in ("artifacts", "mlartifacts", "vectors", "report", "tmp")]
    for folder in [*folders, prefect.prefect_home]:
        for path in folder.rglob("*"):
            if path.is_file():
                yield str(path), path.read_bytes()
    for path in home.glob("mlflow.db*"):
        yield str(path), path.read_bytes()


@pytest.mark.slow
@pytest.mark.ci_slow
def test_no_secret_leaves_the_rows(
    pico_workspace: Settings, prefect_home: Settings, capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    contract = pico_workspace.sources_folder / "site_a.yaml"
    text = contract.read_text().replace("max_quarantined_ratio: 0.05", "max_quarantined_ratio: 0.5")
    contract.write_text(text.replace("0.5}", "0.5, max_phi_ratio: 0.5}"))
    spoil(pico_workspace.root.parent / "data" / "site_a.jsonl")
    summary = run_night(pico_workspace)
    assert summary.outcome == "ok", summary.faults
    batch = read_rows_of(pico_workspace, "SELECT * FROM core.batches WHERE source = 'site_a'")[0]
    assert (batch["n_quarantined"], batch["n_phi"]) == (6, 2)
    heard = "".join(capfd.readouterr()) + caplog.text
    tables = read_rows_of(
        pico_workspace, "SELECT DISTINCT schema_name || '.' || table_name AS t FROM mart.columns"
    )
    told = [str(read_rows_of(pico_workspace, f"SELECT * FROM {row['t']}")) for row in tables]
    for name, secret in SECRETS.items():
        assert secret not in heard, name
        assert not any(secret in text for text in told), name
        for place, content in places(pico_workspace, prefect_home):
            assert secret.encode() not in content, f"{name} in {place}"


def test_a_failing_task_tells_nothing(
    prefect_api: str, prefect_home: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "qzxraised"

    def fail() -> None:
        raise ValueError(f"could not convert {secret}")

    @flow(name="failing")
    def failing() -> str:
        with pytest.raises(RpeError) as caught:
            do_unit("train", "site_a", fail)
        return str(caught.value)

    with temporary_settings({PREFECT_API_URL: prefect_api}):
        assert secret not in failing()
    assert secret not in caplog.text
    kept = [path for path in prefect_home.prefect_home.rglob("*") if path.is_file()]
    assert any(b"failing" in path.read_bytes() for path in kept), "the run is on record there"
    for path in kept:
        assert secret.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("key", ["k", "min_items", "learning_rate", "max_tokens", "merge"])
def test_a_plan_with_a_secret_value_tells_its_place_only(
    pico_workspace: Settings, key: str, capfd: pytest.CaptureFixture[str]
) -> None:
    secret = "Jane Q. Doe, born 1941; secret"
    lines = pico_workspace.plan_file.read_text()
    spoilt = {
        "k": lines.replace("k: 2", f'k: "{secret}"'),
        "min_items": lines.replace("min_items: 20", f'min_items: "{secret}"'),
        "learning_rate": lines.replace("5.0e-3", f'"{secret}"'),
        "max_tokens": lines.replace("max_tokens: 32", f'max_tokens: "{secret}"'),
        "merge": lines.replace("k: 2", f'k: 2, merge: "{secret}"'),
    }[key]
    pico_workspace.plan_file.write_text(spoilt)
    with pytest.raises(RpeError) as caught:
        load_plan(pico_workspace.plan_file, sources=["site_a", "site_b", "site_c"])
    show_error(caught.value, as_json=True)
    heard = "".join(capfd.readouterr())
    assert key in heard
    assert secret not in heard
