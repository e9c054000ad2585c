"""Init: make a workspace - plan, sources, stores - and leave alone what is there already."""

from __future__ import annotations

from importlib import import_module
from importlib.resources import files
from pathlib import Path

from catalog.examples.files import read_base, render
from flows.demos.pretraining import pretrain_base
from flows.demos.table import DEMOS
from flows.runs.progress import announce
from flows.upkeep.new_lake import begin_new_lake
from flows.workspace.locking import hold_workspace
from flows.workspace.settings import Settings
from flows.workspace.stores import open_stores
from rpe_core.errors import UnknownName


def init_workspace(settings: Settings, *, demo: str, is_new_lake: bool = False) -> str:
    """Make the folders, declarations and stores of a workspace; what it holds then.

    With `is_new_lake` a lake whose catalog has gone is given up for a new one.

    Raises:
        UnknownName: if there is no such demo.
        LakeLost: its lake has gone while other stores stand, and nobody said that it may.
        InputError: a new lake is asked for where nothing is lost.
        PretrainingFailed: if the demo's base could not be made.
    """
    if demo and demo not in DEMOS:
        raise UnknownName("demo", demo, DEMOS)
    settings.root.mkdir(mode=0o700, parents=True, exist_ok=True)  # rows of patients: the owner's
    settings.sources_folder.mkdir(exist_ok=True)
    with hold_workspace(settings, is_new=True):
        if demo:
            _write_demo(settings.root, demo)
        else:
            template = files("catalog.examples").joinpath("plan.yaml").read_text()
            _write_new(settings.plan_file, template)
        if is_new_lake:
            return begin_new_lake(settings)
        open_stores(settings).close()
    count = len(list(settings.sources_folder.glob("*.yaml")))
    return f"workspace with {count} sources and a plan"


def _write_demo(root: Path, name: str) -> None:
    demo, data, models = DEMOS[name], root / "data", root / "models"
    if not data.exists():
        import_module(demo.world).write_world(data)
    for file, text in render(name, data=data, models=models).items():
        _write_new(root / file, text)
    if demo.base:
        folder, scratch = models / demo.base_name, root / "tmp"
        if not folder.exists():
            announce("pretrain", f"{demo.base_name}, which takes some minutes", 1, 1)
        pretrain_base(folder, demo.base, read_base(name), scratch=scratch)


def _write_new(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_text(text)
