"""MedQuAD: eight institutions as eight contracts, each a reference and a target; one command.

    python -m tests.experiments.medquad DATA_FOLDER WORKSPACE

or, with `--no-night`, the workspace alone, for the comparison of adapter methods:

    RPE_HOME=WORKSPACE rpe experiment methods --source cdc nhlbi niddk seniorhealth

DATA_FOLDER holds <source>.train.jsonl and <source>.test.jsonl (MedQuAD, CC BY 4.0, Ben Abacha and
Demner-Fushman 2019). The question type is to be told from the answer text alone. The plan is the
same for all eight targets and was fixed before the run; nothing is tuned per target.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from flows.night.nightly import run_night
from flows.workspace.settings import Settings
from tests.lake_rows import read_rows_of

ARMS = ("base", "sft", "average", "nearest", "similarity", "sharp", "linear", "linear_l1", "auto")
SOURCES = ("cancergov", "cdc", "gard", "ghr", "nhlbi", "niddk", "ninds", "seniorhealth")
REPEATED_IDS = ("cancergov",)  # documents share ids there; its texts are all different
LABELS = {
    "information": "what the disease is, general information",
    "symptoms": "signs and symptoms of the disease",
    "exams and tests": "how the disease is diagnosed, exams and tests",
    "susceptibility": "who is at risk, how many people are affected",
    "treatment": "treatment of the disease",
    "prevention": "how to prevent the disease",
    "causes": "causes of the disease, genetic changes",
}
CONTRACT = """\
source: {source}
title: MedQuAD, answers of {source}
owner: abachaa/MedQuAD
license: CC-BY-4.0
files: {{path: "{data}/{source}.*.jsonl", format: jsonl}}
task: {{type: text-classification, input: input, target: label, labels: {labels}}}
deidentified: {{method: public, attested_by: the publishers, attested_on: 2019-10-22}}
columns:
  id: {{type: string, key: {id_is_key}}}
  doc: {{type: string, group: true}}
  input: {{type: string, min_chars: 1, key: {text_is_key}}}
  label: {{type: string, values: {names}}}
  domain: {{type: string}}
  question: {{type: string}}
  focus: {{type: string, nullable: true}}
  url: {{type: string, nullable: true}}
  split: {{type: string}}
splits: {{train: "*.train.jsonl", test: "*.test.jsonl", carve_validation: 0.15}}
on_violation: {{max_quarantined_ratio: 0.05}}
"""
PLAN = """\
bases:
  minilm: {{family: text-encoder, model: "builtin:all-minilm-l6-v2", max_tokens: 96}}
recipes:
  lora8: {{method: lora, r: 8, alpha: 16, target_modules: [query, value], epochs: 3,
          learning_rate: 2.0e-3, batch_size: 16, max_rows: 400, seed: 0}}
  # for the comparison of methods: 75 steps at most, in which half to 70 % of the gates stay open
  sora8: {{method: sora, r: 8, alpha: 16, target_modules: [query, value], epochs: 3,
          learning_rate: 2.0e-3, batch_size: 16, max_rows: 400, seed: 0,
          options: {{threshold: 1.0e-2}}}}
references:
  - {{sources: [{sources}], base: minilm, recipe: lora8}}
targets:
{targets}
evaluation: {{max_items: 400, criterion_items: 256, calibration_items: 60}}
"""
TARGET = """\
  - {{name: {source}, source: {source}, base: minilm, k: 7,
     strategies: [average, nearest, similarity, linear, linear_l1, auto,
                  {{name: sharp, similarity: {{temperature: {sharp}}}}}]}}
"""
SHARP = 0.25  # a third of the median d2 between sources, the same for every target


def make_workspace(data: Path, home: Path) -> None:
    """Write the contracts and the plan of the experiment."""
    folder = home / "sources"
    folder.mkdir(parents=True, exist_ok=True)
    for source in SOURCES:
        (folder / f"{source}.yaml").write_text(contract_of(source, data))
    (home / "plan.yaml").write_text(plan_text())


def contract_of(source: str, data: Path) -> str:
    """The contract of one source, whose files lie in a folder."""
    return CONTRACT.format(
        source=source,
        data=data,
        labels=json.dumps(LABELS),
        names=json.dumps(list(LABELS)),
        id_is_key=json.dumps(source not in REPEATED_IDS),
        text_is_key=json.dumps(source in REPEATED_IDS),
    )


def plan_text() -> str:
    """The plan, which is the same for all targets."""
    targets = "".join(TARGET.format(source=source, sharp=SHARP) for source in SOURCES)
    return PLAN.format(sources=", ".join(SOURCES), targets=targets)


def main(data: Path, home: Path, *options: str) -> int:
    """Run the night on MedQuAD and print its faults and the table; its exit code."""
    make_workspace(data.absolute(), home.absolute())
    if "--no-night" in options:
        return 0
    settings = Settings(home=home.absolute())
    summary = run_night(settings)
    for fault in summary.faults:
        print(fault, file=sys.stderr)
    rows = read_rows_of(
        settings,
        "SELECT target_name, arm, value, ci_low, ci_high, n_items FROM mart.leaderboard"
        " WHERE metric = 'accuracy' ORDER BY target_name, arm",
    )
    print(table(rows))
    print(f"{summary.outcome} in {summary.wall_seconds:.0f} s; report: {summary.report}")
    return summary.exit_code


def table(rows: Sequence[dict]) -> str:
    """Arms by target, each with its interval, the mean over targets last."""
    cells = {(r["target_name"], r["arm"]): r for r in rows}
    lines = ["| target | n | " + " | ".join(ARMS) + " |", "|---" * (len(ARMS) + 2) + "|"]
    for source in SOURCES:
        found = [cells.get((source, arm)) for arm in ARMS]
        n = found[0]["n_items"] if found[0] else 0
        shown = [
            f"{r['value']:.3f} [{r['ci_low']:.3f}, {r['ci_high']:.3f}]" if r else "-" for r in found
        ]
        lines.append(f"| {source} | {n} | " + " | ".join(shown) + " |")
    means = [[cells[s, a]["value"] for s in SOURCES if (s, a) in cells] for a in ARMS]
    shown = [f"{sum(m) / len(m):.3f}" if len(m) == len(SOURCES) else "-" for m in means]
    lines.append("| mean | | " + " | ".join(shown) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:]))
