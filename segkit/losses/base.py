"""A loss of the shelf, and the sums that losses share.

Shapes: B batch, C classes (0 the background), X Y Z voxels. A voxel whose target is 0 for all classes is ignored. Losses are computed in
float32 also under autocast (`full_precision`), since a mean over 10^6 voxels does not survive 8 bits of mantissa.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch import distributed as dist

from segkit.config.registry import Registry
from segkit.config.settings import Settings


class Loss(Settings):
    """Settings of a loss. Its call is the loss; the objective adds the losses up, each times its `weight`.

    by_region: a ratio of sums over voxels, not a mean of terms that each voxel has of its own; such a loss never sees blended features.
    """

    name: ClassVar[str]
    by_region: ClassVar[bool] = False
    weight: float = Field(1.0, gt=0, description="factor in the sum of losses; the call itself leaves it out")

    def __call__(self, logits: Tensor, target: Tensor, rare: Tensor) -> Tensor:
        """logits, target: [B, C, X, Y, Z], a voxel's target sums to 1, or to 0 where ignored; rare: bool [C]. Returns a scalar."""
        raise NotImplementedError

    def start(self, steps: int) -> "Loss | RunningLoss":
        """What a training of so many steps calls: the loss itself, unless it changes on the way."""
        return self


class RunningLoss(nn.Module):
    """The part of a loss that changes while training: called like the loss, its buffers are saved in checkpoints."""

    def set_step(self, step: int) -> None:
        """Steps done so far; called before each step, also after resuming."""
        raise NotImplementedError

    def forward(self, logits: Tensor, target: Tensor, rare: Tensor) -> Tensor:
        """As `Loss.__call__`."""
        raise NotImplementedError


losses: Registry[Loss] = Registry("loss", "segkit.losses")


class RegionLoss(Loss):
    """A loss made of ratios, one a class, of sums over the voxels that are not ignored."""

    by_region: ClassVar[bool] = True

    batch: bool = Field(True, description="sums over the whole batch; false: per sample, then the mean")
    background: bool = Field(False, description="the background is one of the classes j")
    smooth: float = Field(1e-5, gt=0, description="in voxels; keeps the ratio of an absent class defined")

    def sums(self, logits: Tensor, target: Tensor) -> Tensor:
        """Of p y, p and y, as `region_sums` has them: [3, C] or [3, B, C]."""
        return region_sums(full_precision(logits).softmax(dim=1), target, self.batch)

    def mean(self, ratios: Tensor) -> Tensor:
        """Of [C] or [B, C], over the classes j and the samples."""
        return (ratios if self.background else ratios[..., 1:]).mean()


def full_precision(logits: Tensor) -> Tensor:
    """float16 and bfloat16 become float32; float32 and float64 stay."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def voxel_mean(terms: Tensor) -> Tensor:
    """Terms [B, C, X, Y, Z] summed over the classes, then averaged over all B X Y Z voxels, ignored ones included.

    A fixed denominator: a voxel pulls as hard in a batch where many are ignored as in one where none is.
    """
    return terms.sum(dim=1).mean()


def known_voxels(target: Tensor) -> Tensor:
    """Those that are not ignored: bool [B, 1, X, Y, Z]."""
    return target.sum(dim=1, keepdim=True) > 0


def region_sums(probabilities: Tensor, target: Tensor, batch: bool) -> Tensor:
    """Per class the sums of p y, p and y over the voxels that are not ignored: [3, C] or [3, B, C], as `class_sums`."""
    found = probabilities * known_voxels(target)
    return class_sums((found * target, found, target), batch)


def class_sums(terms: Sequence[Tensor], batch: bool) -> Tensor:
    """Per class the sum over voxels of each of T terms [B, C, X, Y, Z], which have to be 0 where a voxel is ignored.

    Shape [T, C], over the whole batch of all processes (batch), or [T, B, C], per sample.
    """
    sums = torch.stack([term.sum((0, 2, 3, 4) if batch else (2, 3, 4)) for term in terms])
    return over_processes(sums, sums.requires_grad) if batch else sums


def over_processes(sums: Tensor, differentiated: bool) -> Tensor:
    """Sums over the slices of the batch that the processes hold, so that what is made of them does not depend on their number.

    differentiated: a gradient is taken of the loss. If not, the sums stay those of the own slice: all processes train in step, while
    one alone may validate and must not wait for the others.
    """
    alone = not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1
    return _AllReduce.apply(sums) if differentiated and not alone else sums


class _AllReduce(torch.autograd.Function):
    """Sum over processes, in both directions.

    Each process's loss depends on every process's slice; their sum, averaged as DDP averages, is the gradient of the batch-wide loss.
    """

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, local: Tensor) -> Tensor:
        total = local.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total
