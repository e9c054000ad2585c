"""What may leave the platform: no representation of fewer groups than the plan says."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.workspace.settings import Settings
from tests.lake_rows import read_rows_of


def test_a_small_cohort_is_neither_exported_nor_mapped(
    night_copy: Settings, rpe: Callable[..., int], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = read_rows_of(
        night_copy,
        "SELECT adapter_id, n_groups FROM core.adapters JOIN core.representations"
        " USING (representation_id) ORDER BY n_groups",
    )
    fewest, most = rows[0]["n_groups"], rows[-1]["n_groups"]
    assert fewest >= 10
    plan, out = night_copy.plan_file.read_text(), tmp_path / "bundle"
    arguments = ("adapters", "export", rows[-1]["adapter_id"], "--out", str(out))

    night_copy.plan_file.write_text(f"{plan}publishing: {{min_groups: {most + 1}}}\n")
    assert rpe(*arguments) == 2
    told = capfd.readouterr().err
    assert f"is of only {most} groups" in told
    assert f"at least {most + 1} groups, by `publishing: min_groups`" in told
    assert not out.exists()
    assert rpe("report") == 0
    page = night_copy.report_file.read_text()
    assert f"fewer than {most + 1} groups are not drawn" in page

    night_copy.plan_file.write_text(f"{plan}publishing: {{min_groups: {most}}}\n")
    assert rpe(*arguments) == 0
    assert json.loads((out / "representation.json").read_text())["n_groups"] == most
