"""Pico models, tiny texts and phantoms, made on the spot: what tests train and serve."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    CLIPConfig,
    CLIPModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    SamConfig,
    SamMaskDecoderConfig,
    SamModel,
    SamPromptEncoderConfig,
    SamVisionConfig,
)

_PLAIN = "the a of is was in on with for and red blue green round flat swollen clear left right"
_TALK = {
    "treatment": "drug tablet dose daily given taken treated",
    "causes": "cause origin infection gene",
    "exams": "scan test image shows finding",
}
LABELS: Mapping[str, str] = {
    "treatment": "drug treated dose",
    "causes": "cause infection gene",
    "exams": "scan image test",
}
SHAPES: Mapping[str, str] = {  # of pico_pictures
    "disc": "an image of a round disc",
    "bars": "an image of left and right bars",
    "plain": "a clear image",
}
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def pico_encoder(folder: Path, *, seed: int = 0) -> Path:
    """Write a BERT of 2 layers and width 32 with its tokenizer; equal seeds, equal bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)] + list("0123456789.,-")
    tokens = [*_SPECIAL, *_words(), *letters, *(f"##{letter}" for letter in letters)]
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    _tokenizer(vocabulary).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.2,  # wide, so that an untrained model already tells words apart
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        BertModel(config).save_pretrained(folder)
    return folder


