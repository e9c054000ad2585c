"""The reports demo's base: a small Llama, pretrained on the archive of another hospital."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import flows.workspace.settings  # noqa: F401 - first: it switches telemetry off

# isort: split
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from catalog.examples.reports_world import make_archive
from flows.demos.child import pretrain_in, read_request

PAD, BEGIN, END = "<pad>", "<s>", "</s>"

Report = tuple[str, str]  # findings, impression
Row = tuple[list[int], int]  # tokens, and where the impression begins


def main(folder: Path) -> None:
    """Pretrain as request.json says and leave the model in `folder/model`."""
    request, how = read_request(folder)
    batch_size = request["batch_size"]
    reports = make_archive(how.n_steps * batch_size, seed=how.seed)
    tokenizer = make_tokenizer(reports, request)
    rows = [tokens_of(tokenizer, request["prompt"], *report) for report in reports]
    batches = batches_of(rows, batch_size)
    model = make_model(tokenizer, request["llama"])
    pretrain_in(folder, model, lambda step: loss_of(model, [rows[i] for i in batches[step]]), how)
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")


def make_tokenizer(reports: list[Report], request: dict[str, Any]) -> PreTrainedTokenizerFast:
    """Byte pairs of the archive's own text."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=request["n_tokens"],
        special_tokens=[PAD, BEGIN, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(
        (text for report in reports for text in (*report, request["prompt"])), trainer
    )
    inner.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", special_tokens=[(BEGIN, inner.token_to_id(BEGIN))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token=PAD,
        bos_token=BEGIN,
        eos_token=END,
        model_max_length=request["llama"]["max_position_embeddings"],
    )


def make_model(tokenizer: PreTrainedTokenizerFast, shape: dict[str, Any]) -> LlamaForCausalLM:
    """The Llama before its first step; seeded by the process."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **shape,
    )
    return LlamaForCausalLM(config)


def tokens_of(
    tokenizer: PreTrainedTokenizerFast, prompt: str, findings: str, impression: str
) -> Row:
    """A report as the base is asked for it, and where its impression begins."""
    plain = partial(tokenizer, add_special_tokens=False)
    asked = [*tokenizer(findings)["input_ids"], *plain(prompt)["input_ids"]]
    return [*asked, *plain(impression)["input_ids"], tokenizer.eos_token_id], len(asked)


def batches_of(rows: list[Row], batch_size: int) -> list[list[int]]:
    """The rows of each step, once through the archive, neighbours in length together."""
    pool = 4 * batch_size
    order = [
        i
        for first in range(0, len(rows), pool)
        for i in sorted(range(first, min(first + pool, len(rows))), key=lambda i: len(rows[i][0]))
    ]
    return [order[first : first + batch_size] for first in range(0, len(order), batch_size)]


def loss_of(model: LlamaForCausalLM, rows: list[Row]) -> Tensor:
    """Mean negative log-likelihood in nats of the impressions' tokens."""
    longest = max(len(row) for row, _ in rows)
    tokens = torch.tensor([row + [0] * (longest - len(row)) for row, _ in rows])
    truth = torch.tensor([[-100] * n + row[n:] + [-100] * (longest - len(row)) for row, n in rows])
    is_told = truth[:, 1:] != -100
    hidden = model.model(input_ids=tokens, use_cache=False).last_hidden_state[:, :-1]
    return functional.cross_entropy(model.lm_head(hidden[is_told]), truth[:, 1:][is_told])
