"""BERTScore: how well the tokens of a text and of its target match under an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from rpe_core.errors import InputError

Floats = npt.NDArray[np.float64]
BATCH = 32


def bert_f1(
    encoder: Any,
    texts: Sequence[str],
    targets: Sequence[str],
    *,
    layer: int,
    baseline: float = 0.0,
) -> Floats:
    """The F-measure of greedy cosine matching, shape (n,) (Zhang et al., 2020, without idf).

    Each token of a text takes its nearest token of the target (precision), and the other way round
    (recall); tokens that the tokenizer adds take no part. With a baseline b a score x is told as
    (x - b) / (1 - b). An empty text or target scores 0 before that.

    Args:
        encoder: a frozen text encoder with `model`, `tokenizer`, `max_tokens` and `device`.
        texts: what was written.
        targets: what should have been, as many.
        layer: whose hidden states are compared, from 0, the embeddings.
        baseline: the score of unrelated texts under this encoder and layer, below 1.

    Raises:
        InputError: no such layer, or a baseline outside [0, 1).
    """
    depth = int(encoder.model.config.num_hidden_layers)
    if not 0 <= layer <= depth:
        raise InputError("the encoder has no such layer.", expected=f"0 to {depth}")
    if not 0.0 <= baseline < 1.0:
        raise InputError("a baseline must lie in [0, 1).")
    scores = [
        _f1(text, target)
        for first in range(0, len(texts), BATCH)
        for text, target in zip(
            _features(encoder, texts[first : first + BATCH], layer),
            _features(encoder, targets[first : first + BATCH], layer),
            strict=True,
        )
    ]
    return (np.array(scores, dtype=np.float64) - baseline) / (1.0 - baseline)


def _features(encoder: Any, texts: Sequence[str], layer: int) -> list[Tensor]:
    """Unit features of each text's own tokens, (tokens, d)."""
    tokens = encoder.tokenizer(
        list(texts),
        truncation=True,
        max_length=encoder.max_tokens,
        padding=True,
        return_special_tokens_mask=True,
        return_tensors="pt",
    )
    is_own = tokens.pop("special_tokens_mask") == 0
    tokens = {name: part.to(encoder.device) for name, part in tokens.items()}
    with torch.no_grad():
        hidden = encoder.model(**tokens, output_hidden_states=True).hidden_states[layer]
    unit = functional.normalize(hidden.float().cpu(), dim=-1)
    return [row[own] for row, own in zip(unit, is_own, strict=True)]


def _f1(text: Tensor, target: Tensor) -> float:
    if not len(text) or not len(target):
        return 0.0
    matches = text @ target.T
    precision = float(matches.max(dim=1).values.double().mean())
    recall = float(matches.max(dim=0).values.double().mean())
    return 2.0 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0
