"""The domain guard on planted targets: how many foreign ones it flags, how many of its own kind.

    python -m tests.experiments.domain_guard [--libraries 50] [--targets 20] [--seed 0] [--keep]

A hospital writes 80 sentences, in its own proportions of the nine clinical sources of the text
demo; its place z is the mean feature of the platform's own encoder. A library is 20, 40 or 100 of
them. Targets of its own kind are further hospitals; foreign ones write of weather, cooking,
football, tenancies, computers or share prices, each in its own proportions; mixed ones write half
their sentences of these. Nothing was tuned to these targets: the limit is a rank (decision 0007).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping

import numpy as np

from catalog.examples.text_world import make_rows, sites
from flows.workspace.bases import base_folder
from flows.workspace.plan import BaseSpec
from rpe_core.families import text_encoder
from rpe_core.weighting.binomial import measured_rate
from rpe_core.weighting.calibration import calibrate_library
from rpe_core.weighting.guards import check_domain
from tests.experiments.result_files import ResultTable, markdown, rate_cell

WHOLE = {"libraries": 50, "targets": 20, "seed": 0}  # what is kept as a result
SIZES = (20, 40, 100)  # references of a library
SENTENCES = 80  # of a hospital
POOL = 240  # sentences that each kind of text is drawn from
CONCENTRATION = 0.5  # of proportions: a hospital writes mostly of two or three things
FOREIGN: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "cooking": (
        ("Fry", "Simmer", "Bake", "Chop", "Stir", "Season"),
        ("the onions", "two carrots", "the dough", "a handful of basil", "the stock", "the rice"),
        ("until golden", "over a low flame", "for ten minutes", "with butter", "in a deep pan"),
        ("then serve warm.", "and set aside.", "and taste for salt.", "and let it rest."),
    ),
    "football": (
        ("The striker", "Their keeper", "The visitors", "A late substitute", "The captain"),
        ("scored", "missed the penalty", "hit the post", "was sent off", "won the header"),
        ("in the second half", "before the break", "in stoppage time", "against the leaders"),
        ("and the crowd went home happy.", "to end the unbeaten run.", "in front of ten thousand."),
    ),
    "tenancies": (
        ("The tenant shall", "The landlord may", "Neither party shall", "The guarantor must"),
        ("pay the rent", "give notice", "repair the boiler", "return the deposit", "sublet"),
        ("within fourteen days", "in writing", "on the first of the month", "without consent"),
        ("as set out in the schedule.", "save as agreed otherwise.", "under this agreement."),
    ),
    "computers": (
        ("The server", "A background job", "The deployment", "Our database", "The cache"),
        ("ran out of memory", "restarted", "rejected the connection", "was upgraded", "timed out"),
        ("after the last release", "during the backup", "under heavy load", "on two nodes"),
        ("and the alert was closed.", "see the ticket.", "and the logs were rotated."),
    ),
    "share prices": (
        ("Shares of the bank", "The index", "Bond yields", "Oil futures", "The retailer's stock"),
        ("fell", "rose by two percent", "closed flat", "rallied", "slipped to a new low"),
        ("after the earnings call", "ahead of the rate decision", "in thin trading"),
        ("as investors took profits.", "on inflation fears.", "beating expectations."),
    ),
}


def embed(texts: list[str]) -> np.ndarray:
    """Features of texts, (n, d), under the built-in encoder."""
    folder = base_folder(BaseSpec(family="text-encoder", model="builtin:all-minilm-l6-v2"))
    base = text_encoder.load(str(folder), max_tokens=96)
    found = {
        int(i): row
        for batch in text_encoder.encode(base, texts)
        for i, row in zip(*batch, strict=True)
    }
    return np.array([found[i] for i in range(len(texts))], dtype=np.float64)


def pools(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of the clinical and of the foreign kinds of text, (kinds, POOL, d) each."""
    rng = np.random.default_rng(seed)
    clinical, foreign = [], []
    for site in sites():
        texts = [str(row[site.columns[-2]]) for row in make_rows(site.name, seed=seed)]
        chosen = [texts[i] for i in rng.choice(len(texts), POOL)]
        (foreign if site.name == "weather_bulletins" else clinical).append(chosen)
    for parts in FOREIGN.values():
        foreign.append([" ".join(rng.choice(words) for words in parts) for _ in range(POOL)])
    return tuple(
        np.stack(np.split(embed([text for kind in kinds for text in kind]), len(kinds)))
        for kinds in (clinical, foreign)
    )  # type: ignore[return-value]


def place(kinds: np.ndarray, rng: np.random.Generator, *, n: int = SENTENCES) -> np.ndarray:
    """z of somebody who writes n sentences in proportions of their own, (d,)."""
    shares = rng.dirichlet(np.full(len(kinds), CONCENTRATION))
    which = rng.choice(len(kinds), size=n, p=shares)
    return kinds[which, rng.integers(0, POOL, size=n)].mean(axis=0)


def main() -> int:
    """Print the table; 1 if a share is on the wrong side of 0.95 and 0.05."""
    parser = argparse.ArgumentParser(prog="python -m tests.experiments.domain_guard")
    for name, default in WHOLE.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--keep", action="store_true", help="as result; the pages are written anew")
    asked = parser.parse_args()
    if asked.keep and {name: getattr(asked, name) for name in WHOLE} != WHOLE:
        parser.error(f"only the whole is kept: {WHOLE}")
    rng = np.random.default_rng(asked.seed)
    clinical, foreign = pools(asked.seed)
    makers = {
        "own kind": lambda: place(clinical, rng),
        "foreign": lambda: place(foreign, rng),
        "half of the rows foreign": lambda: (
            0.5 * place(clinical, rng, n=SENTENCES // 2)
            + 0.5 * place(foreign, rng, n=SENTENCES // 2)
        ),
    }
    columns = ("references", *(f"{kind}, flagged" for kind in makers))
    print(markdown(ResultTable(columns, ())))
    is_right, rows = True, []
    for size in SIZES:
        flagged, n = dict.fromkeys(makers, 0), asked.libraries * asked.targets
        for _ in range(asked.libraries):
            library = np.array([place(clinical, rng) for _ in range(size)])
            calibrated = calibrate_library(library, [f"s{i}" for i in range(size)])
            for kind, make in makers.items():
                for _ in range(asked.targets):
                    nearest = float(np.linalg.norm(library - make(), axis=1).min())
                    flagged[kind] += check_domain(nearest, calibrated).is_far
        rates = [measured_rate(hits, n) for hits in flagged.values()]
        rows.append((size, *(rate_cell(rate, is_counted=True) for rate in rates)))
        print(markdown(ResultTable(columns, tuple(rows[-1:]))).splitlines()[-1], flush=True)
        is_right &= rates[0].ratio <= 0.05 and rates[1].ratio >= 0.95
    if asked.keep:
        # the protocols name this file
        from tests.experiments.keep import keep_and_write

        commands = ["python -m tests.experiments.domain_guard"]
        keep_and_write("domain_guard", {"flagged": ResultTable(columns, tuple(rows))}, commands)
    return int(not is_right)


if __name__ == "__main__":
    sys.exit(main())
