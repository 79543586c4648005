"""Shelf of losses: what a step minimizes, from logits and target."""

from segkit.losses.base import Loss, losses
from segkit.losses.cross_entropy import CrossEntropy
from segkit.losses.dice import Dice
from segkit.losses.f_beta import FBeta
from segkit.losses.focal import Focal
from segkit.losses.focal_dice import FocalDice
from segkit.losses.generalized_dice import GeneralizedDice
from segkit.losses.iou import IoU
from segkit.losses.top_k import TopK
from segkit.losses.tversky import Tversky

__all__ = ["CrossEntropy", "Dice", "FBeta", "Focal", "FocalDice", "GeneralizedDice", "IoU", "Loss", "TopK", "Tversky", "losses"]
