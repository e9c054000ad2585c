"""One adapter on a loaded base, put on and taken off, whatever its family. Nothing of ours here.

It is plain PEFT, or learned prompts: rows that stand among the tokens of CLIP's two encoders, a
tensor "<module>.prompt" of shape (n, width) for each module of PROMPTED that they change. The
registry ships this source inside each model version, so it stands on torch, safetensors and peft
alone. Faults are ValueError.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel, PeftModelForCausalLM
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import ModulesToSaveWrapper
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

DEEP_PROMPTS = "DEEP_PROMPTS"  # what adapter_config.json says in the place of PEFT's types
WORDS = "text_model.embeddings.token_embedding"
PATCHES = "vision_model.pre_layrnorm"  # sic: transformers' own name
LAYER = "{}_model.encoder.layers.{}"
_WEIGHTS = "adapter_model.safetensors"
_UNFIT = "the adapter does not fit the base"
_FAULTS = (
    *(AssertionError, AttributeError, ImportError, LookupError, OSError, RuntimeError),
    *(SafetensorError, TypeError, ValueError, re.error),
)


class Prompted(nn.Module):
    """A module of an encoder among whose tokens stand learned ones, `prompt` (n, width)."""

    def __init__(self, module: nn.Module, prompt: Tensor) -> None:
        super().__init__()
        self.module, self.prompt = module, nn.Parameter(prompt)

    def among(self, rows: Tensor, first: int) -> Tensor:
        """The prompt in the place of the rows (b, tokens, width) that begin at `first`."""
        n, after = len(self.prompt), first + len(self.prompt)
        prompt = self.prompt.to(rows.dtype).expand(len(rows), n, -1)
        return torch.cat([rows[:, :first], prompt, rows[:, after:]], dim=1)


class PromptedWords(Prompted):
    """The embedding of words: the n after the first move by the prompt, so that 0 leaves them."""

    @property
    def n_words(self) -> int:
        """Tokens of a text that stand for the prompt."""
        return len(self.prompt)

    def forward(self, ids: Tensor) -> Tensor:
        """Embed token ids (b, tokens), of which those n stand for the prompt."""
        rows: Tensor = self.module(ids)
        moved = nn.functional.pad(self.prompt, (0, 0, 1, rows.shape[1] - 1 - len(self.prompt)))
        return rows + moved.to(rows.dtype)


class PromptedPatches(Prompted):
    """What comes before the first layer of images: the prompt is put behind all patches."""

    def forward(self, rows: Tensor) -> Tensor:
        """From (b, tokens, width) to (b, tokens + n, width)."""
        extended: Tensor = self.module(self.among(rows, rows.shape[1]))
        return extended


class PromptedTextLayer(Prompted):
    """A layer of the text encoder that finds a prompt of its own behind the first token."""

    def forward(self, rows: Tensor, *others: Any, **named: Any) -> Any:
        """As the layer."""
        return self.module(self.among(rows, 1), *others, **named)


class PromptedImageLayer(Prompted):
    """A layer of the image encoder that finds a prompt of its own behind all patches."""

    def forward(self, rows: Tensor, *others: Any, **named: Any) -> Any:
        """As the layer."""
        return self.module(self.among(rows, rows.shape[1] - len(self.prompt)), *others, **named)


PROMPTED = {  # modules that take a prompt, by the form of their name
    re.escape(WORDS): PromptedWords,
    re.escape(PATCHES): PromptedPatches,
    LAYER.format("text", r"[1-9]\d*"): PromptedTextLayer,
    LAYER.format("vision", r"[1-9]\d*"): PromptedImageLayer,
}


class Prompts:
    """Prompts on a model, as PeftModel is a LoRA on one: to be switched off and taken off."""

    def __init__(self, model: nn.Module, prompts: Mapping[str, Tensor]) -> None:
        self.model = model
        self.modules = put_prompts(model, prompts)
        self.before = {name: module.module for name, module in self.modules.items()}

    @contextmanager
    def disable_adapter(self) -> Iterator[None]:
        """The base alone for a while."""
        self.put(self.before)
        try:
            yield
        finally:
            self.put(self.modules)

    def put(self, modules: Mapping[str, nn.Module]) -> None:
        """Let modules stand under their names."""
        for name, module in modules.items():
            self.model.set_submodule(name, module)


def put_prompts(model: nn.Module, prompts: Mapping[str, Tensor]) -> dict[str, Prompted]:
    """Wrap modules, by name, with their prompts; the wrappers.

    Raises:
        ValueError: a name is that of no module that takes a prompt, or it takes one of another
            width; the model is then as it was.
    """
    modules = dict(model.named_modules())
    made = {
        name: kind(modules[name], prompt)
        for name, prompt in prompts.items()
        for form, kind in PROMPTED.items()
        if re.fullmatch(form, name)
        and name in modules
        and _width(modules[name]) == prompt.shape[1:]
    }
    if set(made) != set(prompts):
        raise ValueError("the base has no place for some of the prompts")
    for name, module in made.items():
        model.set_submodule(name, module)
    return made


def attach(base: Any, folder: str) -> None:
    """Put one adapter on a family's base (`model`, `device` and `adapter`): PEFT's, or prompts.

    Raises:
        ValueError: if one is attached already, the file is no safetensors or it does not fit; the
            base is then what it was.
    """
    if base.adapter is not None:
        raise ValueError("an adapter is attached already; detach it first")
    if not (Path(folder) / _WEIGHTS).is_file():
        raise ValueError(f"the adapter folder holds no {_WEIGHTS}")
    if _is_prompts(folder):
        tensors = load_file(Path(folder) / _WEIGHTS, device=base.device)
        prompts = {name.removesuffix(".prompt"): tensor for name, tensor in tensors.items()}
        base.adapter = Prompts(base.model, prompts)
        base.model.requires_grad_(requires_grad=False)
        return
    try:
        base.adapter, unused, missing = _loaded(base, folder)
    except _FAULTS as error:
        _restore(base.model)
        raise ValueError(f"{_UNFIT}: {_in_words(error)}") from None
    if unused or missing:
        detach(base)
        raise ValueError(f"{_UNFIT}: {_misfit(unused, missing)}")
    base.adapter.eval()


def _loaded(base: Any, folder: str) -> tuple[PeftModel, list[str], list[str]]:
    """What PeftModel.from_pretrained makes, and what it tells nobody: keys unused, keys missing.

    Of PEFT's tasks only generation wraps more than the modules; the others want a head.
    """
    with warnings.catch_warnings():  # what PEFT warns of is judged below, or is no fault
        warnings.simplefilter("ignore")
        config = PeftConfig.from_pretrained(folder)
        config.inference_mode = True
        kind = PeftModelForCausalLM if config.task_type == "CAUSAL_LM" else PeftModel
        adapter = kind(base.model, config, low_cpu_mem_usage=True)
        keys = adapter.load_adapter(
            folder,
            "default",
            torch_device=base.device,
            low_cpu_mem_usage=True,
            key_mapping=getattr(base.model, "_checkpoint_conversion_mapping", {}),
        )
    weights = dict(adapter.named_parameters())
    empty = {name for name, weight in weights.items() if weight.is_meta and ".default" in name}
    if all(weight.is_meta for name, weight in weights.items() if ".default" not in name):
        empty = set()  # the base is a drawing, and PEFT moves an adapter to where its base is
    return adapter, sorted(keys.unexpected_keys), sorted({*keys.missing_keys, *empty})


def _in_words(error: Exception) -> str:
    """What PEFT stumbled over; its own words quote whole lists of modules, or nothing."""
    if isinstance(error, KeyError):
        return f"it lacks a tensor, {_shown(error.args[0])}"
    if isinstance(error, RuntimeError):
        return "a tensor has another shape than the module that it is for"
    if isinstance(error, SafetensorError):
        return f"its {_WEIGHTS} is no readable safetensors file"
    if isinstance(error, ImportError):
        return "its configuration wants a library that is not installed here"
    if isinstance(error, ValueError):
        return "its target_modules name none of the base's, or one of a kind that PEFT cannot adapt"
    return "its configuration holds a value that PEFT cannot take"


def _misfit(unused: list[str], missing: list[str]) -> str:
    """In words: what the base has no place for, or what the file does not hold."""
    if unused:
        return f"{len(unused)} tensors have no place in it, the first is {_shown(unused[0])}"
    return f"it lacks weights for {len(missing)} tensors, the first is {_shown(missing[0])}"


def _shown(name: object) -> str:
    """The name of a tensor, without PEFT's own frame, or its length where it looks like none."""
    text = str(name).removeprefix("base_model.model.")
    is_name = re.fullmatch(r"(?=.{1,256}$)\w+(\.\w+)*", text, re.ASCII)
    return f"'{text}'" if is_name else f"a name of {len(text)} characters"


