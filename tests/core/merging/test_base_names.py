"""Names of one base, however they are spelled, and names of two."""

import itertools
import json

import pytest

from rpe_core.errors import InputError
from rpe_core.merging.base_names import common_name
from rpe_core.merging.merge import merge
from tests.adapter_folders import CONFIG, linear, write_folder

CACHED = "/home/jane/.cache/huggingface/hub/models--Qwen--Qwen2.5-0.5B/snapshots/060db6499f32fa"
ONE = [  # spellings of one base
    "Qwen/Qwen2.5-0.5B",
    "/home/a/Qwen2.5-0.5B",
    "models/Qwen2.5-0.5B",
    "Qwen2.5-0.5B",
    "qwen/qwen2.5-0.5b",
    "./Qwen2.5-0.5B/",
    "~/weights/Qwen2.5-0.5B",
    "C:\\models\\Qwen2.5-0.5B",
    "data/base/Qwen2.5-0.5B",
    CACHED,
    CACHED + "/",
    "",
]
TWO = [
    ("Qwen/X", "unsloth/X"),
    ("Qwen/X", "/cache/models--other--X/snapshots/0123"),
    ("Qwen/X", "/home/a/X-Instruct"),
    ("X", "Y"),
    ("/a/models--Qwen--X/snapshots/0123", "/a/models--Qwen--Y/snapshots/0123"),
]


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(ONE, 2)))
def test_spellings_of_one_base_agree_whoever_comes_first(one, other):
    found = common_name([one, other])
    assert found is not None
    assert found == common_name([other, one])
    assert not found.startswith(("/", "~", ".", "C:"))
    assert "snapshots" not in found


def test_the_name_with_an_owner_is_kept():
    assert common_name(["/home/a/X", "models/X", "Qwen/X"]) == "Qwen/X"
    assert common_name([CACHED]) == "Qwen/Qwen2.5-0.5B"
    assert common_name(["/home/a/models--bert-base-uncased/snapshots/12"]) == "bert-base-uncased"
    assert common_name(["/home/a/X"]) == "X"
    assert common_name(["models/X"]) == "models/X"
    assert common_name([]) == ""


@pytest.mark.parametrize(("one", "other"), TWO)
def test_two_bases_are_refused_unless_they_are_confirmed_to_be_one(tmp_path, one, other):
    members = [
        (write_folder(tmp_path / f"{n}", linear("q", seed=n), base_model_name_or_path=name), 0.5)
        for n, name in enumerate((one, other))
    ]
    with pytest.raises(InputError, match="different bases") as caught:
        merge(members, tmp_path / "out")
    assert "--confirm-base" in str(caught.value)
    merge(members, tmp_path / "out", is_base_confirmed=True)
    told = json.loads((tmp_path / "out" / CONFIG).read_text())["base_model_name_or_path"]
    assert told == common_name([one])


def test_members_merge_whatever_they_call_the_base(tmp_path):
    members = [
        (write_folder(tmp_path / f"{n}", linear("q", seed=n), base_model_name_or_path=name), 0.1)
        for n, name in enumerate(ONE)
    ]
    merge(members, tmp_path / "out")
    told = json.loads((tmp_path / "out" / CONFIG).read_text())["base_model_name_or_path"]
    assert told.casefold() == ONE[0].casefold()


def test_revisions_that_differ_are_refused_unless_they_are_confirmed(tmp_path):
    members = [
        (write_folder(tmp_path / name, linear("q"), revision=name), 0.5) for name in ("main", "v2")
    ]
    with pytest.raises(InputError, match="--confirm-base"):
        merge(members, tmp_path / "out")
    merge(members, tmp_path / "out", is_base_confirmed=True)
