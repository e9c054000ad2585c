"""Adapters of other classes of a model: filed by the base's names with their whole effect, or not.

PEFT on the class that they were trained on is the peer.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    LlamaModel,
)

from catalog.stores.stores import Stores
from flows.library.answers import predict_arm
from flows.runs.run_record import open_run
from flows.workspace.settings import Settings
from flows.workspace.stores import open_stores
from flows.workspace.workspace import Workspace, load_declarations
from rpe_core.errors import InputError
from rpe_core.families import attachment, causal_lm, text_encoder
from tests.adapter_folders import CONFIG, WEIGHTS
from tests.foreign import edit_config, edit_tensors, hidden, rename, trained
from tests.pico import pico_llama
from tests.pico_world import make_pico_workspace

pytestmark = [
    pytest.mark.slow,
    pytest.mark.ci_slow,
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning"),
]
Rpe = Callable[..., int]
IDS = torch.tensor([[2, 11, 23, 9, 31, 3]])
MODULES = ["query", "value", "intermediate.dense"]


@contextmanager
def opened(settings: Settings) -> Iterator[Stores]:
    stores = open_stores(settings)
    try:
        yield stores
    finally:
        stores.lake.close()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A platform whose base is the pico encoder."""
    settings = make_pico_workspace(tmp_path / "world")
    monkeypatch.setenv("RPE_HOME", str(settings.root))
    return settings


