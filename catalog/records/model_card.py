"""Model cards: what a version is, what it is made of, how far to trust it, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from catalog.records.cards import AdapterCard
from catalog.stores.registry.model_code import input_of, outputs_of
from rpe_core.records import BaseModel, TaskSpec

_OF_LABELS = (
    "It answers with the labels listed above and no other; "
    "a score is the model's probability, which was not calibrated."
)
_NO_TEXT = (
    " An empty text has no answer: every column is null. An input that is missing or no text is"
    " refused with its row, and with it the batch."
)
_CAUTION = {  # what an answer is not, by type of the task
    "image-classification": _OF_LABELS,
    "image-segmentation": "It draws a mask on any image, whatever it shows: a person has to look.",
    "text-classification": _OF_LABELS,
    "text-generation": "It writes what is likely to follow, which may be wrong: a person has to "
    "read it.",
}


@dataclass(frozen=True)
class ScoreLine:
    """A score of one arm, as plain values; the interval is at 95 %."""

    arm: str
    split: str
    metric: str
    value: float
    ci_low: float
    ci_high: float
    n_items: int


@dataclass(frozen=True)
class MemberLine:
    """A member of an ensemble: where it comes from, what it weighs, under which licence."""

    adapter_id: str
    dataset_version_id: str
    weight: float
    distance: float
    license: str
    weights_sha256: str
    model_name: str = ""  # its registered model; '' where it has none
    rank: int | None = None
    scale: float | None = None  # of every module's B A; None where modules differ


@dataclass(frozen=True)
class EnsembleFacts:
    """An ensemble as its card tells it."""

    ensemble_id: str
    target_name: str
    dataset_version_id: str
    strategy: str
    merge: str
    evidence: str
    license: str
    reason: str
    rank: int
    members: tuple[MemberLine, ...]
    scores: tuple[ScoreLine, ...]
    merge_error_ratio: float = 0.0


def target_about(name: str, task: TaskSpec, *, base_name: str) -> str:
    """What the registered model of a target is, whichever version serves, or none.

    The first line is the target's alone: by it a description is known as ours.
    """
    return _page(
        f"Target {name}: merged from a library of adapters by retrieval (RPE)",
        _task(task),
        f"Its versions are challengers on base `rpe-base-{base_name}`; `champion` is the one that "
        "serves, `challenger` the newest that was judged. A version's description is its model "
        "card: members, evidence, limits. Its tags name licence (`rpe.license`), evidence "
        "(`rpe.evidence`) and the name that a server should give it (`rpe.served_name`).",
        "Where no version is `champion`, the tag `rpe.no_champion` says why, MLflow answers "
        "`Registered model alias champion not found`, and the base serves: "
        f"`rpe predict {name}` asks it.",
        _use(f"models:/{name}@champion", task),
    )


def source_about(source: str) -> str:
    """What the registered model of a source's adapters is."""
    return _page(
        f"Adapters of source {source}",
        f"Each version is an adapter trained on a dataset version of `{source}`, a reference of "
        "the library. Its description is its card; it answers by itself, tested on its own source "
        "only. No alias points here: adapters are not promoted.",
    )


def base_about(name: str) -> str:
    """What the registered model of a base is."""
    return _page(
        f"Base {name}",
        "Each version is a frozen model under adapters, which fetch it by name and version. It "
        "answers with the feature of each input, by which targets and adapters are compared.",
    )


def base_card(base: BaseModel, *, model: str, is_hub: bool, column: str) -> str:
    """The card of a base model; `model` is a built-in name, hub id or folder name, never a path."""
    where = "on the hub, by id and revision" if is_hub else "in this version, folder `model/`"
    return _page(
        f"Base model {base.name}",
        f"The frozen model under every adapter of base `{base.name}`; nothing here is trained.",
        _list(
            {
                "base": f"`{base.base_id}`",
                "family": base.family,
                "model": f"`{model}`" + (f", revision `{base.revision}`" if is_hub else ""),
                "files": where,
                "sha256": f"`{base.sha256}`",
            }
        ),
        f"## Use\n\nIt has no task: column `{column}` in, `feature` out, the frozen feature of "
        "each input as a list of numbers, by which RPE compares datasets; null of an empty text. "
        f'`mlflow.pyfunc.load_model("models:/rpe-base-{base.name}/VERSION")`. Adapters are put on '
        + (
            f"`{model}` of the hub."
            if is_hub
            else "the folder `model/`; PEFT's AutoPeftModel looks for it as a folder called "
            f"`{base.base_id}`."
        ),
    )


