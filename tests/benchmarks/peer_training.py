"""LoRA on the text encoder as its user would train it: PEFT and the Hugging Face Trainer."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Sampler
from transformers import (
    AutoModel,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)

from rpe_core.adapters.recipe import Recipe
from rpe_core.training.descent import learning_rate_at

SHARPNESS = 20.0


class Encoder(nn.Module):
    """Mean pooling, cosines with the anchors, cross entropy; the frozen base keeps no dropout."""

    def __init__(self, model: nn.Module, anchors: Tensor) -> None:
        super().__init__()
        self.model, self.anchors = model, anchors
        self.losses: list[Tensor] = []

    def train(self, mode: bool = True) -> Encoder:
        return super().train(False)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> dict[str, Any]:
        hidden = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        kept = attention_mask.unsqueeze(-1).float()
        pooled = (hidden * kept).sum(dim=1) / kept.sum(dim=1)
        logits = SHARPNESS * functional.normalize(pooled, dim=-1) @ self.anchors.T
        loss = functional.cross_entropy(logits, labels)
        self.losses.append(loss.detach())
        return {"loss": loss}


class Orders(Sampler[int]):
    """One order of the rows for each epoch."""

    def __init__(self, orders: Sequence[Sequence[int]]) -> None:
        self._orders, self._epoch = orders, 0

    def __len__(self) -> int:
        return len(self._orders[0])

    def __iter__(self) -> Iterator[int]:
        self._epoch += 1
        return iter(self._orders[self._epoch - 1])


class OrderedTrainer(Trainer):
    """The Trainer, with the data order that it is told."""

    orders: Orders

    def _get_train_sampler(self, *_: Any) -> Orders:
        return self.orders


def encoder(folder: str, recipe: Recipe, anchors: Tensor) -> Encoder:
    """The base in float32 with the recipe's LoRA, its factors drawn as our loop draws them."""
    model = AutoModel.from_pretrained(folder, dtype=torch.float32)
    config = LoraConfig(
        r=recipe.r,
        lora_alpha=recipe.alpha,
        target_modules=list(recipe.target_modules),
        lora_dropout=recipe.dropout,
        bias="none",
    )
    torch.manual_seed(recipe.seed)
    with warnings.catch_warnings():  # PEFT asks transformers for a name that is on its way out
        warnings.simplefilter("ignore", FutureWarning)
        return Encoder(get_peft_model(model, config), anchors)


def sft(
    model: Encoder,
    folder: str,
    rows: tuple[Sequence[str], Sequence[int]],
    recipe: Recipe,
    orders: Sequence[Sequence[int]],
    *,
    max_tokens: int,
    n_steps: int,
    out: Path,
) -> list[float]:
    """Tokenise once, train as many epochs as there are orders, save; the loss of each step.

    The rate follows the recipe over `n_steps`, which may be more than are trained.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokens = tokenizer(list(rows[0]), truncation=True, max_length=max_tokens)["input_ids"]
    data = [{"input_ids": ids, "labels": label} for ids, label in zip(tokens, rows[1], strict=True)]
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(
        parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda step: (
            learning_rate_at(min(step, n_steps - 1), n_steps, recipe) / recipe.learning_rate
        ),
    )
    arguments = TrainingArguments(
        output_dir=str(out),
        per_device_train_batch_size=recipe.batch_size,
        num_train_epochs=len(orders),
        max_grad_norm=recipe.max_grad_norm,
        use_cpu=True,
        seed=recipe.seed,
        report_to=[],
        logging_strategy="no",
        save_strategy="no",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )
    trainer = OrderedTrainer(
        model=model,
        args=arguments,
        train_dataset=data,
        data_collator=DataCollatorWithPadding(tokenizer),
        optimizers=(optimiser, rate),
    )
    trainer.orders = Orders(orders)
    trainer.train()
    model.model.save_pretrained(str(out / "adapter"))
    return [float(loss) for loss in model.losses]
