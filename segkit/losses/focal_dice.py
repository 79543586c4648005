"""Focal Dice: soft Dice that discounts what is right already; in its asymmetric form never in a rare class."""

from pydantic import Field
from torch import Tensor

from segkit.losses.base import RegionLoss, class_sums, full_precision, known_voxels, losses
from segkit.losses.focal import discount


@losses.register("focal_dice")
class FocalDice(RegionLoss):
    """Mean over classes j of (FP_j + FN^f_j + s) / (2 TP_j + FP_j + FN_j + s).

    TP = sum p y, FP = sum p (1 - y), FN = sum (1 - p) y, FN^f = sum (1 - p) y F over the voxels that are not ignored; F_j = 1 if class
    j is rare and the loss `asymmetric`, (1 - p_j)^gamma otherwise, differentiated along with the rest; p = softmax(logits), y the
    target (soft ones enter as fractions), s = `smooth`. The denominator is sum p + sum y + s. False voxels are never discounted, nor
    is the denominator.
    gamma 0, or all classes rare, is `dice` plus the mean over j of s / (2 TP_j + FP_j + FN_j + s). An absent class has the ratio
    (FP_j + s) / (FP_j + s): it adds its full share to the value and pulls on nothing.
    Source: Li, Kamnitsas, Glocker, IEEE TMI 2020, "Analyzing Overfitting under Class Imbalance in Neural Networks for Image
    Segmentation", the focal loss on Dice.
    """

    gamma: float = Field(2.0, ge=0, le=20, description="0: no discount; 20: a voxel with p = 1/2 misses a millionth of what it misses")
    asymmetric: bool = Field(True, description="rare classes are not discounted")

    def __call__(self, logits: Tensor, target: Tensor, rare: Tensor) -> Tensor:
        """Between 0 and 1."""
        logp = full_precision(logits).log_softmax(dim=1)
        found = logp.exp() * known_voxels(target)
        missed = -logp.expm1() * target * discount(logp, self.gamma, rare if self.asymmetric else None)
        false_sum, missed_sum, predicted, present = class_sums((found * (1 - target), missed, found, target), self.batch)  # [C] or [B, C]
        return self.mean((false_sum + missed_sum + self.smooth) / (predicted + present + self.smooth))
