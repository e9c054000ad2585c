"""Expressions of configurations: what `re` answers, and an end to every search."""

import re
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from peft.utils.other import get_pattern_key

from rpe_core.errors import InputError
from rpe_core.merging import patterns
from rpe_core.merging.files.hyperparameters import Hyperparameters, check_config
from rpe_core.merging.patterns import PatternError, Patterns

NAMES = [
    "model.layers.0.self_attn.q_proj",
    "model.layers.11.self_attn.q_proj",
    "model.layers.2.mlp.up_proj",
    "model.vision_tower.layers.3.self_attn.q_proj",
    "layers.1.mlp.down_proj",
    "q_proj",
    "lm_head",
    "",
    "a.b\n",
]
EXPRESSIONS = [
    r"(?:.*\.)?layers\.(0|1)\.self_attn\.q_proj",
    r"(?:.*\.)?layers\.(0|1)(?:\.mlp)?\.(?:up|down)_proj",
    r"layers\.(?:[0-3]|1\d)\..*",
    r"(?!.*vision).*q_proj",
    r".*(?<!q_)proj",
    r"(model\.)+layers\.\d+\.(self_attn|mlp)\.\w+",
    r"lm_head|q_proj",
    r"q_proj)|(lm_head",
    r"[^.]+",
    r"(\w+\.?)*proj",
    r"(?i:Q_PROJ)",
    r"(?s:.)*\bq\w{1,6}?",
    r"(?m:^a).b$",
    "|".join(rf"layers\.{i}\.self_attn\.q_proj" for i in range(40)),
]
ATOMS = st.sampled_from(["a", "b", ".", r"\.", "[ab]", "[^a]", r"\w", "^", "$", r"\b", "(?=a)"])
GROUPS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"({'|'.join(parts)})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "*?"])).map(
            lambda pair: f"(?:{pair[0]}){pair[1]}"
        ),
    ),
    max_leaves=6,
)


@pytest.mark.parametrize("expression", EXPRESSIONS)
@pytest.mark.parametrize("name", NAMES)
def test_an_expression_fits_what_peft_finds_for_it(expression, name):
    expected = get_pattern_key([expression], name) != name or bool(
        re.match(rf"(.*\.)?({expression})$", name)
    )
    assert Patterns({expression: 1}).find([name], 0) == expected


@settings(max_examples=400, deadline=None)
@given(GROUPS, st.text("ab.\n", max_size=7))
@example("^a", "a\n")
def test_any_expression_fits_what_re_finds(expression, name):
    expected = bool(re.match(rf"(.*\.)?({expression})$", name))
    assert bool(Patterns({expression: 1}).find([name], 0)) == expected


@settings(deadline=None)
@given(st.permutations([r"self_attn\.q_proj", "q_proj", "^model.layers.0.self_attn.q_proj", ".*"]))
def test_the_first_that_fits_counts_in_the_order_of_the_file(order):
    """Full names are looked up and others tried; neither may overtake the other."""
    values = {expression: number for number, expression in enumerate(order)}
    for name in NAMES[:5]:
        assert Patterns(values).find([name], -1) == values.get(get_pattern_key(order, name), -1)


@pytest.mark.parametrize(
    "expression",
    [
        "(a+)+b",
        pytest.param("(a|a)" * 60 + "b", marks=(pytest.mark.slow, pytest.mark.ci_slow)),
        "((a*)*)*b",
        "(.*.*.*.*.*)*x",
        "(?:a?){60}a{60}b",
        "(?:(?:a{0,900}){0,900}){0,900}b",
        "(?:(?=(?:a*a*)*b)a)*b",
        pytest.param("(a|aa)+$b", marks=(pytest.mark.slow, pytest.mark.ci_slow)),
    ],
)
def test_a_search_without_end_ends(expression):
    began = time.process_time()
    try:
        found = Patterns({expression: 1}).find(["a" * 250], 0)
    except PatternError:
        found = 0
    assert not found
    assert time.process_time() - began < 20


def test_what_many_names_cost_is_bounded_and_told(monkeypatch):
    monkeypatch.setattr(patterns, "MAX_SECONDS", 0.5)
    config = {"peft_type": "LORA", "alpha_pattern": {"(a|aa)+[cd]": 1}}
    check_config(config)
    told = Hyperparameters(config)
    with pytest.raises(InputError, match="rank_pattern or alpha_pattern"):
        [told.scaling(f"{'a' * 240}.{number}") for number in range(10_000)]


ENDLESS = [
    "(.*)*x",
    "(?:[a-z_.0-9]+)+!",
    ".*" * 12 + "!",
    "a?" * 30 + "a" * 30,
    "(a|aa)+$",
    "(|a){9}",
]


@pytest.mark.parametrize("expression", ENDLESS)
def test_an_expression_that_re_may_search_for_without_end_is_known(expression):
    assert not patterns.is_soon_found(expression)
    assert not patterns.is_soon_found(f"(?:{expression})|q_proj")


@pytest.mark.parametrize(
    "expression",
    [
        r".*(layers|blocks)\.\d+\.(attn|mlp)\.(q|k|v)(_proj)?",
        r"^(?!.*visual)(?:.*\.)?[)*+?]{1}\*\+\?\*\+\?(q|k)_proj$",
        r"(?:.*?(?:language|text).*?(?:attn|mlp).*?(?:q|up)_proj.*?)|(?:\blayers\.[\d]{1,}\.mlp)",
        "|".join(rf"layers\.{i}\.self_attn\.q_proj" for i in range(40)),
    ],
)
def test_what_trainers_write_is_soon_found(expression):
    assert patterns.is_soon_found(expression)


def test_all_that_peft_searches_for_is_judged():
    told = {
        "target_modules": "a",
        "exclude_modules": "b",
        "layers_pattern": ["c"],
        "rank_pattern": {"d": 1},
        "alpha_pattern": {"e": 1},
    }
    assert patterns.expressions(told) == ["a", "b", "c", "d", "e"]
    plain = {"target_modules": ["q"], "exclude_modules": None, "rank_pattern": None}
    assert patterns.expressions(plain) == []


@pytest.mark.parametrize("expression", [r"(a)\3b", "(?>a)ab", "a++b", "(?P<x>a)(?(x)ab|c)"])
def test_what_looks_back_or_keeps_what_it_took_is_read_as_re_reads_it(expression):
    expected = bool(re.match(rf"(.*\.)?({expression})$", "aab"))
    assert bool(Patterns({expression: 1}).find(["aab"], 0)) == expected


@pytest.mark.parametrize("expression", ["(", "(?i)a", r"(a)\2", "(" * 5000, "a{2,1}", "*"])
def test_what_is_no_expression_is_refused(expression):
    with pytest.raises(PatternError):
        Patterns({expression: 1})


def test_without_r_and_lora_alpha_they_are_pefts_own():
    default = Hyperparameters({})
    assert (default.rank("q"), default.scaling("q")) == (8, 1.0)
    assert Hyperparameters({"lora_alpha": 16}).scaling("q") == 2.0
    assert Hyperparameters({"r": 4, "use_rslora": True}).scaling("q") == 4.0
    check_config({"peft_type": "LORA"})
