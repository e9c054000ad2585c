"""What an inference server asks of an adapter folder, as vLLM's documentation and loader state it.

vLLM itself is no dependency: its rules are few (rank and kind in the configuration, the names of
the tensors), and are written here once more, apart from the code that writes the folders.
"""

import json
import re
from pathlib import Path

import torch
from peft import PeftModel, PeftModelForCausalLM
from safetensors import safe_open
from transformers import AutoModelForCausalLM

from rpe_core.delta import LowRankDelta
from rpe_core.merging.merge import merge
from rpe_core.merging.peft_folders import write_adapter
from tests.pico import pico_llama

SERVED_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # what --max-lora-rank takes
TENSOR = re.compile(r"base_model\.model\.(?P<module>[\w.]+)\.lora_(?P<side>[AB])\.weight")


def _write(folder: Path, seed: int) -> Path:
    generator = torch.Generator().manual_seed(seed)
    deltas = {
        f"model.layers.{layer}.self_attn.{name}": LowRankDelta(
            torch.randn(4, 32, generator=generator),
            torch.randn(rows, 4, generator=generator),
            0.5,
        )
        for layer in (0, 1)
        for name, rows in (("q_proj", 32), ("v_proj", 16))
    }
    write_adapter(folder, deltas, base_name="pico", task_type="CAUSAL_LM")
    return folder


def _check(folder: Path, base: Path) -> None:
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["peft_type"] == "LORA"
    assert config["bias"] == "none"
    assert not config.get("modules_to_save")
    assert not config.get("use_dora")
    assert config["lora_alpha"] > 0
    assert any(config["r"] <= rank for rank in SERVED_RANKS)
    modules = dict(AutoModelForCausalLM.from_pretrained(base).named_modules())
    named = {name.rpartition(".")[2] for name in config["target_modules"]}
    with safe_open(folder / "adapter_model.safetensors", framework="pt") as file:
        found = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    assert found
    for name, shape in found.items():
        match = TENSOR.fullmatch(name)
        assert match, name
        linear = modules[match["module"]]
        assert match["module"].rpartition(".")[2] in named
        wide = linear.in_features if match["side"] == "A" else linear.out_features
        assert sorted(shape) == sorted((config["r"], wide))


def test_a_trained_and_a_merged_folder_are_what_a_server_loads(tmp_path: Path) -> None:
    base = pico_llama(tmp_path / "base")
    folders = [_write(tmp_path / name, seed) for seed, name in enumerate("ab")]
    merge([(folders[0], 0.7), (folders[1], 0.3)], tmp_path / "merged")
    for folder in (*folders, tmp_path / "merged"):
        _check(folder, base)


def test_peft_knows_the_task_by_itself(tmp_path: Path) -> None:
    base = pico_llama(tmp_path / "base")
    folder = _write(tmp_path / "a", seed=0)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder)
    assert isinstance(model, PeftModelForCausalLM)
