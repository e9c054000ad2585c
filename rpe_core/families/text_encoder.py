"""Text encoders: zero-shot classification by label prompts, adapted by LoRA. Nothing of ours here.

The registry ships `shared` and this source inside each model version, so they stand on torch,
transformers, peft and numpy alone. Faults are ValueError, and no message holds a text or a label.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer

from rpe_core.families.shared import (
    LOCAL_ONLY,
    WINDOW,
    Doubles,
    Floats,
    ForwardPass,
    Integers,
    answer_labels,
    compute_in_turn,
    cut_texts,
    load_frozen,
    require_labels,
    score_labels,
    target_indices,
    validate_labels,
    without_adapter,
)

SHARPNESS = 20.0  # logits = 20 cos(feature, anchor)
CHUNK_TOKENS = 2048  # a processor computes at a time: what lies between layers stays in its cache
FEW_TOKENS = 256  # of a chunk that takes more rows whatever their padding costs
TEMPLATES = (  # what a label prompt may stand in; a training that guards features asks for them all
    "{}",
    "{}.",
    "this is about {}",
    "a text about {}",
    "a report on {}",
    "a note that speaks of {}",
    "the subject is {}",
)
PADDING = 1.1  # tokens computed for one token of text, at most, in a chunk of more


@dataclass
class Base:
    """A frozen encoder in evaluation mode with its tokenizer; `adapter` is what is attached."""

    model: nn.Module
    tokenizer: Any
    max_tokens: int
    device: str
    adapter: PeftModel | None = None


@dataclass(frozen=True)
class Task:
    """Label names in the order of the outputs, their prompts and unit anchors, (n_labels, d)."""

    labels: tuple[str, ...]
    prompts: tuple[str, ...]
    anchors: Tensor


def load(folder: str, *, max_tokens: int, dtype: str = "float32", device: str = "cpu") -> Base:
    """Load a frozen encoder from a local folder: safetensors only, no network, no remote code.

    Raises:
        OSError: if the folder lacks a file.
        ValueError: if weights are missing, or max_tokens is more than it has positions for.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True, **LOCAL_ONLY)
    stored = {"dtype": getattr(torch, dtype)}
    model = load_frozen(AutoModel, folder, stored, optional="pooler")
    longest = min(tokenizer.model_max_length, model.config.max_position_embeddings)
    if not 4 <= max_tokens <= longest:
        raise ValueError(f"max_tokens must lie between 4 and {longest} for this encoder")
    return Base(model.to(device).eval(), tokenizer, max_tokens, device)


def encode(
    base: Base, items: Sequence[str], *, pooling: Literal["mean"] = "mean", batch_size: int = 32
) -> Iterator[tuple[Integers, Floats]]:
    """Features under the frozen base, even while an adapter is attached.

    At most `batch_size` rows are computed together. The number of threads changes no bit.

    Yields:
        Indices (b,) and un-normalised features (b, d), shorter items first within a window of
        items; each index comes once; the batch size changes a feature by less than 1e-6 of its
        length.
    """
    for indices, tokens in _windows(base, items):
        with torch.no_grad():
            yield indices, _frozen_features(base, tokens, batch_size).cpu().numpy()


def prepare(base: Base, task: Mapping[str, Any]) -> Task:
    """Embed the prompts of `task["labels"]` (name -> prompt) once by the frozen base: unit anchors.

    Raises:
        ValueError: if there are fewer than two labels.
    """
    labels: Mapping[str, str] = task["labels"]
    require_labels(labels)
    prompts = tuple(labels.values())
    with torch.no_grad():
        features = _frozen_features(base, _tokenize(base, prompts))
    return Task(tuple(labels), prompts, functional.normalize(features, dim=-1))


def sizes(base: Base, items: Sequence[str]) -> Integers:
    """Tokens of each item, shape (n,): what a batch costs goes by its longest."""
    lengths = [
        len(tokens)
        for start in range(0, len(items), WINDOW)
        for tokens in _tokenize(base, items[start : start + WINDOW])
    ]
    return np.array(lengths, dtype=np.int64)


def forward(base: Base, task: Task, items: Sequence[str], targets: Sequence[str]) -> ForwardPass:
    """Mean cross entropy in nats of 20 cos(feature, anchor) against the target labels.

    Beside it the features (b, d), not normalised, and the logits (b, n_labels).

    Raises:
        ValueError: if a target is no label of the task; it names the item's index only.
    """
    truth = torch.as_tensor(target_indices(task.labels, targets), device=base.device)
    features = _features(base, _tokenize(base, items))
    logits = _logits(task, features)
    return ForwardPass(functional.cross_entropy(logits, truth), features, logits)


def label_features(base: Base, task: Task, *, is_varied: bool = False) -> Tensor:
    """Unit features (n_labels, d) of the label prompts under the model as it now is.

    Where they are varied, the mean over all TEMPLATES that a prompt may stand in, made a unit.
    """
    templates = TEMPLATES if is_varied else ("{}",)
    texts = [template.format(prompt) for template in templates for prompt in task.prompts]
    features = functional.normalize(_features(base, _tokenize(base, texts)), dim=-1)
    mean = features.reshape(len(templates), len(task.prompts), -1).mean(dim=0)
    return functional.normalize(mean, dim=-1)


