"""Cross-entropy: the mean over voxels of minus the log-probability of the target."""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from segkit.config.errors import InputError
from segkit.losses.base import Loss, RunningLoss, full_precision, losses, over_processes, voxel_mean

Share = Annotated[float, Field(ge=0, le=1)]


@losses.register("cross_entropy")
class CrossEntropy(Loss):
    """-(1/N) sum over voxels, sum over classes j, of w_j y_j log p_j.

    p = softmax(logits), y the target (soft ones too), w the class weights, N = B X Y Z. torch's weighted mean divides by the sum of the
    weights met in the batch instead; ours by N, so that a weight scales its class and no other.
    `inverse_frequency` is w_j = (M / C) / n_j: n_j the sum of y_j over the batch of all processes, M the sum of all n_j, which is the
    number of voxels that are not ignored. Together the voxels of each class then weigh M / C. In a class absent from the batch there
    is nothing to weigh; its w_j is 0.
    With `anneal: [first, last]` a training has the weights (1 - a) w_j + a, where a rises linearly from 0 to 1 between these two shares
    of its steps. Called outside of one, a is 0.
    Source of weights by frequency and of annealing: DeepMedic.
    """

    class_weights: tuple[Annotated[float, Field(ge=0)], ...] | Literal["inverse_frequency"] | None = Field(
        None, description="factor of each class, the background first; inverse_frequency: each class weighs the same; null: 1 for all"
    )
    anneal: tuple[Share, Share] | None = Field(None, description="shares of the training between which the weights go to 1")

    @model_validator(mode="after")
    def _weights_that_weigh(self) -> "CrossEntropy":
        if isinstance(self.class_weights, tuple) and not any(self.class_weights):
            raise ValueError("class_weights: expected at least one weight > 0, got none: the loss would always be 0")
        if self.anneal is not None:
            if self.class_weights is None:
                raise ValueError("anneal: expected class_weights beside it, got none")
            if self.anneal[0] > self.anneal[1]:
                raise ValueError(f"anneal: expected the first share <= the last, got {list(self.anneal)}")
        return self

    def start(self, steps: int) -> Loss | RunningLoss:
        """Itself, unless the weights change on the way."""
        return self if self.anneal is None else AnnealedCrossEntropy(self, self.anneal, steps)

    def __call__(self, logits: Tensor, target: Tensor, rare: Tensor) -> Tensor:
        """In nats. Raises InputError (SK-L001) where the weights are not as many as the classes."""
        return self.annealed_by(0.0, logits, target)

    def annealed_by(self, a: float | Tensor, logits: Tensor, target: Tensor) -> Tensor:
        """The loss with the weights (1 - a) w_j + a."""
        terms = -target * full_precision(logits).log_softmax(dim=1)
        if self.class_weights is None:
            return voxel_mean(terms)
        by_frequency = self.class_weights == "inverse_frequency"
        weights: Sequence[float | Tensor] = inverse_frequency(logits, target) if by_frequency else self._given(terms.shape[1])
        # class by class with numbers, not a tensor: no copy to the device in each step, which a CUDA graph could not capture
        weighted = [((1 - a) * weight + a) * term for weight, term in zip(weights, terms.unbind(dim=1), strict=True)]
        return voxel_mean(torch.stack(weighted, dim=1))

    def _given(self, classes: int) -> Sequence[float]:
        """The weights of the settings."""
        assert isinstance(self.class_weights, tuple)
        if len(self.class_weights) != classes:
            raise InputError(
                "SK-L001",
                "cross_entropy: class weights do not match the classes",
                where="losses.cross_entropy.class_weights",
                expected=f"{classes} weights, the background first",
                got=f"{len(self.class_weights)}: {list(self.class_weights)}",
                remedy="give one weight a class, in the order of dataset.classes, with the background's before them",
            )
        return self.class_weights


def inverse_frequency(logits: Tensor, target: Tensor) -> Sequence[Tensor]:
    """(M / C) / n_j of each class j, 0 where it is absent. The logits only tell whether the loss is differentiated."""
    counts = over_processes(target.sum((0, 2, 3, 4)), logits.requires_grad)
    return (counts.sum() / len(counts) / counts).masked_fill(counts == 0, 0.0).unbind()


class AnnealedCrossEntropy(RunningLoss):
    """Cross-entropy in a training that leads its weights to 1."""

    a: Tensor

    def __init__(self, loss: CrossEntropy, anneal: tuple[float, float], steps: int) -> None:
        super().__init__()
        self.loss, self.anneal, self.steps = loss, anneal, steps
        self.register_buffer("a", torch.zeros(()))  # on the device: a captured step reads what `set_step` wrote

    def set_step(self, step: int) -> None:
        """a = 0 up to the first share of the steps, 1 from the last on."""
        (first, last), done = self.anneal, step / self.steps
        if done >= last:
            self.a.fill_(1.0)
        else:
            self.a.fill_((done - first) / (last - first) if done > first else 0.0)

    def forward(self, logits: Tensor, target: Tensor, rare: Tensor) -> Tensor:
        """As `CrossEntropy.__call__`."""
        return self.loss.annealed_by(self.a, logits, target)
