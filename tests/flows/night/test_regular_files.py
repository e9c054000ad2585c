"""Regular files alone are opened: a FIFO, socket, device or folder is refused in words, at once."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from catalog.contracts.contract import ColumnRule
from catalog.contracts.files import Files
from catalog.contracts.load import load_contract, read_yaml
from catalog.intake.databases import write_rows
from catalog.intake.drafting import draft_contract
from catalog.readers.cells import CellRefusedError
from catalog.readers.files import list_files, list_parts
from catalog.readers.formats import open_batches
from catalog.readers.images import load_image
from catalog.readers.items import read_item
from catalog.readers.listing import list_cases
from catalog.stores.artifacts.artifacts import Artifacts
from catalog.stores.artifacts.portable import is_bundle, read_bundle
from catalog.stores.registry.sums import sha256_of
from catalog.stores.sqlite_files import fault_of
from flows.adapters.import_adapters import _folders
from flows.adapters.samples import _find
from flows.commands.targets import _lines
from flows.workspace.bases import model_files
from flows.workspace.lost_registry import _wrong
from flows.workspace.settings import Settings
from flows.workspace.workspace import load_declarations
from rpe_core.errors import RpeError
from rpe_core.families.attachment import _is_prompts
from rpe_core.merging.beside import copy_beside
from rpe_core.merging.files.adapter_reader import AdapterFolder
from rpe_core.merging.files.checkpoint import Checkpoint
from rpe_core.regular_files import NotRegularFile, open_regular, read_regular, special_kind

ROOT = Path(__file__).parents[3]
SECONDS = 20
CONFIG = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["q"]}
RULE = {"text": ColumnRule(type="string")}


@pytest.fixture(autouse=True)
def in_time() -> Iterator[None]:
    """Whoever waits for a FIFO is woken, and fails."""

    def wake(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, wake)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def a_fifo(path: Path) -> None:
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(path))


def a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def a_linked_fifo(path: Path) -> None:
    place = Path(tempfile.mkdtemp(dir=path.parent.parent)) / "elsewhere"
    os.mkfifo(place)
    path.symlink_to(place)


MAKERS = {"FIFO": a_fifo, "socket": a_socket, "device": a_device, "linked FIFO": a_linked_fifo}
Maker = Callable[[Path], None]


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Maker:
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    return MAKERS[request.param]


@pytest.fixture(autouse=True)
def harmless(tmp_path: Path) -> None:
    tmp_path.joinpath("other").mkdir()


def rows(path: Path, kind: str) -> list[Any]:
    return list(open_batches(str(path), kind, columns=RULE, resource="Patient"))


def adapter(folder: Path, tensors: Mapping[str, torch.Tensor] | None = None) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG))
    if tensors is not None:
        save_file(dict(tensors), folder / "adapter_model.safetensors")
    return folder


def test_what_a_path_names_is_told_and_no_other_kind_is_opened(make: Maker, tmp_path: Path) -> None:
    make(tmp_path / "x")
    assert special_kind(tmp_path / "x") in ("a FIFO", "a socket", "a device")
    for name in ("x", "other"):
        with pytest.raises(NotRegularFile, match=r"it is a \w+, no regular file"):
            open_regular(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "nothing")
    assert special_kind(tmp_path / "nothing") == ""
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("file")
    assert (read_regular(tmp_path / "link"), special_kind(tmp_path / "link")) == (b"abc", "")
    assert read_regular(tmp_path / "file", limit=2) == b"ab"


def test_a_name_that_another_takes_before_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    os.mkfifo(tmp_path / "fifo")
    opened = os.open

    def swapped(path: Any, *more: Any) -> int:
        (tmp_path / "fifo").replace(tmp_path / "file")
        return opened(path, *more)

    monkeypatch.setattr(os, "open", swapped)
    with pytest.raises(NotRegularFile, match="FIFO"):
        open_regular(tmp_path / "file")


@pytest.mark.parametrize("name", ["x.csv", "x.parquet", "x.jsonl", "x.jsonl.gz", "x.ndjson"])
def test_a_table_is_listed_and_refused_by_its_name(make: Maker, tmp_path: Path, name: str) -> None:
    make(tmp_path / name)
    assert list_parts(f"{tmp_path}/x*") == list_files(f"{tmp_path}/{name}")
    kind = {"csv": "csv", "parquet": "parquet", "ndjson": "fhir"}.get(name.split(".")[1], "jsonl")
    for look in (lambda: rows(tmp_path / name, kind), lambda: draft_contract(f"{tmp_path}/{name}")):
        with pytest.raises(RpeError, match=r"a (FIFO|socket|device)") as caught:
            look()
        assert name in str(caught.value)


def test_a_workbook_is_refused(make: Maker, tmp_path: Path) -> None:
    make(tmp_path / "book.xlsx")
    for look in (lambda: rows(tmp_path / "book.xlsx", "xlsx"), lambda: draft_contract("book.xlsx")):
        with pytest.raises(RpeError, match=r"a (FIFO|socket|device)"):
            look()


def test_a_database_is_refused(make: Maker, tmp_path: Path) -> None:
    make(tmp_path / "data.sqlite")
    uri = f"sqlite:///{tmp_path}/data.sqlite"
    files = Files(format="database", uri=uri, query="SELECT 1")
    with pytest.raises(RpeError, match=r"The database is a (FIFO|socket|device)"):
        write_rows(files, tmp_path / "out.parquet")


@pytest.mark.parametrize("ending", ["png", "nii.gz", "npz"])
def test_a_case_whose_image_is_none_is_set_aside(make: Maker, tmp_path: Path, ending: str) -> None:
    make(tmp_path / f"a.{ending}")
    kind = {"png": "image", "nii.gz": "nifti"}.get(ending, ending)
    files = Files(path=f"{tmp_path}/{{case}}.{ending}", format=kind)
    [case] = list_cases(files)
    with pytest.raises(CellRefusedError, match="unreadable_image"):
        load_image(case.uris, kind)
    with pytest.raises(RpeError):
        read_item(tmp_path / f"a.{ending}")


def test_a_series_with_what_is_no_file_is_refused(make: Maker, tmp_path: Path) -> None:
    make(tmp_path / "other" / "1.dcm")
    with pytest.raises(RpeError, match="cannot be used"):
        read_item(tmp_path / "other")


def test_declarations_are_refused_in_words(make: Maker, tmp_path: Path) -> None:
    make(tmp_path / "x.yaml")
    for read in (read_yaml, load_contract):
        with pytest.raises(RpeError, match=r"is a (FIFO|socket|device), no file"):
            read(tmp_path / "x.yaml")


def test_a_plan_and_databases_of_a_workspace_are_told_from_none(
    make: Maker, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    (home / "sources").mkdir(parents=True)
    for name in ("plan.yaml", "mlflow.db"):
        make(home / name)
    with pytest.raises(RpeError, match=r"The workspace's plan is a (FIFO|socket|device), no file"):
        load_declarations(Settings(home=home))
    assert re.fullmatch(r"is a (FIFO|socket|device), no file", fault_of(home / "mlflow.db"))
    with pytest.raises(NotRegularFile):
        sha256_of(home / "mlflow.db")
    assert _wrong(home / "mlflow.db") == "cannot be read"


def test_an_adapter_with_it_is_found_and_refused(make: Maker, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    make(tmp_path / "a" / "adapter_config.json")
    assert _folders([str(tmp_path / "a")]) == _folders([str(tmp_path)]) == [tmp_path / "a"]
    with pytest.raises(RpeError, match=r"adapter_config.json is a (FIFO|socket|device)"):
        AdapterFolder(tmp_path / "a")
    with pytest.raises(ValueError, match="configuration is no regular file"):
        _is_prompts(str(tmp_path / "a"))
    make(adapter(tmp_path / "b") / "adapter_model.safetensors")
    with pytest.raises(RpeError, match=r"adapter_model.safetensors is a (FIFO|socket|device)"):
        AdapterFolder(tmp_path / "b")
    with pytest.raises(RpeError, match="link, a device"):
        Artifacts.hash_folder(tmp_path / "b")
    make(tmp_path / "x")
    with pytest.raises(RpeError, match=r"is to be imported is a (FIFO|socket|device)"):
        _folders([str(tmp_path / "x")])


@pytest.mark.parametrize("name", ["card.json", "hashes.json", "representation.json"])
def test_a_bundle_with_it_is_refused(make: Maker, tmp_path: Path, name: str) -> None:
    names = ("card.json", "hashes.json", "representation.json")
    for one in (tmp_path / "bundle" / name for name in names):
        one.parent.mkdir(exist_ok=True)
        one.write_text("{}")
    (tmp_path / "bundle" / name).unlink()
    make(tmp_path / "bundle" / name)
    assert is_bundle(tmp_path / "bundle")
    with pytest.raises(RpeError):
        read_bundle(tmp_path / "bundle")


def test_a_base_with_it_is_refused(make: Maker, tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    save_file({"q.weight": torch.ones(2, 2)}, base / "model.safetensors")
    make(base / "tokenizer.json")
    with pytest.raises(RpeError, match=r"tokenizer.json, which is a (FIFO|socket|device)"):
        model_files(base)
    (tmp_path / "made").mkdir()
    assert copy_beside(Checkpoint(base), tmp_path / "made")[-1] == "tokenizer.json"
    (base / "model.safetensors").rename(base / "a.safetensors")
    index = {"weight_map": {"q.weight": "a.safetensors", "z": "b.safetensors"}}
    (base / "model.safetensors.index.json").write_text(json.dumps(index))
    make(base / "b.safetensors")
    with pytest.raises(RpeError, match=r"b.safetensors is a (FIFO|socket|device)"):
        Checkpoint(base)


def test_inputs_and_places_of_adapters_are_refused(make: Maker, tmp_path: Path) -> None:
    make(tmp_path / "x.txt")
    with pytest.raises(RpeError, match=r"is a (FIFO|socket|device)"):
        _lines(tmp_path / "x.txt")
    with pytest.raises(RpeError, match=r"is a (FIFO|socket|device)"):
        _find(tmp_path, "x.txt")


def test_a_file_of_inputs_has_the_lines_that_it_had(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes("\ufeffone\r\ntwo\rthree\u2028same\n".encode())
    assert _lines(tmp_path / "x.txt") == ["one", "two", "three\u2028same"]


# Files that these open were made by the platform itself, or are a part of the package.
OWN_FILES = {
    "rpe_core/families/attachment.py",  # a served version imports nothing of ours
    "catalog/deid", "catalog/examples", "catalog/readers/headers.py",
    "catalog/records/model_card.py", "catalog/stores", "catalog/tables",
    "flows/commands/completion.py",  # reads the names of steps from our own table
    "flows/demos", "flows/experiments/method_tables.py",
    "flows/runs/checkpoints.py", "flows/runs/prefect_server.py", "flows/runs/workers.py",
    "flows/steps/train.py", "flows/steps/training_process.py",
    "flows/upkeep/init.py", "flows/upkeep/machine_checks.py",
    "flows/workspace/workspace_id.py", "rpe_core/families/clip.py",
}  # fmt: skip


def test_no_other_module_opens_a_file_for_reading_by_itself() -> None:
    reads = re.compile(r"\.read_text\(|\.read_bytes\(|\.open\(\"rb\"|\.open\(\)|[^.\w]open\(")
    found = {
        path.relative_to(ROOT).as_posix()
        for top in ("rpe_core", "catalog", "flows")
        for path in (ROOT / top).rglob("*.py")
        if reads.search(path.read_text())
    }
    assert {name for name in found if not any(name.startswith(own) for own in OWN_FILES)} == set()
