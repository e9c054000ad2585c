"""What leaves with a version: a folder that PEFT's own loaders take, and ensemble.json."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import AutoPeftModel, AutoPeftModelForCausalLM
from safetensors.torch import load_file

from catalog.records import version_drafts
from catalog.records.ensemble_file import scale_of
from catalog.stores.outgoing import HubName, outgoing_config
from catalog.stores.registry.model_versions import ModelVersionRef, RegisteredBase
from rpe_core.families import attachment
from rpe_core.families.table import FAMILIES, load_family
from rpe_core.merging.merge import merge
from tests.catalog.embedded_stores import empty_mlflow, open_registry
from tests.catalog.models import TASK, adapter_card, ensemble_facts
from tests.catalog.served_models import KINDS, serve

# peft asks transformers for a property by its former name
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")


@pytest.mark.parametrize("family", KINDS)
def test_peft_finds_the_class_of_the_base_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    """Where a folder of the base's id lies, as a consumer who fetched it puts it there."""
    (tmp_path / "mlflow.db").write_bytes(empty_mlflow())
    registry = open_registry(tmp_path)
    made = serve(registry, tmp_path, family)
    folder = Path(registry.version(made.ref).source) / "artifacts" / "adapter"
    place = tmp_path / "consumer"
    place.mkdir()
    base = Path(registry.version(made.base_ref).source) / "model"
    (place / made.base.base_id).symlink_to(base)
    monkeypatch.chdir(place)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    loader = AutoPeftModelForCausalLM if family == "causal-lm" else AutoPeftModel
    found = loader.from_pretrained(
        str(folder)
    )  # a warning of PEFT, as of missing weights, is an error here
    ours = load_family(family).load(str(made.base_folder), max_tokens=made.base.max_tokens)
    attachment.attach(ours, str(folder))
    assert type(found.get_base_model()) is type(ours.adapter.get_base_model())
    mine, theirs = ours.adapter.state_dict(), found.state_dict()
    assert set(mine) == set(theirs)
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_a_base_on_the_hub_is_named_as_the_hub_names_it() -> None:
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "x@0"}
    told = outgoing_config(config, family="causal-lm", hub=HubName("owner/model", "v2"))
    assert (told["base_model_name_or_path"], told["revision"]) == ("owner/model", "v2")
    assert told.get("auto_mapping") is None, "PEFT's own type of task says the class"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_class_is_one_that_transformers_has(family: str) -> None:
    import transformers

    told = FAMILIES[family].auto_mapping
    assert hasattr(transformers, told["base_model_class"])


def test_the_members_of_the_file_sum_up_to_what_is_served(tmp_path: Path) -> None:
    """By tensors as they lie in the files, with weights and scales as ensemble.json tells them."""
    (tmp_path / "mlflow.db").write_bytes(empty_mlflow())
    made = serve(open_registry(tmp_path), tmp_path, "text-encoder")
    folders = []
    for number, alpha in enumerate((2, 5)):  # what is trained elsewhere need not scale by 1
        folder = tmp_path / f"member{number}"
        folder.mkdir()
        weights = (made.adapter / "adapter_model.safetensors").read_bytes()
        (folder / "adapter_model.safetensors").write_bytes(weights)
        config = json.loads((made.adapter / "adapter_config.json").read_text())
        (folder / "adapter_config.json").write_text(json.dumps({**config, "lora_alpha": alpha}))
        folders.append(folder)
    report = merge([(folders[0], 1.4), (folders[1], -0.4)], tmp_path / "merged", method="concat")
    members = [
        (adapter_card(made.base, source=f"s{i}", seed=i, weights_sha256=f"{i}" * 64), weight)
        for i, weight in enumerate((1.4, -0.4))
    ]
    facts = ensemble_facts("target", members)
    scaled = [
        {"rank": 2, "scale": scale_of(json.loads((f / "adapter_config.json").read_text()))}
        for f in folders
    ]
    lines = [replace(line, **more) for line, more in zip(facts.members, scaled, strict=True)]
    facts = replace(facts, members=tuple(lines))
    draft = version_drafts.ensemble_draft(
        facts,
        made.base,
        TASK,
        registered_base=RegisteredBase(ModelVersionRef("rpe-base-pico", "1")),
        folder=tmp_path / "merged",
        weights_sha256=report.weights_sha256,
    )
    draft.write(tmp_path / "version")
    file = tmp_path / "version" / "artifacts" / "ensemble.json"
    told = json.loads(file.read_text())
    assert (told["format"], told["merge"]["is_weighted_sum"]) == (1, True)
    assert told["served_name"] == draft.tags["rpe.served_name"]
    assert re.fullmatch(r"target-[0-9a-f]{12}", told["served_name"])
    assert told["base"]["sha256"] == made.base.sha256
    summed = {}
    for member, folder in zip(told["members"], folders, strict=True):
        tensors = load_file(folder / "adapter_model.safetensors")
        for name in [n for n in tensors if "lora_A" in n]:
            delta = tensors[name.replace("lora_A", "lora_B")].double() @ tensors[name].double()
            part = member["weight"] * member["scale"] * delta
            summed[name] = summed.get(name, 0) + part
    merged = load_file(tmp_path / "version" / "artifacts" / "adapter" / "adapter_model.safetensors")
    for name, expected in summed.items():
        found = merged[name.replace("lora_A", "lora_B")].double() @ merged[name].double()
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    draft.write(tmp_path / "again")
    assert (tmp_path / "again" / "artifacts" / "ensemble.json").read_bytes() == file.read_bytes()
    assert str(tmp_path) not in file.read_text()


@pytest.mark.parametrize(
    ("config", "scale"),
    [
        ({"r": 8, "lora_alpha": 16}, 2.0),
        ({"r": 16, "lora_alpha": 16, "use_rslora": True}, 4.0),
        ({"r": 4, "lora_alpha": 4, "rank_pattern": {"q": 2}, "alpha_pattern": {"q": 2}}, 1.0),
        ({"r": 4, "lora_alpha": 4, "rank_pattern": {"q": 2}}, None),
        ({"r": 4, "lora_alpha": 4, "rank_pattern": {"q": 2}, "alpha_pattern": {"v": 2}}, None),
        ({"peft_type": "DEEP_PROMPTS", "n_tokens": 4}, 1.0),
        ({}, 1.0),  # PEFT's own defaults
    ],
)
def test_a_scale_is_told_where_all_modules_share_it(config: dict, scale: float | None) -> None:
    assert scale_of(config) == scale
