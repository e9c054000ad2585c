"""Every kind of fault of a plan in one table: where it is, what it says, the nearest valid choice.

The faults are put into a sound plan one by one, and then all at once.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.steps.promote import terms_of
from flows.workspace.bases import files_of
from flows.workspace.plan import BASELINE_MERGES, BaseSpec, GateSpec, Plan
from flows.workspace.plan_file import load_plan
from flows.workspace.workspace import load_declarations
from rpe_core.errors import DeclarationError, Fault, InputError
from rpe_core.evaluation.gates import GatePolicy, MaxLoss
from rpe_core.evaluation.metrics import METRICS
from rpe_core.merging.table import MERGE_METHODS
from rpe_core.records import StrategySpec
from rpe_core.weighting.strategies import STRATEGIES
from tests.pico_world import make_pico_workspace

SOURCES = ("site_a", "site_b", "site_c")
GATED = [name for name in METRICS if name != "macro_f1"]  # it is no mean over items
KNOWN_METRICS = ", ".join(sorted([*GATED, "auto"]))
SECRET = "Jane Quorvexil; born 1961"  # no message may hold what does not look like a name


def sound() -> dict[str, Any]:
    return {
        "bases": {"pico": {"family": "text-encoder", "model": "pico"}},
        "recipes": {
            "lora2": {
                "method": "lora",
                "r": 2,
                "alpha": 4,
                "target_modules": ["query", "value"],
                "epochs": 1,
                "learning_rate": 5.0e-3,
                "batch_size": 16,
                "seed": 0,
            }
        },
        "references": [{"sources": ["site_a", "site_b"], "base": "pico", "recipe": "lora2"}],
        "targets": [target(f"target-{i}") for i in range(3)],
        "gate": {"metric": "auto"},
        "schedule": {"cron": "0 2 * * *", "timezone": "UTC"},
    }


def target(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "source": "site_c",
        "base": "pico",
        "strategies": ["average", {"name": "warm", "similarity": {"temperature": 2.0}}, "auto"],
    }


def own(name: object, **kinds: object) -> dict[str, Any]:
    return {"name": name, **kinds}


def put(*places: str | int, value: object) -> Callable[[dict[str, Any]], None]:
    def spoil(plan: dict[str, Any]) -> None:
        node: Any = plan
        for place in places[:-1]:
            node = node[place]
        node[places[-1]] = value

    return spoil


def strategies(number: int, *entries: object) -> Callable[[dict[str, Any]], None]:
    return put("targets", number, "strategies", value=list(entries))


# kind of fault -> (how it comes into the plan, path, what it says, what it expects)
CROSS_FIELD = {
    "family": (
        put("bases", "pico", "family", value="text_encoder"),
        "bases.pico.family",
        "family 'text_encoder' is not known",
        "text-encoder  (did you mean 'text-encoder'?)",
    ),
    "base of a reference": (
        put("references", 0, "base", value="pica"),
        "references[0].base",
        "base 'pica' is not known",
        "pico  (did you mean 'pico'?)",
    ),
    "source of a library": (
        put("targets", 1, "library", value={"sources": ["site_a", "sit_b"]}),
        "targets[1].library.sources[1]",
        "source 'sit_b' is not known",
        "did you mean 'site_b'?",
    ),
    "recipe of a library": (
        put("targets", 2, "library", value={"recipe": "lora3"}),
        "targets[2].library.recipe",
        "recipe 'lora3' is not known",
        "lora2  (did you mean 'lora2'?)",
    ),
    "an experiment's evaluation": (
        put("evaluation", value={"transfer": True}),
        "evaluation.transfer",
        "is for experiments",
        "rpe experiment leave-one-out",
    ),
    "recipe": (
        put("references", 0, "recipe", value="lora3"),
        "references[0].recipe",
        "recipe 'lora3' is not known",
        "lora2  (did you mean 'lora2'?)",
    ),
    "source of a reference": (
        put("references", 0, "sources", value=["site_a", "sit_b"]),
        "references[0].sources[1]",
        "source 'sit_b' is not known",
        "site_a, site_b, site_c  (did you mean 'site_b'?)",
    ),
    "key of a recipe": (
        put("recipes", "lora2", "epoch", value=3),
        "recipes.lora2.epoch",
        "is no key of a recipe",
        "did you mean 'epochs'?",
    ),
    "value of a recipe": (
        put("recipes", "lora2", "r", value=0),
        "recipes.lora2.r",
        "is not usable",
        "a whole number from 1 to 4096",
    ),
    "base of a target": (
        put("targets", 0, "base", value="pco"),
        "targets[0].base",
        "base 'pco' is not known",
        "pico  (did you mean 'pico'?)",
    ),
    "source of a target": (
        put("targets", 0, "source", value="site_d"),
        "targets[0].source",
        "source 'site_d' is not known",
        "site_a, site_b, site_c  (did you mean 'site_",
    ),
    "merge": (
        put("targets", 0, "merge", value="concatt"),
        "targets[0].merge",
        "merge method 'concatt' is not known",
        f"{', '.join(sorted([*MERGE_METHODS, *BASELINE_MERGES]))}  (did you mean 'concat'?)",
    ),
    "metric of the plan": (
        put("gate", "metric", value="acuracy"),
        "gate.metric",
        "metric 'acuracy' is not known",
        f"{KNOWN_METRICS}  (did you mean 'accuracy'?)",
    ),
    "metric of a target": (
        put("targets", 0, "gate", value={"metric": "rouge_1"}),
        "targets[0].gate.metric",
        "metric 'rouge_1' is not known",
        f"{KNOWN_METRICS}  (did you mean 'rouge_l'?)",
    ),
    "metric that no gate takes": (
        put("targets", 1, "gate", value={"metric": "macro_f1", "cap": 2.0}),
        "targets[1].gate.metric",
        "macro_f1 is no mean over items, and no gate by it can hold its level",
        ", ".join([*GATED, "auto"]),
    ),
    "no cap": (
        put("targets", 2, "gate", value={"metric": "hd95", "max_loss": {"share": 0.1, "size": 9}}),
        "targets[2].gate.cap",
        "is missing: hd95 has no upper bound",
        "the score from which on all count alike, in its unit, such as 50 for hd95",
    ),
    "target twice": (
        put("targets", 1, "name", value="target-0"),
        "targets[1].name",
        "'target-0' is used twice",
        "",
    ),
    "reserved name": (
        put("targets", 2, "name", value="rpe-target"),
        "targets[2].name",
        "is reserved for our own models",
        "a name that does not begin with rpe-",
    ),
    "strategy": (
        put("targets", 0, "strategies", 0, value="similarty"),
        "targets[0].strategies[0]",
        "strategy 'similarty' is not known",
        f"{', '.join(sorted([*STRATEGIES, 'auto']))}  (did you mean 'similarity'?)",
    ),
    "kind of an own strategy": (
        put("targets", 0, "strategies", 1, value=own("warm", similarty={})),
        "targets[0].strategies[1]",
        "strategy 'similarty' is not known",
        f"{', '.join(sorted(STRATEGIES))}  (did you mean 'similarity'?)",
    ),
    "only auto": (
        strategies(1, "auto"),
        "targets[1].strategies",
        "names no strategy that weighs",
        ", ".join(sorted(STRATEGIES)),
    ),
    "arm twice": (
        put("targets", 2, "strategies", 1, value="average"),
        "targets[2].strategies[1]",
        "arm 'average' is used twice",
        "",
    ),
    "time zone": (
        put("schedule", "timezone", value="Europe/Zuerich"),
        "schedule.timezone",
        "is no time zone",
        "a name of the IANA database",
    ),
}
# one target's list of strategies at a time
STRATEGY = {
    "parameter out of range": (
        own("warm", similarity={"temperature": -1.0}),
        ".similarity.temperature",
        "is not valid",
        "a finite number > 0",
    ),
    "unknown parameter": (
        own("warm", similarity={"temprature": 1.0}),
        ".similarity.'temprature'",
        "is no parameter of similarity",
        "(did you mean 'temperature'?)",
    ),
    "parameter of none": (
        own("flat", average={"k": 1}),
        ".average.'k'",
        "is no parameter of average",
        "no parameters",
    ),
    "name of a strategy": (own("linear", nearest={}), ".name", "'linear' is a built-in arm", ""),
    "name of an arm": (own("champion", nearest={}), ".name", "'champion' is a built-in arm", ""),
    "name auto": (own("auto", nearest={}), ".name", "'auto' is a built-in arm", ""),
    "name no name": (own(SECRET, nearest={}), ".name", "is no name of an arm", "the form [a-z]"),
    "no name": ({"nearest": {}}, "", "is not a strategy", "{name: my_name, similarity:"),
    "two kinds": (own("warm", nearest={}, average={}), "", "is not a strategy", "{name: my_name"),
    "parameters no mapping": (own("warm", nearest=3), "", "is not a strategy", "{name: my_name"),
    "name no text": (own(["warm"], nearest={}), "", "is not a strategy", "{name: my_name"),
}
# one gate of a plan or of a target at a time
GATES = {
    "a cap for nothing": (
        {"metric": "dice", "cap": 50},
        ".cap",
        "is for a metric without an upper bound, and dice has one",
        "no such key",
    ),
    "a cap for what auto takes": (
        {"cap": 50},
        ".cap",
        "is for a metric without an upper bound, and auto has one",
        "no such key",
    ),
    "a loss beyond the range": (
        {"metric": "dice", "max_loss": {"share": 0.02, "size": 1.0}},
        ".max_loss.size",
        "is as much as a group can lose, or more",
        "more than 0 and less than 1",
    ),
    "a loss beyond the cap": (
        {"metric": "hd95", "cap": 50, "max_loss": {"share": 0.02, "size": 50}},
        ".max_loss.size",
        "is as much as a group can lose, or more",
        "more than 0 and less than 50",
    ),
    "no loss": (
        {"max_loss": {"share": 0.02, "size": 0}},
        ".max_loss.size",
        "must be more than 0.0",
        "",
    ),
    "share of all": (
        {"max_loss": {"share": 1, "size": 0.3}},
        ".max_loss.share",
        "must be less than 1.0",
        "",
    ),
    "share of none": (
        {"max_loss": {"share": 0, "size": 0.3}},
        ".max_loss.share",
        "must be more than 0.0",
        "",
    ),
    "share left out": ({"max_loss": {"size": 0.3}}, ".max_loss.share", "is missing", ""),
    "a key too many": (
        {"max_loss": {"share": 0.02, "size": 0.3, "sizes": 1}},
        ".max_loss",
        "unknown key 'sizes'",
        "share, size  (did you mean 'size'?)",
    ),
    "no mapping": ({"max_loss": 0.02}, ".max_loss", "must be a mapping of keys to values", ""),
    "cap of nothing": ({"metric": "hd95", "cap": 0}, ".cap", "must be more than 0.0", ""),
    "cap without end": (
        {"metric": "hd95", "cap": float("inf")},
        ".cap",
        "must be a finite number",
        "",
    ),
    "cap no number": ({"metric": "hd95", "cap": SECRET}, ".cap", "must be a number", ""),
}
SHAPE = {
    "unknown key": (
        put("targets", 0, "stratgies", value=SECRET),
        "targets[0]",
        "unknown key 'stratgies'",
        "(did you mean 'strategies'?)",
    ),
    "unknown section": (
        put("refrences", value=[]),
        "(file)",
        "unknown key 'refrences'",
        "(did you mean 'references'?)",
    ),
    "unknown key that is no key": (
        put(SECRET, value=1),
        "(file)",
        f"unknown key ({len(SECRET)} characters, not shown)",
        "known: bases",
    ),
    "name of a target": (
        put("targets", 1, "name", value=SECRET),
        "targets[1].name",
        "does not have the right form",
        "the form",
    ),
    "k": (put("targets", 1, "k", value=0), "targets[1].k", "must be at least 1", ""),
    "text for a number": (
        put("targets", 2, "k", value=SECRET),
        "targets[2].k",
        "must be a whole number",
        "",
    ),
    "confidence": (
        put("gate", "confidence", value=0.5),
        "gate.confidence",
        "must be more than 0.5",
        "",
    ),
    "approval": (
        put("gate", "approval", value="automatc"),
        "gate.approval",
        "is no valid choice",
        "automatic, required  (did you mean 'automatic'?)",
    ),
    "no source": (
        put("references", 0, "sources", value=[]),
        "references[0].sources",
        "has too few entries",
        "at least 1",
    ),
    "missing": (
        lambda plan: plan["bases"]["pico"].pop("model"),
        "bases.pico.model",
        "is missing",
        "",
    ),
}


def faults_of(plan: object, folder: Path) -> tuple[Fault, ...]:
    """What is wrong with a plan, as it is told to whoever wrote it."""
    file = folder / "plan.yaml"
    file.write_text(yaml.safe_dump(plan, sort_keys=False))
    with pytest.raises(DeclarationError) as raised:
        load_plan(file, sources=SOURCES)
    assert raised.value.file == "plan.yaml"
    assert SECRET not in str(raised.value)
    assert "Quorvexil" not in str(raised.value)
    return raised.value.faults


def sound_plan(folder: Path) -> Plan:
    (folder / "plan.yaml").write_text(yaml.safe_dump(sound()))
    return load_plan(folder / "plan.yaml", sources=SOURCES)


@pytest.mark.parametrize("kind", [*CROSS_FIELD, *SHAPE])
def test_a_fault_is_told_with_its_place_and_the_valid_choices(kind: str, tmp_path: Path) -> None:
    spoil, path, what, expected = {**CROSS_FIELD, **SHAPE}[kind]
    plan = sound()
    spoil(plan)
    (fault,) = faults_of(plan, tmp_path)
    assert (fault.path, fault.what) == (path, what)
    assert expected in fault.expected
    assert bool(expected) == bool(fault.expected)


@pytest.mark.parametrize("kind", STRATEGY)
def test_a_fault_of_an_own_strategy(kind: str, tmp_path: Path) -> None:
    entry, path, what, expected = STRATEGY[kind]
    plan = sound()
    strategies(1, "average", entry)(plan)
    (fault,) = faults_of(plan, tmp_path)
    assert (fault.path, fault.what) == (f"targets[1].strategies[1]{path}", what)
    assert expected in fault.expected


@pytest.mark.parametrize("kind", GATES)
def test_a_fault_of_a_gate_by_the_plan_and_by_a_target(kind: str, tmp_path: Path) -> None:
    gate, path, what, expected = GATES[kind]
    for place in ("gate", "targets[1].gate"):
        plan = sound()
        (plan if place == "gate" else plan["targets"][1])["gate"] = gate
        (fault,) = faults_of(plan, tmp_path)
        assert (fault.path, fault.what) == (f"{place}{path}", what)
        assert expected in fault.expected


@pytest.mark.parametrize("cap", [None, 0.5])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("size", [0.4, 0.5, 1.0])
def test_a_plan_without_faults_is_a_policy_and_no_other(
    metric: str, cap: float | None, size: float, tmp_path: Path
) -> None:
    gate = {"metric": metric, "max_loss": {"share": 0.1, "size": size}}
    gate |= {"cap": cap} if cap else {}
    plan, scorer = sound(), {"base": "pico", "layer": 1}
    judge = {"family": "causal-lm", "model": "pico"}
    plan["bases"]["lm"] = judge
    plan |= {"gate": gate, "evaluation": {"bert_score": scorer, "judge": {"base": "lm"}}}
    try:
        GateSpec.model_validate(gate).policy(metric)
    except InputError:
        faults_of(plan, tmp_path)
    else:
        (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
        load_plan(tmp_path / "plan.yaml", sources=SOURCES)


def test_a_gate_of_a_target_takes_the_place_of_the_plans(tmp_path: Path) -> None:
    plan, own = sound(), {"metric": "hd95", "cap": 50, "max_loss": {"share": 0.05, "size": 10}}
    plan["gate"]["max_loss"] = {"share": 0.02, "size": 0.3}
    plan["targets"][1]["gate"] = own
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    loaded = load_plan(tmp_path / "plan.yaml", sources=SOURCES)
    assert loaded.gate.policy("dice") == GatePolicy("dice", max_loss=MaxLoss(0.02, 0.3))
    gate = loaded.target("target-1").gate
    assert gate is not None
    assert gate.policy("hd95") == GatePolicy("hd95", cap=50, max_loss=MaxLoss(0.05, 10))


def test_keys_of_the_gate_that_are_not_used_are_in_no_id(tmp_path: Path) -> None:
    """A workspace of an older release is asked nothing anew, and its pending verdicts stand."""
    plan, policy = sound_plan(tmp_path), GatePolicy("accuracy")
    assert set(plan.gate.model_dump()) == {
        "metric", "baseline", "confidence", "min_items", "approval"
    }  # fmt: skip
    assert terms_of(policy) == {
        "metric": "accuracy", "baseline": "base", "confidence": 0.95, "min_items": 50,
        "approval": "automatic",
    }  # fmt: skip
    asked = terms_of(GatePolicy("hd95", cap=50.0, max_loss=MaxLoss(0.02, 0.3)))
    assert (asked["cap"], asked["max_loss"]) == (50.0, {"share": 0.02, "size": 0.3})


@pytest.mark.parametrize("table", [CROSS_FIELD, SHAPE], ids=["cross_field", "shape"])
def test_all_faults_are_told_at_once(table: dict[str, Any], tmp_path: Path) -> None:
    plan = sound()
    for spoil, *_ in table.values():
        spoil(plan)
    told = {(fault.path, fault.what) for fault in faults_of(plan, tmp_path)}
    assert told == {(path, what) for _, path, what, _ in table.values()}


@pytest.mark.parametrize("text", ["", "[]", "just words", "bases: [", "a: 1\na: 2\n"])
def test_a_file_that_is_no_plan(text: str, tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(text)
    with pytest.raises(DeclarationError):
        load_plan(file, sources=SOURCES)


def test_a_base_says_only_what_its_family_has(tmp_path: Path) -> None:
    plan, sam = sound(), {"family": "sam", "model": "sam"}
    plan["bases"] |= {
        "blank": sam, "grid": {**sam, "pooling": "grid"}, "tall": {**sam, "max_tokens": 64},
        "cls": {**sam, "pooling": "cls"}, "long": {**plan["bases"]["pico"], "pooling": "grid"},
    }  # fmt: skip
    assert {fault.path: fault.expected for fault in faults_of(plan, tmp_path)} == {
        "bases.tall.max_tokens": "no such key for images",
        "bases.cls.pooling": "grid, mean",
        "bases.long.pooling": "mean",
    }
    for name in ("tall", "cls", "long"):
        del plan["bases"][name]
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    bases = load_plan(tmp_path / "plan.yaml", sources=SOURCES).bases
    assert [(b.pooled_by, b.length_limit) for _, b in sorted(bases.items())] == [
        ("mean", 0), ("grid", 0), ("mean", 128)
    ]  # fmt: skip


def test_prompts_need_a_base_that_has_them_and_a_library_of_their_own(tmp_path: Path) -> None:
    plan = sound()
    prompts = {**plan["recipes"]["lora2"], "method": "prompts", "alpha": 2}
    del prompts["target_modules"]
    plan["recipes"] |= {"prompts2": prompts}
    plan["bases"] |= {"clip": {"family": "clip", "model": "clip"}}
    references = [{"sources": ["site_a"], "base": "clip", "recipe": "prompts2"}]
    wrong: dict[str, Any] = {
        "references": [*references, {"sources": ["site_b"], "base": "pico", "recipe": "prompts2"}],
        "targets": [
            {**target("a"), "base": "clip"},
            {**target("b"), "base": "clip", "library": {"recipe": "prompts2"}, "merge": "svd"},
            {**target("c"), "base": "clip", "library": {"recipe": "prompts2"}},
        ],
    }
    assert {fault.path: fault.expected for fault in faults_of({**plan, **wrong}, tmp_path)} == {
        "references[1].recipe": "a base of family clip",
        "targets[0].library.recipe": "prompts2",
        "targets[1].merge": "concat or dense",
    }
    plan |= {"references": [*plan["references"], *references], "targets": [wrong["targets"][2]]}
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    assert load_plan(tmp_path / "plan.yaml", sources=SOURCES).form_of("prompts2") == "prompts"


def test_specs_leave_auto_out_and_keep_the_order(tmp_path: Path) -> None:
    one = sound_plan(tmp_path).target("target-0")
    warm = StrategySpec("warm", "similarity", {"temperature": 2.0})
    assert one.specs == (StrategySpec("average", "average"), warm)
    assert one.has_auto
    assert not one.model_copy(update={"strategies": ("average",)}).has_auto


def test_narrowed_keeps_what_was_asked_for_and_nothing_else_changes(tmp_path: Path) -> None:
    plan = sound_plan(tmp_path)
    assert plan.narrowed(()) is plan
    narrow = plan.narrowed(("target-2", "target-0"))
    assert narrow.target_names == ("target-2", "target-0")
    assert narrow.references == plan.references
    assert plan.target_names == ("target-0", "target-1", "target-2")
    with pytest.raises(DeclarationError) as raised:
        plan.narrowed(("target-9",))
    (fault,) = raised.value.faults
    assert "'target-9' is no target" in str(fault)
    assert "did you mean 'target-" in fault.expected


def test_a_plan_knows_its_sources_and_its_hash(tmp_path: Path) -> None:
    plan = sound_plan(tmp_path)
    assert plan.sources == SOURCES
    assert plan.sha256 == Plan.model_validate(sound()).sha256
    assert plan.sha256 != plan.narrowed(("target-1",)).sha256
    assert plan.recipe("lora2").target_modules == ("query", "value")


def test_a_base_or_a_metric_of_another_task_is_a_fault_of_the_plan(tmp_path: Path) -> None:
    settings = make_pico_workspace(tmp_path)
    plan = settings.plan_file.read_text()
    settings.plan_file.write_text(plan.replace("min_items: 20", "metric: rouge_l"))
    with pytest.raises(DeclarationError) as told:
        load_declarations(settings)
    (fault,) = told.value.faults
    assert (fault.path, fault.expected) == ("targets[0]", "accuracy, auto")
    settings.plan_file.write_text(plan.replace("text-encoder", "causal-lm"))
    with pytest.raises(DeclarationError) as told:
        load_declarations(settings)
    paths = [fault.path for fault in told.value.faults]
    assert paths == ["references[0].sources[0]", "references[0].sources[1]", "targets[0].source"]


def test_a_preprocessing_file_is_part_of_a_base_where_its_family_reads_it(tmp_path: Path) -> None:
    """Elsewhere it is not, so that no base gets another hash, and its adapters are not lost."""
    for name in ("config.json", "model.safetensors", "preprocessor_config.json"):
        (tmp_path / name).write_text("{}")
    found = {
        family: [file.name for file in files_of(BaseSpec(family=family, model=str(tmp_path)))]
        for family in ("sam", "clip")
    }
    assert found["sam"] == ["config.json", "model.safetensors"]
    assert found["clip"] == [*found["sam"], "preprocessor_config.json"]
