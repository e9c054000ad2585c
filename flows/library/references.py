"""References: the adapters that a target may see, resolved once a run, and the nearest of them."""

from __future__ import annotations

from typing import Any

from catalog.errors import StoreError
from catalog.queries import current
from catalog.queries.adapters import count_encoded_adapters
from catalog.queries.current import AdapterFilter
from catalog.stores.vectors.library import Library
from flows.workspace.plan import REGMEAN, TargetSpec
from flows.workspace.run_cache import CacheSection
from flows.workspace.workspace import Workspace
from rpe_core.adapters.table import LEARNED_PROMPTS, UNMERGEABLE
from rpe_core.records import Candidate, Representation

NEAREST = 1024  # references that a target is handed beside those that it weighs
SPREAD = 10_000  # references that stand for a larger library where its own spread is measured

References = tuple[Candidate, ...]

SPREADS = CacheSection[Library, References]("references that stand for a large library")
LIBRARY_STATES = CacheSection[tuple[str, int], tuple[Any, ...]]("a base's library, by the commits")
LIBRARIES = CacheSection[tuple[str, str, tuple[Any, ...]], Library](
    "libraries, by encoder and filter"
)


def references_of(
    workspace: Workspace, target: TargetSpec, library: Library, representation: Representation
) -> tuple[References, References]:
    """The nearest visible references of a target, and those that its whole library is judged by.

    Both are the whole library while it has no more than 1,024 adapters; of a larger one the second
    are up to 10,000 evenly spaced by id. Weights are never touched.
    """
    # rows of the target's own source may be the nearest of all, and count for nothing
    n_own = library.count(target.source)
    n_nearest = max(NEAREST, target.k_most) + n_own
    if not len(library):
        return (), ()
    nearest = tuple(library.search(representation.z, k=n_nearest))
    if len(library) <= n_nearest:
        return nearest, nearest
    spread = workspace.cache.get(SPREADS, library, lambda: tuple(library.spread(SPREAD)))
    return nearest, spread


def visible_library(workspace: Workspace, target: TargetSpec, encoder_id: str) -> Library:
    """The newest standing adapters that a target may see of its base, opened once for a run."""
    lake, base_id = workspace.stores.lake, workspace.bases[target.base].base_id
    moment = (base_id, lake.n_commits)  # asked again after a commit only
    state = workspace.cache.get(
        LIBRARY_STATES, moment, lambda: current.library_state(lake, base_id)
    )
    wanted = filter_of(workspace, target)

    def find() -> Library:
        allowed = current.visible_ids(lake, wanted)["adapter_id"]
        library = workspace.stores.vectors.library(encoder_id, allow=allowed)
        if len(library) < len(allowed):
            _require_filed(workspace, encoder_id, allowed.to_pylist(), n_filed=len(library))
        return library

    return workspace.cache.get(LIBRARIES, (encoder_id, repr(wanted), state), find)


def _require_filed(
    workspace: Workspace, encoder_id: str, allowed: list[str], *, n_filed: int
) -> None:
    """Raise StoreError where an adapter on record of this encoder is not filed under it.

    Without it another ensemble would be made, and nobody would be told.
    """
    wanted = count_encoded_adapters(workspace.stores.lake, allowed, encoder_id=encoder_id)
    if n_filed < wanted:
        raise StoreError(
            f"LoRA-VecDB has lost {wanted - n_filed} of {wanted} adapters that are on record: no"
            " ensemble is made without them.",
            where=encoder_id,
            remedy="`rpe repair` files them again",
        )


def filter_of(workspace: Workspace, target: TargetSpec) -> AdapterFilter:
    """The adapters that the plan lets a target see, its own among them."""
    recipe = target.library.recipe
    return AdapterFilter(
        workspace.bases[target.base].base_id,
        licenses=target.licenses,
        sources=target.library.sources,
        without_methods=methods_apart(recipe),
        recipe_ids=None if recipe is None else (workspace.plan.recipe(recipe).recipe_id,),
        as_of=workspace.as_of,
    )


def methods_apart(recipe: object) -> tuple[str, ...]:
    """Methods whose adapters stand apart: a library of no recipe in particular holds LoRA alone."""
    return UNMERGEABLE if recipe else (*UNMERGEABLE, *LEARNED_PROMPTS)


def retrieval_options(workspace: Workspace, target: TargetSpec) -> dict[str, Any]:
    """What a target asks of the library and of the merge: what an ensemble must tell a replay."""
    wanted = filter_of(workspace, target)
    fed = {"min_groups": workspace.plan.publishing.min_groups} if target.merge == REGMEAN else {}
    return {
        "source": target.source,
        "k": target.k,
        "include_own": target.include_own,
        "rank": target.rank,
        "licenses": wanted.licenses,
        "sources": wanted.sources,
        "recipe_ids": wanted.recipe_ids,
        "calibration_items": workspace.plan.evaluation.calibration_items,
        **fed,
    }
