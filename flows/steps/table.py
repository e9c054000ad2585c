"""The table of the night's steps, in their order; a new step is one file and one line here."""

from __future__ import annotations

from dataclasses import asdict
from operator import attrgetter

from flows.runs.chunks import RemoteWork, Step
from flows.steps import embed, ensemble, evaluate, ingest, promote, train

STEPS = {
    "ingest": Step(ingest.pending, ingest.make),
    "embed": Step(
        embed.pending,
        embed.make,
        embed.keep,
        afar=RemoteWork(embed.units_of, attrgetter("representation_id"), asdict, embed.unpack),
    ),
    "train": Step(train.pending, train.prepare),  # the rest is done side by side, see _train
    "ensemble": Step(ensemble.pending, ensemble.make, ensemble.keep, ensemble.intend),
    "evaluate": Step(
        evaluate.pending,
        evaluate.make,
        evaluate.keep,
        afar=RemoteWork(
            evaluate.units_of,
            attrgetter("evaluation_id"),
            asdict,
            lambda values: evaluate.Evaluated(**values),
        ),
    ),
    "promote": Step(promote.pending, promote.make, promote.keep),
}


VERBS = tuple(STEPS)
