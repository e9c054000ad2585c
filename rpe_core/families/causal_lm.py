"""Causal language models: text that follows a prompt, adapted by LoRA. Nothing of ours here.

The registry ships `shared` and this source inside each model version, so they stand on torch,
transformers, peft and numpy alone. Faults are ValueError, and no message holds a text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from peft import PeftModel
from torch import Tensor
from torch.nn import functional
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    GenerationConfig,
    StoppingCriteria,
    StoppingCriteriaList,
)

from rpe_core.families.shared import (
    LOCAL_ONLY,
    WINDOW,
    Floats,
    ForwardPass,
    Integers,
    compute_in_turn,
    cut_texts,
    load_frozen,
    without_adapter,
)

INPUT = "{input}"  # its place in the prompt of a task
IGNORED = -100  # a position that is no target
QUANTISED = "nf4"  # the dtype of a base in 4 bits

Texts = npt.NDArray[np.object_]


@dataclass
class Base:
    """A frozen language model in evaluation mode with its tokenizer; `adapter` is attached."""

    model: Any
    tokenizer: Any
    max_tokens: int
    device: str
    adapter: PeftModel | None = None

    @property
    def padding(self) -> int:
        """A token that stands where nothing is; never looked at."""
        return int(self.tokenizer.pad_token_id or 0)

    @property
    def ends(self) -> list[int]:
        """The tokens that end a text."""
        declared = self.model.generation_config.eos_token_id
        tokens = declared if isinstance(declared, list) else [declared, self.tokenizer.eos_token_id]
        return sorted({int(token) for token in tokens if token is not None})


@dataclass(frozen=True)
class Task:
    """The tokens around an input, where an answer ends at the latest, and texts that end it."""

    before: list[int]
    after: list[int]
    max_new_tokens: int
    stop: tuple[str, ...]


def load(folder: str, *, max_tokens: int, dtype: str = "float32", device: str = "cpu") -> Base:
    """Load a frozen model from a local folder: safetensors only, no network, no remote code.

    dtype `nf4` holds the linear layers in 4 bits and computes in bfloat16 (QLoRA, Dettmers et al.,
    2023), as far as bitsandbytes is installed.

    Raises:
        OSError: if the folder lacks a file.
        ValueError: if weights are missing, max_tokens is more than it has positions for, or nf4 is
            asked for without bitsandbytes.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True, **LOCAL_ONLY)
    model = load_frozen(AutoModelForCausalLM, folder, _stored_as(dtype, device))
    longest = getattr(model.config, "max_position_embeddings", max_tokens)
    if not 8 <= max_tokens <= longest:
        raise ValueError(f"max_tokens must lie between 8 and {longest} for this model")
    placed = model if dtype == QUANTISED else model.to(device)
    return Base(placed.eval(), tokenizer, max_tokens, device)


def encode(
    base: Base,
    items: Sequence[str],
    *,
    pooling: Literal["input_mean"] = "input_mean",
    batch_size: int = 32,
) -> Iterator[tuple[Integers, Floats]]:
    """The mean last hidden state of the input's own tokens, under the frozen base.

    No prompt and no token that the tokenizer adds takes part: they are the same for every text. The
    number of threads changes no bit.

    Yields:
        Indices (b,) and features (b, d), shorter items first within a window of items.
    """
    with without_adapter(base):
        for start in range(0, len(items), WINDOW):
            rows = _tokenize(base, items[start : start + WINDOW])
            batches = list(_batches(rows, batch_size))
            made = compute_in_turn(base, partial(_features, base), [some for _, some in batches])
            for (indices, _), features in zip(batches, made, strict=True):
                yield indices + start, features


def prepare(base: Base, task: Mapping[str, Any]) -> Task:
    """The prompt's tokens: the chat template's where the model has one, else as they are written.

    Raises:
        ValueError: if prompt and answer leave less than half of max_tokens to the input.
    """
    before, _, after = str(task["prompt"]).partition(INPUT)
    if base.tokenizer.chat_template:
        asked = [{"role": "user", "content": f"{before}{INPUT}{after}"}]
        written = base.tokenizer.apply_chat_template(
            asked, tokenize=False, add_generation_prompt=True
        )
        before, _, after = written.partition(INPUT)
        first = base.tokenizer(before, add_special_tokens=False)["input_ids"]
    else:
        first = base.tokenizer(before)["input_ids"]
        ends = set(base.ends)
        first = first[:-1] if first and first[-1] in ends else first
    last = base.tokenizer(after, add_special_tokens=False)["input_ids"] if after else []
    made = Task(first, last, int(task["max_new_tokens"]), tuple(task.get("stop", ())))
    if 2 * _room(base, made) < base.max_tokens:
        raise ValueError(
            "prompt and answer leave less than half of max_tokens to the input; "
            "raise max_tokens or lower max_new_tokens"
        )
    return made