@pytest.fixture
def importing(world: Settings, rpe: Rpe, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Any:
    """Import one folder: exit code, what was said, and the folder that was filed, if any."""

    def run(folder: Path, *options: str, source: str = "lab") -> tuple[int, str, Path | None]:
        np.save(folder / "z.npy", np.arange(32.0))
        capfd.readouterr()
        code = rpe(
            "adapters", "import", str(folder), "--base", "pico", "--source", source,
            "--license", "mit", "--task-of", "site_a", "--representation", "z.npy",
            "--confirm-base", "--no-register", *options,
        )  # fmt: skip
        told = "".join(capfd.readouterr())
        with opened(world) as stores:
            rows = stores.lake.rows("SELECT * FROM core.adapters")
            found = [stores.artifacts.folder(row["artifact_sha256"]) for row in rows]
        return code, told, found[0] if found else None

    return run


def base_of(world: Settings) -> Path:
    return world.root.parent / "base"


def effect(folder: Path, place: Path) -> torch.Tensor:
    """The features of the base as the platform loads it, with an adapter attached."""
    base = text_encoder.load(str(folder), max_tokens=32)
    attachment.attach(base, str(place))
    return hidden(base.model, IDS)


@pytest.mark.parametrize(
    ("kind", "task_type"),
    [
        (BertModel, None),
        (BertModel, "FEATURE_EXTRACTION"),
        (BertForMaskedLM, None),
        (BertForTokenClassification, None),
        (BertForSequenceClassification, None),
        (BertForSequenceClassification, "SEQ_CLS"),
    ],
)
def test_an_adapter_of_another_class_has_the_effect_that_peft_gives_it(
    world: Settings, importing: Any, tmp_path: Path, kind: type[nn.Module], task_type: str | None
) -> None:
    model = kind.from_pretrained(base_of(world))  # type: ignore[attr-defined]
    peer = trained(model, tmp_path / "lab", target_modules=MODULES, task_type=task_type)
    code, told, filed = importing(tmp_path / "lab")
    assert code == 0, told
    assert ("'bert.' taken off" in told) == (kind is not BertModel)
    found = effect(base_of(world), filed)
    torch.testing.assert_close(found, hidden(peer, IDS), rtol=1e-5, atol=1e-5)
    plain = hidden(AutoModel.from_pretrained(base_of(world)), IDS)
    assert float((found - plain).norm() / plain.norm()) > 0.2
    if task_type == "SEQ_CLS":
        assert "classifier" in told, "the head is left out, and that is said"
    else:
        assert "left out" not in told


def test_a_whole_module_of_the_encoder_is_mapped_with_the_others(
    world: Settings, importing: Any, tmp_path: Path
) -> None:
    model = BertForSequenceClassification.from_pretrained(base_of(world))
    saved = ["classifier", "bert.encoder.layer.1.output.dense"]
    peer = trained(
        model, tmp_path / "lab", target_modules=["query", "value"], modules_to_save=saved
    )
    code, told, filed = importing(tmp_path / "lab")
    assert code == 0, told
    config = json.loads((filed / CONFIG).read_text())
    assert config["modules_to_save"] == ["encoder.layer.1.output.dense"]
    torch.testing.assert_close(
        effect(base_of(world), filed), hidden(peer, IDS), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(
    "told",
    [
        {"target_modules": r"bert\.encoder\.layer\.\d+\.attention\.self\.(query|value)"},
        {"target_modules": MODULES, "layers_to_transform": [1]},
        {"target_modules": MODULES, "layers_to_transform": [0], "layers_pattern": "layer"},
        {"target_modules": MODULES, "exclude_modules": ["bert.encoder.layer.0.intermediate.dense"]},
        {"target_modules": MODULES, "rank_pattern": {r"^bert.encoder.layer.0.*query": 2}},
        {"target_modules": MODULES, "alpha_pattern": {r"bert\..*\.(0|1)\..*": 32}},
        {"target_modules": MODULES, "use_rslora": True, "alpha_pattern": {"dense": 64}},
    ],
)
def test_what_a_configuration_says_by_old_names_goes_on_to_hold(
    world: Settings, importing: Any, tmp_path: Path, told: dict[str, Any]
) -> None:
    peer = trained(BertForMaskedLM.from_pretrained(base_of(world)), tmp_path / "lab", **told)
    code, said, filed = importing(tmp_path / "lab")
    assert code == 0, said
    torch.testing.assert_close(
        effect(base_of(world), filed), hidden(peer, IDS), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(
    "told",
    [
        {"target_modules": "(.*)*x"},
        {"exclude_modules": "(?:[a-z_.0-9]+)+!"},
        {"rank_pattern": {"(a?){40}a{40}": 2}, "alpha_pattern": {"(a|aa)+$": 1}},
        {"target_modules": "(", "rank_pattern": None, "alpha_pattern": None},
    ],
)
def test_what_peft_cannot_search_for_is_named_one_by_one(
    world: Settings, importing: Any, tmp_path: Path, told: dict[str, Any]
) -> None:
    """The file itself tells what was adapted; PEFT's own search would not end, or fail."""
    model = BertModel.from_pretrained(base_of(world))
    peer = trained(model, tmp_path / "lab", target_modules=MODULES)
    edit_config(tmp_path / "lab", **told)
    code, said, filed = importing(tmp_path / "lab")
    assert code == 0, said
    assert "modules named one by one" in said
    torch.testing.assert_close(
        effect(base_of(world), filed), hidden(peer, IDS), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda name: name.replace(".model.", ".model._orig_mod.", 1),
        lambda name: f"module.{name}",
        lambda name: name.replace("layer.", "layer._fsdp_wrapped_module."),
        lambda name: f"base_model.model.{name}",
        lambda name: name.replace(".weight", ".default.weight"),
        lambda name: name.replace("base_model.model.", "base_model."),
    ],
)
def test_a_wrapped_adapter_is_filed_without_its_wrappers(
    world: Settings, importing: Any, tmp_path: Path, change: Callable[[str], str]
) -> None:
    model = BertModel.from_pretrained(base_of(world))
    peer = trained(model, tmp_path / "lab", target_modules=MODULES)
    before = set(load_file(tmp_path / "lab" / WEIGHTS))
    rename(tmp_path / "lab", change)
    code, told, filed = importing(tmp_path / "lab")
    assert code == 0, told
    assert "wrappers taken off" in told
    assert set(load_file(filed / WEIGHTS)) == before
    torch.testing.assert_close(
        effect(base_of(world), filed), hidden(peer, IDS), rtol=1e-5, atol=1e-5
    )


def _swapped(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """intermediate.dense, (64, 32), with d_in and d_out the other way round."""
    turned = dict(state)
    for name in state:
        if "intermediate" in name and "lora_A" in name:
            other = name.replace("lora_A", "lora_B")
            turned[name], turned[other] = state[other].T, state[name].T
    return turned


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda f: edit_tensors(f, _swapped), "intermediate.dense"),
        (lambda f: rename(f, lambda n: n.replace("layer.1.", "layer.7.")), "layer.7."),
        (lambda f: rename(f, lambda n: n.replace("self.query", "self.q_proj")), "self.q_proj"),
        (lambda f: rename(f, lambda n: n.replace("encoder.layer.1", "decoder.layer.1")), "decoder"),
        (lambda f: rename(f, lambda n: n.replace("model.encoder", "model.roberta.xencoder")),
         "roberta.xencoder"),
        (lambda f: rename(f, lambda n: n.replace("model.encoder", "model.roberta.encoder")),
         "roberta.encoder"),
        (lambda f: rename(f, lambda n: n.replace("model.encoder", "model.lilt.bert.encoder")),
         "lilt.bert.encoder"),
    ],
)  # fmt: skip
def test_what_has_no_certain_place_is_refused_by_name(
    world: Settings, importing: Any, tmp_path: Path, harm: Callable[[Path], Path], words: str
) -> None:
    trained(BertModel.from_pretrained(base_of(world)), tmp_path / "lab", target_modules=MODULES)
    harm(tmp_path / "lab")
    code, told, filed = importing(tmp_path / "lab")
    assert (code, filed) == (2, None)
    assert "does not fit the base" in told
    assert words in told
    assert "encoder.layer." in told or "d_out" in told, "what was expected stands beside it"
    assert "withheld" not in told


