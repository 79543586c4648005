"""Shelf of losses: what a step minimizes, from logits and target."""

from segkit.losses.base import Loss, losses
from segkit.losses.cross_entropy import CrossEntropy
from segkit.losses.dice import Dice

__all__ = ["CrossEntropy", "Dice", "Loss", "losses"]
