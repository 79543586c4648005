"""Generalized Dice: one overlap of all classes together, each weighted by the inverse square of its volume."""

from pydantic import Field
from torch import Tensor

from segkit.losses.base import RegionLoss, losses


@losses.register("generalized_dice")
class GeneralizedDice(RegionLoss):
    """1 - (2 sum over classes j of w_j TP_j + s) / (sum over j of w_j (P_j + Y_j) + s), w_j = (Y_least / Y_j)^2.

    TP = sum p y, P = sum p, Y = sum y over the voxels that are not ignored; p = softmax(logits), y the target (soft ones enter as
    fractions), s = `smooth`, Y_least the smallest Y_j above 0. Only the ratios of weights matter, and these are the source's
    1 / Y_j^2; scaled so that the largest is 1, the smoothing counts in voxels of the smallest class, whatever the volume of the patch.
    An absent class, whose weight would be infinite, has weight 0: what is falsely predicted of it costs where the true class misses
    it. With all classes absent the loss is 0. With one class, where it is present, it is `dice`.
    Source: Sudre et al., DLMIA 2017, "Generalised Dice overlap as a deep learning loss function for highly unbalanced segmentations".
    """

    background: bool = Field(True, description="the background is one of the classes j, as in the source")

    def __call__(self, logits: Tensor, target: Tensor, rare: Tensor) -> Tensor:
        """Between 0 and 1."""
        sums = self.sums(logits, target)
        overlap, predicted, present = sums if self.background else sums[..., 1:]  # [C] or [B, C]
        volume = present.detach()
        absent = volume == 0
        least = volume.masked_fill(absent, float("inf")).amin(dim=-1, keepdim=True)
        weights = (least / volume).square().masked_fill(absent, 0.0)
        both = ((predicted + present) * weights).sum(dim=-1)  # a scalar, or [B]
        return 1 - ((2 * (overlap * weights).sum(dim=-1) + self.smooth) / (both + self.smooth)).mean()
