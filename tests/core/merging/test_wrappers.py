"""What wraps a model at its training leaves the adapter what it is; a doubt is refused."""

import json
import math

import pytest
import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

from rpe_core.errors import InputError
from rpe_core.merging.files.layout import read_layout
from rpe_core.merging.merge import merge
from rpe_core.merging.wrappers import plain_name
from tests.adapter_folders import (
    CONFIG,
    WEIGHTS,
    bytes_of,
    convolution,
    embedding,
    linear,
    write_folder,
)

PREFIX = "base_model.model."
PLAIN = {"peft_type": "LORA", "r": 2, "lora_alpha": 8}
FRAMES = [  # of the same model, as its adapter's names begin
    "_orig_mod.base_model.model.",
    "module.base_model.model.",
    "_forward_module.base_model.model.",
    "_orig_mod.module.base_model.model.",
    "base_model.model._orig_mod.",
    "base_model.model.module.",
    "base_model.model.module._orig_mod.",
    "base_model.model._fsdp_wrapped_module.",
    "_fsdp_wrapped_module.base_model.model._fsdp_wrapped_module.",
    "base_model.model.base_model.model.",
    "base_model.model._orig_mod.base_model.model.",
    "base_model.",
]


def renamed(tensors, change):
    return {change(name): tensor for name, tensor in tensors.items()}


def members():
    return {**linear("layers.0.q"), **linear("layers.1.v", seed=3), **convolution("pixels", seed=4)}


def shapes_of(*parts):
    return {name: tuple(t.shape) for part in parts for name, t in part.items()}


@pytest.mark.parametrize("frame", FRAMES)
def test_members_that_were_wrapped_are_added_to_those_that_were_not(tmp_path, frame):
    one = write_folder(tmp_path / "one", members())
    wrapped = renamed(members(), lambda name: frame + name.removeprefix(PREFIX))
    two = write_folder(tmp_path / "two", wrapped)
    same = write_folder(tmp_path / "same", members())
    merge([(one, 0.7), (two, -0.2)], tmp_path / "out")
    merge([(one, 0.7), (same, -0.2)], tmp_path / "plain")
    found, expected = (bytes_of(tmp_path / name) for name in ("out", "plain"))
    assert (found[WEIGHTS], found[CONFIG]) == (expected[WEIGHTS], expected[CONFIG])


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("layers._checkpoint_wrapped_module.0._fsdp_wrapped_module.q.lora_A.weight",
         "layers.0.q.lora_A.weight"),
        ("layers.0.q.lora_B.default.weight", "layers.0.q.lora_B.weight"),
        ("words.lora_embedding_A.first", "words.lora_embedding_A"),
        ("classifier.modules_to_save.default.weight", "classifier.weight"),
        ("encoder.module.layers.0.q.lora_A.weight", "encoder.module.layers.0.q.lora_A.weight"),
        ("model.layers.0.q.lora_A.weight", "model.layers.0.q.lora_A.weight"),
        ("my_orig_mod.q.lora_A.weight", "my_orig_mod.q.lora_A.weight"),
        ("q.lora_A.weight.weight", "q.lora_A.weight"),
    ],
)  # fmt: skip
def test_a_wrapper_goes_wherever_it_stands_and_a_part_of_the_model_stays(name, plain):
    assert plain_name(PREFIX + name) == PREFIX + plain


@pytest.mark.parametrize("name", ["model.a.lora_A.weight", "_orig_mod.a.lora_A.weight", "", "a"])
def test_what_peft_did_not_name_stays_as_it_is(name):
    assert plain_name(name) == name


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(6, 6) for _ in range(2)])

    def forward(self, rows):
        for layer in self.layers:
            rows = layer(rows)
        return rows


@pytest.mark.filterwarnings("ignore:.torch.jit.script_method:DeprecationWarning")
@pytest.mark.parametrize("wrap", [torch.compile, nn.DataParallel, checkpoint_wrapper])
@pytest.mark.parametrize("is_wrapped_first", [True, False])
def test_torchs_own_wrappers_are_known(tmp_path, wrap, is_wrapped_first):
    """The state of a wrapped PEFT model, or of PEFT on a wrapped model, against PEFT's own."""
    told = LoraConfig(r=2, target_modules=["layers.0", "layers.1"], init_lora_weights=False)
    torch.manual_seed(0)
    adapted = get_peft_model(Tiny(), told)
    expected = get_peft_model_state_dict(adapted)
    other = get_peft_model(wrap(Tiny()), told) if is_wrapped_first else wrap(adapted)
    state = [name for name, _ in other.named_parameters() if "lora_" in name]
    assert {plain_name(name) for name in state} == set(expected)


