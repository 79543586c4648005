"""A tile's logits into the sums of a volume: probabilities, weighted, added."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from segkit.config.compiled import across_threads
from segkit.sampling.gather import fused, power_of_two

LOG2_E = np.float32(np.log2(np.e))


@torch.library.custom_op("segkit::accumulate", mutates_args=("sums", "weights"), device_types="cpu")
def accumulate(
    logits: Tensor, bump: Tensor, sums: Tensor, weights: Tensor, here: Sequence[int], there: Sequence[int], shape: Sequence[int]
) -> None:
    """sums += bump * softmax(logits) and weights += bump, in place; the box of `shape` begins at `here` in the tile, `there` in the sums.

    logits [C, x, y, z] of a tile, the softmax over C; bump [x, y, z], its weights; sums [C, X, Y, Z], weights [X, Y, Z]. All are float32
    and, but for the logits, contiguous. On the CPU it is one pass by compiled loops, in which as many threads as torch uses share the
    rows: with tensors each of its steps would be a pass over memory that no cache holds.
    """
    x, y, z = zip(here, there, shape, strict=True)
    work = partial(_accumulate, logits.contiguous().numpy(), bump.numpy(), sums.numpy(), weights.numpy(), (x, y, z))
    across_threads(work, shape[0], torch.get_num_threads())


@accumulate.register_kernel("cuda")
def _(logits: Tensor, bump: Tensor, sums: Tensor, weights: Tensor, here: Sequence[int], there: Sequence[int], shape: Sequence[int]) -> None:
    tile, volume = (tuple(slice(a, a + size) for a, size in zip(start, shape, strict=True)) for start in (here, there))
    sums[:, *volume].addcmul_(logits[:, *tile].softmax(0), bump[tile])
    weights[volume] += bump[tile]


@accumulate.register_fake
def _(*_: object) -> None:
    """What tensors without values need: nothing."""


Box = tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]]  # an axis each: in the tile, in the sums, voxels


@fused
def _accumulate(logits: np.ndarray, bump: np.ndarray, sums: np.ndarray, weights: np.ndarray, box: Box, first: int, last: int) -> None:
    """Rows first to last of the box. Its loops go over neighbors in memory, so that they become vector code."""
    (x, to_x, _), (y, to_y, columns), (z, to_z, length) = box
    classes = len(logits)
    share, largest, total = np.empty((classes, length), np.float32), np.empty(length, np.float32), np.empty(length, np.float32)
    for i in range(first, last):
        for j in range(columns):
            largest[:] = -np.inf
            total[:] = 0
            for c in range(classes):
                row = logits[c, x + i, y + j, z : z + length]
                for k in range(length):
                    largest[k] = max(largest[k], row[k])
            for c in range(classes):
                row, out = logits[c, x + i, y + j, z : z + length], share[c]
                for k in range(length):
                    out[k] = power_of_two(max(LOG2_E * (row[k] - largest[k]), np.float32(-126)))
                for k in range(length):
                    total[k] += out[k]
            row, out = bump[x + i, y + j, z : z + length], weights[to_x + i, to_y + j, to_z : to_z + length]
            for k in range(length):
                out[k] += row[k]
                total[k] = row[k] / total[k]
            for c in range(classes):
                row, out = share[c], sums[c, to_x + i, to_y + j, to_z : to_z + length]
                for k in range(length):
                    out[k] += total[k] * row[k]
