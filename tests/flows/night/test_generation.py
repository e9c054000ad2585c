"""A night of report generation: findings in, an impression out, on the path that labels take."""

import json
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

from flows.night.nightly import run_night
from flows.workspace.settings import Settings
from tests.lake_rows import read_rows_of
from tests.pico import pico_encoder, pico_llama, pico_texts
from tests.replays import ALL_SAME, outcomes

pytestmark = [pytest.mark.slow, pytest.mark.ci_slow]

ROWS = 120
METRICS = ("rouge_l", "exact_match", "bert_f1", "judge")
SAID = {"treatment": "drug given", "causes": "infection of gene", "exams": "clear scan"}
SITES = ("site_a", "site_b", "site_c", "site_d")
CONTRACT = """\
source: {source}
title: Pico reports
owner: pico@example.org
license: CC0-1.0
files: {{path: "{data}/{source}.jsonl", format: jsonl}}
task: {{type: text-generation, input: findings, target: impression,
       prompt: "{{input}} impression :", max_new_tokens: 6}}
deidentified: {{method: synthetic, attested_by: tests, attested_on: 2026-01-15}}
columns:
  id: {{type: string, key: true}}
  findings: {{type: string, min_chars: 3, phi_scan: true}}
  impression: {{type: string, nullable: true, phi_scan: true}}
splits: {{train: 0.5, validation: 0.2, test: 0.3}}
on_violation: {{max_quarantined_ratio: 0.05}}
"""
PLAN = """\
bases:
  pico: {{family: causal-lm, model: "{base}", max_tokens: 48}}
  words: {{family: text-encoder, model: "{encoder}", max_tokens: 32}}
recipes:
  lora4: {{method: lora, r: 4, alpha: 8, epochs: 4, learning_rate: 2.0e-2, batch_size: 8, seed: 0,
          target_modules: [q_proj, v_proj, o_proj, up_proj, down_proj]}}
references:
  - {{sources: [site_a, site_b], base: pico, recipe: lora4}}
targets:
  - {{name: site-c, source: site_c, base: pico, k: 2, strategies: [average, nearest, linear_l1]}}
  - {{name: site-d, source: site_d, base: pico, k: 2, strategies: [average, nearest, auto]}}
gate: {{min_items: 10}}
evaluation:
  bert_score: {{base: words, layer: 1}}
  judge: {{base: pico, prompt: "{{target}} {{text}} impression : "}}
"""


def _write(path: Path, source: str, *, seed: int, n: int = ROWS) -> None:
    texts, labels = pico_texts(np.random.default_rng(seed), n, source)
    rows = []
    for i, (text, label) in enumerate(zip(texts, labels, strict=True)):
        row = {"id": f"{source}-{i}", "findings": text, "impression": SAID[label]}
        if source == "site_d":
            row["impression"] = None
        rows.append(row)
    rows.append({"id": f"{source}-blank", "findings": texts[0], "impression": "  "})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    root = tmp_path_factory.mktemp("generation")
    home, data = root / "home", root / "data"
    (home / "sources").mkdir(parents=True)
    data.mkdir()
    base = pico_llama(root / "base")
    for number, source in enumerate(SITES):
        _write(data / f"{source}.jsonl", source, seed=number)
        contract = CONTRACT.format(source=source, data=data)
        (home / "sources" / f"{source}.yaml").write_text(contract)
    (home / "plan.yaml").write_text(PLAN.format(base=base, encoder=pico_encoder(root / "encoder")))
    settings = Settings(home=home)
    summary = run_night(settings)
    assert summary.outcome == "ok", [str(fault) for fault in summary.faults]
    return settings


def test_a_blank_impression_is_set_aside_and_none_is_legal(night: Settings) -> None:
    rows = read_rows_of(night, "SELECT source, n_accepted, n_quarantined FROM core.batches")
    assert {row["source"] for row in rows} == set(SITES)
    assert {(row["n_accepted"], row["n_quarantined"]) for row in rows} == {(ROWS, 1)}
    (reason,) = read_rows_of(night, "SELECT DISTINCT _reasons AS r FROM quarantine.site_a")
    assert "blank_target(impression)" in str(reason["r"])


def test_training_lowers_the_loss_of_its_own_answers(night: Settings) -> None:
    scores = read_rows_of(night, "SELECT source, validation_score FROM core.adapters")
    assert {row["source"] for row in scores} == {"site_a", "site_b"}
    assert all(row["validation_score"] > 0.5 for row in scores), "the share of tokens foretold"


def test_every_arm_is_scored_by_rouge_with_an_interval(night: Settings) -> None:
    rows = read_rows_of(
        night,
        "SELECT arm, metric, value, ci_low, ci_high FROM core.scores"
        " WHERE target_name = 'site-c' AND split = 'test' AND slice = ''",
    )
    found = {(row["arm"], row["metric"]): row for row in rows}
    arms = {"base", "average", "nearest", "linear_l1"}
    assert set(found) == {(arm, metric) for arm in arms for metric in METRICS}
    assert all(row["ci_low"] <= row["value"] <= row["ci_high"] for row in rows)
    assert found["average", "rouge_l"]["value"] > found["base", "rouge_l"]["value"] + 0.1


def test_a_target_without_answers_is_chosen_for_by_its_references(night: Settings) -> None:
    rows = read_rows_of(
        night,
        "SELECT criterion, is_chosen FROM core.choices WHERE target_name = 'site-d'",
    )
    assert {row["criterion"] for row in rows} == {"leave_one_out"}
    assert sum(row["is_chosen"] for row in rows) == 1
    (verdict,) = read_rows_of(
        night, "SELECT evidence, action FROM core.promotions WHERE target_name = 'site-d'"
    )
    assert verdict["evidence"] == "leave_one_out"


def test_the_champion_writes_what_the_platform_scored(night: Settings) -> None:
    (verdict,) = read_rows_of(
        night, "SELECT action, ensemble_id FROM core.promotions WHERE target_name = 'site-c'"
    )
    assert verdict["action"] == "promoted"
    mlflow.set_tracking_uri(night.tracking)
    model = mlflow.pyfunc.load_model("models:/site-c@champion")
    rows = read_rows_of(night, "SELECT findings, impression FROM raw.site_c WHERE _split = 'test'")
    answer = model.predict(pd.DataFrame({"findings": [row["findings"] for row in rows]}))
    assert list(answer.columns) == ["text"]
    hits = [row["impression"] == text for row, text in zip(rows, answer["text"], strict=True)]
    (scored,) = read_rows_of(
        night,
        "SELECT value FROM core.scores WHERE metric = 'exact_match' AND split = 'test'"
        " AND slice = '' AND ensemble_id = ?",
        [verdict["ensemble_id"]],
    )
    assert 0 < np.mean(hits) == scored["value"]
    with pytest.raises(Exception, match="missing"):
        model.predict(pd.DataFrame({"findings": [None]}))


def test_a_second_night_changes_nothing(night: Settings) -> None:
    assert run_night(night).outcome == "unchanged"


def test_every_ensemble_is_replayed_on_one_thread_and_on_two(night: Settings) -> None:
    for threads in (1, 2):
        found = outcomes(night, threads=threads)
        assert found == dict.fromkeys(found, ALL_SAME)
        assert len(found) == 5