def sizes(base: Base, items: Sequence[str]) -> Integers:
    """Tokens of each item, shape (n,): what a batch costs goes by its longest."""
    lengths = [
        len(row)
        for start in range(0, len(items), WINDOW)
        for row in _tokenize(base, items[start : start + WINDOW])
    ]
    return np.array(lengths, dtype=np.int64)


def forward(base: Base, task: Task, items: Sequence[str], targets: Sequence[str]) -> ForwardPass:
    """Mean negative log-likelihood in nats of the target tokens and of the end, per token.

    Beside it the mean last hidden state of the input's own tokens, within its prompt (b, d), and
    the logits (m, vocabulary) before each target token.
    """
    logits, truth, features = _answered(base, task, items, targets)
    return ForwardPass(functional.cross_entropy(logits, truth), features, logits)


def validate(
    base: Base, task: Task, items: Sequence[str], targets: Sequence[str], *, batch_size: int = 8
) -> dict[str, float]:
    """Mean loss in nats per target token, and as score the share of tokens foretold."""
    total, hits, n_tokens = 0.0, 0, 0
    with torch.no_grad():
        for start in range(0, len(items), batch_size):
            some = slice(start, start + batch_size)
            logits, truth, _ = _answered(base, task, items[some], targets[some])
            total += float(functional.cross_entropy(logits, truth, reduction="sum"))
            hits += int((logits.argmax(dim=-1) == truth).sum())
            n_tokens += len(truth)
    return {"loss": total / n_tokens, "score": hits / n_tokens}


def predict(base: Base, task: Task, items: Sequence[str], *, batch_size: int = 16) -> Texts:
    """The likeliest text after each prompt, token by token, shape (n,), in the order of items.

    An input that is too long loses its end. An answer ends at the model's own end of text, before
    one of the task's stop texts, or after max_new_tokens.
    """
    answers = np.empty(len(items), dtype=object)
    if not len(items):
        return answers
    prompts = _prompts(base, task, items)
    config = GenerationConfig(
        do_sample=False,
        max_new_tokens=task.max_new_tokens,
        pad_token_id=base.padding,
        eos_token_id=base.ends or None,
    )
    for indices, rows in _batches(prompts, batch_size):
        tokens, mask = _padded(base, rows, is_left=True)
        stopped = [_Stopped(base, task, tokens.shape[1])] if task.stop else []
        with torch.no_grad():
            made = base.model.generate(
                input_ids=tokens,
                attention_mask=mask,
                generation_config=config,
                stopping_criteria=StoppingCriteriaList(stopped),
            )
        texts = base.tokenizer.batch_decode(made[:, tokens.shape[1] :], skip_special_tokens=True)
        for index, text in zip(indices, texts, strict=True):
            answers[index] = _until(text, task.stop).strip()
    return answers


def answers(task: Task, texts: Texts) -> dict[str, npt.NDArray[Any]]:
    """What a consumer is told: the text, shape (n,)."""
    return {"text": texts}


def score(task: Task, texts: Texts, targets: Sequence[str]) -> dict[str, npt.NDArray[np.float64]]:
    """Per item, each of shape (n,): rouge_l, the F-measure of stemmed words, and exact_match."""
    # a consumer never scores, so what a version needs does not name it
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    pairs = list(zip(targets, texts, strict=True))
    rouge = [scorer.score(target, text)["rougeL"].fmeasure for target, text in pairs]
    exact = [" ".join(target.split()) == " ".join(text.split()) for target, text in pairs]
    return {"rouge_l": np.array(rouge, dtype=float), "exact_match": np.array(exact, dtype=float)}


def _stored_as(dtype: str, device: str) -> dict[str, Any]:
    """What transformers is told about the weights' place in memory."""
    if dtype != QUANTISED:
        return {"dtype": getattr(torch, dtype)}
    if find_spec("bitsandbytes") is None:
        raise ValueError("a base in nf4 needs the package bitsandbytes, which is not installed")
    quantised = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=torch.bfloat16,
        bnb_4bit_use_double_quant=True,
    )
    return {
        "dtype": torch.bfloat16,
        "quantization_config": quantised,
        "device_map": {"": device},
    }


def _features(base: Base, rows: Sequence[list[int]]) -> Floats:
    tokens, mask = _padded(base, rows)
    decoder = base.model.get_decoder()
    kept = mask.unsqueeze(-1).float()
    with torch.no_grad():  # each thread has a switch of its own
        hidden = decoder(input_ids=tokens, attention_mask=mask, use_cache=False).last_hidden_state
        pooled = (hidden.float() * kept).sum(dim=1) / kept.sum(dim=1)
    return np.asarray(pooled.cpu().numpy(), dtype=np.float32)


