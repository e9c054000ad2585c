"""Nuclei: the five large acquisition groups as contracts, served by one another; two commands.

    python -m tests.experiments.nuclei DATA_FOLDER MODEL_FOLDER WORKSPACE
    RPE_HOME=WORKSPACE rpe experiment leave-one-out \
        --sources fluo256_dark fluo256_hazy fluo520_dark fluo520_hazy stain_purple

DATA_FOLDER holds manifest.csv and <site>/<case>.image.png with <case>.mask.png (BBBC038, CC0,
Caicedo et al. 2019), MODEL_FOLDER any SAM. The manifest's split is kept: links by site and split
are laid in the workspace, and the images stay where they are. Neighbouring tiles of a site may be
near-duplicates on both sides of the split, so scores of `sft` and `sft_ensemble` are too high; no
other arm was trained on the target. One plan for all, fixed before the run; nothing is tuned per
target.
"""

import csv
import sys
from pathlib import Path

SITES = ("fluo256_dark", "fluo256_hazy", "fluo520_dark", "fluo520_hazy", "stain_purple")
CONTRACT = """\
source: {source}
title: Nuclei under the microscope, {source}
owner: BBBC038
license: CC0-1.0
files: {{path: "{links}/{source}/{{split}}/{{case}}.image.png", format: image,
        mask: "{links}/{source}/{{split}}/{{case}}.mask.png"}}
task: {{type: image-segmentation, labels: {{nucleus: 255}},
       transforms: [flip_rows, flip_columns, quarter_turns, brightness]}}
deidentified: {{method: public, attested_by: the publishers, attested_on: 2018-04-16}}
columns:
  case: {{type: string, key: true}}
  split: {{type: string, values: [train, validation, test]}}
splits: {{column: split, validation: 0.15}}
on_violation: {{max_quarantined_ratio: 0.05}}
"""
PLAN = """\
bases:
  sam: {{family: sam, model: "{model}"}}
recipes:
  lora8: {{method: lora, r: 8, alpha: 16, target_modules: [qkv], modules_to_save: [mask_decoder],
          epochs: 40, learning_rate: 1.0e-3, batch_size: 4, seed: 0}}
references:
  - {{sources: [{sources}], base: sam, recipe: lora8}}
"""


def make_workspace(data: Path, model: Path, home: Path) -> None:
    """Write the contracts and the plan of the experiment, and lay the links."""
    folder, links = home / "sources", home / "links"
    folder.mkdir(parents=True, exist_ok=True)
    lay_links(data, links)
    for source in SITES:
        (folder / f"{source}.yaml").write_text(CONTRACT.format(source=source, links=links))
    (home / "plan.yaml").write_text(PLAN.format(model=model, sources=", ".join(SITES)))


def lay_links(data: Path, links: Path) -> None:
    """One link for each image and mask, in a folder that says site and split."""
    with (data / "manifest.csv").open(newline="") as manifest:
        rows = [row for row in csv.DictReader(manifest) if row["site"] in SITES]
    for row in rows:
        place = links / row["site"] / row["split"]
        place.mkdir(parents=True, exist_ok=True)
        for kind in ("image", "mask"):
            name = f"{row['file']}.{kind}.png"
            if not (place / name).exists():
                (place / name).symlink_to(data / row["site"] / name)


if __name__ == "__main__":
    make_workspace(*(Path(argument).absolute() for argument in sys.argv[1:4]))
