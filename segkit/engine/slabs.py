"""A volume's class probabilities, some rows at a time: the mean over networks and their flips, never held whole."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from typing import Protocol, cast

import numpy as np
import torch
from torch import Tensor

from segkit.engine.blend import Blend
from segkit.engine.device import Precision, autocast
from segkit.engine.exact import Exact
from segkit.engine.tiles import Box, bounding_box, shape_of
from segkit.models.base import Network, Shape
from segkit.models.deepmedic import DeepMedicNetwork
from segkit.volume.resample import largest

SMALLEST_TILE = 15  # voxels of an axis of an exact network: of smaller ones the halo is most of the work
BACKGROUND_ROWS = 16  # made at once where nothing is predicted


class Pass(Protocol):
    """A network over one volume. edges: the rows of its box between which it is best asked, from the first to one after the last."""

    @property
    def edges(self) -> Sequence[int]: ...

    def rows(self, start: int, stop: int) -> Tensor:
        """Class probabilities float32 [C, stop - start, y, z] of rows of the box, good until the next call. Each row once, in order."""
        ...


@dataclass(frozen=True)
class View:
    """How a network looks at volumes.

    tile: voxels at once. overlap: share of a tile that neighbors have in common at least; exact networks need none.
    mirrored: the mean over the volume flipped along every subset of these axes (0, 1, 2); of none, the volume as it is.
    batch: overlapping tiles, and their flips, computed at once; disjoint ones come one by one.
    """

    network: Network
    tile: Shape
    overlap: float
    mirrored: tuple[int, ...] = ()
    batch: int = 1

    def lighter(self) -> "View | None":
        """One that takes less memory and, up to rounding, sees the same; None where there is none."""
        if not self.network.exact:
            return replace(self, batch=self.batch // 2) if self.batch > 1 else None
        tile = shape_of(max(min(side, SMALLEST_TILE), side - SMALLEST_TILE) for side in self.tile)
        return replace(self, tile=tile) if tile != self.tile else None

    def over(self, image: Tensor, roi: np.ndarray, box: Box) -> Pass:
        """The pass over image [M, X, Y, Z], in a box around the ROI."""
        self.network.eval()
        flips = [axes for count in range(len(self.mirrored) + 1) for axes in combinations(self.mirrored, count)]
        if self.network.exact:
            return Exact(cast(DeepMedicNetwork, self.network), image, roi, box, self.tile, flips)
        return Blend(self.network, image, roi, box, self.tile, self.overlap, flips, self.batch)


@dataclass(frozen=True, eq=False)
class Slab:
    """Class probabilities float32 [C, n, Y, Z] of rows start .. start + n - 1 of a volume. Good until the next slab is asked for."""

    start: int
    probabilities: Tensor

    @property
    def rows(self) -> slice:
        """For indexing the volume's first axis."""
        return slice(self.start, self.start + self.probabilities.shape[1])

    def labels(self) -> np.ndarray:
        """The most probable class of every voxel, uint8 [n, Y, Z], on the host; the lower one where two tie."""
        if self.probabilities.device.type != "cpu":
            return self.probabilities.argmax(0).to(torch.uint8).cpu().numpy()
        out = np.empty(self.probabilities.shape[1:], dtype=np.uint8)
        largest(self.probabilities.numpy(), out)
        return out


@torch.inference_mode()
def slabs(views: Sequence[View], image: Tensor, roi: np.ndarray, precision: Precision) -> Iterator[Slab]:
    """All rows of image [M, X, Y, Z] in their order, the mean over views.

    roi: bool [X, Y, Z], on the host; outside of it all is certain background.
    """
    classes, box = views[0].network.classifier.out_channels, bounding_box(roi)
    if box is None:
        yield from _background(classes, range(len(roi)), image)
        return
    yield from _background(classes, range(box.start[0]), image)
    with autocast(image.device, precision):
        passes = [view.over(image, roi, box) for view in views]
    edges = min((each.edges for each in passes), key=len)  # few tiles a row are cheap, few rows a tile are not
    for start, stop in pairwise(edges):
        with autocast(image.device, precision):
            total = passes[0].rows(start, stop)
            for other in passes[1:]:
                total += other.rows(start, stop)
        total /= len(passes)
        inside = torch.from_numpy(np.ascontiguousarray(roi[start:stop, box.slices[1], box.slices[2]])).to(image.device)
        total *= inside
        total[0] += ~inside
        yield Slab(start, _widened(total, box, image))
    yield from _background(classes, range(box.stop[0], len(roi)), image)


def probabilities(views: Sequence[View], image: Tensor, roi: np.ndarray, precision: Precision) -> Tensor:
    """All slabs as one: float32 [C, X, Y, Z]."""
    return torch.cat([slab.probabilities.clone() for slab in slabs(views, image, roi, precision)], dim=1)


def _background(classes: int, rows: range, image: Tensor) -> Iterator[Slab]:
    for first in rows[::BACKGROUND_ROWS]:
        certain = torch.zeros((classes, min(BACKGROUND_ROWS, rows.stop - first), *image.shape[2:]), device=image.device)
        certain[0] = 1
        yield Slab(first, certain)


def _widened(rows: Tensor, box: Box, image: Tensor) -> Tensor:
    """Rows of a box as rows of the volume."""
    if rows.shape[2:] == image.shape[2:]:
        return rows
    whole = rows.new_zeros((*rows.shape[:2], *image.shape[2:]))
    whole[0] = 1
    whole[:, :, box.slices[1], box.slices[2]] = rows
    return whole
