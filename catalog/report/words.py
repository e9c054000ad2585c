"""What the report's numbers and terms mean: one sentence for each block, row and term."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from catalog.report.tables import count_of

Row = Mapping[str, Any]
WATCHED = 2.0  # times noise: worth a look

OUTCOMES = {
    "ok": "Every step ran.",
    "unchanged": "Nothing was new: no step had anything to do.",
    "alert": "Every step ran; an alert needs a person, because no step can resolve it.",
    "refused": "Every step ran; a delivered file was refused, and no row of it has landed.",
    "failed": "A step failed; everything that does not depend on it was done.",
}
ACTIONS = {
    "promoted": "won against all that it had to beat, and serves",
    "approved": "was approved by a person, and serves",
    "rolled_back": "a person rolled back to the former champion",
    "withdrawn_damaged": "the champion's files are damaged; an intact version serves, or the base",
    "restored": "its files are intact again, and it serves",
    "pending": "won, and waits for a person",
    "refused": "was not shown to be better; what served goes on serving",
    "kept": "is what serves already, so no test was run and no error budget used",
    "abstained": "no ensemble is trusted on these data; what served goes on serving",
    "waiting": "there is nothing to decide yet",
}
SPENDING = {
    "challengers tried": "How many challengers were tested on the same test rows. Each one lowers"
    " the p-value that the next one needs.",
    "budget used": "How much of the chance of a false promotion these tests have used. Near the"
    " whole budget, only newly labelled groups can still license a challenger.",
    "limit for the next": "On the same test rows, the next challenger is promoted only with a"
    " p-value of at most this.",
    "evidence of bets": "Each new labelled group is a bet that the challenger is better. The bets"
    " start at 1, rise as it wins and fall as it loses; at the second number they license a"
    " promotion.",
    "groups": "Groups, such as patients, in the newest comparison; new ones count as bets.",
    "lost much": "Groups on which the newest challenger scored much worse, and the upper confidence"
    " bound of their share among all groups. If that is too high for you, set `gate.max_loss`.",
}
GUARD_TERMS = {
    "distance ratio": "How far a target lies from its nearest reference, divided by what is usual"
    " between references. Beyond the limit no ensemble is trusted and the base answers: add a"
    " source that is like the target.",
    "uncalibrated": "The library has too few references, fewer than 20, to measure what is usual,"
    " so a lenient default limit holds. Read a ratio near the limit with care, and add references.",
}
_PAGE_WORDS = (  # what a reason on record says -> what the page says
    (" <= ", " is within "),
    (" > ", " is beyond "),
    (r"\bp (\S+) of (\S+)\.(?=\s|$)", r"p-value \1, limit \2."),
    (r"Spending: p (\S+) by (.*?) where (\S+) is left to challenger (\d+) on this test set",
     r"Error budget: p-value \1 by \2, and the limit of challenger \4 on this test set is \3"),
    (r"Betting: (\d+) new groups make bets worth (\S+) where (\S+) is asked for",
     r"Bets: \1 new groups bring their evidence to \2 of \3"),
    (r"Betting: no group is new to bet on", "Bets: there is no new group"),
    (r"lost more than (\S+): up to (\S+) may", r"lost more than \1, at most \2 of all"),
    (r"test set: (\S+) of (\S+) is spent", r"test set: \1 of the budget of \2 is used"),
)  # fmt: skip


def of_decision(row: Row, serving: str) -> str:
    """What a verdict means from now on; `serving` is what answers for the target."""
    action, target = row["verdict"], row["target"]
    if action in ("promoted", "approved"):
        return f"From then on {row['challenger']} serves {target}."
    if action == "rolled_back":
        return "The version before it serves again; the gate will not promote this one again."
    if action == "withdrawn_damaged":
        return f"{serving} serves {target} until `rpe repair` and a night bring the champion back."
    if action == "restored":
        return f"From then on {row['challenger']} serves {target} again."
    if action == "pending":
        ask = f"`rpe promote {target} --actor NAME`"
        return f"{serving} goes on serving until a person decides: {ask}."
    if action in ("abstained", "kept"):
        return f"{serving} goes on serving."
    if action == "refused":
        return f"{serving} goes on serving; {_of_refusal(row)}"
    return "Deliver data, or wait until the library has an adapter for the target's base."


def _of_refusal(row: Row) -> str:
    if "rolled back" in str(row["reason"]):
        return "a challenger that a person rolled back is not promoted again; another one may be."
    if "unseen" in str(row["reason"]):
        return "more labelled test rows are needed before anything can be decided."
    if "by max_loss" in str(row["reason"]):
        return "too many groups may lose too much: more groups without a loss must show otherwise."
    if "disagree in sign" in str(row["reason"]):
        return "whether it is better depends on whether groups or items are counted."
    if row.get("hope"):
        return f"{row['hope']}."
    if row.get("champion_result") == "tie" and row.get("base_result") == "win":
        return "the challenger is no better than the champion."
    if row.get("base_result") == "loss":
        return "the challenger is worse than the base."
    if row.get("base_result") == "tie":
        return "the test rows do not tell the challenger from the base."
    if row.get("champion_result") == "loss":
        return "the challenger is worse than the champion."
    return "newly labelled test rows would decide."


def of_other_mean(comparison: Row | None) -> str:
    """The mean over items, which stands beside that over groups; '' where it is not on record.

    >>> of_other_mean({"item_difference": 0.251})
    '+0.251 over items'
    """
    other = comparison["item_difference"] if comparison else None
    return "" if other is None else f"{other:+.3f} over items"


def of_losses(comparison: Row | None) -> str:
    """How many groups lost much, and how many that may be elsewhere; '' where nobody counted.

    >>> of_losses({"n_lost": 3, "n_groups": 60, "loss_size": 0.3, "loss_upper": 0.1242})
    '3 of 60 groups lost more than 0.3: up to 12.4% may'
    """
    if comparison is None or comparison["n_lost"] is None:
        return ""
    return (
        f"{comparison['n_lost']} of {comparison['n_groups']} groups lost more than"
        f" {comparison['loss_size']:g}: up to {comparison['loss_upper']:.1%} may"
    )


def is_of_losses(reason: str) -> bool:
    """Whether a reason counts the groups that lost, which other words tell beside a difference.

    >>> is_of_losses("3 of 60 groups lost more than 0.3: up to 12.4% may.")
    True
    """
    return re.match(r"\d+ of \d+ groups lost more than ", reason) is not None


def of_hope(comparisons: Sequence[Row | None]) -> str:
    """How many groups would decide, where those that are there cannot; '' where they may.

    >>> of_hope([{"n_groups_needed": 240, "n_groups": 60, "result": "win"}, None])
    'about 240 groups such as these would decide; there are 60'
    """
    short = [
        row
        for row in comparisons
        if row and (row["n_groups_needed"] or 0) > row["n_groups"] and row["result"] != "loss"
    ]
    if not short:
        return ""
    row = max(short, key=lambda comparison: comparison["n_groups_needed"])
    return (
        f"about {row['n_groups_needed']:,} groups such as these would decide; there are"
        f" {row['n_groups']}"
    )


def of_abstention(arms: Sequence[Row]) -> str:
    """Why a target abstained although arms score better, where they do."""
    base = next((row for row in arms if row["arm"] == "base"), None)
    sign = 1 if not arms or arms[0].get("is_higher_better", True) else -1
    better = [
        row
        for row in arms
        if base and row["arm"] != "base" and sign * (row["value"] - base["value"]) > 0
    ]
    if better:
        return (
            f"{count_of(len(better), 'arm')} of {len(arms) - 1} score above base here, and still"
            " none is served: these data lie outside of what the library has seen, where weights"
            " are a guess and a good score on a few test rows may be luck. To change that, add a"
            " source that is like this target."
        )
    return (
        "These data lie outside of what the library has seen, so no mixture of its adapters is"
        " trusted. To change that, add a source that is like this target."
    )


def of_spending(row: Row) -> str:
    """What the error budget of a target's gate means for the next challenger."""
    nth = row["n_tried"] + 1
    if row["next_level"] is None:
        return f"Challenger {nth} needs a smaller p-value than the one before."
    level = f"Challenger {nth} needs p of at most {row['next_level']:.2g} on the same rows"
    needed, n_groups = row["n_groups_needed"], row["n_groups"]
    hope = f" The newest one needed about {needed:,} groups." if needed else ""
    hope = hope if needed and needed > n_groups else ""
    if row["wealth"] is not None and row["wealth"] >= row["wealth_asked"]:
        return f"{level}, or new labelled groups: the evidence of bets is enough already.{hope}"
    return f"{level}, or new labelled groups that raise the evidence of bets.{hope}"


