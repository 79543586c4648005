"""Dropout on CPUs, with masks that are computed and not stored."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from segkit.config.compiled import across_threads, compiled
from segkit.models.stored import STORED, memory_of, read, stored, threads_for


class Dropout(nn.Dropout):
    """While training y = 0 with probability p, else x / (1 - p); in evaluation y = x.

    On a CPU each value's fate follows from its place in memory and one number of torch's generator, whatever the number of threads; the
    gradient's mask is computed again. torch draws one value after the other on one thread, which takes an eighth of DeepMedic's step.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0 or x.device.type != "cpu" or x.dtype not in STORED or torch.compiler.is_compiling():
            return super().forward(x)
        layout = torch.contiguous_format
        if not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last_3d):
            layout = torch.channels_last_3d
        seed = int(torch.empty((), dtype=torch.int64).random_())
        return _Dropped.apply(x.contiguous(memory_format=layout), self.p, seed, layout)


class _Dropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float, seed: int, layout: torch.memory_format) -> Tensor:
        ctx.settings = p, seed, layout
        return dropped(x, p, seed)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        p, seed, layout = ctx.settings
        return _Dropped.apply(gradient.contiguous(memory_format=layout), p, seed, layout), None, None, None


@torch.library.custom_op("segkit::dropped", mutates_args=(), device_types="cpu")
def dropped(x: Tensor, p: float, seed: int) -> Tensor:
    """0 or x / (1 - p); x float32 or bfloat16, contiguous or channels last. seed: 63 bits."""
    out = torch.empty_like(x)
    values, results = memory_of(x), memory_of(out)
    low, high = np.uint32(seed & 0xFFFFFFFF), np.uint32(seed >> 32)
    least, scale = np.uint32(p * 2**32), np.float32(1 / (1 - p))

    def work(first: int, last: int) -> None:
        _drop(values, results, low, high, least, scale, first, last)

    across_threads(work, len(values), threads_for(x))
    return out


@dropped.register_fake
def _(x: Tensor, p: float, seed: int) -> Tensor:
    return torch.empty_like(x)


@compiled
def _mixed(value: np.uint32) -> np.uint32:
    """A permutation of 32 bits in which each bit of the result depends on all. Constants: C. Wellons, lowbias32, 2018."""
    value = np.uint32(value ^ (value >> np.uint32(16)))
    value = np.uint32(value * np.uint32(0x7FEB352D))
    value = np.uint32(value ^ (value >> np.uint32(15)))
    value = np.uint32(value * np.uint32(0x846CA68B))
    return np.uint32(value ^ (value >> np.uint32(16)))


@compiled
def _drop(
    x: np.ndarray, out: np.ndarray, low: np.uint32, high: np.uint32, least: np.uint32, scale: np.float32, first: int, last: int
) -> None:
    for i in range(first, last):
        drawn = _mixed(np.uint32(_mixed(np.uint32(np.uint32(i) + low)) ^ high))
        kept = read(x[i]) * scale if drawn >= least else np.float32(0)  # type: ignore[call-arg]
        out[i] = stored(kept, x[i])  # type: ignore[call-arg]