def detach(base: Any) -> None:
    """Take the adapter off; the base is bit for bit what it was."""
    if isinstance(base.adapter, Prompts):
        base.adapter.put(base.adapter.before)
    elif base.adapter is not None:
        _restore(base.model)
    base.adapter = None


def _width(module: nn.Module) -> torch.Size:
    """The width of a module's tokens, the last axis of any of its weights: shape (1,)."""
    return next(module.parameters()).shape[-1:]


def _is_prompts(folder: str) -> bool:
    path = Path(folder) / "adapter_config.json"
    if path.exists() and not path.is_file():  # PEFT would wait for what nobody writes to
        raise ValueError("the adapter's configuration is no regular file")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False  # PEFT will say what is wrong with it
    return isinstance(config, dict) and config.get("peft_type") == DEEP_PROMPTS


def _restore(model: nn.Module) -> None:
    """Put the very modules back that PEFT wrapped; its `unload` would leave those saved whole."""
    for name, module in list(model.named_children()):
        bare = module
        while isinstance(bare, BaseTunerLayer | ModulesToSaveWrapper):
            is_whole = isinstance(bare, ModulesToSaveWrapper)
            bare = bare.original_module if is_whole else bare.base_layer
        if bare is not module:
            setattr(model, name, bare)
        _restore(bare)
    if hasattr(model, "peft_config"):
        del model.peft_config  # PEFT's own mark, or a second adapter would warn
