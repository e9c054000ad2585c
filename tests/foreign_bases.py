"""Pico models of families whose files and memory differ, and adapters as PEFT writes them."""

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertForMaskedLM,
    CLIPVisionConfig,
    DeiTConfig,
    DeiTForImageClassification,
    Dinov2Config,
    Dinov2ForImageClassification,
    FalconConfig,
    FalconForCausalLM,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    GemmaConfig,
    GemmaForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTBigCodeConfig,
    GPTBigCodeForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    ImageGPTConfig,
    ImageGPTForCausalImageModeling,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    MistralConfig,
    MixtralConfig,
    MixtralForCausalLM,
    OpenAIGPTConfig,
    OpenAIGPTLMHeadModel,
    OPTConfig,
    OPTForCausalLM,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    PixtralVisionConfig,
    PreTrainedModel,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    SiglipVisionConfig,
    SwinConfig,
    SwinForImageClassification,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTForImageClassification,
    ViTModel,
)
from transformers.pytorch_utils import Conv1D

N_TOKENS, WIDTH = 40, 16
TOKENS = torch.tensor([[1, 5, 9, 3], [2, 2, 7, 4]])
_BODY: dict[str, Any] = {
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}
_QWEN: dict[str, Any] = {**_BODY, "vocab_size": N_TOKENS, "num_key_value_heads": 1}
_TEXT: dict[str, Any] = {**_QWEN, "head_dim": 8}
_PICTURE: dict[str, Any] = {**_BODY, "image_size": 16, "patch_size": 8}
_EYE: dict[str, Any] = {"depth": 1, "hidden_size": WIDTH, "num_heads": 2}
_GPT: dict[str, Any] = {
    "n_embd": WIDTH,
    "n_layer": 2,
    "n_head": 2,
    "vocab_size": N_TOKENS,
    "n_positions": 16,
}
_PAIR: dict[str, Any] = {"d_model": WIDTH, "vocab_size": N_TOKENS}

MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(**_GPT)),
    "gpt2-untied": lambda: GPT2LMHeadModel(GPT2Config(**_GPT, tie_word_embeddings=False)),
    "gpt-bigcode": lambda: GPTBigCodeForCausalLM(GPTBigCodeConfig(**_GPT, multi_query=False)),
    "imagegpt": lambda: ImageGPTForCausalImageModeling(ImageGPTConfig(**_GPT)),
    "openai-gpt": lambda: OpenAIGPTLMHeadModel(OpenAIGPTConfig(**_GPT)),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**_TEXT)),
    "llama-tied": lambda: LlamaForCausalLM(LlamaConfig(**_TEXT, tie_word_embeddings=True)),
    "llama-biased": lambda: LlamaForCausalLM(
        LlamaConfig(**{**_TEXT, "num_key_value_heads": 2}, attention_bias=True)
    ),
    "gemma": lambda: GemmaForCausalLM(GemmaConfig(**_TEXT)),
    "gpt-neox": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**_BODY, vocab_size=N_TOKENS)),
    "gpt-neox-tied": lambda: GPTNeoXForCausalLM(
        GPTNeoXConfig(**_BODY, vocab_size=N_TOKENS, tie_word_embeddings=True)
    ),
    "opt": lambda: OPTForCausalLM(
        OPTConfig(**{**_BODY, "ffn_dim": 24}, vocab_size=N_TOKENS, word_embed_proj_dim=WIDTH)
    ),
    "falcon": lambda: FalconForCausalLM(FalconConfig(**_BODY, vocab_size=N_TOKENS)),
    "mixtral": lambda: MixtralForCausalLM(MixtralConfig(**_TEXT, num_local_experts=2)),
    "bert": lambda: BertForMaskedLM(BertConfig(**_BODY, vocab_size=N_TOKENS)),
    "t5": lambda: T5ForConditionalGeneration(
        T5Config(**_PAIR, d_kv=8, d_ff=24, num_layers=1, num_heads=2)
    ),
    "bart": lambda: BartForConditionalGeneration(
        BartConfig(
            **_PAIR,
            encoder_layers=1,
            decoder_layers=1,
            encoder_ffn_dim=24,
            decoder_ffn_dim=24,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
        )
    ),
    "vit": lambda: ViTForImageClassification(ViTConfig(**_PICTURE)),
    "vit-headless": lambda: ViTModel(ViTConfig(**_PICTURE)),
    "deit": lambda: DeiTForImageClassification(DeiTConfig(**_PICTURE)),
    "dinov2": lambda: Dinov2ForImageClassification(
        Dinov2Config(hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=2, image_size=16)
    ),
    "swin": lambda: SwinForImageClassification(
        SwinConfig(
            image_size=16,
            patch_size=2,
            embed_dim=8,
            depths=[1, 1],
            num_heads=[2, 2],
            window_size=4,
        )
    ),
    "gemma3": lambda: Gemma3ForConditionalGeneration(
        Gemma3Config(
            text_config=_TEXT,
            vision_config=SiglipVisionConfig(**_PICTURE),
            mm_tokens_per_image=4,
        )
    ),
    "paligemma": lambda: PaliGemmaForConditionalGeneration(
        PaliGemmaConfig(
            text_config=GemmaConfig(**_TEXT),
            vision_config=SiglipVisionConfig(**_PICTURE),
            projection_dim=WIDTH,
            hidden_size=WIDTH,
        )
    ),
    "llava": lambda: LlavaForConditionalGeneration(
        LlavaConfig(text_config=LlamaConfig(**_TEXT), vision_config=CLIPVisionConfig(**_PICTURE))
    ),
    "mistral3": lambda: Mistral3ForConditionalGeneration(
        Mistral3Config(
            text_config=MistralConfig(**_TEXT), vision_config=PixtralVisionConfig(**_PICTURE)
        )
    ),
    "qwen2-vl": lambda: Qwen2VLForConditionalGeneration(
        Qwen2VLConfig(text_config=_QWEN, vision_config={**_EYE, "embed_dim": WIDTH})
    ),
    "qwen2.5-vl": lambda: Qwen2_5_VLForConditionalGeneration(
        Qwen2_5_VLConfig(
            text_config=_QWEN,
            vision_config={**_EYE, "out_hidden_size": WIDTH, "intermediate_size": 24},
        )
    ),
}


