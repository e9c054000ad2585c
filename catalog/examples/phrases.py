"""How the demos make sentences: frames with slots and choices, filled by a seeded generator."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

_TOKEN = re.compile(r"\{(\w+)\}|\[([^\[\]]*)\]")


def pick(choices: Sequence[str], rng: np.random.Generator) -> str:
    """One of the choices."""
    return choices[int(rng.integers(len(choices)))]


def cases(n_rows: int, rng: np.random.Generator) -> list[int]:
    """A case number per row; a case has one to three rows."""
    sizes = rng.integers(1, 4, size=n_rows)
    return [int(case) for case in np.repeat(np.arange(n_rows), sizes)[:n_rows]]


def expand(frame: str, words: Mapping[str, Sequence[str]], rng: np.random.Generator) -> str:
    """Fill slots and choices from left to right; a word is used once in a sentence.

    >>> expand("[no|no] {sign}", {"sign": ["swelling"]}, np.random.default_rng(0))
    'no swelling'
    """
    used: set[str] = set()
    while token := _TOKEN.search(frame):
        choices = words[token[1]] if token[1] else token[2].split("|")
        word = pick([word for word in choices if word not in used] or choices, rng)
        used.add(word)
        frame = frame[: token.start()] + word + frame[token.end() :]
    return " ".join(frame.split())


def capital(text: str) -> str:
    """The text with a first capital letter."""
    return text[0].upper() + text[1:]
