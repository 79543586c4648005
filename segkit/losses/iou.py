"""Soft IoU (Jaccard): intersection over union of probabilities and target, class by class."""

from torch import Tensor

from segkit.losses.base import RegionLoss, losses


@losses.register("iou")
class IoU(RegionLoss):
    """1 - mean over classes j of (TP_j + s) / (TP_j + FP_j + FN_j + s).

    TP = sum p y, FP = sum p (1 - y), FN = sum (1 - p) y over the voxels that are not ignored; p = softmax(logits), y the target (soft
    ones enter as fractions), s = `smooth`. Of one class it is D / (2 - D) with D its soft Dice at twice the smoothing: the same order
    of predictions, with a steeper price for the worst. An absent class acts as in `dice`.
    Source: Rahman and Wang, ISVC 2016, "Optimizing Intersection-over-Union in Deep Neural Networks for Image Segmentation".
    """

    def __call__(self, logits: Tensor, target: Tensor, rare: Tensor) -> Tensor:
        """Between 0 and 1."""
        overlap, predicted, present = self.sums(logits, target)  # [C] or [B, C]
        return 1 - self.mean((overlap + self.smooth) / (predicted + present - overlap + self.smooth))
