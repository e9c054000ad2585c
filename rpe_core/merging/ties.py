"""The output layer that is the input embedding too: one tensor in the files, two in a model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from rpe_core.merging.names import plain

Config = Mapping[str, Any]

FLAG = "tie_word_embeddings"
_TEXT = ("text_config", "llm_config", "language_config", "thinker_config")
_LANGUAGE = re.compile("LMHead|CausalLM|MaskedLM|ConditionalGen|ForPreTraining")
_EMBEDDING = re.compile(
    r"(?:.*\.)?(?:embed_tokens|wte|word_embeddings|embed_in|tokens_embed|tok_embeddings|shared)"
    r"\.weight"
)
_HEAD = re.compile(
    r"(?:.*\.)?(?:lm_head|lm_head\.decoder|predictions\.decoder|vocab_projector|proj_out"
    r"|generator_lm_head|lm_loss)\.weight|decoder\.weight"
)
_OLD_COMPOSITE = "language_model.model."
_OWN_HEADS = {"gpt_neox.embed_in.weight": "embed_out.weight"}
_DECODER = re.compile("CausalLM|LMHead|ConditionalGen")
_ENCODER = re.compile(r"(?:.*\.)?embeddings\.\w+\.weight")  # BERT's names and its kin's
_FRAMES = {  # of files that name the tensors of the model below the head, as GPT-2's do
    "decoder.embed_tokens.": "model.",
    "embed_in.": "gpt_neox.",
    "embed_tokens.": "model.",
    "tokens_embed.": "transformer.",
    "word_embeddings.": "transformer.",
    "wte.": "transformer.",
}


class Tie(NamedTuple):
    """The key of the embedding, and the name that the output layer has or would have in the files.

    `splits`: whether a model loads both, each with its own numbers, once the flag says so. Then all
    names but the output layer's begin with `frame`: a model takes them for its own with a head.
    """

    embedding: str
    head: str
    splits: bool
    frame: str = ""


def is_head(tensor: str) -> bool:
    """Whether a name is that of a language model's output layer.

    >>> is_head("language_model.lm_head.weight"), is_head("model.layers.0.mlp.up_proj.weight")
    (True, False)
    """
    return _HEAD.fullmatch(plain(tensor)) is not None


def is_vocabulary(tensor: str) -> bool:
    """Whether a tensor has a row for each token: the input embedding or the output layer."""
    return is_head(tensor) or _EMBEDDING.fullmatch(tensor) is not None


def find_tie(
    keys: Iterable[str], config: Config, *, is_language: bool = False, also: Sequence[str] = ()
) -> Tie | None:
    """The tie of a base with these tensors; None where there is none, or no sign of one.

    A checkpoint without an output layer is a tied one, whatever its flag leaves unsaid: the default
    differs from architecture to architecture. Where it has both, the caller compares them. One that
    names no architecture is a decoder by the name of its embedding: where it is loaded without an
    output layer, the numbers of one are passed over.

    Args:
        keys: the tensors in its files.
        config: its config.json.
        is_language: whether the members tell that it is a language model.
        also: what else may be the embedding, where none has a name that is known.
    """
    keys = list(keys)
    known = [key for key in keys if _EMBEDDING.fullmatch(key)]
    architectures = " ".join(str(name) for name in config.get("architectures") or ())
    flags = flags_of(config)
    is_language |= not architectures and any(not _ENCODER.fullmatch(key) for key in known)
    if not (known or also) or not (is_language or _LANGUAGE.search(architectures)):
        return None
    if flags and not any(flags):
        return None
    heads = [key for key in keys if is_head(key)]
    embedding = min(known or also, key=len)
    is_decoder = not config.get("is_encoder_decoder") and (
        _DECODER.search(architectures) is not None if architectures else is_language
    )
    splits = len(known) == 1 and len(heads) <= 1 and is_decoder
    frame = next((each for start, each in _FRAMES.items() if embedding.startswith(start)), "")
    return Tie(embedding, heads[0] if heads else _head_beside(frame + embedding), splits, frame)


def framed_tensor_name(name: str, frame: str) -> str:
    """A tensor's name in files that hold an output layer too.

    >>> [framed_tensor_name(name, "transformer.") for name in ("wte.weight", "lm_head.weight")]
    ['transformer.wte.weight', 'lm_head.weight']
    """
    return name if is_head(name) else frame + name


def flags_of(config: Config) -> list[bool]:
    """What a configuration says of the tie: of the whole model, and of the models in it."""
    own = [config[FLAG]] if isinstance(config.get(FLAG), bool) else []
    parts = [part for part in config.values() if isinstance(part, Mapping)]
    return own + [flag for part in parts for flag in flags_of(part)]


def untie_config(config: Config) -> dict[str, Any]:
    """The configuration with its ties cut: the output layer has its own numbers.

    >>> inner = {"text_config": {"hidden_size": 4}, "llm_config": {"tie_word_embeddings": True}}
    >>> untie_config(inner)  # doctest: +NORMALIZE_WHITESPACE
    {'text_config': {'hidden_size': 4, 'tie_word_embeddings': False},
     'llm_config': {'tie_word_embeddings': False}, 'tie_word_embeddings': False}
    """
    made = {
        name: untie_config(part)
        if isinstance(part, Mapping) and (name in _TEXT or flags_of(part))
        else part
        for name, part in config.items()
    }
    return {**made, FLAG: False}


def _head_beside(embedding: str) -> str:
    if embedding.startswith(_OLD_COMPOSITE):
        return "language_model.lm_head.weight"
    return _OWN_HEADS.get(embedding, "lm_head.weight")
