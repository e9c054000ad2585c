"""Inputs that a version is given: answered in their rows, or refused by position and type."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from fastapi.testclient import TestClient
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import scoring_server

from rpe_core.families.table import load_family
from tests.catalog.embedded_stores import empty_mlflow, open_registry
from tests.catalog.served_models import KINDS, Served, inputs_of, npy, serve

SECRET = "Zebulon Quux"
TEXT_FAMILIES = ("text-encoder", "causal-lm")
IMAGE_FAMILIES = ("clip", "sam")

# peft asks transformers for a property by its former name
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Family -> its version and the model as MLflow loads it."""
    root = tmp_path_factory.mktemp("served")
    (root / "mlflow.db").write_bytes(empty_mlflow())
    registry, before = open_registry(root), mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{root / 'mlflow.db'}")
    found: dict[str, Any] = {}
    for family in KINDS:
        made = serve(registry, root / family, family)
        found[family] = (made, mlflow.pyfunc.load_model(made.ref.uri))
    yield found
    mlflow.set_tracking_uri(before)


def frame(made: Served, items: list[Any]) -> pd.DataFrame:
    return pd.DataFrame({made.task.input: pd.Series(items, dtype=object)})


def words(error: BaseException) -> str:
    """All that a log would show of an error, what led to it included."""
    return "".join(traceback.format_exception(error))


@pytest.mark.parametrize("family", KINDS)
def test_a_good_batch_is_answered_in_its_order(world: dict[str, Any], family: str) -> None:
    made, model = world[family]
    items = inputs_of(family, 3)
    together = model.predict(frame(made, items))
    assert list(together.columns) == model.metadata.get_output_schema().input_names()
    assert not together.isna().any(axis=None)
    alone = pd.concat([model.predict(frame(made, [item])) for item in items])
    first = together.columns[0]
    assert together[first].tolist() == alone[first].tolist()
    records = [{made.task.input: item, "more": 1} for item in items]
    assert model.predict(records)[first].tolist() == together[first].tolist()
    assert len(model.predict(frame(made, []))) == 0


@pytest.mark.parametrize("family", TEXT_FAMILIES)
def test_an_empty_text_has_no_answer_and_moves_no_other(world: dict[str, Any], family: str) -> None:
    made, model = world[family]
    good = inputs_of(family, 2)
    items = ["", good[0], " \n\t", "\u200b\u00a0", good[1]]
    given = frame(made, items)
    given.index = pd.Index([7, 5, 7, 3, 1])  # no order, and one comes twice
    answer = model.predict(given)
    assert answer.index.tolist() == given.index.tolist()
    assert answer.isna().all(axis=1).tolist() == [True, False, True, True, False]
    expected = model.predict(frame(made, good))
    for name in answer.columns:
        found = answer[name].iloc[[1, 4]].tolist()
        if answer[name].dtype == float:
            np.testing.assert_allclose(found, expected[name], atol=1e-5)
        else:
            assert found == expected[name].tolist()
    only_empty = model.predict(frame(made, ["", " "]))
    assert (len(only_empty), only_empty.isna().all(axis=None)) == (2, True)
    assert list(only_empty.columns) == list(answer.columns)


