"""Logit adjustment: training under the handicap of the class shares, so that prediction treats all classes alike."""

import torch
from pydantic import Field
from torch import Tensor
from torch import distributed as dist

from segkit.config.errors import InputError
from segkit.regularizers.base import Regularizer, RunningRegularizer, full_precision, regularizers


@regularizers.register("logit_adjustment")
class LogitAdjustment(Regularizer):
    """Logit adjustment: in training the losses see z_j + tau log pi_j, so that z itself learns not to favor frequent classes.

    z the logits, pi_j the share of class j among the labelled voxels that training has met, this batch included: as sampled, which is
    not as in the scans. At tau 1 and with cross-entropy, the argmax of z goes for the lowest mean of the classes' error rates, where
    without the shift it goes for the lowest share of wrong voxels.
    Each class counts one voxel before the first: of N voxels met pi_j = (n_j + 1) / (N + C), so that the logarithm of a class not met
    yet is finite, and the error is beyond notice after one batch.
    Source: Menon et al., ICLR 2021, "Long-tail learning via logit adjustment".
    """

    tau: float = Field(1.0, ge=0, le=10, description="strength; 0 leaves the logits as they are")

    def adjust(self, logits: Tensor, target: Tensor, rare: Tensor) -> Tensor:
        """Raises InputError (SK-N002): settings have met no voxels, and know no shares."""
        raise InputError(
            "SK-N002",
            "logit_adjustment: the class shares are counted while training, and settings count nothing",
            where="regularizers.logit_adjustment",
            expected="the running part that `start` makes",
            got="the settings themselves",
            remedy="call start(classes, features, steps) once, then in each step see(target) and adjust(...) of what it returned",
        )

    def start(self, classes: int, features: int, steps: int) -> "RunningLogitAdjustment":
        return RunningLogitAdjustment(self.tau, classes)


class RunningLogitAdjustment(RunningRegularizer):
    """Counts voxels of the clean batches, over all processes, and shifts logits of clean batches, views and coarser levels alike.

    counts: float64 [C], the voxels of each class met so far and one more.
    """

    counts: Tensor

    def __init__(self, tau: float, classes: int) -> None:
        super().__init__()
        self.tau = tau
        self.register_buffer("counts", torch.ones(classes, dtype=torch.float64))

    def see(self, target: Tensor) -> None:
        met = target.sum((2, 3, 4)).double().sum(0)  # float32 counts up to 2^24: enough for a patch, not for a batch
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(met)
        self.counts += met

    def adjust(self, logits: Tensor, target: Tensor, rare: Tensor) -> Tensor:
        """In float32 or better."""
        logits = full_precision(logits)
        shift = self.tau * (self.counts / self.counts.sum()).log()
        return logits + shift.to(logits.dtype).view(1, -1, 1, 1, 1)
