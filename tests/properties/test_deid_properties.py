"""An identifier planted at any row and column is found and never appears in any message."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.deid.check import scan_column, scan_text
from catalog.deid.gazetteer import fold
from catalog.deid.rules.table import RULES

CLEAN = [
    "No acute distress.",
    "Lungs clear, abdomen soft.",
    "Strength 5/5 in both arms; pain 3/10.",
    "Continue 40 mg daily.",
    "Diagnosed in 2019 with hypertension.",
    None,
]
EXAMPLES = st.sampled_from(RULES)


@settings(max_examples=300, deadline=None)
@given(
    rule=EXAMPLES,
    n_rows=st.integers(1, 12),
    n_columns=st.integers(1, 4),
    place=st.tuples(st.integers(0, 11), st.integers(0, 3)),
    around=st.tuples(
        st.sampled_from(["", "Stable. "]), st.sampled_from(["", ", afebrile.", "\nPlan."])
    ),
    seed=st.randoms(use_true_random=False),
)
def test_a_planted_identifier_is_found_where_it_stands_and_never_told(
    rule, n_rows, n_columns, place, around, seed
) -> None:
    row, column = place[0] % n_rows, place[1] % n_columns
    cells = [[seed.choice(CLEAN) for _ in range(n_rows)] for _ in range(n_columns)]
    cells[column][row] = around[0] + rule.example + around[1]
    hits = {f"column_{i}": scan_column(pa.array(c, pa.string())) for i, c in enumerate(cells)}

    assert rule.id in hits[f"column_{column}"][row]
    assert {(c, r) for c, found in hits.items() for r in found} == {(f"column_{column}", row)}

    told = repr(hits) + repr(scan_text(cells[column][row]))
    assert rule.example not in told
    assert all(
        len(word) < 5 or word not in told
        for word in rule.example.split()
        if any(map(str.isdigit, word))
    )


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=300))
def test_any_text_is_scanned_and_findings_lie_inside(text: str) -> None:
    assert len(fold(text)) == len(text)
    for finding in scan_text(text):
        assert 0 <= finding.start < finding.end <= len(text)


@settings(max_examples=100, deadline=None)
@given(EXAMPLES, st.integers(0, 40))
def test_a_hit_does_not_depend_on_what_stands_far_away(rule, n) -> None:
    text = "No acute distress. " * n + "\n" + rule.example + "\n" + "Abdomen soft. " * n
    assert rule.id in {finding.rule_id for finding in scan_text(text)}


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([*CLEAN, "MRN 00417736", "seen 03/14/2019"]), max_size=20))
def test_column_and_text_agree(cells) -> None:
    expected = {
        row: tuple(sorted({finding.rule_id for finding in scan_text(cell)}))
        for row, cell in enumerate(cells)
        if cell and scan_text(cell)
    }
    assert scan_column(pa.array(cells, pa.string())) == expected
