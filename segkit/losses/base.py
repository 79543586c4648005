"""A loss of the shelf, and the sums that losses share.

Shapes: B batch, C classes (0 the background), X Y Z voxels. A voxel whose target is 0 for all classes is ignored. Losses are computed in
float32 also under autocast (`full_precision`), since a mean over 10^6 voxels does not survive 8 bits of mantissa.
"""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch import distributed as dist

from segkit.config.registry import Registry
from segkit.config.settings import Settings


class Loss(Settings):
    """Settings of a loss. Its call is the loss; the objective adds the losses up, each times its `weight`."""

    name: ClassVar[str]
    weight: float = Field(1.0, gt=0, description="factor in the sum of losses; the call itself leaves it out")

    def __call__(self, logits: Tensor, target: Tensor, rare: Tensor) -> Tensor:
        """logits, target: [B, C, X, Y, Z], a voxel's target sums to 1, or to 0 where ignored; rare: bool [C]. Returns a scalar."""
        raise NotImplementedError


losses: Registry[Loss] = Registry("loss", "segkit.losses")


def full_precision(logits: Tensor) -> Tensor:
    """float16 and bfloat16 become float32; float32 and float64 stay."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def voxel_mean(terms: Tensor) -> Tensor:
    """Terms [B, C, X, Y, Z] summed over the classes, then averaged over all B X Y Z voxels, ignored ones included.

    A fixed denominator: a voxel pulls as hard in a batch where many are ignored as in one where none is.
    """
    return terms.sum(dim=1).mean()


def region_sums(probabilities: Tensor, target: Tensor, batch: bool) -> Tensor:
    """Per class the sums of p y, p and y over the voxels that are not ignored.

    Shape [3, C], over the whole batch of all processes (batch), or [3, B, C], per sample.
    """
    known = target.sum(dim=1, keepdim=True) > 0  # [B, 1, X, Y, Z]
    axes = (0, 2, 3, 4) if batch else (2, 3, 4)
    found = probabilities * known
    sums = torch.stack([(found * target).sum(axes), found.sum(axes), target.sum(axes)])
    return _over_processes(sums) if batch else sums


def _over_processes(sums: Tensor) -> Tensor:
    """Sums over the slices of the batch that the processes hold, so that a batch-wide ratio does not depend on their number.

    Only where a gradient is taken: all processes train in step, while one alone may validate and must not wait for the others.
    """
    alone = not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1
    return sums if alone or not sums.requires_grad else _AllReduce.apply(sums)


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
