"""Focal loss: cross-entropy that discounts what is right already; in its asymmetric form never in a rare class."""

from pydantic import Field
from torch import Tensor

from segkit.losses.base import Loss, full_precision, losses, voxel_mean


@losses.register("focal")
class Focal(Loss):
    """-(1/N) sum over voxels, sum over classes j, of [r_j + (1 - r_j) (1 - p_j)^gamma] y_j log p_j.

    p = softmax(logits), y the target (soft ones too), N = B X Y Z; r_j = 1 if class j is rare, 0 if not, and always 0 where not
    `asymmetric`. A rare voxel keeps the whole pull of cross-entropy even if it is right; all others are let go as they become
    right. The discount is differentiated along with the rest.
    gamma 0, or all classes rare, is `cross_entropy`; no class rare is the symmetric form. There is no factor alpha.
    Source: Li, Kamnitsas, Glocker, IEEE TMI 2020, "Analyzing Overfitting under Class Imbalance in Neural Networks for Image
    Segmentation"; the symmetric form Lin et al., ICCV 2017, "Focal Loss for Dense Object Detection".
    """

    gamma: float = Field(2.0, ge=0, le=20, description="0: no discount; 20: a voxel with p = 1/2 counts a millionth")
    asymmetric: bool = Field(True, description="rare classes are not discounted")

    def __call__(self, logits: Tensor, target: Tensor, rare: Tensor) -> Tensor:
        """In nats."""
        logp = full_precision(logits).log_softmax(dim=1)
        return voxel_mean(-target * logp * discount(logp, self.gamma, rare if self.asymmetric else None))


def discount(logp: Tensor, gamma: float, spared: Tensor | None) -> Tensor:
    """(1 - p)^gamma of log-probabilities [B, C, X, Y, Z], and 1 for the classes `spared` (bool [C]).

    1 - p is kept >= 1e-6: for gamma < 1 the slope of the power is infinite at 0.
    """
    factor = (-logp.expm1()).clamp(min=1e-6) ** gamma
    return factor if spared is None else factor.masked_fill(spared.view(1, -1, 1, 1, 1), 1.0)
