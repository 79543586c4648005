"""Overlap of two masks, counted in voxels: Dice, sensitivity, precision, specificity.

TP voxels in both masks, FP in the prediction alone, FN in the label alone, TN in neither. A fraction whose denominator is 0 is not
applicable.
"""

from typing import ClassVar

from segkit.metrics.base import Metric, Pair, metrics


@metrics.register("dice")
class Dice(Metric):
    """2 TP / (2 TP + FP + FN), the harmonic mean of sensitivity and precision. 0 where a class is missed or spurious."""

    unit: ClassVar[str] = ""

    def __call__(self, pair: Pair) -> float | None:
        return _fraction(2 * pair.true_positives, pair.predicted + pair.labeled)


@metrics.register("sensitivity")
class Sensitivity(Metric):
    """TP / (TP + FN): the share of the label that was found. 0 where missed, not applicable where spurious."""

    unit: ClassVar[str] = ""

    def __call__(self, pair: Pair) -> float | None:
        return _fraction(pair.true_positives, pair.labeled)


@metrics.register("precision")
class Precision(Metric):
    """TP / (TP + FP): the share of the prediction that is right. 0 where spurious, not applicable where missed."""

    unit: ClassVar[str] = ""

    def __call__(self, pair: Pair) -> float | None:
        return _fraction(pair.true_positives, pair.predicted)


@metrics.register("specificity")
class Specificity(Metric):
    """TN / (TN + FP): the share of all voxels outside the label that were left out of the prediction. 1 where missed, n/a where absent.

    TN grows with the scan: of a small structure it is near 1 whatever is predicted, and says more of the field of view than of the network.
    """

    unit: ClassVar[str] = ""

    def __call__(self, pair: Pair) -> float | None:
        if pair.state == "absent":
            return None
        return _fraction(pair.true_negatives, pair.true_negatives + pair.false_positives)


def _fraction(part: int, whole: int) -> float | None:
    return part / whole if whole else None
