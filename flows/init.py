"""Init: make a workspace - plan, sources, stores - and leave alone what is there already."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

from catalog.examples import text_world
from flows.locking import hold_workspace
from flows.settings import Settings
from flows.wiring import open_stores
from rpe_core.errors import UnknownName


def _write_text_demo(root: Path) -> None:
    data = root / "data"
    if not data.exists():
        text_world.write_world(data)
    for name, text in text_world.render(data).items():
        _write_new(root / name, text)


DEMOS: dict[str, Callable[[Path], None]] = {"text": _write_text_demo}


def init_workspace(settings: Settings, *, demo: str) -> str:
    """Make the folders, declarations and stores of a workspace; what it holds then.

    Raises:
        UnknownName: if there is no such demo.
    """
    if demo and demo not in DEMOS:
        raise UnknownName("demo", demo, DEMOS)
    settings.sources_folder.mkdir(parents=True, exist_ok=True)
    if demo:
        DEMOS[demo](settings.root)
    else:
        template = files("catalog.examples").joinpath("plan.yaml").read_text()
        _write_new(settings.plan_file, template)
    with hold_workspace(settings):
        open_stores(settings).lake.close()
    count = len(list(settings.sources_folder.glob("*.yaml")))
    return f"workspace with {count} sources and a plan"


def _write_new(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_text(text)
