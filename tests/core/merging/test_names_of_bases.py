"""One tensor by several names, and names that only look like those of another."""

import pytest

from rpe_core.merging.names import find_all

LLAMA = [f"model.layers.{i}.self_attn.{part}_proj.weight" for i in range(2) for part in "qkvo"]
BERT = [
    f"encoder.layer.{i}.attention.{part}.weight"
    for i in range(2)
    for part in ("self.query", "self.key", "self.value", "output.dense")
]


def found(names, keys):
    return [find_all([name], keys).get(name) for name in names]


@pytest.mark.parametrize(
    "frame", ["{}", "model.{}", "language_model.{}", "model.language_model.{}", "thinker.{}"]
)
def test_what_only_wraps_a_model_says_nothing(frame):
    keys = [frame.format(key) for key in LLAMA]
    assert found(LLAMA, keys) == keys
    assert found(keys, LLAMA) == LLAMA


@pytest.mark.parametrize("prefix", ["bert.", "roberta.", "vit.", "backbone.", "a.b."])
def test_a_prefix_is_more_or_less(prefix):
    keys = [prefix + key for key in BERT]
    assert list(find_all(BERT, keys).values()) == keys
    assert list(find_all(keys, BERT).values()) == BERT


def test_another_part_of_a_model_is_none_of_these():
    for part in ("encoder", "decoder", "text_model", "vision_model", "unmodel", "mtp"):
        names = [key.replace("model.", f"{part}.", 1) for key in LLAMA]
        assert found(names, LLAMA) == [None] * len(names)
        assert found(LLAMA, names) == [None] * len(names)


def test_of_two_places_neither_is_certain():
    keys = [f"{part}_model.{key}" for part in ("text", "vision") for key in BERT]
    assert find_all(BERT, keys) == {}
    both = [*BERT, *(f"model.{key}" for key in BERT)]
    assert list(find_all(BERT, both).values()) == BERT
    assert find_all([f"language_model.{key}" for key in BERT], both) == {}


def test_a_head_without_the_prefix_of_the_rest():
    keys = [*(f"bert.{key}" for key in BERT), "classifier.weight"]
    assert list(find_all([*BERT, "classifier.weight"], keys).values()) == keys
    assert find_all([*BERT, "score.weight"], keys).get("score.weight") is None
