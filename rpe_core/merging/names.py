"""Which tensor of a base's files an adapter means: its names are those of a model in memory.

transformers renames tensors as it loads them, and has moved its models' parts from one version to
the next, so that one tensor goes by several names. A *plain* name is what they have in common. No
model is built for it, and none has to be known by its type.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

# Parts that wrap a model, or stand for the only one of its kind.
_WRAPPERS = {"model", "language_model", "thinker"}
_RENAMED = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"(?<![^.])vision_tower\.vision_model\.", "vision_tower."),
        (r"(?<![^.])embed_out\.", "lm_head."),
        (r"(?<![^.])block_sparse_moe\.", "mlp."),
        (r"(?<![^.])encoder\.layer\.(?=\d)", "layers."),
        (r"(?<![^.])decoder_encoder\.layer\.(?=\d)", "decoder_layers."),
        (r"(?<![^.])encoder\.block\.(\d+)\.(\d+)\.", r"stages.\1.blocks.\2."),
        (r"(?<![^.])encoder\.patch_embeddings\.(\d+)\.", r"stages.\1.patch_embeddings."),
        (r"(?<![^.])attention\.(?:attention|self)\.", "attention."),
        (r"(?<![^.])attention\.query\.", "attention.q_proj."),
        (r"(?<![^.])attention\.key\.", "attention.k_proj."),
        (r"(?<![^.])attention\.value\.", "attention.v_proj."),
        (r"(?<![^.])attention\.output\.dense\.", "attention.o_proj."),
        (r"(?<![^.])(self_attn|encoder_attn)\.out_proj\.", r"\1.o_proj."),
        (r"(?<![^.])layers\.(\d+)\.fc([12])\.", r"layers.\1.mlp.fc\2."),
        (r"(?<![^.])(?:intermediate\.dense|mlp\.dense1)\.", "mlp.fc1."),
        (r"(?<![^.])(?:output\.dense|mlp\.dense2)\.", "mlp.fc2."),
    )
)


def ends_in(name: str, tail: str) -> bool:
    """Whether a name is another, or that with whole parts before it.

    >>> ends_in("bert.layer.10.query", "10.query"), ends_in("bert.layer.10.query", "0.query")
    (True, False)
    """
    return f".{name}".endswith(f".{tail}")


def plain(name: str) -> str:
    """The name that a tensor has under whatever version and class of transformers.

    >>> plain("model.language_model.layers.0.self_attn.q_proj.weight")
    'layers.0.self_attn.q_proj.weight'
    >>> plain("vit.encoder.layer.0.attention.attention.query.weight")
    'vit.layers.0.attention.q_proj.weight'
    """
    parts = _renamed(name).split(".")
    return ".".join([part for part in parts[:-1] if part not in _WRAPPERS] + parts[-1:])


def find_all(names: Sequence[str], keys: Sequence[str]) -> dict[str, str]:
    """The keys of these names, as far as there is one and only one for each.

    A name means its own key, else the key of the same plain name; of the names that have neither,
    a prefix may be more or less, the same for all.

    >>> find_all(["query.weight", "head.weight"], ["bert.query.weight", "bert.key.weight"])
    {'query.weight': 'bert.query.weight'}
    """
    own = set(keys)
    by_name = {name: name for name in names if name in own}
    rest = [name for name in names if name not in own]
    by_plain = _unique(keys, plain)
    by_name |= {name: by_plain[plain(name)] for name in rest if plain(name) in by_plain}
    # where a prefix differs, what wraps the model must not: it could be another part of it
    known = _unique(keys, _renamed)
    taken = {plain(key) for key in keys}
    left = {name: _renamed(name) for name in rest if plain(name) not in taken}
    best: list[dict[str, str]] = []
    for way in _ways(list(left.values()), known):
        made = {name: known[way[short]] for name, short in left.items() if way[short] in known}
        if not best or len(made) > len(best[0]):
            best = [made]
        elif len(made) == len(best[0]) and made != best[0]:
            best.append(made)
    by_name |= best[0] if len(best) == 1 else {}
    return {name: by_name[name] for name in names if name in by_name}


def _renamed(name: str) -> str:
    for pattern, replacement in _RENAMED:
        name = pattern.sub(replacement, name)
    return name


def _unique(keys: Sequence[str], form: Callable[[str], str]) -> dict[str, str]:
    """The keys by a form of their names, of which each has only one."""
    by_form: dict[str, list[str]] = {}
    for key in keys:
        by_form.setdefault(form(key), []).append(key)
    return {
        short: names_of_form[0]
        for short, names_of_form in by_form.items()
        if len(names_of_form) == 1
    }


def _ways(names: Sequence[str], known: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """The names with one prefix more, or less, for each prefix that leads one of them to a key."""
    for name in names:
        more = [key[: -len(name)] for key in known if key != name and ends_in(key, name)]
        parts = name.split(".")
        less = [".".join(parts[:i]) + "." for i in range(1, len(parts))]
        less = [prefix for prefix in less if name.removeprefix(prefix) in known]
        for prefix in more:
            yield {each: prefix + each for each in names}
        for prefix in less:
            yield {each: each.removeprefix(prefix) for each in names}
        if more or less:
            return
