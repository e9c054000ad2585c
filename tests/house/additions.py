"""What `test_additions.py` adds to a copy of the house: a strategy, a metric, a reader, a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Addition:
    """New files whole, lines that come before others of a file, and a check of the result.

    `lines` are of a file the line that stands there and what is put before it.
    """

    kind: str  # as the table of CONTRIBUTING calls it
    name: str  # in place of its x
    files: Mapping[str, str]
    lines: Sequence[tuple[str, str, str]]
    written: Sequence[str] = field(default=("infra/docs/methods.md",))  # by write_docs
    check: str = ""


STRATEGY = Addition(
    "weighting strategy",
    "inverse",
    {
        "rpe_core/weighting/inverse.py": '''\
"""Weights by the inverse of the distance: w_i = (1 / d_i) / sum_j (1 / d_j)."""

from __future__ import annotations

import numpy as np

from rpe_core.distance import Matrix, Vector, squared_distances


def inverse_weights(target: Vector, references: Matrix) -> Vector:
    """Nearer references weigh more.

    >>> inverse_weights(np.zeros(1), np.array([[1.0], [3.0]])).round(2)
    array([0.75, 0.25])
    """
    distances = np.maximum(np.sqrt(squared_distances(target, references)), 1e-12)
    return np.asarray((1.0 / distances) / (1.0 / distances).sum(), dtype=np.float64)
''',
        "tests/core/weighting/test_inverse.py": '''\
"""Weights by inverse distance: the nearest reference weighs most."""

import numpy as np

from rpe_core.records import StrategySpec
from rpe_core.weighting.strategies import weigh


def test_the_nearest_weighs_most():
    references = np.random.default_rng(0).normal(size=(5, 3))
    weights = weigh(StrategySpec("inverse", "inverse"), np.zeros(3), references).weights
    assert weights.argmax() == np.linalg.norm(references, axis=1).argmin()
''',
    },
    (
        (
            "rpe_core/weighting/strategies.py",
            '        Strategy("nearest", ',
            '        Strategy("inverse", "by inverse distance", _inverse),\n',
        ),
        (
            "rpe_core/weighting/strategies.py",
            "def _similarity(\n",
            "def _inverse(target: Vector, references: Matrix, _: Any) -> tuple[Vector, Details]:\n"
            "    return inverse_weights(target, references), {}\n\n\n",
        ),
        (
            "rpe_core/weighting/strategies.py",
            "from rpe_core.weighting.similarity import",
            "from rpe_core.weighting.inverse import inverse_weights\n",
        ),
    ),
    check="""
from flows.workspace.plan import TargetSpec
target = TargetSpec(name="a", source="a", base="b", k=3, strategies=["average", "inverse"])
assert [spec.kind for spec in target.specs] == ["average", "inverse"]
""",
)
METRIC = Addition(
    "metric",
    "jaccard",
    {
        "tests/core/evaluation/test_jaccard.py": '''\
"""The Jaccard index by hand: 3 of 4 for the first label, 0 of 1 for the second."""

from rpe_core.evaluation.metrics import find_metric, make_items


def test_each_label_counts_alike():
    items = make_items([0, 0, 0, 0], [0, 0, 0, 1], [1, 2, 3, 4])
    assert find_metric("jaccard").value(items) == 0.375
''',
    },
    (
        (
            "rpe_core/evaluation/metrics.py",
            '        Metric(\n            "rouge_l",\n',
            """\
        Metric(
            "jaccard",
            "1",
            True,
            CLASSIFICATION,
            ("predicted", "target"),
            "mean Jaccard index over labels",
            _f1_statistics,
            _jaccard,
            is_mean=False,
        ),
""",
        ),
        (
            "rpe_core/evaluation/metrics.py",
            "METRICS: dict[str, Metric] = {\n",
            """\
