"""The table of demos; known without numpy or torch, because `rpe init --help` reads it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Demo:
    """A small synthetic world and the base that it needs.

    `world` is a module whose `write_world(folder)` writes the data; its declarations lie in the
    folder of the demo's name beside it. `base` is a module whose `main(folder)` pretrains a model
    in a process of its own, as `base.yaml` beside the declarations says; `{models}` in the plan is
    where the workspace keeps it, under `base_name`.
    """

    about: str
    world: str
    base: str = ""
    base_name: str = ""


DEMOS = {
    "text": Demo("sentences by section", "catalog.examples.text_world"),
    "reports": Demo(
        "findings to impressions, four modalities",
        "catalog.examples.reports_world",
        base="flows.demos.reports",
        base_name="reports-llama",
    ),
    "prostate": Demo(
        "masks of the prostate, six scanners",
        "catalog.examples.prostate_world",
        base="flows.demos.prostate",
        base_name="organ-sam",
    ),
}
