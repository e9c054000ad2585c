"""A bundle's card is a stranger's: whatever it says is ours or is refused, and never quoted."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from catalog.stores.artifacts.portable import Bundle, read_bundle
from flows.adapters.bundle_card import read_card
from flows.adapters.samples import read_sample_representation
from rpe_core.errors import InputError
from rpe_core.records import BaseModel, TaskSpec
from tests.fuzz.seeds import CARD, PLACE, SHORT

BASE = BaseModel("pico", "text-encoder", "local", "", "float32", 32, "a" * 64)
SECRET = "Hildegunst4471"
ADAPTER: dict[str, Any] = {**CARD["adapter"], "task": {**CARD["adapter"]["task"], "stop": ["."]}}


def bundle(**changes: Any) -> Bundle:
    place = changes.pop("place", PLACE)
    return Bundle(Path("nowhere"), {"adapter": {**ADAPTER, **changes}}, place)


def test_a_whole_card_becomes_records_of_ours() -> None:
    card, place = read_card(bundle(), BASE, "pico@1")
    assert (card.base, card.origin, card.license) == (BASE, "imported", "CC0-1.0")
    assert card.task == TaskSpec("text-classification", "text", "label", stop=(".",))
    assert (place.z, place.n_groups, place.role) == ((0.0, 1.0), 3, "reference")
    assert place.encoder_id == "pico@1"


HOSTILE: dict[str, dict[str, Any]] = {
    "a path as a source": {"source": "../../etc"},
    "an id of another source": {"adapter_id": f"adapter:site_b@{SHORT}"},
    "SQL in an id": {"dataset_version_id": f"dataset:site_a'; DROP TABLE x --@{SHORT}"},
    "a short id": {"representation_id": "representation:site_a@01"},
    "weights that are no hash": {"weights_sha256": SECRET},
    "a text as a rank": {"rank": SECRET},
    "no parameters": {"n_parameters": 0},
    "a list as a licence": {"license": [SECRET]},
    "a licence of a megabyte": {"license": SECRET * 100_000},
    "a licence of two lines": {"license": f"MIT\n{SECRET}"},
    "a field that is none": {SECRET: 1},
    "another origin": {"task": {"type": SECRET}},
    "a place without z": {"place": {"n_items": 9, "variance": []}},
    "a place of text": {"place": {**PLACE, "z": [SECRET]}},
}


@pytest.mark.parametrize("changes", HOSTILE.values(), ids=HOSTILE)
def test_anything_else_is_refused_and_not_quoted(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError) as refused:
        read_card(bundle(**changes), BASE, "pico@1")
    assert SECRET not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("text", ["NaN", "[1]", '{"a": Infinity}', "{" * 100_000, ""])
def test_a_file_that_is_no_plain_json_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "hashes.json").write_text(text)
    with pytest.raises(InputError):
        read_bundle(tmp_path)


@pytest.mark.parametrize("name", ["z.npy", "z.json"])
def test_a_vector_that_claims_more_than_its_file_holds_allocates_nothing(
    tmp_path: Path, name: str
) -> None:
    claimed = {"descr": "<f8", "fortran_order": False, "shape": (1 << 50,)}
    with (tmp_path / "z.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, claimed)
    (tmp_path / "z.json").write_text(json.dumps({"z": [1.0], "n_items": float("inf")}))
    workspace: Any = None  # nothing of it is asked for a vector that is given
    with pytest.raises(InputError, match="cannot be read"):
        read_sample_representation(workspace, "pico", tmp_path, TaskSpec("", "", ""), "", name)
