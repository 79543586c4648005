"""From each voxel of one mask to the nearest voxel of another: exact, and no farther than has to be looked."""

from typing import NamedTuple

import numpy as np

from segkit.config.compiled import compiled
from segkit.metrics.voxels import memory_order

Triple = tuple[float, float, float]
Voxel = tuple[int, int, int]


class Lines(NamedTuple):
    """The voxels of a mask [A, B, C], line by line along C, and what tells where no line has to be looked into.

    starts, places: line (a, b) holds the voxels places[starts[a, b] : starts[a, b + 1]], ascending. links: in plane a the first line at
    or after b that holds any is links[0, a, b] (B: none), the last one before b is links[1, a, b] (-1: none). low, high: lowest and highest
    place in a plane; low > high where it is empty. Memory follows lines and voxels, not the box around them: a stray voxel costs nothing.
    """

    starts: np.ndarray  # int64 [A, B + 1]
    places: np.ndarray  # int32 [voxels]
    links: np.ndarray  # int32 [2, A, B + 1]
    low: np.ndarray  # int32 [A]
    high: np.ndarray  # int32 [A]


def distances(ours: np.ndarray, theirs: np.ndarray, spacing_mm: Triple) -> tuple[np.ndarray, np.ndarray]:
    """(from each voxel of `ours` to the nearest of `theirs`, from each of `theirs` to the nearest of `ours`), in mm, float64.

    ours, theirs: bool [X, Y, Z] of one shape, neither of them empty. Between voxel centers; voxels in the order they have in the memory of
    `ours`. A voxel looks into the lines of the other mask in growing distance, and into none that is farther off than the best it knows: to
    begin with, where the voxel before it ended. So time follows surfaces and how far they are apart, and not the volume between them.
    """
    axes = memory_order(ours)
    spacing = (float(spacing_mm[axes[0]]), float(spacing_mm[axes[1]]), float(spacing_mm[axes[2]]))
    forth, back = (_lines(np.ascontiguousarray(mask.transpose(axes)).view(np.uint8)) for mask in (ours, theirs))
    return _nearest(forth, back, spacing), _nearest(back, forth, spacing)


@compiled
def _lines(mask: np.ndarray) -> Lines:
    planes, rows, length = mask.shape
    starts = np.zeros((planes, rows + 1), np.int64)
    total = 0
    for a in range(planes):
        starts[a, 0] = total
        for b in range(rows):
            total += int(mask[a, b].sum())
            starts[a, b + 1] = total
    places = np.empty(total, np.int32)
    links = np.empty((2, planes, rows + 1), np.int32)
    low, high = np.full(planes, length, np.int32), np.full(planes, -1, np.int32)
    for a in range(planes):
        links[0, a, rows], links[1, a, 0] = rows, -1
        for b in range(rows):
            voxel, stop = starts[a, b], starts[a, b + 1]
            links[1, a, b + 1] = links[1, a, b] if voxel == stop else b
            for c in range(length if voxel < stop else 0):
                if mask[a, b, c]:
                    places[voxel] = c
                    low[a], high[a] = min(low[a], c), max(high[a], c)
                    voxel += 1
        for b in range(rows - 1, -1, -1):
            links[0, a, b] = links[0, a, b + 1] if starts[a, b] == starts[a, b + 1] else b
    return Lines(starts, places, links, low, high)


@compiled
def _nearest(of: Lines, to: Lines, spacing: Triple) -> np.ndarray:
    found = np.empty(len(of.places), np.float64)
    reached = (-1, -1, -1)  # no voxel yet
    for a in range(of.starts.shape[0]):
        for b in range(of.starts.shape[1] - 1):
            for voxel in range(of.starts[a, b], of.starts[a, b + 1]):
                square, reached = _search(to, (a, b, of.places[voxel]), spacing, reached)
                found[voxel] = np.sqrt(square)
    return found


@compiled
def _search(to: Lines, here: Voxel, spacing: Triple, reached: Voxel) -> tuple[float, Voxel]:
    """(squared distance of the nearest voxel, where it is). reached: some voxel there is, or (-1, -1, -1)."""
    planes, rows = to.starts.shape[0], to.starts.shape[1] - 1
    best = _apart(here, reached, spacing) if reached[0] >= 0 else np.inf
    for step in range(2 * planes):  # planes by their distance: 0, -1, 1, -2, 2, ...
        away = (step + 1) // 2
        across = _square(away, spacing[0])
        if across >= best:
            break
        a = here[0] - away if step % 2 else here[0] + away
        if not 0 <= a < planes or to.low[a] > to.high[a]:
            continue
        along = _square(max(0, to.low[a] - here[2], here[2] - to.high[a]), spacing[2])  # no voxel of the plane is nearer in this direction
        for way in range(2):
            b = to.links[way, a, here[1]]
            while 0 <= b < rows:
                aside = across + _square(b - here[1], spacing[1])
                if aside + along >= best:
                    break
                first, last = to.starts[a, b], to.starts[a, b + 1] - 1
                while last - first > 1:  # the nearest is one of these two in the end
                    middle = (first + last) // 2
                    if to.places[middle] < here[2]:
                        first = middle
                    else:
                        last = middle
                for voxel in (first, last):
                    square = aside + _square(to.places[voxel] - here[2], spacing[2])
                    if square < best:
                        best, reached = square, (a, b, to.places[voxel])
                b = to.links[way, a, b + 1 - way]
    return best, reached


@compiled
def _square(steps: int, spacing: float) -> float:
    return (steps * spacing) * (steps * spacing)


@compiled
def _apart(one: Voxel, other: Voxel, spacing: Triple) -> float:
    """Squared distance."""
    return _square(one[0] - other[0], spacing[0]) + _square(one[1] - other[1], spacing[1]) + _square(one[2] - other[2], spacing[2])
