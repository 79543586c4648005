"""Soft Dice: overlap of probabilities and target, each class counting the same however few its voxels are."""

from pydantic import Field
from torch import Tensor

from segkit.losses.base import Loss, full_precision, losses, region_sums


@losses.register("dice")
class Dice(Loss):
    """1 - mean over classes j of (2 sum p_j y_j + s) / (sum p_j + sum y_j + s).

    p = softmax(logits), y the target (soft ones enter as fractions), s = `smooth`; the sums run over voxels that are not ignored.
    A class absent from them has the ratio s / (sum p_j + s): near 0 and almost without gradient unless hardly predicted at all, so it
    adds about its full share to the value and pulls on next to nothing.
    DeepMedic's form is `background: true`, nnU-Net's the default.
    Source: Milletari, Navab, Ahmadi, 3DV 2016, "V-Net", with plain sums instead of squares in the denominator.
    """

    batch: bool = Field(True, description="sums over the whole batch; false: per sample, then the mean")
    background: bool = Field(False, description="the background is one of the classes j")
    smooth: float = Field(1e-5, gt=0, description="in voxels; keeps the ratio of an absent class defined")

    def __call__(self, logits: Tensor, target: Tensor, rare: Tensor) -> Tensor:
        """Between 0 and 1."""
        overlap, predicted, present = region_sums(full_precision(logits).softmax(dim=1), target, self.batch)
        dice = (2 * overlap + self.smooth) / (predicted + present + self.smooth)  # [C] or [B, C]
        return 1 - (dice if self.background else dice[..., 1:]).mean()