def test_patterns_fit_a_module_as_it_was_called_at_training(tmp_path):
    """A pattern may name the wrapper, or may have been written before there was one."""
    wrapped = renamed(linear("layers.0.q"), lambda n: n.replace(PREFIX, f"{PREFIX}_orig_mod."))
    for pattern in (r"^_orig_mod\.layers\.0\.q", r"^layers\.0\.q", "q"):
        found = read_layout(shapes_of(wrapped), {**PLAIN, "alpha_pattern": {pattern: 64}}, where="")
        assert found.modules["layers.0.q"].scaling == 32.0


@pytest.mark.parametrize(
    "double",
    [
        lambda name: name.replace(PREFIX, f"{PREFIX}_orig_mod."),
        lambda name: name.replace(".weight", ".default.weight"),
        lambda name: f"module.{name}",
    ],
)
def test_two_tensors_that_become_one_are_refused(tmp_path, double):
    state = {**linear("layers.0.q"), **renamed(linear("layers.0.q", seed=9), double)}
    with pytest.raises(InputError, match=r"one without what wraps.*layers\.0\.q"):
        read_layout(shapes_of(state), PLAIN, where="folder x")


def test_whole_modules_are_wrapped_too():
    state = {
        f"{PREFIX}_orig_mod.classifier.modules_to_save.default.weight": torch.ones(3, 6),
        f"{PREFIX}_orig_mod.classifier.original_module.weight": torch.ones(3, 6),
        f"{PREFIX}_orig_mod.words.base_layer.weight": torch.ones(11, 6),
    }
    wrapped = renamed(embedding("words"), lambda n: n.replace(PREFIX, f"{PREFIX}_orig_mod."))
    found = read_layout(
        shapes_of(state, wrapped), {**PLAIN, "modules_to_save": ["classifier"]}, where=""
    )
    assert list(found.whole) == ["classifier.weight"]
    assert list(found.copies) == ["classifier.weight", "words.weight"]
    assert list(found.modules) == ["words"]


def test_a_long_name_is_shown(tmp_path):
    """PEFT's names are long; a refusal that hides them helps nobody."""
    module = "model.vision_tower.vision_model.encoder.layers.11.self_attn.out_proj"
    state = linear(module)
    del state[f"{PREFIX}{module}.lora_B.weight"]
    with pytest.raises(InputError, match="only one of its two") as caught:
        read_layout(shapes_of(state), PLAIN, where="folder x")
    assert module in str(caught.value)
    with pytest.raises(InputError, match=rf"{module}\.bias"):
        read_layout(shapes_of({f"{PREFIX}{module}.bias": torch.ones(2)}), PLAIN, where="folder x")


def test_a_module_that_only_ends_like_a_target_is_refused():
    """PEFT would leave its factors unused."""
    shapes = shapes_of(embedding("model.unembed_tokens"))
    with pytest.raises(InputError, match=r"do not name 'model\.unembed_tokens'"):
        read_layout(shapes, {**PLAIN, "target_modules": ["embed_tokens"]}, where="folder x")
    for targets in (["embed_tokens", "unembed_tokens"], ["model.unembed_tokens"], None, ".*"):
        read_layout(shapes, {**PLAIN, "target_modules": targets}, where="folder x")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("layers.0.q", "model.layers.0.q"),
        ("encoder.layers.0.q", "bert.encoder.layers.0.q"),
        ("layers.0.q", "encoder.module.layers.0.q"),
        ("embed_tokens", "unembed_tokens"),
        ("model.embed_tokens", "model.unembed_tokens"),
    ],
)
def test_members_that_may_name_one_module_twice_are_refused_without_a_base(tmp_path, one, other):
    made = [write_folder(tmp_path / f"{n}", linear(m), target_modules=None)
            for n, m in enumerate((one, other))]  # fmt: skip
    for order in (made, made[::-1]):
        with pytest.raises(InputError, match="one module by two names") as caught:
            merge([(folder, 0.5) for folder in order], tmp_path / "out")
        assert one in str(caught.value)
        assert "--base" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_modules_of_other_numbers_are_two(tmp_path):
    names = ("layers.0", "layers.10", "10.q", "0.q", "encoder.fc1", "encoder.fc11")
    made = [write_folder(tmp_path / f"{n}", linear(m, seed=n), target_modules=None)
            for n, m in enumerate(names)]  # fmt: skip
    merge([(folder, 0.5) for folder in made], tmp_path / "out")
    assert len(load_file(tmp_path / "out" / WEIGHTS)) == 2 * len(names)


