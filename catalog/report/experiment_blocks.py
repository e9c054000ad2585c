"""The tables of experiments as the page draws them; matrices of sources as lists, which wrap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from catalog.report import experiments
from catalog.report.charts import Tracks, quantity_chart
from catalog.report.experiments import (
    ExperimentTables,
    MethodComparisonTable,
    heading_of,
    quantity_text,
    score_text,
)
from catalog.report.tables import Cell, Table, in_words, number, plain, strong, tag, text_cell

Row = Mapping[str, Any]


def expectations_table(findings: Sequence[Row]) -> Table:
    """What was stated before anything was measured, and what came of it."""
    heads = ("statement", "verdict", "what is measured", "value", "n", "why")
    return Table("Statements and what came of them", heads, [
        (
            strong(f["statement"]),
            tag(f["verdict"]),
            plain(f"{in_words(f['quantity'])}, {f['metric']}"),
            plain(experiments.finding_text(f)),
            plain(f"{f['n']} in {f['n_clusters']}"),
            text_cell(f["details"] or ""),
        )
        for f in findings
    ])  # fmt: skip


def scores(tables: ExperimentTables, metric: str) -> Table:
    """Targets by arms."""
    return Table(
        f"{metric} by target and arm",
        ("target", "items", "groups", *tables.arms),
        [
            (
                strong(row["target"]),
                plain(row["n"]),
                plain(row["groups"]),
                *(_score(row[arm]) for arm in tables.arms),
            )
            for row in tables.score_table(metric)
        ],
    )


def weights(tables: ExperimentTables) -> Table:
    """Targets and arms by references."""
    return Table(
        "Weights of the references by arm and target",
        ("target", "arm", *tables.sources),
        [
            (
                strong(row["target"]),
                plain(row["arm"]),
                *(number(row[source], ".3f") for source in tables.sources),
            )
            for row in tables.weight_table()
        ],
    )


def distances(tables: ExperimentTables, kind: str) -> Table:
    """Targets by references: how far, and how well that reference serves by itself."""
    return Table(
        f"Distance of datasets: {in_words(kind)}; below it the {tables.experiment['metric']} of"
        " that reference by itself",
        ("target", *tables.sources),
        [
            (strong(row["target"]), *(_distance(row[source]) for source in tables.sources))
            for row in tables.distance_table(kind)
        ],
    )


def nearest(tables: ExperimentTables) -> Table:
    """What each distance picks, with its score."""
    return Table(
        "The reference that each distance picks, with its score by itself",
        ("target", *map(in_words, tables.distances)),
        [
            (
                strong(row["target"]),
                *(
                    Cell(row[kind]["reference"], note=score_text(row[kind], with_interval=True))
                    for kind in tables.distances
                ),
            )
            for row in tables.nearest_table()
        ],
    )


def methods(tables: MethodComparisonTable, source: str) -> Table:
    """Adapter methods by quantities, of one source or of all."""
    return Table(
        source or "All sources",
        ("method", "r", *map(heading_of, tables.columns)),
        [
            (
                strong(row["method"]),
                plain(row["r"]),
                *(plain(quantity_text(row[name], with_interval=True)) for name in tables.columns),
            )
            for row in tables.table(source)
        ],
    )


def method_charts(tables: MethodComparisonTable) -> list[Tracks]:
    """A chart for each quantity that is a score."""
    rows = tables.table()
    drawn = ("own", "elsewhere", *tables.asked["strategies"])
    return [quantity_chart(rows, name, title=heading_of(name)) for name in drawn]


def _score(cell: Row | None) -> Cell:
    if cell is None:
        return Cell("")
    interval = f"{cell['ci_low']:.3f} to {cell['ci_high']:.3f}" if "ci_low" in cell else ""
    return Cell(score_text(cell), "number", note=interval)


def _distance(cell: Row | None) -> Cell:
    if cell is None:
        return Cell("")
    mark = ", nearest" if cell["is_nearest"] else ""
    return Cell(f"{cell['distance']:.3g}{mark}", "number", note=f"{cell['value']:.3f}")