def of_drift(row: Row, *, is_alert: bool) -> str:
    """What a move of a source means, and what to do; `is_alert` if it is more than chance."""
    ratio = row["noise_ratio"]
    if ratio is None:
        return "The features do not vary, so no move can be judged."
    source = row["source"]
    if is_alert:
        return (
            f"The rows of {source} are no longer what they were: read"
            f" `rpe source findings {source}`; if the newest delivery is wrong, withdraw it by"
            " `rpe retract`; if it is right, adapters and ensembles follow it by themselves."
        )
    if ratio < WATCHED:
        return "As chance alone would move it: nothing to do."
    return (
        "More than single rows would move by chance, but not more than whole groups may: no alert."
        f" See whether {source} moves on with its next delivery."
    )


def of_verdict(row: Row) -> str:
    """What an earlier verdict said, in a clause."""
    if row["verdict"] == "refused" and "rolled back" in str(row["reason"]):
        return "a person rolled that challenger back; what served goes on serving"
    return ACTIONS.get(row["verdict"], str(row["verdict"]))


def of_source(row: Row, refused: Collection[str]) -> str:
    """Whether a source delivers as its contract says; `refused` are those with a refused file."""
    if row["source"] in refused:
        return "has a refused file"
    if row["is_stale"]:
        return "silent" if row["last_accepted_at"] else "has delivered nothing"
    if row["last_accepted_at"] is None:
        return "has delivered nothing"
    return "on time" if row["max_age_days"] is not None else "delivers"


