"""Soft Dice: overlap of probabilities and target, each class counting the same however few its voxels are."""

from torch import Tensor

from segkit.losses.base import RegionLoss, losses


@losses.register("dice")
class Dice(RegionLoss):
    """1 - mean over classes j of (2 sum p_j y_j + s) / (sum p_j + sum y_j + s).

    p = softmax(logits), y the target (soft ones enter as fractions), s = `smooth`; the sums run over voxels that are not ignored.
    A class absent from them has the ratio s / (sum p_j + s): near 0 and almost without gradient unless hardly predicted at all, so it
    adds about its full share to the value and pulls on next to nothing.
    DeepMedic's form is `background: true`, nnU-Net's the default.
    Source: Milletari, Navab, Ahmadi, 3DV 2016, "V-Net", with plain sums instead of squares in the denominator.
    """

    def __call__(self, logits: Tensor, target: Tensor, rare: Tensor) -> Tensor:
        """Between 0 and 1."""
        overlap, predicted, present = self.sums(logits, target)  # [C] or [B, C]
        return 1 - self.mean((2 * overlap + self.smooth) / (predicted + present + self.smooth))