def pico_llama(folder: Path, *, seed: int = 0, chat_template: str | None = None) -> Path:
    """Write a Llama of 2 layers and width 32 with a word tokenizer; equal seeds, equal bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = _talking_vocabulary()
    tokenizer = _word_tokenizer(vocabulary)
    tokenizer.chat_template = chat_template
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
        initializer_range=0.2,
        bos_token_id=2,
        eos_token_id=3,
        pad_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def pico_gpt2(folder: Path, *, seed: int = 0) -> Path:
    """Write a GPT-2 of 2 layers and width 32 with a word tokenizer; equal seeds, equal bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = _talking_vocabulary()
    _word_tokenizer(vocabulary).save_pretrained(folder)
    config = GPT2Config(
        vocab_size=len(vocabulary),
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=128,
        initializer_range=0.2,
        bos_token_id=2,
        eos_token_id=3,
        pad_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def pico_sam(folder: Path, *, seed: int = 0) -> Path:
    """Write a SAM of 2 layers and width 32 for images of 64 x 64; equal seeds, equal bytes."""
    size = {"image_size": 64, "patch_size": 8}
    config = SamConfig(
        vision_config=SamVisionConfig(
            hidden_size=32,
            output_channels=16,
            num_hidden_layers=2,
            num_attention_heads=4,
            window_size=4,
            global_attn_indexes=[1],
            num_pos_feats=8,
            initializer_range=0.2,  # transformers' own is 1e-10, which tells no two images apart
            mlp_dim=64,
            **size,
        ),
        prompt_encoder_config=SamPromptEncoderConfig(hidden_size=16, mask_input_channels=4, **size),
        mask_decoder_config=SamMaskDecoderConfig(
            hidden_size=16, mlp_dim=32, num_attention_heads=2, iou_head_hidden_dim=16
        ),
        initializer_range=0.2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        SamModel(config).save_pretrained(folder)
    return folder


def pico_clip(folder: Path, *, seed: int = 0) -> Path:
    """Write a CLIP of 2 + 2 layers and width 32 for images of 32 x 32; equal seeds, equal bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    words = [*_words(), *" ".join(SHAPES.values()).split(), "an", "image", "picture", "shows", "."]
    tokens = dict.fromkeys(["<pad>", "<unk>", "<s>", "</s>", *words])
    vocabulary = {token: index for index, token in enumerate(tokens)}
    _word_tokenizer(vocabulary, single="<s> $A </s>").save_pretrained(folder)
    size = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
    }
    text = {
        "vocab_size": len(vocabulary),
        "max_position_embeddings": 24,
        "bos_token_id": 2,
        "eos_token_id": 3,
        "pad_token_id": 0,
    }
    config = CLIPConfig(
        text_config={**size, **text},
        vision_config={**size, "image_size": 32, "patch_size": 8},
        projection_dim=16,
    )
    config.initializer_factor = config.text_config.initializer_factor = 3.0
    config.vision_config.initializer_factor = 3.0  # wide, as above
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        CLIPModel(config).save_pretrained(folder)
    return folder


def pico_pictures(
    rng: np.random.Generator, n: int, site: str = "site_a"
) -> tuple[list[np.ndarray], list[str]]:
    """n grey pictures (1, 40, 48, 1) of 8 bits and their kinds (keys of SHAPES).

    What is drawn is the same everywhere; a site has a brightness and a contrast of its own.
    """
    own = np.random.default_rng(list(site.encode()))
    ground, contrast = own.uniform(30, 90), own.uniform(80, 120)
    rows, columns = np.mgrid[:40, :48]
    kinds = [list(SHAPES)[int(i)] for i in rng.integers(0, len(SHAPES), n)]
    pictures = []
    for kind in kinds:
        centre, width = rng.uniform((15, 19), (25, 29)), rng.uniform(6, 9)
        away = np.hypot(rows - centre[0], columns - centre[1])
        bars = (columns - centre[1]) // width % 2
        shape = {"disc": away < 1.5 * width, "bars": bars, "plain": 0 * away}[kind]
        values = ground + contrast * shape + rng.normal(0, 8, away.shape)
        pictures.append(values.clip(0, 255).astype(np.uint8)[None, ..., None])
    return pictures, kinds


def pico_cases(
    rng: np.random.Generator, n: int, *, n_slices: int = 3
) -> tuple[list[np.ndarray], list[tuple[np.ndarray, tuple[float, float, float]]]]:
    """n volumes of 16-bit noise with a bright disc (1) inside a grey one (2), and their masks."""
    images, targets = [], []
    rows, columns = np.mgrid[:40, :48]
    for _ in range(n):
        centre, radius = rng.uniform(15, 25, 2), rng.uniform(8, 12)
        away = np.hypot(rows - centre[0], columns - centre[1])[None].repeat(n_slices, axis=0)
        mask = np.where(away < radius / 2, 1, np.where(away < radius, 2, 0)).astype(np.uint8)
        values = np.array([300, 900, 600])[mask] + rng.normal(0, 60, mask.shape)
        images.append(values.clip(0, 4095).astype(np.uint16)[..., None])
        targets.append((mask, (3.0, 0.5, 0.5)))
    return images, targets


def _word_tokenizer(
    vocabulary: dict[str, int], *, single: str = "<s> $A"
) -> PreTrainedTokenizerFast:
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single=single,
        special_tokens=[(mark, vocabulary[mark]) for mark in ("<s>", "</s>") if mark in single],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        unk_token="<unk>",
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        model_max_length=128,
    )


def _talking_vocabulary() -> dict[str, int]:
    tokens = ["<pad>", "<unk>", "<s>", "</s>", *_words(), "impression", ":", ".", *"0123456789"]
    return {token: index for index, token in enumerate(dict.fromkeys(tokens))}


def _words() -> list[str]:
    return " ".join([_PLAIN, *_TALK.values()]).split()


def _tokenizer(vocabulary: dict[str, int]) -> PreTrainedTokenizerFast:
    inner = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    inner.normalizer = normalizers.BertNormalizer(lowercase=True)
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=ends
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=64,
    )


def pico_texts(
    rng: np.random.Generator, n: int, site: str = "site_a"
) -> tuple[list[str], list[str]]:
    """n generated texts and their labels (keys of LABELS); the site gives its texts an own flavour.

    Texts of one site share filler words, so that sites differ in feature space; the label's words
    are the same everywhere.
    """
    flavour = np.random.default_rng(list(site.encode())).choice(
        _PLAIN.split(), size=4, replace=False
    )
    names = list(LABELS)
    labels = [names[int(i)] for i in rng.integers(0, len(names), n)]
    texts = []
    for label in labels:
        filler = rng.choice(flavour, size=int(rng.integers(3, 12)))
        talk = rng.choice(_TALK[label].split(), size=int(rng.integers(3, 6)))
        texts.append(" ".join(rng.permutation(np.concatenate([filler, talk])).tolist()))
    return texts, labels
