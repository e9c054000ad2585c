"""Commands that run whole experiments, and the one that asks the gate about its past again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.command_line import Command, Group
from flows.commands.completion import complete_source
from flows.commands.output import AsJson

if TYPE_CHECKING:
    from flows.runs.run_record import Summary

app = typer.Typer(
    cls=Group,
    help="Experiments on sources of the workspace.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


class ManyValues(Command):
    """A command whose repeatable options take several words after one name."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """`--sources a b c` as `--sources a --sources b --sources c`."""
        many = {o for p in self.params if getattr(p, "multiple", False) for o in p.opts}
        spelled: list[str] = []
        option, is_first = "", True
        for word in args:
            if word.startswith("-"):
                name = word.split("=", 1)[0]
                option, is_first = (name if name in many else ""), word == name
            elif option and not is_first:
                spelled.append(option)
            else:
                is_first = False
            spelled.append(word)
        return list(super().parse_args(ctx, spelled))


@app.command("leave-one-out", cls=ManyValues)
def leave_one_out(
    sources: Annotated[
        list[str],
        typer.Option(help="Sources, three or more.", autocompletion=complete_source),
    ],
    arms: Annotated[
        list[str] | None,
        typer.Option(help="What to run beside base, sft and average; all where none is named."),
    ] = None,
    distance: Annotated[
        list[str] | None,
        typer.Option(help="mean, nearest_neighbour, chamfer; all where none is named."),
    ] = None,
    base: Annotated[str, typer.Option(help="Base of the plan, if several cover them.")] = "",
    recipe: Annotated[str, typer.Option(help="Recipe of the plan, if several cover them.")] = "",
    as_json: AsJson = False,
) -> None:
    """Serve every source by the adapters of the others; scores, weights, distances, verdicts.

    Each source is a target with its own adapter excluded, scored on its test rows: the base, its
    own adapter (sft), the strategies over the whole library, and sft_ensemble with its own adapter
    included. Interrupted, it goes on where it was; run again on unchanged inputs, it says so.

    Example: rpe experiment leave-one-out --sources site_a site_b site_c
    """
    _run(
        lambda experiment: experiment.run_leave_one_out,
        as_json=as_json,
        sources=sources,
        base=base,
        recipe=recipe,
        arms=arms or (),
        distances=distance or (),
    )


@app.command("methods", cls=ManyValues)
def compare_methods(
    sources: Annotated[
        list[str],
        typer.Option(
            "--sources",
            "--source",
            help="Sources, three or more.",
            autocompletion=complete_source,
        ),
    ],
    methods: Annotated[
        list[str] | None,
        typer.Option(
            help="Adapter methods beside the recipe's own; all of its form where none is named."
        ),
    ] = None,
    budget: Annotated[
        int | None,
        typer.Option(min=1, help="Trained parameters of an adapter; the recipe's by default."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=3, help="How many seeds, three or more.")] = 3,
    base: Annotated[str, typer.Option(help="Base of the plan, if several cover them.")] = "",
    recipe: Annotated[str, typer.Option(help="Recipe of the plan, if several cover them.")] = "",
    as_json: AsJson = False,
) -> None:
    """Train every adapter method on every source, from every seed, at one budget of parameters.

    Compared are the score on the adapter's own source, the change against the base on the other
    sources (what it forgets), the ensemble of the others (how well it merges), ranks, time and
    memory, each against the recipe's own method by paired intervals. A method's options are those
    of the plan's recipe of it, where there is just one; else its defaults.

    Example: rpe experiment methods --source site_a site_b site_c --budget 150000
    """
    _run(
        lambda experiment: experiment.run_methods,
        as_json=as_json,
        sources=sources,
        base=base,
        recipe=recipe,
        methods=methods or (),
        n_parameters=budget,
        n_seeds=seeds,
    )


@app.command("gate-review")
def gate_review(as_json: AsJson = False) -> None:
    """Ask the gate of this release about every promotion on record; nothing is written or demoted.

    Each is asked again from its item scores, in their order, with what was known then: which would
    not have happened, and why. What cannot be asked again, because its scores are gone, is named.

    Example: rpe experiment gate-review
    """
    # the lake and the bootstrap are not needed for `--help`
    from flows.commands.gate_review_screen import show_review
    from flows.experiments.gate_review import review
    from flows.runs.progress import progress_on_stderr
    from flows.workspace.settings import Settings

    with progress_on_stderr("asking about every promotion again"):
        reviewed = review(Settings())
    show_review(reviewed, as_json=as_json)


def _run(chosen: Callable[[Any], Callable[..., Summary]], *, as_json: bool, **asked: Any) -> None:
    """Run an experiment as it is asked for, show what came of it, leave with its exit code."""
    from flows.commands.last_screen import show_experiment
    from flows.experiments import experiment  # Prefect takes seconds to import
    from flows.runs.progress import progress_on_stderr
    from flows.workspace.settings import Settings

    settings = Settings()
    with progress_on_stderr("starting Prefect's server and the stores"):
        summary = chosen(experiment)(settings, **asked)
    show_experiment(settings, summary, as_json=as_json)
    if summary.exit_code:
        raise typer.Exit(summary.exit_code)
