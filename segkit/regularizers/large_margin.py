"""Large margin: in training a voxel has to win by `margin` logits, not merely win."""

from pydantic import Field
from torch import Tensor

from segkit.regularizers.base import Regularizer, full_precision, regularizers


@regularizers.register("large_margin")
class LargeMargin(Regularizer):
    """Large margin: the losses see z_j - m r_j y_j, so a voxel of a rare class has to win by m logits; symmetric: z_j - m y_j, any voxel.

    z the logits, y the target (soft ones shift by their share of m), m = `margin`, r_j = 1 for the rare classes and 0 for the others. The
    gradient is the loss's own at the shifted logits. Every loss sees them, those by region too; prediction sees z.
    margin 0, or an asymmetric margin without a rare class, leaves the logits as they are.
    Source: Li, Kamnitsas, Glocker, IEEE TMI 2020, "Analyzing Overfitting under Class Imbalance in Neural Networks for Image Segmentation".
    """

    margin: float = Field(1.0, ge=0, le=100, description="logits by which the true class has to win; 0 leaves them as they are")
    asymmetric: bool = Field(True, description="rare classes alone have to earn the margin; false: all classes")

    def adjust(self, logits: Tensor, target: Tensor, rare: Tensor) -> Tensor:
        """In float32 or better: bf16 has steps of half a logit at 100, in which a margin would drown."""
        held_back = target * rare.view(1, -1, 1, 1, 1) if self.asymmetric else target
        return full_precision(logits) - self.margin * held_back
