"""What the merge is measured against, as their users would call them: PEFT and mergekit."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from tests.benchmarks.merging_world import ALPHA, RANK, WEIGHTS, Llama

WIDTH = 4096  # of the module that `svd` is measured on


def peft_cat(members: Sequence[tuple[Path, float]], out: Path, llama: Llama) -> dict[str, float]:
    """Merge by PEFT and save; seconds by step.

    The first adapter that a model on the meta device is given stays there: an empty one takes that
    place. `low_cpu_mem_usage` is the fastest way to load.
    """
    from peft import LoraConfig, PeftModel
    from transformers import LlamaConfig, LlamaForCausalLM

    warnings.simplefilter("ignore")
    times = [time.perf_counter()]
    names = [f"member{i}" for i in range(len(members))]
    options = {"low_cpu_mem_usage": True, "autocast_adapter_dtype": False}
    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig(**llama.config()))
    model = PeftModel(model, LoraConfig.from_pretrained(members[0][0]), "empty", **options)
    times.append(time.perf_counter())
    for name, (folder, _) in zip(names, members, strict=True):
        model.load_adapter(folder, adapter_name=name, **options)
    times.append(time.perf_counter())
    weights = [weight for _, weight in members]
    model.add_weighted_adapter(names, weights, "merged", combination_type="cat")
    times.append(time.perf_counter())
    model.save_pretrained(out, selected_adapters=["merged"])
    times.append(time.perf_counter())
    steps = zip(("model", "load", "cat", "save"), times, times[1:], strict=False)
    return {step: end - start for step, start, end in steps}


def peft_svd(given: str, out: str) -> None:
    """In a process of its own: merge a file's factors to rank 16, keep dW, print CPU seconds."""
    from peft import LoraConfig, get_peft_model

    warnings.simplefilter("ignore")
    factors = load_file(given)
    model = torch.nn.Sequential(torch.nn.Linear(WIDTH, WIDTH, bias=False))
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=["0"])
    names = [f"member{i}" for i in range(len(WEIGHTS))]
    model = get_peft_model(model, config, names[0])
    for name in names[1:]:
        model.add_adapter(name, config)
    layer = model.base_model.model[0]
    for i, name in enumerate(names):
        layer.lora_A[name].weight.data = factors[f"a{i}"]
        layer.lora_B[name].weight.data = factors[f"b{i}"]
    start = time.process_time()
    model.add_weighted_adapter(
        names, list(WEIGHTS), "merged", combination_type="svd", svd_rank=RANK
    )
    seconds = time.process_time() - start
    save_file({"delta": layer.get_delta_weight("merged").detach().contiguous()}, out)
    print(seconds)


def mergekit_tool() -> Path:
    """The command of mergekit, beside this interpreter or on the path."""
    beside = Path(sys.executable).with_name("mergekit-yaml")
    found = str(beside) if beside.is_file() else shutil.which("mergekit-yaml")
    if found is None:
        raise ModuleNotFoundError("No module named 'mergekit'", name="mergekit")
    return Path(found)


def mergekit_command(
    members: Sequence[tuple[Path, float]], base: Path, out: Path, *, scratch: Path
) -> list[str]:
    """Add the members to the base by their weights: task arithmetic on base+adapter models.

    mergekit makes a whole checkpoint of every one of them in `scratch` first.
    """
    recipe = {
        "merge_method": "task_arithmetic",
        "base_model": str(base),
        "dtype": "bfloat16",
        "models": [
            {"model": f"{base}+{folder}", "parameters": {"weight": weight}}
            for folder, weight in members
        ],
    }
    scratch.mkdir()
    written = scratch / "recipe.yaml"
    written.write_text(json.dumps(recipe), encoding="utf-8")  # JSON is YAML
    options = ["--lora-merge-cache", str(scratch), "--lora-merge-dtype", "bfloat16"]
    tool = str(mergekit_tool())
    return [tool, str(written), str(out), *options, "--no-copy-tokenizer", "--out-shard-size", "1B"]


def mergekit_version() -> str:
    """The version that the command belongs to."""
    code = "from importlib.metadata import version; print(version('mergekit'))"
    python = mergekit_tool().with_name("python")
    done = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.strip()