def test_a_resized_vocabulary_is_called_so(world: Settings, importing: Any, tmp_path: Path) -> None:
    model = BertModel.from_pretrained(base_of(world))
    model.resize_token_embeddings(model.config.vocab_size + 3)
    trained(
        model,
        tmp_path / "lab",
        target_modules=["query"],
        modules_to_save=["word_embeddings"],
    )
    code, told, _ = importing(tmp_path / "lab")
    assert code == 2
    assert "resized" in told
    assert "word_embeddings" in told


@pytest.fixture
def speaking(world: Settings, tmp_path: Path) -> Path:
    """The platform of `world` with a causal-lm as its base."""
    folder = pico_llama(tmp_path / "llama")
    plan = world.plan_file.read_text().replace("query, value", "q_proj")
    before = plan[plan.index("  pico:") : plan.index("recipes:")]
    told = f'  pico: {{family: causal-lm, model: "{folder}", max_tokens: 64}}\n'
    world.plan_file.write_text(plan.replace(before, told))
    task = 'task: {type: text-generation, input: text, target: label, prompt: "{input}"}\n'
    for file in world.sources_folder.glob("*.yaml"):
        text = file.read_text()
        old = text[text.index("task:") : text.index("deidentified:")]
        file.write_text(text.replace(old, task))
    return folder


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (LlamaForCausalLM, ""),
        (LlamaModel, "'model.' put before"),
        (LlamaForSequenceClassification, "score.weight"),
    ],
)
def test_a_causal_lm_takes_adapters_of_its_kin(
    speaking: Path, importing: Any, tmp_path: Path, kind: type[nn.Module], words: str
) -> None:
    model = kind.from_pretrained(speaking)  # type: ignore[attr-defined]
    model.config.pad_token_id = 0
    saved = ["score"] if kind is LlamaForSequenceClassification else None
    told = {"target_modules": ["q_proj", "down_proj"], "modules_to_save": saved}
    peer = trained(model, tmp_path / "lab", **told)
    code, said, filed = importing(tmp_path / "lab")
    assert code == 0, said
    assert words in said
    base = causal_lm.load(str(speaking), max_tokens=64)
    attachment.attach(base, str(filed))
    torch.testing.assert_close(hidden(base.model, IDS), hidden(peer, IDS), rtol=1e-5, atol=1e-5)
    logits = base.model(IDS).logits
    reloaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(speaking), str(filed))
    torch.testing.assert_close(logits, reloaded(IDS).logits, rtol=1e-5, atol=1e-5)


def test_the_order_of_patterns_is_kept_from_import_to_export(
    world: Settings, importing: Any, rpe: Rpe, tmp_path: Path
) -> None:
    """PEFT takes the first that fits: 64 for the query of the attention, 8 for any other."""
    order = {r"self\.query": 64, r"encoder\.layer\.\d\.attention\.self\.query": 8}
    model = BertModel.from_pretrained(base_of(world))
    trained(model, tmp_path / "lab", target_modules=["query"])
    edit_config(tmp_path / "lab", alpha_pattern=order)
    peer = PeftModel.from_pretrained(
        BertModel.from_pretrained(base_of(world)), str(tmp_path / "lab")
    )
    code, told, filed = importing(tmp_path / "lab")
    assert code == 0, told
    assert list(json.loads((filed / CONFIG).read_text())["alpha_pattern"].items()) == [
        *order.items()
    ]
    expected = hidden(peer, IDS)
    torch.testing.assert_close(effect(base_of(world), filed), expected, rtol=1e-5, atol=1e-5)
    with opened(world) as stores:
        (row,) = stores.lake.rows("SELECT adapter_id FROM core.adapters")
    plan = world.plan_file.read_text()
    world.plan_file.write_text(f"{plan}publishing: {{min_groups: 1}}\n")
    assert rpe("adapters", "export", row["adapter_id"], "--out", str(tmp_path / "out")) == 0
    carried = tmp_path / "out" / "adapter"
    torch.testing.assert_close(effect(base_of(world), carried), expected, rtol=1e-5, atol=1e-5)


