"""A night on labels that are numbers: the same model as on words, answers as text."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.night.nightly import run_night
from flows.targets.predict import predict_texts
from flows.workspace.settings import Settings
from tests.lake_rows import read_rows_of
from tests.pico import LABELS
from tests.pico_world import SITES, make_pico_workspace

pytestmark = [pytest.mark.slow, pytest.mark.ci_slow]  # two nights
NUMBERS = {label: number for number, label in enumerate(LABELS)}


def with_numbers(root: Path) -> Settings:
    """The pico world with its labels as numbers in Parquet, and the same prompts."""
    settings = make_pico_workspace(root)
    for source in SITES:
        file = root / "data" / f"{source}.jsonl"
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        for row in rows:
            row["label"] = None if row["label"] is None else NUMBERS[row["label"]]
        pq.write_table(pa.Table.from_pylist(rows), file.with_suffix(".parquet"))
        contract = settings.sources_folder / f"{source}.yaml"
        text = contract.read_text().replace("jsonl", "parquet")
        text = text.replace(json.dumps(dict(LABELS)), _mapping()).replace(
            f"type: string, nullable: true, values: [{', '.join(LABELS)}]",
            "type: integer, nullable: true",
        )
        contract.write_text(text)
    return settings


def _mapping() -> str:
    return "{" + ", ".join(f"{NUMBERS[label]}: {prompt}" for label, prompt in LABELS.items()) + "}"


@pytest.fixture(scope="module")
def nights(make_once: Callable[..., Path], prefect_api: str) -> dict[str, Settings]:
    """One night on words and one on numbers."""
    homes = {}
    for name, make in (("words", make_pico_workspace), ("numbers", with_numbers)):
        homes[name] = make_once(f"labels-{name}", lambda root, m=make: _night(m(root), prefect_api))
    return {name: Settings(home=folder / "home") for name, folder in homes.items()}


def _night(settings: Settings, prefect_api: str) -> None:
    plan = settings.plan_file.read_text().replace("epochs: 1", "epochs: 6")
    plan = plan.replace("learning_rate: 5.0e-3", "learning_rate: 2.0e-2")
    plan = plan.replace("[average, nearest, similarity, linear, linear_l1, auto]", "[average]")
    # so few groups decide little: what is served here is asked what it answers, not how well
    settings.plan_file.write_text(plan.replace("confidence: 0.8", "confidence: 0.51"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_API_URL", prefect_api)
        patch.setenv("RPE_HOME", str(settings.root))
        summary = run_night(settings)
    assert summary.faults == ()


def scores(settings: Settings) -> list[dict[str, Any]]:
    return read_rows_of(
        settings,
        "SELECT arm, metric, slice, n_items, value FROM core.scores WHERE split = 'test'"
        " AND metric IN ('accuracy', 'macro_f1') AND slice NOT LIKE 'class%' ORDER BY ALL",
    )


def test_a_night_on_numbers_scores_what_one_on_words_does(nights: dict[str, Settings]) -> None:
    words, numbers = scores(nights["words"]), scores(nights["numbers"])
    assert numbers == words
    assert {row["arm"] for row in numbers} >= {"base", "average"}
    assert any(row["value"] > 0.5 for row in numbers)


def test_the_served_model_answers_numbers_as_text(nights: dict[str, Settings]) -> None:
    settings = nights["numbers"]
    texts = ["drug treated daily", "scan image shows", "cause of infection"]
    answered = {}
    for name, night in nights.items():
        mlflow.set_tracking_uri(night.tracking)
        answer = mlflow.pyfunc.load_model("models:/site-c@champion").predict(
            pd.DataFrame({"text": texts})
        )
        answered[name] = answer["label"].tolist()
    assert answered["numbers"] == [str(NUMBERS[label]) for label in answered["words"]]
    rows, _ = predict_texts(settings, "site-c", texts)
    assert [row["label"] for row in rows] == answered["numbers"]
