"""The table of the night's steps, in their order; a new step is one file and one line here."""

from __future__ import annotations

from dataclasses import asdict
from operator import attrgetter

from flows.runs.step import RemoteWork, Step
from flows.steps import embed, ensemble, evaluate, followers, ingest, promote, train
from flows.steps.registered_models import tell_consumers

EMBEDDING = RemoteWork(embed.units_of, attrgetter("representation_id"), asdict, embed.unpack)
EVALUATION = RemoteWork(
    evaluate.units_of, attrgetter("evaluation_id"), asdict, evaluate.unpack_evaluated
)

STEPS = {
    "ingest": Step(ingest.pending, ingest.make, faulty=attrgetter("faulty")),
    "embed": Step(
        embed.pending, embed.make, embed.keep, remote=EMBEDDING, followers=followers.of_embed
    ),
    "train": Step(
        train.pending,
        train.make,
        train.keep,
        concurrency="side_by_side",
        followers=followers.of_train,
    ),
    "ensemble": Step(
        ensemble.pending,
        ensemble.make,
        ensemble.keep,
        ensemble.intend,
        followers=followers.of_ensemble,
    ),
    "evaluate": Step(
        evaluate.pending,
        evaluate.make,
        evaluate.keep,
        remote=EVALUATION,
        followers=followers.of_evaluate,
    ),
    "promote": Step(
        promote.pending,
        promote.make,
        promote.keep,
        finish={"models": tell_consumers},
        followers=followers.of_promote,
    ),
}


VERBS = tuple(STEPS)
