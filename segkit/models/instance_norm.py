"""Instance normalization of channels-last tensors: statistics to float32's precision, and no pass over memory that could be spared."""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm

from segkit.config.compiled import across_threads, compiled
from segkit.models.stored import STORED, read, rows_of, stored, threads_for

TOGETHER = 128  # voxels summed in float32; their sums are added in float64
fused = partial(compiled, fused=True)


class InstanceNorm(nn.InstanceNorm3d):
    """y = (x - mean) / sqrt(var + eps) * weight + bias, mean and variance those of a channel of a sample; x [B, C, X, Y, Z].

    A channels-last tensor stays so, while torch's kernel copies it to the contiguous layout and hands that on. Without gradients, on a
    CPU, y takes the place of x: give it what nobody else reads, such as a convolution's output. With them it can be differentiated once.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        if not x.is_contiguous(memory_format=torch.channels_last_3d) or x.is_contiguous():
            return super().forward(x)
        if x.device.type != "cpu" or x.dtype not in STORED:
            seen = [batch_norm(sample, None, None, self.weight, self.bias, True, 0.0, self.eps) for sample in x.split(1)]
        elif torch.is_grad_enabled():
            seen = [_Normalized.apply(sample, self.weight, self.bias, self.eps) for sample in x.split(1)]
        else:
            mean, var = moments(x)
            scale = self.weight * (var + self.eps).rsqrt()
            scale_(x, scale, self.bias - mean * scale)
            return x
        return seen[0] if len(seen) == 1 else torch.cat(seen)


class _Normalized(torch.autograd.Function):
    """Batch normalization of one sample on a CPU with the statistics of `moments`.

    torch's own kernel adds a channel's values one by one in float32: of 96^3 voxels the mean is off by 1e-5, the deviation by 8e-5.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        mean, var = (each[0] for each in moments(x))
        ctx.save_for_backward(x, weight, mean, (var + eps).rsqrt())
        ctx.eps = eps
        return batch_norm(x, mean, var, weight, bias, False, 0.0, eps)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, slope = ctx.saved_tensors
        wanted = ctx.needs_input_grad[:3]
        return (*torch.ops.aten.native_batch_norm_backward(gradient, x, weight, None, None, mean, slope, True, ctx.eps, wanted), None)


@torch.library.custom_op("segkit::moments", mutates_args=(), device_types="cpu")
def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance float32 [B, C] of the channels of x [B, C, X, Y, Z], float32 or bfloat16, channels last."""
    rows = rows_of(x)
    shifts = np.stack([_mean_of_some(sample) for sample in rows])

    def sums(first: int, last: int) -> np.ndarray:
        return np.stack([_sums(sample, shift, first, last) for sample, shift in zip(rows, shifts, strict=True)])

    means = np.sum(across_threads(sums, rows.shape[1], threads_for(x)), axis=0) / rows.shape[1]
    mean, var = shifts + means[:, 0], means[:, 1] - means[:, 0] ** 2
    return torch.from_numpy(mean.astype(np.float32)), torch.from_numpy(var.astype(np.float32))


@moments.register_fake
def _(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape[:2], dtype=torch.float32), x.new_empty(x.shape[:2], dtype=torch.float32)


@torch.library.custom_op("segkit::scale_", mutates_args=("x",), device_types="cpu")
def scale_(x: Tensor, scale: Tensor, offset: Tensor) -> None:
    """x <- x * scale + offset in place; x as in `moments`, scale and offset float32 [B, C]."""
    rows, slope, constant = rows_of(x), scale.numpy(), offset.numpy()

    def work(first: int, last: int) -> None:
        for sample, a, b in zip(rows, slope, constant, strict=True):
            _scale(sample, a, b, first, last)

    across_threads(work, rows.shape[1], threads_for(x))


@scale_.register_fake
def _(x: Tensor, scale: Tensor, offset: Tensor) -> None:
    """What tensors without values need: nothing."""


@fused
def _mean_of_some(rows: np.ndarray) -> np.ndarray:
    """float32 [C], near to the mean of all, of rows all over the volume: squares of what is left lose no digits."""
    count = min(TOGETHER, rows.shape[0])
    mean = np.zeros(rows.shape[1])
    for i in range(count):
        row = rows[i * rows.shape[0] // count]
        for c in range(rows.shape[1]):
            mean[c] += read(row[c]) / count  # type: ignore[call-arg]
    return mean.astype(np.float32)


@fused
def _sums(rows: np.ndarray, shift: np.ndarray, first: int, last: int) -> np.ndarray:
    """Of x - shift and its square, over rows first .. last - 1, float64 [2, C]. A channel's values are neighbors' neighbors in memory."""
    channels = rows.shape[1]
    totals = np.zeros((2, channels))
    sums, squares = np.empty(channels, np.float32), np.empty(channels, np.float32)
    for start in range(first, last, TOGETHER):
        sums[:] = 0
        squares[:] = 0
        for i in range(start, min(start + TOGETHER, last)):
            row = rows[i]
            for c in range(channels):
                away = read(row[c]) - shift[c]  # type: ignore[call-arg]
                sums[c] += away
                squares[c] += away * away
        for c in range(channels):
            totals[0, c] += sums[c]
            totals[1, c] += squares[c]
    return totals


@fused
def _scale(rows: np.ndarray, slope: np.ndarray, constant: np.ndarray, first: int, last: int) -> None:
    for i in range(first, last):
        row = rows[i]
        for c in range(rows.shape[1]):
            row[c] = stored(read(row[c]) * slope[c] + constant[c], row[c])  # type: ignore[call-arg]
