"""Values between voxels: a volume sampled anew, one axis after the other.

A resampling is one array of positions per axis: new sample k of an axis reads the old axis at index position[k] (a fraction).
Positions beyond the volume read its border voxel.
"""

import os
from functools import partial

import numpy as np
from scipy.ndimage import find_objects, map_coordinates

from segkit.config.compiled import across_threads, compiled
from segkit.volume.labels import IGNORED

Positions = tuple[np.ndarray, np.ndarray, np.ndarray]
Steps = tuple[np.ndarray, np.ndarray, np.ndarray]

SHORT = 4  # an axis with fewer voxels has no cubic spline worth its name
PLANES_BYTES = 2**27  # of the planes of all channels that threads work on at once; one thread has its plane in any case
THICK = 3.0  # an axis sampled this much coarser than the finest one rings under a cubic spline


def shared_center(new: int, old: int, ratio: float) -> np.ndarray:
    """Positions of `new` samples on an axis of `old` voxels, both grids centered on the same point: [new], float64.

    position(k) = (k - (new - 1) / 2) * ratio + (old - 1) / 2, with ratio = new spacing / old spacing.
    """
    return (np.arange(new) - (new - 1) / 2) * ratio + (old - 1) / 2


def image(array: np.ndarray, positions: Positions, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Intensities at new positions: cubic spline, clipped to the range of the input. [x, y, z] -> float32.

    Linear along an axis of fewer than SHORT voxels, or with a spacing over THICK times the finest: across thick slices a spline overshoots.
    spacing_mm: of the input. No smoothing precedes a coarser grid.
    """
    low, high = float(array.min()), float(array.max())
    out = array.astype(np.float32, copy=False)
    for axis, at in enumerate(positions):
        rough = array.shape[axis] < SHORT or spacing_mm[axis] > THICK * min(spacing_mm)
        out = _linear_along(out, at, axis) if rough else _spline_along(out, at, axis)
    return np.clip(out, low, high)


def linear(array: np.ndarray, positions: Positions) -> np.ndarray:
    """Linear interpolation. [x, y, z], of any real dtype -> float32. May share memory with the input where nothing moves."""
    out, positions = _needed(array, positions)
    for axis, at in enumerate(positions):
        out = _linear_along(out, at, axis)
    return out.astype(np.float32, copy=False)


def most_probable(channels: np.ndarray, positions: Positions, out: np.ndarray) -> None:
    """Into `out` (uint8 [x, y, z], in place) the channel whose linearly interpolated value is largest, the lower one where several tie.

    channels: [C, old x, old y, old z], at most 255 of them; copied unless they are float32 in C order. The values are those of `linear`, to
    the bit. No channel is ever there at the size of `out`: a thread holds one plane across x of all of them.
    """
    if not out.size:
        return
    channels = np.ascontiguousarray(channels, dtype=np.float32)
    x, y, z = (_steps(at, size) for at, size in zip(positions, channels.shape[1:], strict=True))
    threads = max(1, min(os.cpu_count() or 1, PLANES_BYTES // channels[:, 0].nbytes))
    across_threads(partial(_most_probable, channels, x, y, z, out), len(out), threads)


def largest(channels: np.ndarray, out: np.ndarray) -> None:
    """Into `out` (uint8 [x, y, z], in place) the channel whose value is largest, the lower one where several tie.

    channels: float32 [C, x, y, z].
    """
    across_threads(partial(_largest, channels, out), len(out), os.cpu_count() or 1)


def labels(indices: np.ndarray, positions: Positions) -> np.ndarray:
    """The class whose linearly interpolated mask is largest (the lower index where two tie); IGNORED where the nearest voxel is.

    indices: uint8 [x, y, z]; positions ascend. uint8. A class is interpolated only around the box it lies in, so small ones cost little.
    """
    indices, positions = _needed(indices, positions)
    indices = np.ascontiguousarray(indices)  # boxes are found several times as fast
    out = np.zeros([len(at) for at in positions], dtype=np.uint8)
    best = _share(indices, 0, positions)
    for index, box in enumerate(find_objects(indices), start=1):
        if box is None or index == IGNORED:
            continue
        reached = tuple(slice(*np.searchsorted(at, (side.start - 1, side.stop))) for at, side in zip(positions, box, strict=True))
        if any(side.start == side.stop for side in reached):  # thinner than the new grid is wide
            continue
        x, y, z = (at[side] for at, side in zip(positions, reached, strict=True))
        share = _share(indices, index, (x, y, z))
        wins = share > best[reached]
        out[reached][wins] = index
        best[reached][wins] = share[wins]
    if (indices == IGNORED).any():
        out[nearest(indices == IGNORED, positions)] = IGNORED
    return out


def nearest(array: np.ndarray, positions: Positions) -> np.ndarray:
    """The value of the nearest voxel, of any dtype. [x, y, z] -> same dtype."""
    rounded = [np.clip(np.floor(at + 0.5).astype(np.intp), 0, size - 1) for at, size in zip(positions, array.shape, strict=True)]
    return array[np.ix_(*rounded)]


def _share(indices: np.ndarray, index: int, positions: Positions) -> np.ndarray:
    """How much of each new voxel is of class `index`, 0..1."""
    box, within = _needed(indices, positions)
    return linear(box == index, within)


def _needed(array: np.ndarray, positions: Positions) -> tuple[np.ndarray, Positions]:
    """The box of voxels that the positions read, and the positions in it: a slab of the result costs a slab of the input."""
    clamped = [np.clip(at, 0, size - 1) for at, size in zip(positions, array.shape, strict=True)]
    low = [int(np.floor(at.min())) for at in clamped]
    box = tuple(slice(first, int(np.ceil(at.max())) + 1) for first, at in zip(low, clamped, strict=True))
    x, y, z = (at - first for at, first in zip(clamped, low, strict=True))
    return array[box], (x, y, z)


def _steps(at: np.ndarray, size: int) -> Steps:
    """(the voxel at or before each position, the next one, how much of the next: float32 0..1) on an axis of `size` voxels."""
    at = np.clip(at, 0, size - 1)
    low = np.floor(at).astype(np.intp)
    return low, np.minimum(low + 1, size - 1), (at - low).astype(np.float32)


def _linear_along(array: np.ndarray, at: np.ndarray, axis: int) -> np.ndarray:
    low, high, share = _steps(at, array.shape[axis])
    if not share.any():  # whole indices: nothing to blend
        return array if np.array_equal(low, np.arange(array.shape[axis])) else array.take(low, axis)
    share = share.reshape([-1 if other == axis else 1 for other in range(array.ndim)])
    out = array.take(low, axis).astype(np.float32, copy=False)
    out += share * (array.take(high, axis).astype(np.float32, copy=False) - out)
    return out


def _spline_along(array: np.ndarray, at: np.ndarray, axis: int) -> np.ndarray:
    """A spline is linear in the voxels, so along one axis it is a matrix [new, old]: column j is the spline through unit vector j."""
    size = array.shape[axis]
    if np.array_equal(at, np.arange(size)):
        return array
    matrix = np.stack([map_coordinates(unit, [at], order=3, mode="nearest") for unit in np.eye(size)], axis=1).astype(np.float32)
    return np.moveaxis(np.tensordot(matrix, array, axes=(1, axis)), 0, axis)


@compiled
def _most_probable(channels: np.ndarray, x: Steps, y: Steps, z: Steps, out: np.ndarray, first: int, last: int) -> None:
    """Planes first to last of `out`. One axis after the other, each loop over neighbors in memory, so that it becomes vector code."""
    (x_low, x_high, x_share), (y_low, y_high, y_share), (z_low, z_high, z_share) = x, y, z
    count, _, rows, length = channels.shape
    plane, line = np.empty((count, rows, length), np.float32), np.empty(length, np.float32)
    value, best, index = np.empty(len(z_low), np.float32), np.empty(len(z_low), np.float32), np.empty(len(z_low), np.uint8)
    for i in range(first, last):
        for c in range(count):
            for j in range(rows):
                _blend(channels[c, x_low[i], j], channels[c, x_high[i], j], x_share[i], plane[c, j])
        for j in range(len(y_low)):
            best[:] = -np.inf
            index[:] = 0
            for c in range(count):
                _blend(plane[c, y_low[j]], plane[c, y_high[j]], y_share[j], line)
                for k in range(len(value)):
                    value[k] = line[z_low[k]] + z_share[k] * (line[z_high[k]] - line[z_low[k]])
                for k in range(len(value)):
                    index[k] = c if value[k] > best[k] else index[k]
                    best[k] = max(value[k], best[k])
            out[i, j] = index


@compiled
def _largest(channels: np.ndarray, out: np.ndarray, first: int, last: int) -> None:
    best = np.empty(out.shape[2], np.float32)
    for i in range(first, last):
        for j in range(out.shape[1]):
            best[:] = -np.inf
            out[i, j] = 0
            for c in range(len(channels)):
                for k in range(len(best)):
                    out[i, j, k] = c if channels[c, i, j, k] > best[k] else out[i, j, k]
                    best[k] = max(channels[c, i, j, k], best[k])


@compiled
def _blend(low: np.ndarray, high: np.ndarray, share: float, out: np.ndarray) -> None:
    for k in range(len(out)):
        out[k] = low[k] + share * (high[k] - low[k])