def adapter_card(card: AdapterCard, *, name: str) -> str:
    """The card of a trained adapter."""
    return _page(
        f"Adapter of source {card.source}",
        f"An adapter on base `{card.base.base_id}`, trained on "
        f"`{card.dataset_version_id}`. It is a reference of the library, and a model for its own "
        "source in its own right.",
        _list(
            {
                "adapter": f"`{card.adapter_id}`",
                "recipe": f"`{card.recipe_id}`, rank {card.rank}, {card.n_parameters} parameters, "
                f"{card.n_steps} steps",
                "validation score": _validation(card.validation_score),
                "licence": card.license,
            }
        ),
        _task(card.task),
        "## Limits\n\nIt was tested on its own source only. Labels are those listed above.",
        _use(f"models:/{name}/VERSION", card.task),
    )


def ensemble_card(
    facts: EnsembleFacts, base: BaseModel, task: TaskSpec, *, served_name: str = ""
) -> str:
    """The card of a challenger: ids, weights, counts and scores, no value of any row."""
    return _page(
        f"Model for target {facts.target_name}",
        f"A merge of {len(facts.members)} adapters on base `{base.base_id}`, weighed by strategy "
        f"`{facts.strategy}` and merged by `{facts.merge}`. Nothing was trained on the target.",
        _list(
            {
                "ensemble": f"`{facts.ensemble_id}`",
                "target data": f"`{facts.dataset_version_id}`, inputs only",
                "rank": str(facts.rank),
                "licence": f"{facts.license} (the strictest of its members)",
                "name for a server": f"`{served_name}`, another one for another model",
            }
        ),
        _task(task),
        _members(facts.members),
        _evidence(facts),
        _limits(facts, task),
        _use(f"models:/{facts.target_name}@champion", task),
    )


def _page(title: str, *parts: str) -> str:
    return "\n\n".join([f"# {title}", *parts]) + "\n"


def _list(entries: dict[str, str]) -> str:
    return "\n".join(f"- {name}: {text}" for name, text in entries.items())


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _task(task: TaskSpec) -> str:
    columns = " and ".join(f"`{name}`" for name, _ in outputs_of(task))
    text = f"## Task\n\n{task.type}: column `{task.input}` in, {columns} out."
    if task.classes:
        names = ", ".join(f"{index} `{name}`" for index, name in enumerate(task.classes, start=1))
        return f"{text} Both are bytes of .npy files; a mask holds 0 for background, {names}."
    text += _NO_TEXT if input_of(task) == "string" else " An image is the bytes of a .npy file."
    if not task.labels:
        return f"{text} At most {task.max_new_tokens} tokens, decoded greedily."
    return f"{text} Labels: {', '.join(f'`{label}`' for label in task.labels)}."


def _members(members: Sequence[MemberLine]) -> str:
    rows = [
        [
            f"`{m.adapter_id}`",
            f"{m.weight:.6f}",
            f"{m.distance:.6f}",
            m.license,
            f"`{m.dataset_version_id}`",
        ]
        for m in members
    ]
    columns = ["adapter", "weight", "distance", "licence", "trained on"]
    return f"## Members\n\n{_table(columns, rows)}"


def _evidence(facts: EnsembleFacts) -> str:
    words = {
        "labels": "the target's own labelled test rows, used once, by the gate.",
        "leave_one_out": "the target has no labels: rows of the references, each left out in turn.",
    }
    rows = [
        [
            s.arm,
            s.split,
            s.metric,
            f"{s.value:.4f}",
            f"{s.ci_low:.4f} to {s.ci_high:.4f}",
            str(s.n_items),
        ]
        for s in facts.scores
    ]
    table = _table(["arm", "split", "metric", "value", "95 % interval", "items"], rows)
    text = f"`{facts.evidence}`: {words.get(facts.evidence, 'see core.scores.')}"
    return f"## Evidence\n\n{text}" + (f"\n\n{table}" if rows else "\n\nNo score is on record.")


def _limits(facts: EnsembleFacts, task: TaskSpec) -> str:
    guard = facts.reason or "No guard was raised: the target lies within the span of the library."
    negative = sum(member.weight < 0 for member in facts.members)
    signs = f" {negative} weights are negative." if negative else ""
    return f"## Limits\n\n{guard}{signs} {_CAUTION[task.type]}"


def _use(uri: str, task: TaskSpec) -> str:
    is_text = input_of(task) == "string"
    value = '"..."' if is_text else 'Path("image.npy").read_bytes()'
    first = "" if is_text else "from pathlib import Path\n\n"
    return (
        "## Use\n\n```python\n"
        f"{first}import mlflow\nimport pandas as pd\n\n"
        f'model = mlflow.pyfunc.load_model("{uri}")\n'
        f'model.predict(pd.DataFrame({{"{task.input}": [{value}]}}))\n'
        "```\n\n`artifacts/adapter/` is for the base named above: a plain PEFT folder, unless its "
        "`peft_type` is `DEEP_PROMPTS`, learned prompts, which `model.py` alone puts on. "
        f"The data behind it: `rpe lineage {uri}`."
    )


def _validation(score: float | None) -> str:
    return "not validated" if score is None else f"{score:.4f} on its own validation split"
