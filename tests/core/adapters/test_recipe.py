from dataclasses import asdict, fields, replace

import pytest

from rpe_core.adapters.recipe import Recipe, check_recipe
from rpe_core.adapters.table import ADAPTER_METHODS, load_method
from rpe_core.errors import UnknownName
from rpe_core.families.table import FAMILIES

GOOD = {
    "method": "lora",
    "r": 8,
    "alpha": 16,
    "target_modules": ["query", "value"],
    "epochs": 2,
    "learning_rate": 2.0e-3,
    "batch_size": 32,
    "seed": 0,
}


def recipe_of(**changes):
    recipe, faults = check_recipe({**GOOD, **changes})
    assert not faults
    return recipe


def faults_of(**changes):
    recipe, faults = check_recipe({**GOOD, **changes})
    assert recipe is None
    return faults


def test_defaults_and_types():
    recipe = recipe_of()
    assert recipe == Recipe("lora", 8, 16.0, 2, 2e-3, 32, 0, ("query", "value"))
    assert isinstance(recipe.alpha, float)
    assert (recipe.schedule, recipe.patience, recipe.threads) == ("linear", None, 1)


def test_a_recipe_survives_plain_values():
    recipe = recipe_of(patience=2, schedule="cosine", dropout=0.1)
    assert check_recipe(asdict(recipe)) == (recipe, [])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("method", "loar"),
        ("method", 3),
        ("r", 0),
        ("r", 8.0),
        ("r", True),
        ("alpha", 0),
        ("alpha", float("nan")),
        ("alpha", 10**400),
        ("alpha", "16"),
        ("target_modules", []),
        ("target_modules", "query"),
        ("target_modules", ["query", "query"]),
        ("target_modules", ["que ry"]),
        ("target_modules", [3]),
        ("target_modules", ["../x"]),
        ("epochs", 0),
        ("learning_rate", "2e-3"),
        ("learning_rate", 0),
        ("learning_rate", float("inf")),
        ("batch_size", -1),
        ("seed", -1),
        ("seed", 2**32),
        ("dropout", 1.0),
        ("use_rslora", 1),
        ("weight_decay", -0.1),
        ("warmup_ratio", 1.5),
        ("schedule", "step"),
        ("max_grad_norm", 0),
        ("patience", 0),
        ("max_rows", 0),
        ("threads", 0),
        ("threads", None),
    ],
)
def test_each_field_refuses_what_it_cannot_be(key, value):
    (fault,) = faults_of(**{key: value})
    assert fault.path == key
    assert fault.expected


def test_all_faults_are_told_at_once_with_near_matches():
    recipe, faults = check_recipe({"method": "lora", "learning_rte": 1e-3, "r": "8"})
    assert recipe is None
    paths = "alpha batch_size epochs learning_rate learning_rte r seed"
    assert " ".join(fault.path for fault in faults) == paths
    near = next(fault for fault in faults if fault.path == "learning_rte")
    assert near.expected == "did you mean 'learning_rate'?"


def test_a_strange_key_is_not_shown():
    (fault,) = faults_of(**{"Jane; DROP TABLE": 1})
    assert "Jane" not in str(fault)


def test_every_field_enters_the_id():
    recipe = recipe_of()
    changes = {
        "method": "other", "r": 4, "alpha": 1.0, "target_modules": ("key",), "epochs": 3,
        "learning_rate": 1e-4, "batch_size": 1, "seed": 1, "dropout": 0.5, "use_rslora": True,
        "weight_decay": 0.1, "warmup_ratio": 0.0, "schedule": "cosine", "max_grad_norm": 2.0,
        "patience": 1, "max_rows": 1, "threads": 2, "micro_batch_size": 4,
        "gradient_checkpointing": True, "modules_to_save": ("head",), "options": {"any": 1},
    }  # fmt: skip
    assert set(changes) == {field.name for field in fields(Recipe)}
    ids = {replace(recipe, **{key: value}).recipe_id for key, value in changes.items()}
    assert len(ids | {recipe.recipe_id}) == len(changes) + 1
    assert len(recipe.recipe_id) == 12


def test_what_means_the_same_has_the_same_id():
    turned = recipe_of(alpha=16.0, target_modules=["value", "query"], patience=None)
    assert turned.recipe_id == recipe_of().recipe_id


def test_every_form_of_adapter_has_a_base_and_a_method():
    taken = {form for family in FAMILIES.values() for form in family.forms}
    assert taken == {entry.form for entry in ADAPTER_METHODS.values()}


@pytest.mark.parametrize("name", ADAPTER_METHODS)
def test_every_method_can_attach_and_export(name):
    method = load_method(name)
    assert callable(method.attach)
    assert callable(method.export)


def test_an_unknown_method_is_told_with_the_known_ones():
    with pytest.raises(UnknownName, match="lora"):
        load_method("loar")
