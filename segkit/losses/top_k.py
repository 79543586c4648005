"""Top-k cross-entropy: only the hardest voxels of a batch pull."""

import math

from pydantic import Field
from torch import Tensor

from segkit.losses.base import Loss, full_precision, losses, voxel_mean


@losses.register("top_k")
class TopK(Loss):
    """(1/k) times the sum of the k largest of the voxels' cross-entropies -sum over classes j of y_j log p_j.

    p = softmax(logits), y the target (soft ones too), k = `share` of all B X Y Z voxels, rounded up. Ignored voxels count in k, as they
    do in the denominator of `cross_entropy`, but have the cross-entropy 0: they take no place from others, and where less than k voxels
    are left, these are averaged over k. share 1 is `cross_entropy`. Of several processes each takes the hardest of its own slice.
    Source: Wu, Shen, van den Hengel, 2016, "Bridging Category-level and Instance-level Semantic Image Segmentation" (online
    bootstrapping).
    """

    share: float = Field(0.1, gt=0, le=1, description="of all voxels of the batch")

    def __call__(self, logits: Tensor, target: Tensor, rare: Tensor) -> Tensor:
        """In nats."""
        terms = -target * full_precision(logits).log_softmax(dim=1)
        voxels = terms.numel() // terms.shape[1]
        k = math.ceil(self.share * voxels * (1 - 1e-12))  # 0.07 * 100 is 7.000000000000001
        if k == voxels:  # nothing to choose, and the sum in the order of `cross_entropy`
            return voxel_mean(terms)
        return terms.sum(dim=1).flatten().topk(k, sorted=False).values.mean()
