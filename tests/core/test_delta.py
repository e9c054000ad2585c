import pytest
import torch

from rpe_core.delta import Layout, LowRankDelta, peft_names, peft_shapes, read_factor_name
from rpe_core.errors import InputError, ShapeMismatch


def test_a_delta_is_the_scaled_product_of_its_factors():
    delta = LowRankDelta(torch.arange(6.0).reshape(2, 3), torch.ones(4, 2), 4.0)
    assert (delta.rank, delta.shape) == (2, (4, 3))
    torch.testing.assert_close(delta.dense(), 4.0 * delta.b @ delta.a)
    assert delta.dense(dtype=torch.float64).dtype == torch.float64


@pytest.mark.parametrize("layout", [Layout(), Layout(is_embedding=True), Layout(kernel=(3, 2))])
def test_names_and_shapes_are_those_of_a_file(layout):
    for factor, name in zip("AB", peft_names("a.b", layout), strict=True):
        assert read_factor_name(name) == ("a.b", factor, layout.is_embedding)
    a, b = peft_shapes((5, 12), 2, layout)
    assert (a[0], b[1], b[0]) == (2, 2, 5)
    assert torch.Size(a).numel() == 24
    assert torch.Size(b).numel() == 10


@pytest.mark.parametrize(
    "name",
    [
        "base_model.model.a.weight",
        "base_model.model.a.lora_B.bias",
        "base_model.model.a.lora_magnitude_vector",
        "base_model.model.a.lora_embedding_A.weight",
        "model.a.lora_A.weight",
    ],
)
def test_other_names_are_no_factors(name):
    assert read_factor_name(name) is None


def test_factors_that_cannot_be_multiplied_are_refused():
    with pytest.raises(ShapeMismatch):
        LowRankDelta(torch.ones(2, 3), torch.ones(4, 3))
    with pytest.raises(ShapeMismatch):
        LowRankDelta(torch.ones(0, 3), torch.ones(4, 0))
    with pytest.raises(InputError):
        LowRankDelta(torch.ones(2, 3), torch.ones(4, 2), float("inf"))
