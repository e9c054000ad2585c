"""A language model as judge: the grade that it expects for a text beside what should be there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from rpe_core.errors import InputError

Floats = npt.NDArray[np.float64]
PLACES = ("{target}", "{text}")  # what the prompt of a judge holds once each
GRADES = 5
BATCH = 8


def judge_grades(
    judge: Any, texts: Sequence[str], targets: Sequence[str], *, prompt: str
) -> Floats:
    """The expected grade of each text, shape (n,): 0 for a sure 1, 1 for a sure 5.

    Grades 1 to 5 are weighed by the probability of their token after the prompt and nothing is
    sampled (G-Eval, Liu et al., 2023). Text and target share what the prompt leaves of the judge's
    max_tokens; what is longer loses its end.

    Args:
        judge: a frozen causal language model with `model`, `tokenizer`, `max_tokens`, `device`.
        texts: what was written.
        targets: what should have been, as many.
        prompt: words around {target} and {text} that ask for a grade from 1 to 5 and end before it.

    Raises:
        InputError: the prompt lacks a place or leaves no room, or a grade is no token.
    """
    parts, grades = _prompt_tokens(judge, prompt), _grade_tokens(judge)
    room = (judge.max_tokens - sum(len(part) for part in parts if isinstance(part, list))) // 2
    if room < 1:
        raise InputError("the judge's prompt leaves no room.", expected="a shorter one")
    rows = [
        _filled(judge, parts, {"{target}": target, "{text}": text}, room)
        for target, text in zip(targets, texts, strict=True)
    ]
    probabilities = [
        _probabilities(judge, rows[i : i + BATCH], grades) for i in range(0, len(rows), BATCH)
    ]
    return np.concatenate(probabilities) @ np.linspace(0.0, 1.0, GRADES)


def _prompt_tokens(judge: Any, prompt: str) -> list[list[int] | str]:
    """The prompt cut at its places: tokens of the words between, and the places themselves."""
    if any(prompt.count(placeholder) != 1 for placeholder in PLACES):
        raise InputError("the judge's prompt must hold {target} and {text} once each.")
    tokenizer = judge.tokenizer
    if tokenizer.chat_template:
        asked = [{"role": "user", "content": prompt}]
        prompt = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    parts = [part for part in re.split(r"(\{target\}|\{text\})", prompt) if part]
    made: list[list[int] | str] = [
        part if part in PLACES else _tokens(judge, part) for part in parts
    ]
    if not tokenizer.chat_template and tokenizer.bos_token_id is not None:
        made.insert(0, [tokenizer.bos_token_id])
    return made


def _grade_tokens(judge: Any) -> list[int]:
    token_lists = [_tokens(judge, str(grade + 1)) for grade in range(GRADES)]
    last = [tokens[-1] for tokens in token_lists if tokens]
    if len(set(last)) != GRADES or judge.tokenizer.unk_token_id in last:
        raise InputError("the judge has no token of its own for each grade from 1 to 5.")
    return last


def _filled(
    judge: Any, parts: Sequence[list[int] | str], values: dict[str, str], room: int
) -> list[int]:
    pieces = [_tokens(judge, values[p])[:room] if isinstance(p, str) else p for p in parts]
    return [token for piece in pieces for token in piece]


def _tokens(judge: Any, text: str) -> list[int]:
    token_ids: list[int] = judge.tokenizer(text, add_special_tokens=False)["input_ids"]
    return token_ids


def _probabilities(judge: Any, rows: Sequence[list[int]], grades: Sequence[int]) -> Floats:
    """Of each grade after each row, (b, GRADES), as if no other token could follow."""
    longest, padding = max(map(len, rows)), judge.tokenizer.pad_token_id or 0
    tokens = torch.tensor([[padding] * (longest - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    places = (mask.cumsum(dim=1) - 1).clamp(min=0)
    with torch.no_grad():
        logits = judge.model(
            input_ids=tokens.to(judge.device),
            attention_mask=mask.to(judge.device),
            position_ids=places.to(judge.device),
            use_cache=False,
        ).logits[:, -1, list(grades)]
    return np.asarray(logits.double().softmax(dim=-1).cpu().numpy())
