"""Every table of the lake in its order, and the columns that are ours in `raw` and `quarantine`.

A public interface: names, types and meanings change only by a migration.
"""

from __future__ import annotations

from catalog.tables.data_tables import (
    BATCHES,
    DATASET_VERSIONS,
    DRIFTS,
    REPRESENTATIONS,
    SOURCES,
    VALIDATIONS,
)
from catalog.tables.experiment_tables import (
    EXPERIMENT_DISTANCES,
    EXPERIMENT_FINDINGS,
    EXPERIMENT_METHODS,
    EXPERIMENT_SCORES,
    EXPERIMENTS,
)
from catalog.tables.model_tables import (
    ADAPTERS,
    ATTRIBUTIONS,
    BASES,
    CHOICES,
    ENSEMBLE_MEMBERS,
    ENSEMBLES,
    MODEL_VERSIONS,
    PROMOTIONS,
)
from catalog.tables.run_tables import (
    INTENTS,
    LINEAGE,
    LINKS,
    RETRACTIONS,
    RUNS,
)
from catalog.tables.score_tables import (
    CHECKS,
    COMPARISONS,
    ITEM_SCORES,
    SCORES,
)
from catalog.tables.spec import HISTORY, Column, TableSpec, text

TABLES: tuple[TableSpec, ...] = (
    SOURCES, BATCHES, DATASET_VERSIONS, VALIDATIONS, BASES, REPRESENTATIONS, DRIFTS, ADAPTERS,
    ENSEMBLES, ENSEMBLE_MEMBERS, ATTRIBUTIONS, CHOICES, SCORES, ITEM_SCORES, COMPARISONS, CHECKS,
    MODEL_VERSIONS, PROMOTIONS, EXPERIMENTS, EXPERIMENT_SCORES, EXPERIMENT_DISTANCES,
    EXPERIMENT_FINDINGS, EXPERIMENT_METHODS, RUNS, LINKS, LINEAGE, RETRACTIONS, INTENTS,
)  # fmt: skip

# System columns in front of the contract's own in raw.<source>. A dataset version holds the rows
# whose batch is one of its batches and whose successor is not.
RAW_COLUMNS: tuple[Column, ...] = (
    text("_item_sha256", "sha256 of source and key: the row's name outside this table"),
    text("_row_sha256", "sha256 of the row's content"),
    text("_group_sha256", "sha256 of the group's value, the same in every source"),
    text("_split", "train, validation or test"),
    text("_batch_id", "batch that it landed with"),
    text("_superseded_by", "batch that replaced it; null while current"),
    *HISTORY,
)
QUARANTINE_COLUMNS: tuple[Column, ...] = (
    text("_batch_id", "batch that it came with"),
    Column("_row_number", "BIGINT", "row in the file, from 1"),
    text("_reasons", "codes of the rules that it failed, joined by a semicolon"),
    text("_row_json", "the row as it was read"),
    *HISTORY,
)