RECIPES = [
    {},
    {"alpha_pattern": {"query": 64}},
    {"alpha_pattern": {"query": 32}},
    {"alpha_pattern": {"self.query": 64, "query": 8}},
    {"alpha_pattern": {"query": 8, "self.query": 64}},
    {"rank_pattern": {"nothing": 2}},
    {"layers_to_transform": [0, 1]},
    {"layers_to_transform": [0, 1], "layers_pattern": "layer"},
    {"exclude_modules": ["nothing"]},
    {"use_rslora": True},
    {"lora_alpha": 9},
]


def test_recipes_that_differ_have_ids_that_differ(
    world: Settings, importing: Any, tmp_path: Path
) -> None:
    model = BertModel.from_pretrained(base_of(world))
    trained(model, tmp_path / "plain", target_modules=["query"])
    ids = {}
    for number, recipe in enumerate(RECIPES):
        folder = tmp_path / f"lab{number}"
        folder.mkdir()
        for name in (CONFIG, WEIGHTS):
            (folder / name).write_bytes((tmp_path / "plain" / name).read_bytes())
        edit_config(folder, **recipe)
        code, told, _ = importing(folder, source=f"lab{number}")
        assert code == 0, told
    with opened(world) as stores:
        for row in stores.lake.rows("SELECT source, recipe_id, recipe_json FROM core.adapters"):
            ids[row["source"]] = row["recipe_id"]
            if row["source"] == "lab0":
                assert set(json.loads(row["recipe_json"])) == {
                    "method", "r", "alpha", "target_modules", "use_rslora",
                }  # fmt: skip
    assert len(set(ids.values())) == len(RECIPES)


def test_the_same_weights_by_another_recipe_are_not_taken_for_known(
    world: Settings, importing: Any, tmp_path: Path
) -> None:
    """One id, another scaling: the second import would have been passed over without a word."""
    model = BertModel.from_pretrained(base_of(world))
    trained(model, tmp_path / "lab", target_modules=["query"])
    assert importing(tmp_path / "lab")[0] == 0
    assert importing(tmp_path / "lab")[0] == 0, "the same once more"
    edit_config(tmp_path / "lab", lora_alpha=64)
    code, told, _ = importing(tmp_path / "lab")
    assert code != 0
    assert "another recipe" in told
    code, told, _ = importing(tmp_path / "lab", source="lab2")
    assert code == 0, told


def test_an_adapter_that_an_earlier_release_filed_fails_a_night_in_words(
    world: Settings, tmp_path: Path
) -> None:
    """What a night asks of it: the refusal names a tensor, and nothing of it is withheld."""
    model = BertForMaskedLM.from_pretrained(base_of(world))
    trained(model, tmp_path / "lab", target_modules=MODULES)
    declared = load_declarations(world)
    with opened(world) as stores:
        workspace = Workspace(world, declared.plan, declared.contracts, stores, open_run("night"))
        task = declared.contracts["site_a"].task_spec
        with pytest.raises(InputError, match=r"12 tensors have no place.*'bert\.encoder") as caught:
            predict_arm(workspace, "pico", task, tmp_path / "lab", ["a drug was given"])
        assert "on base pico" in str(caught.value)
        assert len(predict_arm(workspace, "pico", task, None, ["a drug was given"])) == 1


def test_two_folders_of_one_adapter_are_refused_by_its_id(
    world: Settings, rpe: Rpe, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folders = [tmp_path / parent / "lab" for parent in ("one", "two")]
    for folder in folders:
        trained(BertModel.from_pretrained(base_of(world)), folder, target_modules=MODULES)
        np.save(folder / "z.npy", np.arange(32.0))
    capfd.readouterr()
    code = rpe(
        "adapters", "import", *map(str, folders), "--base", "pico", "--source", "lab",
        "--license", "mit", "--task-of", "site_a", "--representation", "z.npy",
        "--confirm-base", "--no-register",
    )  # fmt: skip
    assert code == 2
    said = "".join(capfd.readouterr())
    assert "Two adapters would have one id" in said
    assert "AttributeError" not in said