WRONG = {
    "an int": ([SECRET, 2], "1 of 2 inputs is no text: row 1 is of type int."),
    "a float": ([2.5, SECRET], "1 of 2 inputs is no text: row 0 is of type float."),
    "bytes": ([SECRET, SECRET.encode()], "row 1 is of type bytes"),
    "a list": ([SECRET, [SECRET]], "row 1 is of type list"),
    "a record": ([{"text": SECRET}, SECRET], "row 0 is of type dict"),
    "an array": ([SECRET, np.array([SECRET])], "row 1 is of type ndarray"),
    "a truth value": ([SECRET, True, False], "2 of 3 inputs are no text: row 1 is of type bool"),
    "none": ([SECRET, None], "1 inputs are missing, the first in row 1."),
    "nan": ([SECRET, float("nan"), SECRET, pd.NA], "2 inputs are missing, the first in row 1 (row"),
    "both": ([None, 3, SECRET], "1 inputs are missing, the first in row 0. 1 of 3 inputs is no"),
    "many": ([SECRET, *range(20)], "row 8 is of type int, 12 more."),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("family", TEXT_FAMILIES)
def test_what_is_no_text_is_told_by_position_and_type(
    world: dict[str, Any], family: str, case: str
) -> None:
    made, model = world[family]
    items, told = WRONG[case]
    with pytest.raises(ValueError, match="Rows count from 0; nothing was answered") as caught:
        model.predict(frame(made, items))
    assert told in str(caught.value)
    assert SECRET not in words(caught.value)


@pytest.mark.parametrize("family", IMAGE_FAMILIES)
def test_what_is_no_image_is_told_by_position(world: dict[str, Any], family: str) -> None:
    made, model = world[family]
    good = inputs_of(family, 2)
    with pytest.raises(
        ValueError, match="row 1 is of type str, row 2 is of type ndarray"
    ) as caught:
        model.predict(frame(made, [good[0], SECRET, np.zeros((8, 8)), good[1]]))
    assert SECRET not in words(caught.value)
    cut, pickled = good[0][:-7], npy(np.zeros((2, 2)))[:6] + SECRET.encode()
    endless = npy(np.zeros(1)).replace(b"(1,)", b"(99999999999,)").replace(b" " * 10, b"", 1)
    empty, flat = b"", npy(np.full((8, 8), np.nan))
    bad = [cut, pickled, b"PK\x05\x06" + SECRET.encode(), endless, empty, flat]
    with pytest.raises(ValueError, match="6 of 8 inputs are no input that the model") as caught:
        model.predict(frame(made, [good[0], *bad, good[1]]))
    for row in range(1, 7):
        assert f"row {row} (" in str(caught.value)
    assert SECRET not in words(caught.value)


ODD = {
    "a bare list": [SECRET, "b"],
    "a bare text": SECRET,
    "numbers": pd.DataFrame({"question": [1, 2]}),
    "another column": pd.DataFrame({"answer": [SECRET]}),
    "records without it": [{"answer": SECRET}],
    "an array": np.array([SECRET, "b"]),
    "an array of rows": np.array([[SECRET, "b"]]),
    "a cube": np.full((2, 2, 2), SECRET),
    "nothing": None,
    "two of a name": pd.DataFrame([[SECRET, SECRET]], columns=["question", "question"]),
    "categories": pd.DataFrame({"question": pd.Categorical([SECRET])}),
    "lists in a record": {"question": [SECRET, "b"]},
}


@pytest.mark.parametrize("case", ODD)
def test_no_error_of_a_version_holds_what_it_was_given(world: dict[str, Any], case: str) -> None:
    """MLflow's own words about a schema would hold the whole input."""
    _, model = world["text-encoder"]
    with pytest.raises((MlflowException, ValueError)) as caught:
        model.predict(ODD[case])
    assert SECRET not in words(caught.value)


@pytest.mark.parametrize("family", KINDS)
def test_a_base_by_itself_answers_with_the_feature_of_each_input(
    world: dict[str, Any], family: str
) -> None:
    made, _ = world[family]
    model = mlflow.pyfunc.load_model(made.base_ref.uri)
    (column,) = model.metadata.get_input_schema().input_names()
    items = inputs_of(family, 3)
    given = pd.DataFrame({column: pd.Series(items, dtype=object, index=[5, 3, 5])})
    answer = model.predict(given)
    assert answer.index.tolist() == [5, 3, 5]
    ours = load_family(family)
    base = ours.load(str(made.base_folder), max_tokens=made.base.max_tokens)
    expected = np.empty((3, len(answer["feature"].iloc[0])))
    for places, features in ours.encode(base, items):
        expected[places] = features
    np.testing.assert_allclose(np.array(answer["feature"].tolist()), expected, atol=1e-5)
    with pytest.raises(ValueError, match="1 of 4 inputs is no"):
        model.predict(pd.DataFrame({column: pd.Series([*items, 7], dtype=object)}))
    if family in TEXT_FAMILIES:
        some = model.predict(pd.DataFrame({column: ["", items[0]]}))
        assert some["feature"].isna().tolist() == [True, False]


def test_a_scoring_server_answers_in_json_that_anybody_reads(
    world: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, model = world["text-encoder"]
    monkeypatch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "")  # the server sets it for good
    server = TestClient(scoring_server.init(model))
    given = {"columns": [made.task.input], "data": [[""], ["red flat a"]]}
    answer = server.post("/invocations", json={"dataframe_split": given})
    assert answer.status_code == 200

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    empty, other = json.loads(answer.text, parse_constant=refuse)["predictions"]
    assert empty == {"label": None, "score": None}
    assert other["label"] in made.task.labels
    given["data"] = [["red flat a"], [{"a": SECRET}]]
    refused = server.post("/invocations", json={"dataframe_split": given})
    assert refused.status_code == 400
    assert "row 1 is of type dict" in refused.text
    assert SECRET not in refused.text


CONSUMER = """
import json, sys
repository, tracking_uri, uri, column = sys.argv[1:]
sys.path = [p for p in sys.path if p and ("site-packages" in p or not p.startswith(repository))]
sys.meta_path = [f for f in sys.meta_path if "editable" not in getattr(f, "__module__", "").lower()]
for name in ("flows", "catalog", "rpe_core"):
    sys.modules[name] = None
import mlflow, pandas
mlflow.set_tracking_uri(tracking_uri)
model = mlflow.pyfunc.load_model(uri)
for cells in (["a", 2], ["a", None], ["", "a"], []):
    try:
        answer = model.predict(pandas.DataFrame({column: pandas.Series(cells, dtype=object)}))
        print("TOLD", answer.isna().all(axis=1).tolist())
    except Exception as error:
        print("TOLD", type(error).__name__, error)
"""


@pytest.mark.slow
@pytest.mark.ci_slow
def test_a_process_without_the_repository_is_told_the_same(
    world: dict[str, Any], tmp_path: Path
) -> None:
    made, _ = world["text-encoder"]
    repository = str(Path(__file__).parents[4])
    arguments = [repository, mlflow.get_tracking_uri(), made.ref.uri, made.task.input]
    done = subprocess.run(
        [sys.executable, "-I", "-c", CONSUMER, *arguments],
        cwd=tmp_path,
        env={"MLFLOW_DISABLE_TELEMETRY": "true", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = [line.removeprefix("TOLD ") for line in done.stdout.splitlines() if "TOLD" in line]
    assert told[0].startswith("ValueError 1 of 2 inputs is no text: row 1 is of type int.")
    assert told[1].startswith("ValueError 1 inputs are missing, the first in row 1.")
    assert told[2:] == ["[True, False]", "[]"]


def test_a_consumer_who_wants_the_details_gets_them(
    world: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, _ = world["text-encoder"]
    monkeypatch.setenv("MLFLOW_DISABLE_SCHEMA_DETAILS", "false")
    model = mlflow.pyfunc.load_model(made.ref.uri)
    with pytest.raises(MlflowException, match=r"Model is missing inputs \['question'\]"):
        model.predict(pd.DataFrame({"answer": ["a"]}))


def test_the_card_says_what_has_no_answer(world: dict[str, Any], tmp_path: Path) -> None:
    made, _ = world["text-encoder"]
    folder = mlflow.artifacts.download_artifacts(made.ref.uri, dst_path=str(tmp_path))
    card = (Path(folder) / "model_card.md").read_text()
    assert "An empty text has no answer: every column is null." in card


@pytest.mark.parametrize("what", ["flipped", "gone", "no sums"])
def test_a_consumer_is_told_which_file_is_not_what_was_registered(
    world: dict[str, Any], tmp_path: Path, what: str
) -> None:
    made, _ = world["text-encoder"]
    version = mlflow.artifacts.download_artifacts(artifact_uri=made.ref.uri)
    folder = tmp_path / "version"
    shutil.copytree(version, folder)
    name = "SHA256SUMS" if what == "no sums" else "artifacts/adapter/adapter_model.safetensors"
    if what == "flipped":
        content = bytearray((folder / name).read_bytes())
        content[-1] ^= 1
        (folder / name).write_bytes(content)
    else:
        (folder / name).unlink()
    with pytest.raises(Exception, match=f"{name} of this version is") as caught:
        mlflow.pyfunc.load_model(str(folder))
    assert "`rpe repair`" in str(caught.value)


def test_a_base_that_was_changed_is_named(world: dict[str, Any], tmp_path: Path) -> None:
    made, _ = world["text-encoder"]
    for file, told in (("encoder.json", "encoder.json of this version"), ("model", "of the base")):
        folder = tmp_path / file
        shutil.copytree(mlflow.artifacts.download_artifacts(artifact_uri=made.base_ref.uri), folder)
        changed = folder / file if file != "model" else next((folder / file).glob("*.safetensors"))
        changed.write_bytes(changed.read_bytes() + b" ")
        with pytest.raises(Exception, match=told):
            mlflow.pyfunc.load_model(str(folder))
