"""What families share: shipped once with each of them, and said again by none."""

import ast
import types

import numpy as np
import pytest
import torch

from rpe_core.families import shared
from rpe_core.families.table import FAMILIES, family_source, load_family


@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_shared_is_shipped_once_and_imports_nothing_of_ours(name):
    body = ast.parse(family_source(name)).body
    defined = [node.name for node in body if hasattr(node, "name")]
    own = [
        name
        for name, one in vars(shared).items()
        if getattr(one, "__module__", "") == shared.__name__
    ]
    assert len(own) > 10
    assert {defined.count(name) for name in own} == {1}
    imported = [node.module for node in body if isinstance(node, ast.ImportFrom)]
    assert not [
        module for module in imported if module.startswith(("rpe_core", "catalog", "flows"))
    ]


@pytest.mark.parametrize("name", FAMILIES)
def test_families_say_again_nothing_that_is_shared(name):
    family, source = load_family(name), set(vars(shared))
    mine = {
        n for n, one in vars(family).items() if getattr(one, "__module__", "") == family.__name__
    }
    assert not mine & source


def test_parts_come_in_order_and_the_threads_of_torch_are_as_before():
    base = types.SimpleNamespace(device="cpu")
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        made = list(
            shared.compute_in_turn(base, lambda part: (part, torch.get_num_threads()), range(20))
        )
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)
    assert made == [(part, 1) for part in range(20)]


def test_slices_are_stacked_across_items_and_averaged_within_each():
    items = [
        np.full((n, 2, 2, 1), n, dtype=np.float64) + np.arange(n)[:, None, None, None]
        for n in (1, 3, 2)
    ]

    def pixels_of(image, limits, j):
        return torch.from_numpy(image[j : j + 1, ..., 0])

    stacks = list(shared.stack_slices(items, (), pixels_of, 4))
    assert [len(places) for places, _ in stacks] == [4, 2]
    features = (
        [(place, one.mean(dim=(0, 1))[None].numpy()) for place, one in zip(*stack, strict=True)]
        for stack in stacks
    )
    assert [(i, mean.tolist()) for i, mean in shared.mean_by_item(features)] == [
        (0, [1.0]),
        (1, [4.0]),
        (2, [2.5]),
    ]
