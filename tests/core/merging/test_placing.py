"""Where an adapter's modules lie in a base: as named, by the one prefix that fits, or nowhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpe_core.delta import Layout
from rpe_core.errors import InputError, ShapeMismatch
from rpe_core.merging.files.layout import AdapterLayout, ModuleSpec
from rpe_core.merging.placing import (
    CONVOLUTION,
    EMBEDDING,
    LINEAR,
    TRANSPOSED,
    BaseShapes,
    misfit_of_whole,
    place,
)

PARTS = {"attention.query": (8, 8), "attention.value": (8, 8), "dense": (16, 8)}
MODULES = {f"encoder.layer.{i}.{n}": (LINEAR, s) for i in range(2) for n, s in PARTS.items()}
BASE = BaseShapes(MODULES, {f"{name}.weight": shape for name, (_, shape) in MODULES.items()})


def adapter(modules, whole=()):
    specs = {name: ModuleSpec("a", "b", 2, 1.0, shape) for name, shape in modules.items()}
    return AdapterLayout(specs, dict.fromkeys(whole, "w"), {})


def under(prefix, *, take=MODULES):
    return {f"{prefix}{name}": shape for name, (_, shape) in MODULES.items() if name in take}


def test_the_bases_own_names_stay():
    way = place(adapter(under("")), BASE)
    assert (way.less, way.more, way.left_out) == ("", "", ())


@pytest.mark.parametrize("prefix", ["bert.", "model.bert.", "deep.er.model."])
def test_one_prefix_of_all_names_is_taken_off(prefix):
    way = place(adapter(under(prefix)), BASE)
    assert way.less == prefix
    assert way.name(f"{prefix}encoder.layer.1.dense") == "encoder.layer.1.dense"


@pytest.mark.parametrize("prefix", ["decoder.", "model.vision_tower.", "visual.", "teacher.model."])
def test_a_prefix_that_names_another_part_of_a_model_is_no_name_of_the_base(prefix):
    with pytest.raises(ShapeMismatch, match="does not fit the base"):
        place(adapter(under(prefix)), BASE)


def test_one_prefix_is_put_before_all_names():
    short = {name.removeprefix("encoder."): shape for name, shape in under("").items()}
    assert place(adapter(short), BASE).more == "encoder."
    only = {"layer.1.dense": (16, 8)}
    assert place(adapter(only), BASE).more == "encoder."


@pytest.mark.parametrize(
    ("modules", "words"),
    [
        ({"encoder.layer.0.dense": (8, 16)}, "(16, 8)"),
        ({"encoder.layer.0.dense": (16, 9)}, "(16, 8)"),
        ({"encoder.layer.2.dense": (16, 8)}, "encoder.layer.0.dense"),
        ({"bert.encoder.layer.0.dense": (8, 16)}, "encoder.layer.0.dense"),
        ({**under("bert."), "encoder.layer.0.dense": (16, 8)}, "encoder.layer"),
        ({**under("bert."), "bert.pooler.dense": (8, 8)}, "bert.pooler.dense"),
        ({"xencoder.layer.0.dense": (16, 8)}, "encoder.layer.0.dense"),
        ({"coder.layer.0.dense": (16, 8)}, "encoder.layer.0.dense"),
        ({"lm_head": (99, 8)}, "encoder.layer"),
        ({"en": (8, 8)}, "encoder.layer"),
    ],
)
def test_what_has_no_place_is_refused_beside_what_has(modules, words):
    with pytest.raises(ShapeMismatch, match="does not fit the base") as caught:
        place(adapter(modules), BASE)
    assert words in str(caught.value)


@pytest.mark.parametrize("prefix", ["roberta.", "deberta.model.", "model.roberta."])
def test_the_name_of_another_kind_of_model_is_no_prefix(prefix):
    base = BaseShapes(BASE.modules, BASE.tensors, frozenset({"roberta", "deberta"}))
    with pytest.raises(ShapeMismatch, match="does not fit the base"):
        place(adapter(under(prefix)), base)
    assert place(adapter(under("bert.")), base).less == "bert."


def test_what_fits_in_two_places_is_refused_with_both():
    twins = {
        f"{tower}.{name}": module
        for tower in ("text", "vision")
        for name, module in MODULES.items()
    }
    with pytest.raises(ShapeMismatch, match="in 2 places") as caught:
        place(adapter(under("")), BaseShapes(twins, {}))
    assert "text.encoder" in str(caught.value)
    assert "vision.encoder" in str(caught.value)
    narrow = {n: (k, (s[0], 7)) if n.startswith("text") else (k, s) for n, (k, s) in twins.items()}
    assert place(adapter(under("")), BaseShapes(narrow, {})).more == "vision."


def test_kinds_of_modules_are_told_apart():
    """A square shape says nothing: a Conv1D stores (d_in, d_out), an embedding is no linear."""
    base = BaseShapes(
        {
            "c_fc": (TRANSPOSED, (8, 32)),
            "words": (EMBEDDING, (11, 8)),
            "pixels": (CONVOLUTION, (8, 3, 4, 4)),
        },
        {},
    )
    square = BaseShapes({"words": (EMBEDDING, (8, 8))}, {})

    def one(name, shape, layout):
        return AdapterLayout({name: ModuleSpec("a", "b", 2, 1.0, shape, layout)}, {}, {})

    place(one("c_fc", (32, 8), Layout()), base)
    place(one("words", (8, 11), Layout(is_embedding=True)), base)
    place(one("pixels", (8, 48), Layout(kernel=(4, 4))), base)
    for wrong, where in (
        (one("c_fc", (8, 32), Layout()), base),
        (one("words", (11, 8), Layout(is_embedding=True)), base),
        (one("words", (8, 8), Layout()), square),
        (one("pixels", (8, 48), Layout(kernel=(2, 8))), base),
        (one("pixels", (8, 48), Layout()), base),
    ):
        with pytest.raises(ShapeMismatch):
            place(wrong, where)


@pytest.mark.parametrize(
    ("tensor", "is_left_out"),
    [
        ("classifier.weight", True),
        ("score.weight", True),
        ("classifier.dense.bias", True),
        ("encoder.layer.1.dense.weight", False),
    ],
)
def test_a_head_that_is_not_loaded_is_left_out_and_named(tensor, is_left_out):
    way = place(adapter(under(""), [tensor]), BASE)
    assert way.left_out == ((tensor,) if is_left_out else ())


@pytest.mark.parametrize("tensor", ["layer.1.dense.weight", "bert.encoder.layer.1.dense.weight"])
def test_a_whole_tensor_by_another_name_is_no_head(tensor):
    with pytest.raises(ShapeMismatch, match="does not fit"):
        place(adapter(under(""), [tensor]), BASE)


def test_a_head_alone_is_nothing_to_file():
    with pytest.raises(ShapeMismatch, match="does not fit"):
        place(adapter({}, ["classifier.weight"]), BASE)


def test_a_whole_tensor_must_have_the_shape_and_a_vocabulary_its_rows():
    way = place(adapter(under("")), BASE)
    assert misfit_of_whole({"encoder.layer.0.dense.weight": (16, 8)}, BASE, way) is None
    told = misfit_of_whole({"encoder.layer.0.dense.weight": (18, 8)}, BASE, way)
    assert isinstance(told, InputError)
    assert "18 rows" in str(told)
    assert "resized" in str(told)
    assert "(16, 8)" in str(misfit_of_whole({"encoder.layer.0.dense.weight": (8, 16)}, BASE, way))


@given(
    st.lists(st.sampled_from(sorted(MODULES)), min_size=1, unique=True),
    st.sampled_from(["", "bert.", "model.", "a.b."]),
)
def test_whatever_is_placed_lies_on_modules_of_its_shape(take, prefix):
    found = adapter(under(prefix, take=take))
    way = place(found, BASE)
    for module, spec in found.modules.items():
        assert BASE.modules[way.name(module)] == (LINEAR, spec.shape)
