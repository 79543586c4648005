"""F-beta: the harmonic mean of precision and sensitivity, in which sensitivity has the weight beta squared."""

from pydantic import Field
from torch import Tensor

from segkit.losses.base import RegionLoss, losses


@losses.register("f_beta")
class FBeta(RegionLoss):
    """1 - mean over classes j of ((1 + b^2) TP_j + s) / ((1 + b^2) TP_j + b^2 FN_j + FP_j + s).

    TP = sum p y, FP = sum p (1 - y), FN = sum (1 - p) y over the voxels that are not ignored; p = softmax(logits), y the target (soft
    ones enter as fractions), b = `beta`, s = `smooth`. The denominator is sum p + b^2 sum y + s. beta = 1 is `dice`; in general it is
    `tversky` with alpha = 1 / (1 + b^2), beta = b^2 / (1 + b^2) and smoothing s / (1 + b^2). An absent class acts as in `dice`.
    Source: Hashemi et al., IEEE Access 2019, "Asymmetric Loss Functions and Deep Densely-Connected Networks for Highly-Imbalanced
    Medical Image Segmentation".
    """

    beta: float = Field(2.0, gt=0, le=100, description="above 1 favors sensitivity, below 1 precision")

    def __call__(self, logits: Tensor, target: Tensor, rare: Tensor) -> Tensor:
        """Between 0 and 1."""
        overlap, predicted, present = self.sums(logits, target)  # [C] or [B, C]
        square = self.beta**2
        return 1 - self.mean(((1 + square) * overlap + self.smooth) / (predicted + square * present + self.smooth))
