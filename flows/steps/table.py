"""The table of the night's steps, in their order; a new step is one file and one line here."""

from __future__ import annotations

from dataclasses import asdict
from operator import attrgetter

from flows.runs.chunks import Afar, Verb
from flows.steps import embed, ensemble, evaluate, ingest, promote, train

STEPS = {
    "ingest": Verb(ingest.pending, ingest.make),
    "embed": Verb(
        embed.pending,
        embed.make,
        embed.keep,
        afar=Afar(embed.units_of, attrgetter("representation_id"), asdict, embed.unpack),
    ),
    "train": Verb(train.pending, train.prepare),  # the rest is done side by side, see _train
    "ensemble": Verb(ensemble.pending, ensemble.make, ensemble.keep, ensemble.intend),
    "evaluate": Verb(
        evaluate.pending,
        evaluate.make,
        evaluate.keep,
        afar=Afar(
            evaluate.units_of,
            attrgetter("evaluation_id"),
            asdict,
            lambda values: evaluate.Evaluated(**values),
        ),
    ),
    "promote": Verb(promote.pending, promote.make, promote.keep),
}


VERBS = tuple(STEPS)
