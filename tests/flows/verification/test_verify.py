"""Damage of what serves: seen before anything is answered by it, mended, or taken away."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import mlflow
import pytest

from catalog.errors import RecordConflict
from catalog.integrity.registry import damage_of_registry
from catalog.integrity.rows import read_chain
from catalog.records import promotion, registration
from catalog.records.champions import serving_by_target
from catalog.records.promotion import VerdictRecord
from catalog.records.registration import Challenger
from catalog.stores.lake.chain import record_amendment
from flows.night.nightly import run_night
from flows.runs.ledger import Ledger
from flows.runs.run_record import Summary, close_run, open_run
from flows.targets.decisions import roll_back
from flows.upkeep.alerts import watch
from flows.verification.champions import verify
from flows.verification.sound_version import sound_champion
from flows.workspace.settings import Settings
from flows.workspace.stores import open_lake, open_registry, open_stores
from flows.workspace.workspace import Workspace, load_declarations
from tests.flows.conftest import TARGET, enter_copy

WEIGHTS = "artifacts/adapter/adapter_model.safetensors"
FIRST = ["weights flipped", "the folder gone"]


def slow(value: Any) -> Any:
    """A parameter of the slow tests."""
    return pytest.param(value, marks=(pytest.mark.slow, pytest.mark.ci_slow))


@pytest.fixture(scope="module")
def world(
    finished_night: Settings, tmp_path_factory: pytest.TempPathFactory, prefect_api: str
) -> Iterator[Settings]:
    """Two champions, one after the other: the weakest ensemble, then the one that had won."""
    with pytest.MonkeyPatch.context() as patch:
        settings = enter_copy(
            finished_night, tmp_path_factory.mktemp("served") / "home", prefect_api, patch
        )
        first = _first_verdict(settings)
        with _opened(settings) as workspace:
            lake, stores = workspace.stores.lake, workspace.stores
            (other,) = lake.rows(
                "FROM core.ensembles WHERE NOT abstained AND ensemble_id <> ? AND weights_sha256"
                " <> (SELECT weights_sha256 FROM core.ensembles WHERE ensemble_id = ?)"
                " ORDER BY strategy LIMIT 1",
                [first["ensemble_id"], first["ensemble_id"]],
            )
            target = workspace.plan.target(TARGET)
            task = workspace.contracts[target.source].task_spec
            base = workspace.bases[target.base]
            asked = Challenger(other["ensemble_id"], base, task, "labels")
            registration.register_challengers(stores, [asked], run=workspace.run)
            for row in (other, first):
                verdict = VerdictRecord(
                    TARGET, row["dataset_version_id"], "linear", row["ensemble_id"],
                    "" if row is other else other["ensemble_id"], "promoted", "labels",
                    ("It serves for this test.",), "tests",
                )  # fmt: skip
                promotion.record_verdicts(stores, [(verdict, ())], run=workspace.run)
        night(settings)
        yield settings


@pytest.fixture
def copy(
    world: Settings, tmp_path: Path, prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """A copy of the world, to be damaged."""
    return enter_copy(world, tmp_path / "home", prefect_api, monkeypatch)


class _opened:
    """The workspace with its stores, closed at the end of the block."""

    def __init__(self, settings: Settings) -> None:
        declared, stores = load_declarations(settings), open_stores(settings)
        self.workspace = Workspace(
            settings,
            declared.plan,
            declared.contracts,
            stores,
            open_run("night", at=stores.lake.now),
        )

    def __enter__(self) -> Workspace:
        return self.workspace

    def __exit__(self, *_: object) -> None:
        self.workspace.stores.lake.close()


def night(settings: Settings) -> Summary:
    """What a night does before and after its steps, without any of them and without Prefect."""
    ledger = Ledger()
    with _opened(settings) as workspace:
        verify(workspace, ledger)
        promotion.repair_aliases(workspace.stores)
        watch(workspace, ledger, (), plan=workspace.plan)
        return close_run(workspace, ledger, targets=workspace.plan.target_names)


def champion(settings: Settings) -> str:
    return open_registry(settings).aliases(TARGET).get("champion", "")


def folder_of(settings: Settings, model: str = TARGET, version: str = "") -> Path:
    """Where the files of a version lie; of the champion, where no other is named."""
    registry = open_registry(settings)
    number = version or registry.aliases(model).get("champion", "1")
    found = next(v for v in registry.versions(model) if v.ref.version == number)
    folder = registry.folder(found)
    assert folder is not None
    return folder


def flip(file: Path) -> None:
    """Change one bit, and nothing that a listing shows."""
    before, content = file.stat(), bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def rows(settings: Settings, sql: str) -> list[dict[str, Any]]:
    with closing(open_lake(settings, read_only=True)) as lake:
        return lake.rows(sql)


def decisions(settings: Settings) -> list[tuple[str, str]]:
    found = rows(settings, "FROM core.promotions ORDER BY recorded_at, promotion_id DESC")
    return [(row["action"], row["model_version"]) for row in found]


def damage(settings: Settings, *, is_deep: bool) -> list[str]:
    with _opened(settings) as workspace:
        stores = workspace.stores
        return list(map(str, damage_of_registry(stores.lake, stores.registry, is_deep=is_deep)))


def _first_verdict(settings: Settings) -> dict[str, Any]:
    (row,) = rows(settings, "FROM core.promotions WHERE action = 'pending'")
    return row


def _replace_code(folder: Path) -> None:
    marker = folder.parent / "ran"
    (folder / "model.py").write_text(f"open({str(marker)!r}, 'w').close()\nraise SystemExit(3)\n")


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "weights flipped": (lambda folder: flip(folder / WEIGHTS), WEIGHTS),
    "model.py replaced": (_replace_code, "model.py"),
    "the folder gone": (shutil.rmtree, "its folder"),
    "SHA256SUMS gone": (lambda folder: (folder / "SHA256SUMS").unlink(), "SHA256SUMS is gone"),
    "a sum edited": (lambda folder: flip(folder / "SHA256SUMS"), "SHA256SUMS"),
    "the head edited": (lambda folder: flip(folder / "SHA256SUMS.head"), "SHA256SUMS.head"),
    "a file more": (
        lambda folder: shutil.copyfile(folder / "model.py", folder / "artifacts" / "more.py"),
        "artifacts/more.py",
    ),
    "a file cut": (lambda folder: os.truncate(folder / "MLmodel", 10), "MLmodel"),
    "a pipe for a file": (
        lambda folder: ((folder / "conda.yaml").unlink(), os.mkfifo(folder / "conda.yaml")),
        "conda.yaml",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ["model.py replaced", slow("weights flipped")])
def test_predict_answers_by_no_damaged_version_and_runs_nothing_of_it(
    copy: Settings, rpe: Callable[..., int], capfd: pytest.CaptureFixture[str], case: str
) -> None:
    how, named = DAMAGES[case]
    folder = folder_of(copy)
    assert damage(copy, is_deep=True) == []
    how(folder)
    assert rpe("predict", TARGET, "--text", "red flat a") == 1
    told = capfd.readouterr().err
    assert f"models:/{TARGET}/" in told
    assert named in told
    assert "`rpe repair`" in told
    assert not (folder.parent / "ran").exists()


def test_predict_answers_of_a_moved_workspace_without_its_lock_or_a_write(
    copy: Settings, rpe: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    database = copy.root / "mlflow.db"
    before = database.read_bytes()
    copy.writer_lock.unlink(missing_ok=True)
    copy.writer_lock.mkdir()
    assert rpe("predict", TARGET, "--text", "red flat a") == 0
    assert f"champion of {TARGET}" in capfd.readouterr().err
    assert database.read_bytes() == before


@pytest.mark.parametrize("cases", [FIRST, slow([case for case in DAMAGES if case not in FIRST])])
def test_a_night_makes_the_files_of_a_champion_again(copy: Settings, cases: list[str]) -> None:
    serves, before = champion(copy), len(rows(copy, "FROM core.links"))
    for case in cases:
        how, named = DAMAGES[case]
        assert damage(copy, is_deep=True) == [], case
        how(folder_of(copy))
        (one,) = damage(copy, is_deep=True)
        assert named in one, case
        assert f"Target {TARGET} is served by it" in one
        with pytest.raises(RecordConflict, match="nothing of it was loaded"):
            sound_champion(copy, TARGET)
        summary = night(copy)
        assert (summary.faults, summary.alerts) == ((), ()), case
        assert [step["done"] for step in summary.steps if step["name"] == "verify"] == [
            [f"{TARGET} made again"]
        ]
        assert champion(copy) == serves
    assert damage(copy, is_deep=True) == []
    assert len(rows(copy, "FROM core.links")) == before, "nothing of it had to be recorded"
    assert night(copy).outcome == "unchanged"


@pytest.mark.slow
@pytest.mark.ci_slow
def test_a_champion_that_cannot_be_made_again_gives_way_until_it_is_repaired(
    copy: Settings,
    rpe: Callable[..., int],
    capfd: pytest.CaptureFixture[str],
) -> None:
    serves, folder = champion(copy), folder_of(copy)
    (kept,) = rows(copy, f"FROM core.ensembles WHERE ensemble_id = '{_ensemble(copy, serves)}'")
    artifact = Path(copy.artifacts) / kept["artifact_sha256"]
    shutil.copytree(artifact, copy.root / "backup")
    flip(folder / WEIGHTS)
    shutil.rmtree(artifact)
    summary = run_night(copy)
    (alert,) = summary.alerts
    assert (summary.outcome, alert.kind, alert.subject, alert.is_raised) == (
        "alert", "damaged", TARGET, True,
    )  # fmt: skip
    other = champion(copy)
    assert other not in ("", serves), "the champion before serves"
    assert f"version {other} serves instead" in alert.message
    assert WEIGHTS in alert.message
    assert decisions(copy)[-1] == ("withdrawn_damaged", other)
    assert rpe("predict", TARGET, "--text", "red flat a") == 0

    still = night(copy)
    assert [(a.alert_id, a.is_raised) for a in still.alerts] == [(alert.alert_id, False)]
    assert still.outcome == "unchanged"
    (standing,) = rows(copy, "FROM mart.alerts WHERE kind = 'damaged'")
    assert (standing["is_standing"], standing["n_runs"]) == (True, 2)
    (row,) = [r for r in rows(copy, "FROM mart.champion_history") if r["is_champion"]]
    assert (row["action"], row["model_version"]) == ("withdrawn_damaged", other)
    capfd.readouterr()
    assert rpe("history", TARGET) == 0
    assert "withdrawn, damaged" in " ".join(capfd.readouterr().out.split())

    shutil.copytree(copy.root / "backup", artifact)
    mended = night(copy)
    assert champion(copy) == serves
    assert [a.kind for a in mended.resolved] == ["damaged"]
    assert decisions(copy)[-1] == ("restored", serves)
    assert promotion_former(copy) == other, "a roll-back leads where it led before"
    assert night(copy).outcome == "unchanged"
    with closing(open_lake(copy, read_only=True)) as lake:
        assert read_chain(lake).findings == ()


@pytest.mark.slow
@pytest.mark.ci_slow
def test_where_no_former_champion_is_sound_none_serves(
    copy: Settings, rpe: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(copy.artifacts)
    Path(copy.artifacts).mkdir()
    for version in ("1", "2"):
        (folder_of(copy, version=version) / "model.py").write_text("raise SystemExit(3)\n")
    summary = night(copy)
    assert [a.kind for a in summary.alerts] == ["damaged"]
    assert "none serves" in summary.alerts[0].message
    assert champion(copy) == ""
    model = open_registry(copy).models()[TARGET]
    assert "files of the champion are damaged" in model.tags["rpe.no_champion"]
    assert rpe("predict", TARGET, "--text", "red flat a") == 0
    assert "the base answers" in capfd.readouterr().err
    (row,) = rows(copy, f"FROM mart.nightly_status WHERE target_name = '{TARGET}'")
    assert row["action"] == "withdrawn_damaged"
    assert not any(r["is_champion"] for r in rows(copy, "FROM mart.champion_history"))
    assert night(copy).outcome == "unchanged"
    with pytest.raises(Exception, match="there is nothing to roll back to"):
        roll_back(copy, TARGET, actor="jane.roe")


def test_an_artifact_that_is_gone_is_an_alert_while_its_version_serves_on(copy: Settings) -> None:
    serves = champion(copy)
    (kept,) = rows(copy, f"FROM core.ensembles WHERE ensemble_id = '{_ensemble(copy, serves)}'")
    shutil.rmtree(Path(copy.artifacts) / kept["artifact_sha256"])
    (alert,) = night(copy).alerts
    assert (alert.kind, champion(copy)) == ("damaged", serves)
    assert kept["artifact_sha256"][:12] in alert.message
    assert "`rpe repair`" in alert.remedy


def test_a_damaged_base_takes_no_champion_where_it_can_be_made_again(copy: Settings) -> None:
    base = folder_of(copy, "rpe-base-pico", "1")
    flip(next((base / "model").glob("*.safetensors")))
    assert "No version that needs this base can be loaded" in damage(copy, is_deep=True)[0]
    assert night(copy).alerts == ()
    assert damage(copy, is_deep=True) == []


@pytest.mark.slow
@pytest.mark.ci_slow
def test_what_a_person_would_let_serve_is_looked_at_first(copy: Settings) -> None:
    flip(folder_of(copy, version="2" if champion(copy) == "1" else "1") / WEIGHTS)
    with pytest.raises(Exception, match=r"adapter_model\.safetensors"):
        roll_back(copy, TARGET, actor="jane.roe")


@pytest.mark.parametrize("content", [None, *map(slow, (b"", b"no database at all"))])
def test_a_lost_registry_is_told_before_anything_is_done(
    copy: Settings,
    rpe: Callable[..., int],
    capfd: pytest.CaptureFixture[str],
    content: bytes | None,
) -> None:
    database, n = copy.root / "mlflow.db", len(rows(copy, "FROM core.runs"))
    database.unlink()
    if content is not None:
        database.write_bytes(content)
    for command in (("nightly",), ("predict", TARGET, "--text", "red flat a"), ("maintain",)):
        assert rpe(*command) == 1
        told = capfd.readouterr().err
        assert "model registry" in told
        assert "`rpe repair`" in told
    assert len(rows(copy, "FROM core.runs")) == n
    assert (database.read_bytes() if database.exists() else None) == content


def test_an_alias_that_was_moved_by_hand_answers_nothing_until_it_is_set_right(
    copy: Settings, rpe: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    serves = champion(copy)
    other = "2" if serves == "1" else "1"
    client = mlflow.MlflowClient(tracking_uri=copy.tracking, registry_uri=copy.tracking)
    client.set_registered_model_alias(TARGET, "champion", other)
    (one,) = damage(copy, is_deep=False)
    assert f"it points to version {other}, core.promotions says version {serves}" in one
    assert rpe("predict", TARGET, "--text", "red flat a") == 1
    assert "was decided to serve" in capfd.readouterr().err
    night(copy)
    assert (champion(copy), damage(copy, is_deep=False)) == (serves, [])


def test_every_version_is_on_record_as_coreutils_sees_it(copy: Settings) -> None:
    registry = open_registry(copy)
    found = rows(copy, "FROM core.model_versions")
    assert {row["kind"] for row in found} == {"base", "adapter", "ensemble"}
    for row in found:
        folder = folder_of(copy, row["model_name"], row["model_version"])
        done = subprocess.run(
            ["sha256sum", "--strict", "--check", "SHA256SUMS"],
            cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        lines = (folder / "SHA256SUMS").read_text().splitlines()
        assert (row["n_files"], done.stdout.count(": OK")) == (len(lines), len(lines))
        others = {p for p in folder.rglob("*") if p.is_file() and "SHA256SUMS" not in p.name}
        assert row["n_files"] == len(others)
        assert row["n_bytes"] == sum(p.stat().st_size for p in others)
        version = next(v for v in registry.versions(row["model_name"])
                       if v.ref.version == row["model_version"])  # fmt: skip
        own = subprocess.run(
            ["sha256sum", "SHA256SUMS"], cwd=folder, capture_output=True, text=True, check=True
        ).stdout.split()[0]
        assert own == row["sums_sha256"] == version.tags["rpe.sums_sha256"]
        head = json.loads((folder / "SHA256SUMS.head").read_text())
        assert head["sums_sha256"] == own
        assert head["link_sha256"] == version.tags.get("rpe.chain_head", "")
        links = rows(copy, "FROM core.runs WHERE link_sha256 IS NOT NULL")
        assert head["link_sha256"] in ("", *(link["link_sha256"] for link in links))


@pytest.mark.slow
@pytest.mark.ci_slow
def test_versions_of_before_come_on_record_with_the_next_night(copy: Settings) -> None:
    for folder in Path(copy.model_artifacts).glob("*/artifacts/model"):
        for name in ("SHA256SUMS", "SHA256SUMS.head"):
            (folder / name).unlink()
    with (
        _opened(copy) as workspace,
        workspace.stores.lake.transaction(message="test", run=workspace.run) as commit,
    ):
        columns = "sums_sha256 = NULL, n_files = NULL, n_bytes = NULL"
        with record_amendment(commit, reason="an older release"):
            commit.execute(f"UPDATE core.model_versions SET {columns}")
    flip(folder_of(copy, "rpe-adapter-site_a", "1") / WEIGHTS)
    summary = night(copy)
    assert summary.faults == ()
    found = rows(copy, "FROM core.model_versions WHERE sums_sha256 IS NULL")
    assert [row["model_name"] for row in found] == ["rpe-adapter-site_a"], "its weights are others"
    with closing(open_lake(copy, read_only=True)) as lake:
        assert read_chain(lake).findings == ()
    assert [one for one in damage(copy, is_deep=True) if "site_a" not in one] == []
    assert night(copy).outcome == "unchanged"


def promotion_former(settings: Settings) -> str:
    with closing(open_lake(settings, read_only=True)) as lake:
        return str(serving_by_target(lake)[TARGET].formers[0]["model_version"])


def _ensemble(settings: Settings, version: str) -> str:
    found = rows(
        settings,
        f"FROM core.model_versions WHERE model_name = '{TARGET}' AND model_version = '{version}'",
    )
    return str(found[0]["record_id"])
