"""Layers that look at the whole batch, for processes that each hold a slice of it: batch normalization and dropout."""

from typing import TypeVar

import torch
from torch import Tensor, nn

from segkit.engine.processes import Processes
from segkit.losses.base import full_precision, over_processes

Module = TypeVar("Module", bound=nn.Module)


def batchwide(network: Module, processes: Processes, device: torch.device) -> Module:
    """The network with layers that act in each process as they would if one process held the whole batch; alone, as it is.

    Names and values of parameters and buffers stay. On CUDA batch normalization is torch's SyncBatchNorm, which knows no CPU.
    """
    if processes.count == 1:
        return network
    if device.type == "cuda":
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Dropout | nn.Dropout3d):
                setattr(module, name, BatchwideDropout(child, processes.rank, processes.count))
            elif isinstance(child, nn.BatchNorm3d):
                setattr(module, name, BatchwideNorm.of(child, processes.count))
    return network


class BatchwideNorm(nn.BatchNorm3d):
    """Batch normalization by mean and variance over the slices of all processes. In evaluation it is what it was."""

    slices: int

    @classmethod
    def of(cls, norm: nn.BatchNorm3d, slices: int) -> "BatchwideNorm":
        """With the settings, parameters and buffers of another one."""
        ours = cls(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            setattr(ours, name, getattr(norm, name))
        ours.slices = slices
        return ours.train(norm.training)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        wide, axes = full_precision(x), (0, 2, 3, 4)
        count = wide[:, 0].numel() * self.slices
        mean = over_processes(wide.sum(axes), differentiated=True) / count
        centered = wide - mean.view(1, -1, 1, 1, 1)
        variance = over_processes(centered.square().sum(axes), differentiated=True) / count
        if self.track_running_stats:
            self._remember(mean.detach(), variance.detach() * count / (count - 1))
        scale = (variance + self.eps).rsqrt()
        if self.weight is None:
            return (centered * scale.view(1, -1, 1, 1, 1)).to(x.dtype)
        scale = scale * self.weight
        return (centered * scale.view(1, -1, 1, 1, 1) + self.bias.view(1, -1, 1, 1, 1)).to(x.dtype)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        """Into the running statistics; without a momentum they are plain means over all batches."""
        assert self.num_batches_tracked is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        self.num_batches_tracked += 1
        share = 1 / self.num_batches_tracked.item() if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


class BatchwideDropout(nn.Module):
    """Dropout with slice `index` of the mask that one process would draw for the whole batch: every process draws all of it."""

    def __init__(self, inner: nn.Dropout | nn.Dropout3d, index: int, slices: int) -> None:
        super().__init__()
        self.inner, self.index, self.slices = inner, index, slices

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        samples = len(x) * self.slices
        shape = (samples, *x.shape[1:]) if isinstance(self.inner, nn.Dropout) else (samples, x.shape[1], 1, 1, 1)
        ones = x.new_ones(shape)
        if not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last_3d):
            ones = ones.contiguous(memory_format=torch.channels_last_3d)  # draws follow the order in memory
        first = len(x) * self.index
        return x * self.inner(ones)[first : first + len(x)]
