"""Adapters carried from platform to platform: the same retrieval, the same merge, or a reason."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from catalog.readers.files import list_files
from catalog.stores.stores import Stores
from flows.workspace.settings import Settings
from flows.workspace.stores import open_stores
from rpe_core.merging.merge import merge
from rpe_core.merging.peft_folders import read_adapter, write_adapter
from tests.pico import pico_texts
from tests.pico_world import make_pico_workspace

pytestmark = [
    pytest.mark.slow,
    pytest.mark.ci_slow,
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning"),
]
PLAIN = ("--base", "pico", "--source", "lab", "--license", "mit", "--task-of", "site_a")
Rpe = Callable[..., int]


@contextmanager
def opened(settings: Settings) -> Iterator[Stores]:
    stores = open_stores(settings)
    try:
        yield stores
    finally:
        stores.lake.close()


def adapters_of(stores: Stores) -> list[dict[str, Any]]:
    return stores.lake.rows("SELECT * FROM core.adapters ORDER BY adapter_id")


def contents(settings: Settings) -> tuple[object, ...]:
    """What an import that is refused must leave as it was."""
    with opened(settings) as stores:
        names = sorted(stores.registry.all_aliases())
        return (
            len(adapters_of(stores)),
            stores.lake.rows("SELECT count(*) AS n FROM core.representations"),
            stores.artifacts.list(),
            stores.vectors.keys(),
            {name: len(stores.registry.versions(name)) for name in names},
        )


@pytest.fixture
def bundles(night_copy: Settings, rpe: Rpe, tmp_path: Path) -> Path:
    """Both adapters of a finished workspace, exported."""
    with opened(night_copy) as stores:
        rows = adapters_of(stores)
    for row in rows:
        out = tmp_path / "bundles" / row["source"]
        assert rpe("adapters", "export", row["adapter_id"], "--out", str(out)) == 0
    return tmp_path / "bundles"


@pytest.fixture
def other(tmp_path: Path) -> Settings:
    """A second platform with the same base and no data."""
    return make_pico_workspace(tmp_path / "other")


def test_a_round_trip_gives_the_same_retrieval_and_the_same_merge(
    bundles: Path, night_copy: Settings, other: Settings, rpe: Rpe,
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.setenv("RPE_HOME", str(other.root))
    empty = contents(other)
    assert rpe("adapters", "import", f"{bundles}/*", "--dry-run") == 0
    assert contents(other) == empty
    assert rpe("adapters", "import", f"{bundles}/*") == 0
    answers = []
    for number, settings in enumerate((night_copy, other)):
        with opened(settings) as stores:
            rows = adapters_of(stores)
            encoder = stores.vectors.representation(rows[0]["representation_id"]).encoder_id
            library = stores.vectors.library(encoder, allow=[row["adapter_id"] for row in rows])
            found = library.search(np.ones(32), k=5)
            folders = [
                (stores.artifacts.folder(r["artifact_sha256"], is_verified=True), w)
                for r, w in zip(rows, (1.5, -0.5), strict=True)
            ]
            merged = merge(folders, tmp_path / f"merged{number}")
            told = [(r["weights_sha256"], r["license"], r["task_json"], r["rank"]) for r in rows]
            answers.append((found, merged, told, [r["recipe_id"] for r in rows]))
    assert len(answers[0][0]) == 2
    assert answers[0] == answers[1]
    with opened(other) as stores:
        assert {row["origin"] for row in adapters_of(stores)} == {"imported"}
        (row, _) = adapters_of(stores)
        assert stores.registry.versions(row["model_name"])[0].tags["rpe.license"] == "CC0-1.0"
    before = contents(other)
    assert rpe("adapters", "import", f"{bundles}/*") == 0
    assert contents(other) == before


def test_a_bundle_holds_no_row_of_data(bundles: Path, night_copy: Settings) -> None:
    contracts = [yaml.safe_load(f.read_text()) for f in night_copy.sources_folder.glob("*.yaml")]
    texts = [
        json.loads(line)["text"]
        for contract in contracts
        for file in list_files(contract["files"]["path"])
        for line in Path(file).read_text().splitlines()
    ]
    assert texts
    for file in bundles.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert str(night_copy.root).encode() not in content
            assert not any(text.encode() in content for text in texts)
    assert {p.name for p in (bundles / "site_a").iterdir()} == {
        "adapter", "card.json", "hashes.json", "representation.json",
    }  # fmt: skip


@pytest.mark.parametrize(
    "name", ["card.json", "representation.json", "adapter/adapter_model.safetensors"]
)
def test_a_changed_bundle_is_refused_and_the_whole_import_with_it(
    bundles: Path, other: Settings, rpe: Rpe, monkeypatch: pytest.MonkeyPatch, name: str,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("RPE_HOME", str(other.root))
    before = contents(other)
    file = bundles / "site_b" / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
    assert rpe("adapters", "import", str(bundles), "--json") == 2
    answer = json.loads(capfd.readouterr().out)
    assert [fault["path"] for fault in answer["faults"]] == ["site_b"]
    assert name in answer["faults"][0]["what"]
    assert contents(other) == before


def test_an_adapter_that_is_named_twice_is_refused(
    bundles: Path, other: Settings, rpe: Rpe, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("RPE_HOME", str(other.root))
    shutil.copytree(bundles / "site_a", bundles / "site_z")
    assert rpe("adapters", "import", str(bundles), "--json") == 2
    faults = json.loads(capfd.readouterr().out)["faults"]
    assert [fault["what"] for fault in faults] == ["Two adapters would have one id"]


@pytest.fixture
def plain(bundles: Path, tmp_path: Path) -> Path:
    """Plain PEFT folders of another lab: one base name, weights and a representation in each."""
    place = tmp_path / "plain"
    source = read_adapter(bundles / "site_a" / "adapter")
    for number in range(3):
        folder = place / f"Run {number}"
        place.mkdir(exist_ok=True)
        deltas = {m: d for m, d in list(source.deltas.items())[: number + 1]}
        write_adapter(folder, deltas, base_name="lab/base", task_type=None)
        z = np.random.default_rng(number).normal(size=32)
        np.save(folder / "z.npy", z)
        (folder / "training_args.bin").write_bytes(b"a pickle that nobody may open")
    return place


def test_plain_folders_enter_as_sources_of_their_own(
    plain: Path, other: Settings, rpe: Rpe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RPE_HOME", str(other.root))
    arguments = ("adapters", "import", str(plain), *PLAIN, "--representation", "z.npy")
    assert rpe(*arguments, "--no-register") == 0
    with opened(other) as stores:
        rows = adapters_of(stores)
        assert [row["source"] for row in rows] == ["lab_run_0", "lab_run_1", "lab_run_2"]
        assert {(row["license"], row["origin"], row["model_name"]) for row in rows} == {
            ("mit", "imported", "")
        }
        kept = stores.artifacts.folder(rows[0]["artifact_sha256"])
        assert {file.name for file in kept.iterdir()} == {
            "adapter_config.json", "adapter_model.safetensors",
        }  # fmt: skip
        filed = stores.vectors.representation(rows[1]["representation_id"])
        assert filed.z == tuple(np.random.default_rng(1).normal(size=32).tolist())


def test_a_sample_is_encoded_like_a_reference(
    plain: Path, other: Settings, rpe: Rpe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RPE_HOME", str(other.root))
    texts, _ = pico_texts(np.random.default_rng(3), 40, "lab")
    (plain / "sample.txt").write_text("\n".join(texts))
    (plain / "sample.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
    folder = str(plain / "Run 0")
    for name in ("sample.txt", "sample.jsonl"):
        arguments = ("adapters", "import", folder, *PLAIN, "--sample", str(plain / name))
        assert rpe(*arguments, "--no-register") == 0
    with opened(other) as stores:
        first, second = adapters_of(stores)
        one, two = (stores.vectors.representation(r["representation_id"]) for r in (first, second))
    assert (one.z, one.variance, one.n_items) == (two.z, two.variance, 40)


def test_every_fault_is_told_at_once_and_nothing_is_left(
    plain: Path, other: Settings, rpe: Rpe, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("RPE_HOME", str(other.root))
    before = contents(other)
    weights, config = "adapter_model.safetensors", "adapter_config.json"
    wrong = {name: plain / name for name in HARMS}
    for name, folder in wrong.items():
        shutil.copytree(plain / "Run 0", folder)
        HARMS[name][0](folder / weights, folder / config, folder / "z.npy")
    arguments = ("adapters", "import", str(plain), *PLAIN, "--representation", "z.npy", "--json")
    capfd.readouterr()
    assert rpe(*arguments) == 2
    faults = {f["path"]: f["what"] for f in json.loads(capfd.readouterr().out)["faults"]}
    assert set(faults) == set(HARMS)
    for name, (_, words) in HARMS.items():
        assert words in faults[name], name
    assert contents(other) == before


def _cut(weights: Path, config: Path, z: Path) -> None:
    weights.write_bytes(weights.read_bytes()[:-100])


def _oversized(weights: Path, config: Path, z: Path) -> None:
    weights.write_bytes((1 << 40).to_bytes(8, "little") + weights.read_bytes()[8:])


def _pickled(weights: Path, config: Path, z: Path) -> None:
    weights.rename(weights.with_suffix(".bin"))


def _other_base(weights: Path, config: Path, z: Path) -> None:
    config.write_text(config.read_text().replace("lab/base", "lab/another"))


def _other_shape(weights: Path, config: Path, z: Path) -> None:
    source = read_adapter(weights.parent)
    shutil.rmtree(weights.parent)
    deltas = {f"{module}_x": delta for module, delta in source.deltas.items()}
    write_adapter(weights.parent, deltas, base_name="lab/base", task_type=None)
    np.save(z, np.ones(32))


def _dora(weights: Path, config: Path, z: Path) -> None:
    config.write_text(json.dumps({**json.loads(config.read_text()), "use_dora": True}))


def _nowhere(weights: Path, config: Path, z: Path) -> None:
    np.save(z, np.full(32, np.nan))


def _no_place(weights: Path, config: Path, z: Path) -> None:
    z.unlink()


def _pickled_place(weights: Path, config: Path, z: Path) -> None:
    np.save(z, np.array([{}], dtype=object), allow_pickle=True)


HARMS = {
    "cut": (_cut, "safetensors"),
    "oversized": (_oversized, "safetensors"),
    "pickled": (_pickled, ".bin"),
    "otherbase": (_other_base, "another base"),
    "othershape": (_other_shape, "does not fit the base"),
    "dora": (_dora, "DoRA"),
    "nowhere": (_nowhere, "not finite"),
    "noplace": (_no_place, "missing"),
    "pickledplace": (_pickled_place, "cannot be read"),
}


def test_options_that_are_missing_are_listed(
    plain: Path, other: Settings, rpe: Rpe, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("RPE_HOME", str(other.root))
    capfd.readouterr()
    assert rpe("adapters", "import", str(plain / "Run 0"), "--json") == 2
    faults = json.loads(capfd.readouterr().out)["faults"]
    assert {f["path"].split()[-1] for f in faults} == {
        "--base", "--source", "--license", "--task-of", "--sample",
    }  # fmt: skip
    assert rpe("adapters", "import", str(plain / "nothing")) == 2
