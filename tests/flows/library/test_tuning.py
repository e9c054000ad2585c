"""What a night chooses by leave-one-out, and what it says each source contributed."""

import json
from pathlib import Path

import pytest

from flows.night.nightly import run_night
from flows.targets.asking import explain_scores
from flows.workspace.settings import Settings
from tests.lake_rows import read_rows_of
from tests.pico_world import SITES, make_pico_workspace, write_contract, write_rows

pytestmark = pytest.mark.slow

STEPS = ("ingest", "embed", "train", "ensemble")
MORE = ("site_e", "site_f", "site_g")
STRATEGIES = (
    "[similarity, linear, {name: tuned, similarity: {temperature: loo}},"
    " {name: path, linear_l1: {lambda2: loo}}]"
)


@pytest.fixture(scope="module")
def tuned_night(tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> Settings:
    """Five labelled references and a target whose strategies leave numbers open."""
    settings = make_pico_workspace(tmp_path_factory.mktemp("tuned"))
    data = settings.root.parent / "data"
    for number, source in enumerate(MORE, start=len(SITES)):
        write_rows(data / f"{source}.jsonl", source, seed=number)
        write_contract(settings.root / "sources", data, source)
    _edit(settings.plan_file, "[site_a, site_b]", f"[site_a, site_b, {', '.join(MORE)}]")
    _edit(settings.plan_file, "[average, nearest, similarity, linear, linear_l1, auto]", STRATEGIES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_API_URL", prefect_api)
        patch.setenv("RPE_HOME", str(settings.root))
        assert run_night(settings, only=STEPS).faults == ()
        yield settings


def test_the_choice_is_by_the_references_scores_and_stays_with_its_alternatives(tuned_night):
    rows = read_rows_of(tuned_night, "SELECT strategy, parameters FROM core.ensembles")
    kept = {row["strategy"]: json.loads(row["parameters"]) for row in rows}
    assert "tuning" not in kept["similarity"]
    for arm, name in (("tuned", "temperature"), ("path", "lambda2")):
        tuning = kept[arm]["tuning"]
        assert tuning["criterion"] == "leave_one_out_score"
        assert len(tuning["alternatives"]) == 6
        best = max(one["value"] for one in tuning["alternatives"])
        chosen = [a for a in tuning["alternatives"] if a["setting"] == tuning["chosen"]]
        assert [a["value"] for a in chosen] == [best]
        assert {a["n_references"] for a in tuning["alternatives"]} == {5}
        assert kept[arm]["strategy"]["parameters"] == {name: "loo"}
        assert isinstance(kept[arm]["details"][name], float)
    assert kept["path"]["details"]["lambda2"] == kept["path"]["tuning"]["chosen"]["lambda2"]


def test_every_source_that_was_retrieved_is_accounted_for(tuned_night):
    rows = read_rows_of(
        tuned_night,
        "SELECT e.strategy, a.*, (SELECT sum(m.weight) FROM core.ensemble_members m"
        " JOIN core.adapters d USING (adapter_id) WHERE m.ensemble_id = a.ensemble_id"
        " AND d.source = a.source) AS held FROM core.attributions a"
        " JOIN core.ensembles e USING (ensemble_id)",
    )
    assert len(rows) == 8  # two sources for each of four ensembles
    for row in rows:
        assert row["weight"] == pytest.approx(row["held"] or 0.0, abs=1e-12)
        # a source is gone and another takes its place
        assert row["weight_change"] >= 2 * abs(row["weight"]) - 1e-9
        assert row["delta_change_ratio"] > 0


def test_a_second_look_chooses_nothing_again(tuned_night):
    before = read_rows_of(tuned_night, "SELECT ensemble_id FROM core.ensembles ORDER BY 1")
    assert run_night(tuned_night, only=STEPS).outcome == "unchanged"
    after = read_rows_of(tuned_night, "SELECT ensemble_id FROM core.ensembles ORDER BY 1")
    assert after == before


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_scores_without_each_source_are_found_on_demand(tuned_night):
    rows = explain_scores(tuned_night, "site-c")
    assert {(row["strategy"], row["source"]) for row in rows} == {
        (row["strategy"], row["source"])
        for row in read_rows_of(
            tuned_night,
            "SELECT e.strategy, a.source FROM core.attributions a"
            " JOIN core.ensembles e USING (ensemble_id)",
        )
    }
    for row in rows:
        assert 0 <= row["score"] <= 1
        assert row["score_change"] == pytest.approx(row["score_without"] - row["score"])