def _jaccard(sums: Floats) -> Floats:
    hits, marks = np.split(sums, 2, axis=-1)
    return np.asarray((hits / np.maximum(marks - hits, 1.0)).mean(axis=-1), dtype=np.float64)


""",
        ),
    ),
    check="""
from rpe_core.evaluation.metrics import metrics_of
assert "jaccard" in metrics_of("text-classification")
assert "jaccard" in metrics_of("image-classification")
""",
)
READER = Addition(
    "file format",
    "lines",
    {
        "catalog/readers/lines.py": '''\
"""Files of one text a line, which is the cell of the contract's only column."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

import pyarrow as pa

from catalog.contracts.contract import ColumnRule
from catalog.readers.cells import TypedBatch


def read_lines(
    uri: str, columns: Mapping[str, ColumnRule], *, batch_rows: int, max_cell_chars: int
) -> Iterator[TypedBatch]:
    """The lines of a file in batches, cut to the longest cell that is allowed."""
    with Path(uri).open(encoding="utf-8") as stream:
        first = 1
        while lines := [line.rstrip("\\n")[:max_cell_chars] for line in islice(stream, batch_rows)]:
            yield TypedBatch(pa.RecordBatch.from_pydict(dict.fromkeys(columns, lines)), first, [])
            first += len(lines)
''',
        "tests/catalog/readers/test_lines.py": '''\
"""A file of lines is read in batches."""

from catalog.contracts.contract import ColumnRule
from catalog.readers.formats import open_batches


def test_lines_come_in_batches(tmp_path):
    (tmp_path / "a.lines").write_text("one\\ntwo\\nthree\\n")
    columns = {"text": ColumnRule(type="string")}
    batches = list(open_batches(str(tmp_path / "a.lines"), "lines", columns=columns, batch_rows=2))
    assert [batch.table["text"].to_pylist() for batch in batches] == [["one", "two"], ["three"]]
    assert [batch.first_row_number for batch in batches] == [1, 3]
''',
    },
    (
        ("catalog/contracts/files.py", '    "parquet", "csv", "jsonl",', '    "lines",\n'),
        (
            "catalog/readers/formats.py",
            '        Reader(\n            "fhir",\n',
            '        Reader("lines", "one text a line", (".lines",), read_lines),\n',
        ),
        (
            "catalog/readers/formats.py",
            "from catalog.readers.listing import listing_sha256\n",
            "from catalog.readers.lines import read_lines\n",
        ),
    ),
    check="""
from catalog.contracts.files import Files
from catalog.readers.formats import format_of_name
assert Files(path="/data/*.lines", format="lines").format == format_of_name("a.lines") == "lines"
""",
)
STEP = Addition(
    "step of the night",
    "census",
    {
        "flows/steps/census.py": '''\
"""Census: the targets of the plan, one after another."""

from __future__ import annotations

from flows.workspace.workspace import Workspace


def pending(workspace: Workspace) -> list[str]:
    """Every target."""
    return [target.name for target in workspace.plan.targets]


def make(workspace: Workspace, target: str) -> str:
    """The target's name."""
    return target
''',
        "tests/flows/steps/test_census.py": '''\
"""The census comes last in a night, and alone where it is asked for alone."""

from flows.commands.nights import _steps
from flows.steps.table import STEPS


def test_the_census_is_the_last_step():
    assert [*STEPS][-1] == "census"
    assert _steps("census") == ("census",)
''',
    },
    (
        (
            "flows/steps/table.py",
            "}\n\n\nVERBS",
            '    "census": Step(census.pending, census.make),\n',
        ),
        (
            "flows/steps/table.py",
            "from flows.steps import embed",
            "from flows.steps import census\n",
        ),
        ("infra/prefect.yaml", "]\n      targets: []", ", census"),
    ),
    written=(),
    check="""
from flows.steps.table import VERBS
assert VERBS[-1] == "census"
""",
)
ADDITIONS = (STRATEGY, METRIC, READER, STEP)