def filled(model: PreTrainedModel, seed: int = 7) -> PreTrainedModel:
    """The model with numbers that tell its tensors apart, in evaluation mode."""
    rng = torch.Generator().manual_seed(seed)
    for _, parameter in sorted(model.named_parameters()):
        parameter.data = (0.3 * torch.randn(parameter.shape, generator=rng)).to(parameter.dtype)
    return model.eval()


def written(kind: str, folder: Path, **how: Any) -> PreTrainedModel:
    """A model of a kind, and its files in a folder; read anew, as a training would."""
    model = filled(MODELS[kind]())
    model.save_pretrained(folder, **how)
    return type(model).from_pretrained(folder).eval()


def trained(model: PreTrainedModel, folder: Path, *, seed: int = 1, **config: Any) -> Path:
    """An adapter on a copy of a model, as PEFT saves it, its numbers far from zero."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT tells what it saves and how it reads its flags
        peft = get_peft_model(
            copy.deepcopy(model), LoraConfig(**{"r": 3, "lora_alpha": 5, **config})
        )
        rng = torch.Generator().manual_seed(seed)
        for name, parameter in sorted(peft.named_parameters()):
            if "lora_" in name or "modules_to_save" in name:
                fresh = 0.3 * torch.randn(parameter.shape, generator=rng)
                parameter.data = fresh.to(parameter.dtype)
        peft.save_pretrained(folder)
    return folder


def adapted_by_peft(model: PreTrainedModel, folder: Path) -> PeftModel:
    """A copy of the model with the adapter beside it: what was trained, nothing merged."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return PeftModel.from_pretrained(copy.deepcopy(model), folder).eval()


def merged_by_peft(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """A copy of the model with the adapter added; where weights are tied, PEFT changes both."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return adapted_by_peft(model, folder).merge_and_unload().eval()


def linear_names(model: PreTrainedModel) -> list[str]:
    """The full names of all linear layers but the output layer."""
    head = model.get_output_embeddings()
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D) and module is not head
    ]


def furthest(ours: torch.nn.Module, theirs: torch.nn.Module) -> float:
    """The largest difference of any parameter."""
    found, exact = (dict(m.named_parameters(remove_duplicate=False)) for m in (ours, theirs))
    assert set(found) == set(exact)
    return max(float((found[name] - exact[name]).detach().abs().max()) for name in exact)
