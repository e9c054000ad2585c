"""Items that any metric can score, made from labels: what tests of every metric ask for."""

from rpe_core.evaluation.metrics import METRICS, Items


def items_for(metric: str, labels: Items) -> Items:
    """These items as the metric sees them; of free text eighths, higher where a label is right."""
    needs = METRICS[metric].needs
    if set(needs) <= set(labels.statistics):
        return labels
    eighths = (4 * labels["correct"] + labels["predicted"] % 4) / 8  # exact in any order
    return Items({name: eighths for name in needs}, labels.groups)
