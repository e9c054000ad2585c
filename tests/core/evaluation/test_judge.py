"""A language model as judge: grades weighed by their probability, computed one text at a time."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rpe_core.errors import InputError
from rpe_core.evaluation.judge import judge_grades
from rpe_core.families import causal_lm
from tests.pico import pico_llama

PROMPT = "red {target} scan {text} impression : "


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return pico_llama(tmp_path_factory.mktemp("pico") / "judge")


@pytest.fixture(scope="module")
def judge(folder):
    return causal_lm.load(str(folder), max_tokens=32)


def by_definition(folder, text, target):
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(folder),
        AutoTokenizer.from_pretrained(folder),
    )
    asked = PROMPT.replace("{target}", target).replace("{text}", text)
    tokens = [tokenizer.bos_token_id, *tokenizer(asked, add_special_tokens=False)["input_ids"]]
    with torch.no_grad():
        logits = model.eval()(torch.tensor([tokens])).logits[0, -1].double()
    grades = tokenizer.convert_tokens_to_ids(list("12345"))
    return float(logits[grades].softmax(dim=-1) @ torch.linspace(0, 1, 5, dtype=torch.double))


def test_a_grade_is_weighed_by_its_probability_whatever_stands_beside_it(judge, folder):
    texts, targets = ["red", "red scan red", "scan"], ["scan scan scan red", "red", "scan"]
    found = judge_grades(judge, texts, targets, prompt=PROMPT)
    expected = [by_definition(folder, *pair) for pair in zip(texts, targets, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert len(set(found.round(6))) > 1


def test_a_long_text_loses_its_end_and_the_question_stays(judge):
    long = judge_grades(judge, ["red " * 500], ["scan"], prompt=PROMPT)
    cut = judge_grades(judge, ["red " * 13], ["scan"], prompt=PROMPT)
    np.testing.assert_allclose(long, cut, atol=1e-12)


@pytest.mark.parametrize(
    "prompt", ["{text}", "{target} {text} {text}", "{target}{text}" + "red " * 40]
)
def test_a_prompt_without_its_places_or_room_is_refused(judge, prompt):
    with pytest.raises(InputError):
        judge_grades(judge, ["red"], ["scan"], prompt=prompt)
