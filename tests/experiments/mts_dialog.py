"""MTS-Dialog: ten note sections as ten contracts, each a reference and a target; one command.

    python -m tests.experiments.mts_dialog DATA_FOLDER MODEL_FOLDER WORKSPACE

DATA_FOLDER holds <section>.train.jsonl and <section>.test.jsonl (MTS-Dialog, CC BY 4.0, Ben Abacha
et al. 2023), MODEL_FOLDER any causal language model. The section of the note is to be written from
the dialogue. One plan for all ten, fixed before the run; nothing is tuned per target.
"""

import sys
from pathlib import Path

from tests.experiments.table import run_and_tell

ARMS = ("base", "sft", "average", "nearest", "similarity", "linear", "linear_l1")
SECTIONS = (
    *("fam_sochx", "genhx", "pastmedicalhx", "cc", "pastsurgical"),
    *("ros", "allergy", "medications", "assessment", "exam"),
)
CONTRACT = """\
source: {source}
title: MTS-Dialog, section {source}
owner: abachaa/MTS-Dialog
license: CC-BY-4.0
files: {{path: "{data}/{source}.*.jsonl", format: jsonl}}
task: {{type: text-generation, input: input, target: target, prompt: "{{input}}\\nNote: ",
       max_new_tokens: 96}}
deidentified: {{method: public, attested_by: the publishers, attested_on: 2023-05-02}}
columns:
  id: {{type: string, key: true}}
  domain: {{type: string}}
  input: {{type: string, min_chars: 1}}
  target: {{type: string}}
  split: {{type: string}}
splits: {{train: "*.train.jsonl", test: "*.test.jsonl", carve_validation: 0.15}}
on_violation: {{max_quarantined_ratio: 0.05}}
"""
PLAN = """\
bases:
  language: {{family: causal-lm, model: "{model}", max_tokens: 512}}
recipes:
  lora8: {{method: lora, r: 8, alpha: 16, epochs: 8, learning_rate: 5.0e-3, batch_size: 8, seed: 0,
          target_modules: [q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj]}}
references:
  - {{sources: [{sources}], base: language, recipe: lora8}}
targets:
{targets}
gate: {{min_items: 10}}
"""
TARGET = """\
  - {{name: {source}, source: {source}, base: language, k: 9,
     strategies: [average, nearest, similarity, linear, linear_l1]}}
"""


def make_workspace(data: Path, model: Path, home: Path) -> None:
    """Write the contracts and the plan of the experiment."""
    folder = home / "sources"
    folder.mkdir(parents=True, exist_ok=True)
    for source in SECTIONS:
        text = CONTRACT.format(source=source, data=data)
        (folder / f"{source}.yaml").write_text(text)
    targets = "".join(TARGET.format(source=source) for source in SECTIONS)
    plan = PLAN.format(model=model, sources=", ".join(SECTIONS), targets=targets)
    (home / "plan.yaml").write_text(plan)


def main(data: Path, model: Path, home: Path) -> int:
    """Run the night on MTS-Dialog and print ROUGE-L of arms by target."""
    make_workspace(data.absolute(), model.absolute(), home.absolute())
    return run_and_tell(home, SECTIONS, ARMS, metric="rouge_l")


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:4])))