class _Stopped(StoppingCriteria):  # type: ignore[misc]
    """Which answers hold a stop text; transformers' own rule fails on small vocabularies."""

    def __init__(self, base: Base, task: Task, first: int) -> None:
        self.base, self.task, self.first = base, task, first

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: Any) -> Tensor:
        """Of each row, (b,)."""
        texts = self.base.tokenizer.batch_decode(input_ids[:, self.first :])
        is_ended = [any(stop in text for stop in self.task.stop) for text in texts]
        return torch.tensor(is_ended, device=input_ids.device)


@contextmanager
def _last_hidden(base: Base) -> Iterator[list[Tensor]]:
    """What the decoder hands to the head meanwhile, (b, longest, d) each time."""
    seen: list[Tensor] = []
    decoder = base.model.get_decoder()
    handle = decoder.register_forward_hook(lambda _, __, made: seen.append(made[0]))
    try:
        yield seen
    finally:
        handle.remove()


def _answered(
    base: Base, task: Task, items: Sequence[str], targets: Sequence[str]
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (m, vocabulary) before each target token, these tokens (m,), features (b, d)."""
    prompts = _prompts(base, task, items)
    end = [base.tokenizer.eos_token_id] if base.tokenizer.eos_token_id is not None else []
    made = [(row + end)[: task.max_new_tokens] for row in _tokenize(base, targets)]
    rows = [prompt + answer for prompt, answer in zip(prompts, made, strict=True)]
    tokens, mask = _padded(base, rows)
    truth = torch.full_like(tokens, IGNORED)
    for i, (prompt, row) in enumerate(zip(prompts, rows, strict=True)):
        truth[i, len(prompt) : len(row)] = tokens[i, len(prompt) : len(row)]
    is_target = truth[:, 1:] != IGNORED
    with _last_hidden(base) as seen:
        logits = base.model(input_ids=tokens, attention_mask=mask, use_cache=False).logits[:, :-1]
    ends = torch.tensor([len(row) - len(task.after) for row in prompts], device=base.device)
    places = torch.arange(tokens.shape[1], device=base.device)
    kept = ((places >= len(task.before)) & (places < ends[:, None])).unsqueeze(-1).float()
    features = (seen[0].float() * kept).sum(dim=1) / kept.sum(dim=1)
    return logits[is_target].float(), truth[:, 1:][is_target], features


def _prompts(base: Base, task: Task, items: Sequence[str]) -> list[list[int]]:
    room = _room(base, task)
    return [task.before + row[:room] + task.after for row in _tokenize(base, items)]


def _room(base: Base, task: Task) -> int:
    """Tokens that an input may have."""
    return base.max_tokens - len(task.before) - len(task.after) - task.max_new_tokens


def _tokenize(base: Base, texts: Sequence[str]) -> list[list[int]]:
    """Token ids without any that the tokenizer adds, at least one; a lone surrogate is a '?'."""
    encoded = base.tokenizer(
        cut_texts(texts, base.max_tokens),
        add_special_tokens=False,
        truncation=True,
        max_length=base.max_tokens,
        return_attention_mask=False,
    )
    return [ids or [base.padding] for ids in encoded["input_ids"]]


def _batches(
    rows: Sequence[list[int]], batch_size: int
) -> Iterator[tuple[Integers, list[list[int]]]]:
    """Indices and tokens of some rows at a time, sorted by length, ties by index."""
    order = sorted(range(len(rows)), key=lambda i: (len(rows[i]), i))
    for start in range(0, len(order), batch_size):
        some = order[start : start + batch_size]
        yield np.array(some, dtype=np.int64), [rows[i] for i in some]


def _padded(
    base: Base, rows: Sequence[list[int]], *, is_left: bool = False
) -> tuple[Tensor, Tensor]:
    """Tokens and mask, (b, longest)."""
    longest = max(map(len, rows))
    gaps = [[0] * (longest - len(row)) for row in rows]
    full = [
        ([base.padding] * len(gap) + row, gap + [1] * len(row))
        if is_left
        else (row + [base.padding] * len(gap), [1] * len(row) + gap)
        for row, gap in zip(rows, gaps, strict=True)
    ]
    tokens, mask = (torch.tensor(part, device=base.device) for part in zip(*full, strict=True))
    return tokens, mask


def _until(text: str, stops: Sequence[str]) -> str:
    """The text before the first of these."""
    ends = [text.find(stop) for stop in stops]
    return text[: min((end for end in ends if end >= 0), default=len(text))]
