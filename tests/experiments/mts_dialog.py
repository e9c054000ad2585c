"""MTS-Dialog: ten note sections as ten contracts, served by one another.

    python -m tests.experiments.mts_dialog DATA_FOLDER MODEL_FOLDER WORKSPACE
    RPE_HOME=WORKSPACE rpe experiment leave-one-out --sources fam_sochx genhx pastmedicalhx cc \
        pastsurgical ros allergy medications assessment exam
    RPE_HOME=WORKSPACE rpe experiment methods --source fam_sochx genhx ros allergy

DATA_FOLDER holds <section>.train.jsonl and <section>.test.jsonl (MTS-Dialog, CC BY 4.0, Ben Abacha
et al. 2023), MODEL_FOLDER any causal language model. The section of the note is to be written from
the dialogue. One plan for all ten, fixed before the run; nothing is tuned per target.
"""

import sys
from pathlib import Path

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
  minilm: {{family: text-encoder, model: "builtin:all-minilm-l6-v2", max_tokens: 256}}
recipes:
  lora8: {{method: lora, r: 8, alpha: 16, epochs: 8, learning_rate: 5.0e-3, batch_size: 8, seed: 0,
          target_modules: [q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj]}}
  # for the comparison of methods: enough steps to close some of the gates
  sora8: {{method: sora, r: 8, alpha: 16, epochs: 8, learning_rate: 5.0e-3, batch_size: 8, seed: 0,
          target_modules: [q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj],
          options: {{threshold: 3.0e-3}}}}
references:
  - {{sources: [{sources}], base: language, recipe: lora8}}
evaluation: {{bert_score: {{base: minilm, layer: 6}}}}
"""


def make_workspace(data: Path, model: Path, home: Path) -> None:
    """Write the contracts and the plan of the experiment."""
    folder = home / "sources"
    folder.mkdir(parents=True, exist_ok=True)
    for source in SECTIONS:
        text = CONTRACT.format(source=source, data=data)
        (folder / f"{source}.yaml").write_text(text)
    (home / "plan.yaml").write_text(PLAN.format(model=model, sources=", ".join(SECTIONS)))


if __name__ == "__main__":
    make_workspace(*(Path(argument).absolute() for argument in sys.argv[1:4]))
