"""Cross-entropy: the mean over voxels of minus the log-probability of the target."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from segkit.config.errors import InputError
from segkit.losses.base import Loss, full_precision, losses, voxel_mean


@losses.register("cross_entropy")
class CrossEntropy(Loss):
    """-(1/N) sum over voxels, sum over classes j, of w_j y_j log p_j.

    p = softmax(logits), y the target (soft ones too), w the class weights, N = B X Y Z. torch's weighted mean divides by the sum of the
    weights met in the batch instead; ours by N, so that a weight scales its class and no other.
    """

    class_weights: tuple[Annotated[float, Field(ge=0)], ...] | None = Field(
        None, description="factor of each class, the background first; null: 1 for all"
    )

    def __call__(self, logits: Tensor, target: Tensor, rare: Tensor) -> Tensor:
        """In nats. Raises InputError (SK-L001) where the weights are not as many as the classes."""
        terms = -target * full_precision(logits).log_softmax(dim=1)
        if self.class_weights is None:
            return voxel_mean(terms)
        if len(self.class_weights) != terms.shape[1]:
            raise InputError(
                "SK-L001",
                "cross_entropy: class weights do not match the classes",
                where="losses.cross_entropy.class_weights",
                expected=f"{terms.shape[1]} weights, the background first",
                got=f"{len(self.class_weights)}: {list(self.class_weights)}",
                remedy="give one weight a class, in the order of dataset.classes, with the background's before them",
            )
        # class by class with numbers, not a tensor: no copy to the device in each step, which a CUDA graph could not capture
        weighted = [weight * term for weight, term in zip(self.class_weights, terms.unbind(dim=1), strict=True)]
        return voxel_mean(torch.stack(weighted, dim=1))
