"""Tversky: an overlap in which false voxels and missed ones have prices of their own."""

from pydantic import Field, model_validator
from torch import Tensor

from segkit.losses.base import RegionLoss, losses


@losses.register("tversky")
class Tversky(RegionLoss):
    """1 - mean over classes j of (TP_j + s) / (TP_j + alpha FP_j + beta FN_j + s).

    TP = sum p y, FP = sum p (1 - y), FN = sum (1 - p) y over the voxels that are not ignored; p = softmax(logits), y the target (soft
    ones enter as fractions), s = `smooth`. alpha = beta = 1 is `iou`; alpha = beta = 1/2 is `dice` at twice the smoothing;
    alpha < beta favors sensitivity. An absent class acts as in `dice`, unless alpha is 0: then it adds nothing.
    Source: Salehi, Erdogmus, Gholipour, MLMI 2017, "Tversky loss function for image segmentation using 3D fully convolutional deep
    networks".
    """

    alpha: float = Field(0.3, ge=0, le=100, description="price of a false voxel; of an overlapping one: 1")
    beta: float = Field(0.7, ge=0, le=100, description="price of a missed voxel")

    @model_validator(mode="after")
    def _something_has_a_price(self) -> "Tversky":
        if self.alpha == self.beta == 0:
            raise ValueError("alpha: expected alpha or beta > 0, since the loss is 0 for any prediction otherwise, got 0 for both")
        return self

    def __call__(self, logits: Tensor, target: Tensor, rare: Tensor) -> Tensor:
        """Between 0 and 1."""
        overlap, predicted, present = self.sums(logits, target)  # [C] or [B, C]
        priced = overlap + self.alpha * (predicted - overlap) + self.beta * (present - overlap)
        return 1 - self.mean((overlap + self.smooth) / (priced + self.smooth))