def reason_text(reason: str) -> str:
    """A reason on record in the words of the page: those of its tables, and no signs.

    >>> reason_text("distance ratio 0.66 <= 1.5 (uncalibrated, 6 references)")
    'distance ratio 0.66 is within 1.5 (uncalibrated, 6 references)'
    >>> reason_text("Licensed by McNemar's exact test: p 0.01 of 0.013.")
    "Licensed by McNemar's exact test: p-value 0.01, limit 0.013."
    """
    for pattern, replacement in _PAGE_WORDS:
        reason = re.sub(pattern, replacement, reason)
    return reason


def terms_in(text: str) -> dict[str, str]:
    """The terms of the guards that a text uses, each with what to conclude."""
    return {term: sentence for term, sentence in GUARD_TERMS.items() if term in text}


def of_guards(reasons: Sequence[str]) -> list[str]:
    """What the guards say of a target's ensembles, each thing once.

    >>> of_guards(["far: ratio 2 > 1; wide", "far: ratio 2 > 1"])
    ['Far: ratio 2 is beyond 1.', 'Wide.']
    """
    parts = dict.fromkeys(part for reason in reasons for part in reason_text(reason).split("; "))
    return [f"{part[:1].upper()}{part[1:]}." for part in parts if part]


def of_sources(sources: Sequence[Row], refused: Collection[str]) -> str:
    """Which sources need attention, and what to do; `refused` are those with a refused file."""
    silent = [row["source"] for row in sources if row["is_stale"]]
    with_refused = [row["source"] for row in sources if row["source"] in refused]
    parts = []
    if silent:
        parts.append(f"Silent for longer than allowed: {', '.join(silent)}; ask their owners.")
    if with_refused:
        parts.append(
            f"A file of {', '.join(with_refused)} was refused; `rpe source findings SOURCE` tells"
            " which rows and why."
        )
    return " ".join(parts) or "Every source has delivered within its limits; nothing to do."


def of_trend(points: Sequence[Row]) -> str:
    """How the champion fares since it began to serve, in a sentence."""
    scored = [p for p in points if p["champion"]]
    if not scored:
        return ""
    starts = [number for number, p in enumerate(scored) if p["promoted"]]
    first, last = scored[starts[-1] if starts else 0]["champion"], scored[-1]["champion"]
    if first is last:
        return f"The champion scored {last['value']:.3f} when it began to serve."
    if first["value"] == last["value"]:
        return f"The champion scores {last['value']:.3f}, as when it began to serve."
    moved = f"from {first['value']:.3f} to {last['value']:.3f}"
    if last["ci_high"] < first["ci_low"] or last["ci_low"] > first["ci_high"]:
        return f"The champion's score went {moved} since it began to serve: more than chance."
    return f"The champion's score went {moved} since it began to serve: within its intervals."


def of_steps(steps: Sequence[Row]) -> str:
    """Where the time of a night went."""
    taken = {step["name"]: step.get("wall_seconds", 0.0) for step in steps}
    total = sum(taken.values())
    if not total:
        return "No step had anything to do."
    longest = max(taken, key=lambda name: taken[name])
    return f"{taken[longest] / total:.0%} of the steps' time went into {longest}."
