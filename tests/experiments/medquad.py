"""MedQuAD: eight institutions as eight contracts, each a reference and a target; one command.

    python -m tests.experiments.medquad DATA_FOLDER WORKSPACE

DATA_FOLDER holds <source>.train.jsonl and <source>.test.jsonl (MedQuAD, CC BY 4.0, Ben Abacha and
Demner-Fushman 2019). The question type is to be told from the answer text alone. The plan is the
same for all eight targets and was fixed before the run; nothing is tuned per target.
"""

import json
import sys
from pathlib import Path

from tests.experiments.table import run_and_tell

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
        text = CONTRACT.format(
            source=source,
            data=data,
            labels=json.dumps(LABELS),
            names=json.dumps(list(LABELS)),
            id_is_key=json.dumps(source not in REPEATED_IDS),
            text_is_key=json.dumps(source in REPEATED_IDS),
        )
        (folder / f"{source}.yaml").write_text(text)
    targets = "".join(TARGET.format(source=source, sharp=SHARP) for source in SOURCES)
    (home / "plan.yaml").write_text(PLAN.format(sources=", ".join(SOURCES), targets=targets))


def main(data: Path, home: Path) -> int:
    """Run the night on MedQuAD and print the table of arms by target."""
    make_workspace(data.absolute(), home.absolute())
    return run_and_tell(home, SOURCES, ARMS, metric="accuracy")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
