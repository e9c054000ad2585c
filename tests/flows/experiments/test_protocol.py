"""What an experiment may be asked for, the plan that it makes, and how its words are read."""

from typing import Any

import pytest
import typer

from catalog.contracts.contract import SplitShares
from catalog.errors import ContractInvalid
from flows.cli import USAGE_ERROR, app
from flows.experiments.leave_one_out_protocol import ARMS, Protocol, plan_of, protocol_of
from flows.workspace.plan import Plan
from flows.workspace.workspace import Declarations
from rpe_core.errors import DeclarationError
from tests.catalog.lakes import contract

SITES = ("site_a", "site_b", "site_c", "site_d")
BASE = {"family": "text-encoder", "model": "pico"}
RECIPE = {"method": "lora", "r": 2, "alpha": 4, "target_modules": ["query"], "epochs": 1}


def reference(*sources: str, base: str = "pico", recipe: str = "lora2") -> dict[str, Any]:
    return {"sources": list(sources), "base": base, "recipe": recipe}


def declared(*references: dict[str, Any]) -> Declarations:
    """Four sources; site_d asks for text, site_e's contract has faults."""
    plan = Plan.model_validate(
        {
            "bases": {"pico": BASE, "other": BASE, "writer": {"family": "causal-lm", "model": "p"}},
            "recipes": {"lora2": RECIPE, "lora4": RECIPE, "dora2": {**RECIPE, "method": "dora"}},
            "references": list(references) or [reference(*SITES)],
            "evaluation": {"max_items": 50, "bert_score": {"base": "other", "layer": 1}},
        }
    )
    contracts = {site: contract().model_copy(update={"source": site}) for site in SITES}
    text = contract().task.model_copy(update={"type": "text-generation"})
    contracts["site_d"] = contracts["site_d"].model_copy(update={"task": text})
    return Declarations(plan, contracts, {"site_e": ContractInvalid("site_e.yaml", [])})


def test_all_that_is_not_named_is_asked_for() -> None:
    found = protocol_of(declared(), sources=["site_c", "site_a", "site_b", "site_a"])
    assert found.sources == ("site_a", "site_b", "site_c")
    assert (found.base, found.recipe) == ("pico", "lora2")
    assert set(found.arms) == set(ARMS)
    assert found.distances == ("chamfer", "mean", "nearest_neighbour")


def test_the_yardsticks_run_whatever_is_named() -> None:
    found = protocol_of(declared(), sources=SITES[:3], arms=["linear_l1"], distances=["mean"])
    assert found.arms == ("base", "sft", "average", "linear_l1")
    assert found.strategies == ("average", "linear_l1")
    assert found.distances == ("mean",)


def without_test() -> Declarations:
    found = declared()
    shares = SplitShares(train=0.8, validation=0.2, test=0.0)
    spoilt = found.contracts["site_b"].model_copy(update={"splits": shares})
    return Declarations(found.plan, {**found.contracts, "site_b": spoilt}, found.faulty)


TWO_PAIRS = (reference(*SITES), reference(*SITES, recipe="lora4"))
FAULTS = {
    "unknown source": (declared(), {"sources": ["site_a", "site_b", "sit_c"]}, "'sit_c' is not"),
    "too few": (declared(), {"sources": ["site_a", "site_b", "site_b"]}, "names 2 different"),
    "faulty": (declared(), {"sources": [*SITES[:3], "site_e"]}, "rpe source check site_e"),
    "types": (declared(), {"sources": SITES}, "several types: text-classification, text-gen"),
    "no test split": (without_test(), {"sources": SITES[:3]}, "site_b: has no test split"),
    "arm": (declared(), {"sources": SITES[:3], "arms": ["linear_l2"]}, "did you mean 'linear_l1'"),
    "distance": (declared(), {"sources": SITES[:3], "distances": ["means"]}, "'mean'"),
    "base": (declared(), {"sources": SITES[:3], "base": "pica"}, "did you mean 'pico'"),
    "recipe": (declared(), {"sources": SITES[:3], "recipe": "lora3"}, "lora2, lora4"),
    "unmergeable": (
        declared(),
        {"sources": SITES[:3], "recipe": "dora2"},
        "whose adapters no ensemble takes in",
    ),
    "no cover": (declared(reference("site_a", "site_b")), {"sources": SITES[:3]}, "covers them"),
    "two covers": (declared(*TWO_PAIRS), {"sources": SITES[:3]}, "--base pico --recipe lora4"),
    "another task": (
        declared(),
        {"sources": SITES[:3], "base": "writer", "recipe": "lora2"},
        "answers text-generation, not text-classification",
    ),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_what_cannot_be_run_is_refused_before_anything_is(kind: str) -> None:
    world, asked, words = FAULTS[kind]
    with pytest.raises(DeclarationError) as raised:
        protocol_of(world, **asked)
    assert words in str(raised.value)


def test_base_and_recipe_settle_what_several_cover() -> None:
    found = protocol_of(declared(*TWO_PAIRS), sources=SITES[:3], recipe="lora4")
    assert (found.base, found.recipe) == ("pico", "lora4")
    few = declared(reference("site_a"))
    assert protocol_of(few, sources=SITES[:3], base="pico", recipe="lora2").base == "pico"


def test_the_plan_treats_every_target_alike() -> None:
    world = declared()
    protocol = protocol_of(world, sources=SITES[:3])
    plan = plan_of(world.plan, protocol)
    assert {base for base in plan.bases} == {"pico", "other"}, "the scorer's base stays"
    assert plan.evaluation.transfer
    assert plan.evaluation.max_items == 50
    (entry,) = plan.references
    assert (entry.sources, entry.base, entry.recipe) == (SITES[:3], "pico", "lora2")
    alike = {target.model_copy(update={"name": "", "source": ""}).model_dump_json()
             for target in plan.targets}  # fmt: skip
    assert len(alike) == 1
    own = [target.variants[1] for target in plan.targets]
    assert [(target.k, variant.k) for target, variant in zip(plan.targets, own, strict=True)] == [
        (2, 3)
    ] * 3
    assert all(variant.include_own for variant in own)
    assert {spec.name for variant in own for spec in variant.specs} == {"sft_ensemble"}


def test_names_of_targets_are_distinct_and_short_enough() -> None:
    long = [f"{'a' * 62}{end}" for end in "bc"]
    protocol = Protocol(("x", *long), "b", "r", (), ())
    names = {protocol.target_name(source) for source in protocol.sources}
    assert len(names) == 3
    assert max(map(len, names)) <= 63


def test_an_option_takes_several_words_and_a_flag_takes_none() -> None:
    command = typer.main.get_command(app)
    group = command.commands["experiment"]  # type: ignore[attr-defined]
    command = group.commands["leave-one-out"]
    words = "--sources a b --arms linear --json --sources=c d --base x"
    context = command.make_context("leave-one-out", words.split())
    assert context.params["sources"] == ["a", "b", "c", "d"]
    assert context.params["arms"] == ["linear"]
    assert (context.params["as_json"], context.params["base"]) == (True, "x")
    with pytest.raises(USAGE_ERROR, match="unexpected extra argument"):
        command.make_context("leave-one-out", ["--sources", "a", "--json", "d"])
