"""BERTScore against its definition, computed token by token."""

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from rpe_core.errors import InputError
from rpe_core.evaluation.bert_score import bert_f1
from rpe_core.families import text_encoder
from tests.pico import pico_encoder, pico_texts


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return pico_encoder(tmp_path_factory.mktemp("pico") / "base")


@pytest.fixture(scope="module")
def encoder(folder):
    return text_encoder.load(str(folder), max_tokens=32)


def by_definition(folder, text, target, layer):
    model, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    found = []
    for one in (text, target):
        tokens = tokenizer(one, truncation=True, max_length=32, return_tensors="pt")
        with torch.no_grad():
            hidden = model.eval()(**tokens, output_hidden_states=True).hidden_states[layer][0]
        rows = hidden[1:-1].double().numpy()  # between [CLS] and [SEP]
        found.append(rows / np.linalg.norm(rows, axis=1, keepdims=True))
    cosines = np.array([[float(x @ y) for y in found[1]] for x in found[0]])
    precision, recall = cosines.max(axis=1).mean(), cosines.max(axis=0).mean()
    return 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_the_score_is_that_of_the_definition(encoder, folder, layer):
    texts, targets = (pico_texts(np.random.default_rng(seed), 4)[0] for seed in (0, 1))
    found = bert_f1(encoder, texts, targets, layer=layer)
    expected = [by_definition(folder, *pair, layer) for pair in zip(texts, targets, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_text_matches_itself_and_nothing_matches_nothing(encoder):
    found = bert_f1(encoder, ["red scan", "", "red"], ["red scan", "red", ""], layer=1)
    np.testing.assert_allclose(found, [1.0, 0.0, 0.0], atol=1e-6)
    told = bert_f1(encoder, ["red scan", ""], ["red scan", "red"], layer=1, baseline=0.5)
    np.testing.assert_allclose(told, [1.0, -1.0], atol=1e-6)


@pytest.mark.parametrize("wrong", [{"layer": 3}, {"layer": -1}, {"layer": 1, "baseline": 1.0}])
def test_a_layer_or_baseline_out_of_range_is_refused(encoder, wrong):
    with pytest.raises(InputError):
        bert_f1(encoder, ["red"], ["red"], **wrong)