def test_modules_that_one_member_tells_apart_are_two(tmp_path):
    both = {**linear("layers.0.q"), **linear("decoder.layers.0.q", seed=5)}
    one = write_folder(tmp_path / "one", both)
    two = write_folder(tmp_path / "two", linear("decoder.layers.0.q", seed=6))
    three = write_folder(tmp_path / "three", linear("layers.0.v", shape=(9, 6)))
    merge([(one, 0.5), (two, 0.5), (three, 1.0)], tmp_path / "out")
    assert len(load_file(tmp_path / "out" / WEIGHTS)) == 6


@pytest.fixture
def base(tmp_path):
    (tmp_path / "base").mkdir()
    weights = {f"model.layers.{i}.{n}.weight": torch.ones(5, 6) for i in (0, 1) for n in "qv"}
    save_file(weights, tmp_path / "base" / "model.safetensors")
    return tmp_path / "base"


@pytest.mark.parametrize("method", ["concat", "svd", "dense", "fold"])
def test_a_base_decides_which_name_is_right(tmp_path, base, method):
    """`layers.0.q` and `model.layers.0.q` are one tensor of the base: the sum is that of one."""
    one = write_folder(tmp_path / "one", linear("model.layers.0.q"))
    two = write_folder(tmp_path / "two", linear("layers.0.q", seed=7))
    same = write_folder(tmp_path / "same", linear("model.layers.0.q", seed=7))
    for name, other in (("out", two), ("plain", same)):
        merge([(one, 0.6), (other, -0.3)], tmp_path / name, method=method, base=base)
    file = "model.safetensors" if method == "fold" else WEIGHTS
    found, expected = (load_file(tmp_path / name / file) for name in ("out", "plain"))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)


@pytest.mark.parametrize("method", ["concat", "svd", "dense", "fold"])
@pytest.mark.parametrize(
    "module", ["model.layers.2.q", "other.layers.0.q", "model.layers.0.uq", "unmodel.layers.0.q"]
)
def test_with_a_base_every_module_must_be_in_it_whatever_the_method(tmp_path, base, method, module):
    one = write_folder(tmp_path / "one", linear("model.layers.0.q"), target_modules=None)
    two = write_folder(tmp_path / "two", linear(module), target_modules=None)
    with pytest.raises(InputError, match=module.replace(".", r"\.")):
        merge([(one, 0.5), (two, 0.5)], tmp_path / "out", method=method, base=base)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("method", ["concat", "svd", "dense", "fold"])
def test_with_a_base_every_shape_must_be_its_own_whatever_the_method(tmp_path, base, method):
    one = write_folder(tmp_path / "one", linear("model.layers.0.q", shape=(5, 7)))
    with pytest.raises(InputError, match=r"model\.layers\.0\.q"):
        merge([(one, 1.0)], tmp_path / "out", method=method, base=base)


@pytest.mark.parametrize("method", ["concat", "svd", "dense", "fold"])
def test_with_a_base_d_in_and_d_out_may_not_be_exchanged(tmp_path, base, method):
    """A Conv1D has a bias as long as d_out; a Linear's weight is not stored transposed."""
    turned = write_folder(tmp_path / "one", linear("model.layers.0.q", shape=(6, 5)))
    with pytest.raises(InputError, match="does not fit the weight"):
        merge([(turned, 1.0)], tmp_path / "out", method=method, base=base)
    state = load_file(base / "model.safetensors")
    for bias, is_right in ((torch.ones(6), True), (torch.ones(5), False)):
        save_file({**state, "model.layers.0.q.bias": bias}, base / "model.safetensors")
        if is_right:
            merge([(turned, 1.0)], tmp_path / "out", method=method, base=base)
            continue
        with pytest.raises(InputError, match="does not fit the weight"):
            merge([(turned, 1.0)], tmp_path / "again", method=method, base=base)


def test_configurations_that_peft_fills_in_are_read_as_peft_does(tmp_path):
    """No r and no lora_alpha: PEFT's eight; the merged adapter has the same deltas."""
    one = write_folder(tmp_path / "one", linear("q", rank=8), use_rslora=True)
    config = json.loads((one / CONFIG).read_text())
    (one / CONFIG).write_text(json.dumps({k: v for k, v in config.items() if k not in _FILLED}))
    merge([(one, 1.0)], tmp_path / "out")
    b = load_file(tmp_path / "out" / WEIGHTS)[f"{PREFIX}q.lora_B.weight"]
    own = load_file(one / WEIGHTS)[f"{PREFIX}q.lora_B.weight"]
    torch.testing.assert_close(b, own * (8 / math.sqrt(8)))


_FILLED = ("r", "lora_alpha", "rank_pattern", "alpha_pattern")
