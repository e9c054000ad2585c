"""A pico hospital: three labelled sources and a workspace on the pico encoder, made on the spot."""

import json
from pathlib import Path

import numpy as np

from flows.workspace.settings import Settings
from tests.pico import LABELS, pico_encoder, pico_texts

SITES = ("site_a", "site_b", "site_c")
ROWS = 120

CONTRACT = """\
source: {source}
title: Pico sentences
owner: pico@example.org
license: CC0-1.0
files: {{path: "{data}/{source}*.jsonl", format: jsonl}}
task: {{type: text-classification, input: text, target: label, labels: {labels}}}
deidentified: {{method: synthetic, attested_by: tests, attested_on: 2026-01-15}}
columns:
  id: {{type: string, key: true}}
  case: {{type: string, group: true}}
  text: {{type: string, min_chars: 3, phi_scan: true}}
  label: {{type: string, nullable: true, values: [{names}]}}
splits: {{train: 0.5, validation: 0.1, test: 0.4}}
on_violation: {{max_quarantined_ratio: 0.05}}
freshness: {{max_age_days: 7}}
"""
PLAN = """\
bases:
  pico: {{family: text-encoder, model: "{base}", max_tokens: 32}}
recipes:
  lora2: {{method: lora, r: 2, alpha: 4, target_modules: [query, value], epochs: 1,
          learning_rate: 5.0e-3, batch_size: 16, seed: 0}}
references:
  - {{sources: [site_a, site_b], base: pico, recipe: lora2}}
targets:
  - {{name: site-c, source: site_c, base: pico, k: 2,
     strategies: [average, nearest, similarity, linear, linear_l1, auto]}}
gate: {{min_items: 20, confidence: 0.8}}
"""


def make_pico_workspace(root: Path, *, seed: int = 0) -> Settings:
    """Write base, data, contracts and plan under `root`; equal seeds make equal workspaces.

    Its gate asks for little: what 23 groups can show of a model that is a fifth better.
    """
    home = root / "home"
    base, data = pico_encoder(root / "base"), root / "data"
    data.mkdir(parents=True)
    (home / "sources").mkdir(parents=True)
    for number, source in enumerate(SITES):
        write_rows(data / f"{source}.jsonl", source, seed=seed + number)
        write_contract(home / "sources", data, source)
    (home / "plan.yaml").write_text(PLAN.format(base=base))
    return Settings(home=home)


def write_contract(folder: Path, data: Path, source: str) -> Path:
    """The pico contract of a source."""
    path = folder / f"{source}.yaml"
    text = CONTRACT.format(
        source=source, data=data, labels=json.dumps(dict(LABELS)), names=", ".join(LABELS)
    )
    path.write_text(text)
    return path


def write_rows(path: Path, source: str, *, seed: int, first: int = 0, n: int = ROWS) -> None:
    """n generated rows as JSONL, numbered from `first`."""
    texts, labels = pico_texts(np.random.default_rng(seed), n, source)
    rows = [
        {"id": f"{source}-{i}", "case": f"{source}-c{i // 2}", "text": text, "label": label}
        for i, (text, label) in enumerate(zip(texts, labels, strict=True), start=first)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
