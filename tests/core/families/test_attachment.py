"""What PEFT leaves unused, or does not find, is an error in words; the base is what it was."""

import json

import pytest
import torch
from transformers import AutoModel, BertForSequenceClassification, BertModel

from rpe_core.families import attachment, text_encoder
from rpe_core.families.skeleton import draw
from rpe_core.families.table import FAMILIES, load_family
from tests.adapter_folders import CONFIG, WEIGHTS
from tests.foreign import edit_config, edit_tensors, hidden, rename, trained
from tests.pico import pico_clip, pico_encoder, pico_llama, pico_sam

IDS = torch.tensor([[2, 11, 23, 9, 31, 3]])
MODULES = ["query", "value", "intermediate.dense"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return pico_encoder(tmp_path_factory.mktemp("base"))


@pytest.fixture
def base(folder):
    return text_encoder.load(str(folder), max_tokens=32)


@pytest.fixture
def adapter(folder, tmp_path):
    trained(BertModel.from_pretrained(folder), tmp_path / "lab", target_modules=MODULES)
    return tmp_path / "lab"


def _without(part):
    return lambda state: {name: t for name, t in state.items() if part not in name}


HARMS = {
    "another class": (
        lambda f: rename(f, lambda n: n.replace("model.encoder", "model.bert.encoder")),
        r"12 tensors have no place in it, the first is 'bert\.encoder",
    ),
    "one name": (
        lambda f: rename(f, lambda n: n.replace("layer.1.attention.self.query", "layer.1.q")),
        r"2 tensors have no place.*layer\.1\.q\.lora_A",
    ),
    "fewer targets": (
        lambda f: edit_config(f, target_modules=["query", "value"]),
        r"4 tensors have no place.*intermediate\.dense",
    ),
    "narrowed": (lambda f: edit_config(f, layers_to_transform=[0]), r"6 tensors have no place"),
    "no factors": (
        lambda f: edit_tensors(f, _without("layer.1.intermediate")),
        r"lacks weights for 2 tensors.*layer\.1\.intermediate",
    ),
    "more targets": (
        lambda f: edit_config(f, target_modules=[*MODULES, "key"]),
        r"lacks weights for 4 tensors.*self\.key",
    ),
    "turned": (
        lambda f: edit_tensors(f, lambda s: {n: t.T for n, t in s.items()}),
        r"another shape than the module",
    ),
    "no targets": (lambda f: edit_config(f, target_modules=["q_proj"]), r"none of the base's"),
    "a library": (
        lambda f: edit_config(f, megatron_config={"tensor_model_parallel_size": 2}),
        r"wants a library that is not installed",
    ),
    "no patterns": (lambda f: edit_config(f, rank_pattern=None), r"a value that PEFT cannot take"),
    "no expression": (lambda f: edit_config(f, target_modules="("), r"a value that PEFT cannot"),
    "a mapping": (lambda f: edit_config(f, target_modules={"query": 1}, r="4"), r"value that PEFT"),
    "whole": (
        lambda f: edit_config(f, modules_to_save=["output.dense"]),
        r"lacks a tensor, '.*output\.dense",
    ),
    "another name": (
        lambda f: rename(f, lambda n: n.replace(".weight", ".other.weight")),
        r"12 tensors have no place",
    ),
}


@pytest.mark.parametrize("harm", HARMS)
def test_what_does_not_fit_is_told_and_the_base_is_what_it_was(base, adapter, harm):
    change, words = HARMS[harm]
    parts, before = dict(base.model.named_modules()), hidden(base.model, IDS)
    change(adapter)
    with pytest.raises(ValueError, match=rf"^the adapter does not fit the base: .*{words}"):
        attachment.attach(base, str(adapter))
    assert base.adapter is None
    assert dict(base.model.named_modules()) == parts
    assert torch.equal(hidden(base.model, IDS), before)


def test_names_that_are_none_are_not_shown(base, adapter):
    rename(adapter, lambda n: n.replace("layer.1.", "layer.Jane Doe of Springfield."))
    with pytest.raises(ValueError, match="a name of") as caught:
        attachment.attach(base, str(adapter))
    assert "Jane" not in str(caught.value)


@pytest.mark.parametrize("task_type", ["SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS", None])
def test_a_task_of_pefts_asks_for_no_head(base, folder, adapter, task_type):
    """PEFT's wrapper of a task calls the model with labels, which an encoder does not take."""
    edit_config(adapter, task_type=task_type)
    attachment.attach(base, str(adapter))
    tokens = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS)}
    with torch.no_grad():
        found = base.adapter(**tokens).last_hidden_state
    plain = text_encoder.load(str(folder), max_tokens=32)
    edit_config(adapter, task_type=None)
    attachment.attach(plain, str(adapter))
    assert torch.equal(found, hidden(plain.model, IDS))


def test_the_head_of_a_task_has_no_place(base, folder, tmp_path):
    model = BertForSequenceClassification.from_pretrained(folder)
    trained(model, tmp_path / "lab", target_modules=["query"], task_type="SEQ_CLS")
    rename(tmp_path / "lab", lambda n: n.replace("model.bert.", "model."))
    with pytest.raises(ValueError, match=r"2 tensors have no place.*classifier"):
        attachment.attach(base, str(tmp_path / "lab"))


@pytest.mark.parametrize(
    ("family", "make", "max_tokens"),
    [
        ("text-encoder", pico_encoder, 32),
        ("causal-lm", pico_llama, 32),
        ("sam", pico_sam, 0),
        ("clip", pico_clip, 0),
    ],
)
def test_a_drawing_has_the_modules_that_the_family_loads(tmp_path, family, make, max_tokens):
    place = str(make(tmp_path / "base"))
    drawn = draw(place, FAMILIES[family].loads)
    loaded = load_family(family).load(place, max_tokens=max_tokens).model
    kinds = [{n: type(m) for n, m in one.named_modules()} for one in (drawn.model, loaded)]
    assert kinds[0] == kinds[1]
    assert drawn.tensors() == {n: tuple(t.shape) for n, t in loaded.state_dict().items()}
    assert all(weight.is_meta for weight in drawn.model.parameters())


@pytest.mark.parametrize("harm", ["", "another class", "more targets", "turned"])
def test_a_drawing_takes_what_the_base_takes(folder, adapter, harm):
    drawn = draw(str(folder), "AutoModel")
    if not harm:
        attachment.attach(drawn, str(adapter))
        attachment.detach(drawn)
        attachment.attach(drawn, str(adapter))
        return
    change, words = HARMS[harm]
    change(adapter)
    with pytest.raises(ValueError, match=words):
        attachment.attach(drawn, str(adapter))
    kinds = [type(m) for m in AutoModel.from_pretrained(folder).modules()]
    assert [type(m) for m in drawn.model.modules()] == kinds


def test_files_that_cannot_be_read_are_told(base, adapter):
    whole = (adapter / WEIGHTS).read_bytes()
    (adapter / WEIGHTS).write_bytes(whole[:100])
    with pytest.raises(ValueError, match="no readable safetensors"):
        attachment.attach(base, str(adapter))
    (adapter / WEIGHTS).write_bytes(whole)
    (adapter / CONFIG).write_text(json.dumps({"peft_type": "LORA", "r": "x"}))
    with pytest.raises(ValueError, match="does not fit the base"):
        attachment.attach(base, str(adapter))
    assert base.adapter is None
