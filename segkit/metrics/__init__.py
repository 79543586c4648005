"""Shelf of metrics: scores of one class of one case. Free of torch."""

from segkit.metrics.base import CONVENTIONS, Metric, Pair, metrics, pairs
from segkit.metrics.overlap import Dice, Precision, Sensitivity, Specificity
from segkit.metrics.surface import AverageSurfaceDistance, Hausdorff95, NormalizedSurfaceDice

__all__ = [
    "CONVENTIONS",
    "AverageSurfaceDistance",
    "Dice",
    "Hausdorff95",
    "Metric",
    "NormalizedSurfaceDice",
    "Pair",
    "Precision",
    "Sensitivity",
    "Specificity",
    "metrics",
    "pairs",
]
