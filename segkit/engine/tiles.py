"""Where the tiles of a volume lie."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from segkit.models.base import Shape
from segkit.models.blocks import Faces


@dataclass(frozen=True)
class Box:
    """Voxels start .. stop - 1 of a volume, axis by axis."""

    start: Shape
    stop: Shape

    @property
    def shape(self) -> Shape:
        """Voxels along each axis."""
        x, y, z = (stop - start for start, stop in zip(self.start, self.stop, strict=True))
        return x, y, z

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """For indexing [X, Y, Z]."""
        x, y, z = (slice(start, stop) for start, stop in zip(self.start, self.stop, strict=True))
        return x, y, z


def bounding_box(roi: np.ndarray) -> Box | None:
    """The smallest box around the True voxels of roi [X, Y, Z]; None where there are none.

    Where the ROI lies is decided on the host: to ask a device would be to wait for it.
    """
    start, stop = [], []
    for axis in range(3):
        held = np.flatnonzero(roi.any(axis=tuple(other for other in range(3) if other != axis)))
        if not len(held):
            return None
        start.append(int(held[0]))
        stop.append(int(held[-1]) + 1)
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def mirrored(box: Box, extent: Shape, axes: Sequence[int]) -> Box:
    """Where a box lies once its volume is flipped along axes."""
    start, stop = list(box.start), list(box.stop)
    for axis in axes:
        start[axis], stop[axis] = extent[axis] - box.stop[axis], extent[axis] - box.start[axis]
    return Box(shape_of(start), shape_of(stop))


def widened(box: Box, voxels: int, extent: Sequence[int]) -> tuple[Box, Faces]:
    """A box with `voxels` more at each face, but at those where the volume ends; and which these are."""
    low = [start == 0 for start in box.start]
    high = [stop == size for stop, size in zip(box.stop, extent, strict=True)]
    start = shape_of(max(0, first - voxels) for first in box.start)
    stop = shape_of(min(size, last + voxels) for last, size in zip(box.stop, extent, strict=True))
    return Box(start, stop), (low[0], high[0], low[1], high[1], low[2], high[2])


def disjoint_tiles(box: Box, tile: Shape) -> Iterator[Box]:
    """Tiles that cover a box once, from its low corner; the last of an axis may be smaller."""
    ranges = [range(start, stop, size) for start, stop, size in zip(box.start, box.stop, tile, strict=True)]
    for corner in product(*ranges):
        yield Box(shape_of(corner), shape_of(min(c + size, stop) for c, size, stop in zip(corner, tile, box.stop, strict=True)))


def needed(tiles: Iterable[Box], roi: np.ndarray) -> Iterator[Box]:
    """Of each tile the smallest box around its ROI voxels; tiles without any are left out."""
    for tile in tiles:
        inner = bounding_box(roi[tile.slices])
        if inner is not None:
            yield Box(*(shape_of(a + b for a, b in zip(tile.start, corner, strict=True)) for corner in (inner.start, inner.stop)))


def overlapping_starts(box: Box, tile: Shape, overlap: float) -> Iterator[Shape]:
    """First voxels of tiles spread evenly over a box, neighbors sharing at least `overlap` of a tile; ordered along x, then y, then z.

    A box smaller than the tile sits in its middle, so that the tile begins before it.
    """
    axes = []
    for low, high, length in zip(box.start, box.stop, tile, strict=True):
        room = high - low - length
        if room <= 0:
            axes.append([low + room // 2])
            continue
        count = int(np.ceil(room / max(1.0, length * (1 - overlap)))) + 1
        axes.append([low + int(start) for start in np.linspace(0, room, count).round()])
    yield from product(*axes)


def shape_of(values: Iterable[int]) -> Shape:
    """Three plain numbers."""
    x, y, z = values
    return int(x), int(y), int(z)
