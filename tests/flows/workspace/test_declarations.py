"""Declarations: parsed once, and again when a byte of them changes."""

from pathlib import Path

import pytest

from flows.workspace.settings import Settings
from flows.workspace.workspace import load_declarations
from rpe_core.errors import DeclarationError
from tests.pico_world import make_pico_workspace


def test_what_is_parsed_stands_until_a_byte_changes(tmp_path: Path) -> None:
    settings = make_pico_workspace(tmp_path)
    contract = settings.sources_folder / "site_a.yaml"
    first = load_declarations(settings)
    settings.plan_file.touch()
    assert load_declarations(settings) is first
    assert load_declarations(Settings(home=settings.root)) is first
    contract.write_text(f"{contract.read_text()}\n# a remark\n")
    second = load_declarations(settings)
    assert second is not first
    settings.plan_file.write_text(settings.plan_file.read_text().replace("epochs: 1", "epochs: 2"))
    assert load_declarations(settings).plan.recipes != second.plan.recipes
    contract.unlink()
    with pytest.raises(DeclarationError, match="site_a"):
        load_declarations(settings)


def test_faults_are_told_again(tmp_path: Path) -> None:
    settings = make_pico_workspace(tmp_path)
    settings.plan_file.write_text("bases: {}\n")
    for _ in range(2):
        with pytest.raises(DeclarationError):
            load_declarations(settings)
