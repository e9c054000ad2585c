"""Opening and closing the stores: one way in, and out again whatever happens."""

import shutil
import traceback
from pathlib import Path

import pytest

from catalog.errors import StoreError
from catalog.stores.lake.lake import Lake
from flows.workspace.settings import Settings
from flows.workspace.stores import open_stores


def is_open(lake: Lake) -> bool:
    try:
        return lake.rows("SELECT 1 AS one") == [{"one": 1}]
    except StoreError:
        return False


def test_stores_are_open_for_a_block_and_no_longer(tmp_path: Path) -> None:
    with open_stores(Settings(home=tmp_path)) as stores:
        assert is_open(stores.lake)
    assert not is_open(stores.lake)


def test_a_store_that_cannot_be_opened_leaves_none_open(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    open_stores(settings).close()
    shutil.rmtree(tmp_path / "artifacts", ignore_errors=True)
    (tmp_path / "artifacts").write_text("no folder")
    with pytest.raises(StoreError) as caught:
        open_stores(settings)
    locals_of = [frame.f_locals.values() for frame, _ in traceback.walk_tb(caught.tb)]
    lakes = [one for values in locals_of for one in values if isinstance(one, Lake)]
    assert lakes
    assert not any(map(is_open, lakes))
