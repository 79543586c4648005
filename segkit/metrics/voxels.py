"""Passes over all voxels, in the order they have in memory: the boxes of a map's indices, the surface of a mask."""

from collections.abc import Iterable

import numpy as np

from segkit.config.compiled import compiled

Box = tuple[slice, ...]
EMPTY: Box = (slice(0, 0),) * 3


def memory_order(array: np.ndarray) -> tuple[int, ...]:
    """The axes of an array from the one that runs slowest in memory to the one that runs fastest: `transpose` with it is in C order."""
    return tuple(int(axis) for axis in np.argsort([-abs(stride) for stride in array.strides], kind="stable"))


def boxes(indices: np.ndarray, count: int) -> list[Box | None]:
    """By index, the smallest box that holds its voxels in a map [X, Y, Z] of unsigned integers; None where there are none.

    count: indices from there on are passed over. Index 0 is, too: it has the whole map. Runs along a line are one voxel's work, and a line
    of zeros hardly any.
    """
    axes = memory_order(indices)
    low, high = _extent(np.ascontiguousarray(indices.transpose(axes)), count)
    sides = np.stack([low, high], axis=2)[:, np.argsort(axes)].tolist()
    return [tuple(slice(*side) for side in box) if box[0][1] else None for box in sides]


def union(around: Iterable[Box | None]) -> Box:
    """The smallest box around boxes; of none, an empty one."""
    present = [box for box in around if box is not None]
    if not present:
        return EMPTY
    return tuple(slice(min(side.start for side in sides), max(side.stop for side in sides)) for sides in zip(*present, strict=True))


def surface(mask: np.ndarray) -> np.ndarray:
    """The voxels of a bool mask [X, Y, Z] with one of their 6 neighbors outside it; beyond the array's border is outside."""
    axes = memory_order(mask)
    stored = np.ascontiguousarray(mask.transpose(axes)).view(np.uint8)
    return _without_interior(stored).view(bool).transpose(np.argsort(axes))


@compiled
def _extent(indices: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(low, high), each int64 [count, 3]: where an index begins along each axis, and behind which voxel it ends (0: there is none)."""
    planes, rows, length = indices.shape
    low, high = np.full((count, 3), max(planes, rows, length)), np.zeros((count, 3), np.int64)
    for a in range(planes):
        for b in range(rows):
            line = indices[a, b]
            seen = indices.dtype.type(0)
            for index in line:  # without a branch, many voxels at once
                seen |= index
            stop = 0 if seen else length
            while stop < length:
                start, index = stop, line[stop]
                while stop < length and line[stop] == index:
                    stop += 1
                if 0 < index < count:
                    low[index] = min(low[index, 0], a), min(low[index, 1], b), min(low[index, 2], start)
                    high[index] = a + 1, max(high[index, 1], b + 1), max(high[index, 2], stop)
    return low, high


@compiled
def _without_interior(mask: np.ndarray) -> np.ndarray:
    """uint8, 0 or 1. Without a branch, so that many voxels are done at once."""
    planes, rows, length = mask.shape
    out = mask.copy()
    for a in range(1, planes - 1):
        for b in range(1, rows - 1):
            line, above, below, left, right, kept = mask[a, b], mask[a - 1, b], mask[a + 1, b], mask[a, b - 1], mask[a, b + 1], out[a, b]
            for c in range(1, length - 1):
                kept[c] = line[c] & ~(line[c - 1] & line[c + 1] & above[c] & below[c] & left[c] & right[c])
    return out