def predict(base: Base, task: Task, items: Sequence[str], *, batch_size: int = 32) -> Doubles:
    """Probabilities, shape (n, n_labels), rows in the order of items, columns of task.labels.

    The batch size changes them by less than 1e-5: float32 noise, twenty times sharpened.
    """
    probabilities = np.empty((len(items), len(task.labels)))
    for indices, tokens in _windows(base, items):
        with torch.no_grad():
            logits = _logits(task, _features(base, tokens, batch_size))
        probabilities[indices] = torch.softmax(logits.double(), dim=-1).cpu().numpy()
    return probabilities


def answers(task: Task, probabilities: Doubles) -> dict[str, npt.NDArray[Any]]:
    """What a consumer is told: the likeliest label and its probability, columns of shape (n,)."""
    return answer_labels(task.labels, probabilities)


def score(task: Task, probabilities: Doubles, targets: Sequence[str]) -> dict[str, Integers]:
    """Per item, each of shape (n,): correct (0 or 1), predicted and target (label indices)."""
    return score_labels(task.labels, probabilities, targets)


def validate(
    base: Base, task: Task, items: Sequence[str], targets: Sequence[str]
) -> dict[str, float]:
    """What training watches, in one pass: mean loss in nats, and accuracy as the score."""
    return validate_labels(task.labels, predict(base, task, items), targets)


def _logits(task: Task, features: Tensor) -> Tensor:
    return SHARPNESS * functional.normalize(features, dim=-1) @ task.anchors.T


def _frozen_features(
    base: Base, tokens: Sequence[list[int]], batch_size: int | None = None
) -> Tensor:
    with without_adapter(base):
        return _features(base, tokens, batch_size)


def _features(base: Base, tokens: Sequence[list[int]], batch_size: int | None = None) -> Tensor:
    """The attention-masked mean of the last hidden state in float32, shape (n, d)."""
    order = sorted(range(len(tokens)), key=lambda i: len(tokens[i]))
    limit = CHUNK_TOKENS if base.device == "cpu" else None
    chunks = list(_chunks([tokens[i] for i in order], batch_size, limit))
    if torch.is_grad_enabled():
        features = [_chunk_features(base, chunk) for chunk in chunks]
    else:  # a thread to a chunk: quicker than many threads to one
        features = list(compute_in_turn(base, partial(_frozen_chunk, base), chunks))
    return torch.cat(features)[torch.tensor(order, device=base.device).argsort()]


def _frozen_chunk(base: Base, tokens: Sequence[list[int]]) -> Tensor:
    with torch.no_grad():  # each thread has a switch of its own
        return _chunk_features(base, tokens)


def _chunks(
    tokens: Sequence[list[int]], batch_size: int | None, limit: int | None
) -> Iterator[Sequence[list[int]]]:
    """Cut rows that are sorted by length; with a limit, chunks are small and hardly padded."""
    first, total = 0, 0
    for i, row in enumerate(tokens):
        n_rows = i - first + 1
        size, text = n_rows * len(row), total + len(row)
        is_full = n_rows > (batch_size or n_rows) or size > (limit or size)
        is_padded = limit is not None and total >= FEW_TOKENS and size > PADDING * text
        if i > first and (is_full or is_padded):
            yield tokens[first:i]
            first, text = i, len(row)
        total = text
    yield tokens[first:]


def _chunk_features(base: Base, tokens: Sequence[list[int]]) -> Tensor:
    longest, padding = max(map(len, tokens)), base.tokenizer.pad_token_id or 0
    ids = torch.tensor([row + [padding] * (longest - len(row)) for row in tokens])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in tokens])
    ids, mask = ids.to(base.device), mask.to(base.device)
    hidden = base.model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
    kept = mask.unsqueeze(-1).float()
    pooled: Tensor = (hidden * kept).sum(dim=1) / kept.sum(dim=1)
    return pooled


def _windows(base: Base, items: Sequence[str]) -> Iterator[tuple[Integers, list[list[int]]]]:
    """Indices and tokens of some items at a time, sorted by token count, ties by index."""
    for start in range(0, len(items), WINDOW):
        tokens = _tokenize(base, items[start : start + WINDOW])
        order = sorted(range(len(tokens)), key=lambda i: (len(tokens[i]), i))
        yield np.array(order, dtype=np.int64) + start, [tokens[i] for i in order]


def _tokenize(base: Base, items: Sequence[str]) -> list[list[int]]:
    """Token ids per item, at least one each; a lone surrogate counts as a question mark."""
    texts = cut_texts(items, base.max_tokens)
    encoded = base.tokenizer(
        texts, truncation=True, max_length=base.max_tokens, return_attention_mask=False
    )
    return [ids or [base.tokenizer.pad_token_id or 0] for ids in encoded["input_ids"]]
