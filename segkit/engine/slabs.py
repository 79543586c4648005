"""A volume's class probabilities, some rows at a time: the mean of several passes, never held whole."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Protocol

import torch
from torch import Tensor

from segkit.engine.blend import Blend
from segkit.engine.device import Precision, autocast
from segkit.engine.exact import Exact
from segkit.engine.tiles import Box, bounding_box
from segkit.models.base import Network, Shape

BACKGROUND_ROWS = 16  # made at once where nothing is predicted


class Pass(Protocol):
    """One network over one volume. `edges`: rows, ascending, between which it is best asked; the first and last are those of its box."""

    edges: Sequence[int]

    def rows(self, start: int, stop: int) -> Tensor:
        """Class probabilities float32 [C, stop - start, y, z] of these rows of the box. Asked from the first row on, each row once."""
        ...


@dataclass(frozen=True)
class View:
    """How a network is to look at volumes.

    tile: voxels at once. overlap: share of a tile that neighbors have in common at least; exact networks need none.
    mirrored: the mean over the volume flipped along every subset of these axes (0, 1, 2); of none, the volume as it is.
    """

    network: Network
    tile: Shape
    overlap: float
    mirrored: tuple[int, ...] = ()

    def passes(self, image: Tensor, roi: Tensor, box: Box) -> list[Pass]:
        """One for each flip of an exact network; any other averages the flips tile by tile."""
        self.network.eval()
        flips = [axes for count in range(len(self.mirrored) + 1) for axes in combinations(self.mirrored, count)]
        if self.network.exact:
            return [Exact(self.network, image, roi, box, self.tile, axes) for axes in flips]  # type: ignore[arg-type]
        return [Blend(self.network, image, roi, box, self.tile, self.overlap, flips)]


@dataclass(frozen=True, eq=False)
class Slab:
    """Class probabilities float32 [C, n, Y, Z] of rows start .. start + n - 1 of a volume. Good until the next one is asked for."""

    start: int
    probabilities: Tensor


@torch.inference_mode()
def slabs(views: Sequence[View], image: Tensor, roi: Tensor, precision: Precision) -> Iterator[Slab]:
    """All rows of image [M, X, Y, Z] in their order; outside the ROI (bool [X, Y, Z]) certain background.

    What is held at once is a tile's depth of rows for each pass, not the volume.
    """
    classes, box = views[0].network.classifier.out_channels, bounding_box(roi)
    if box is None:
        yield from background(classes, 0, roi)
        return
    yield from background(classes, 0, roi[: box.start[0]])
    with autocast(image.device, precision):
        passes = [each for view in views for each in view.passes(image, roi, box)]
    for start, stop in pairwise(passes[0].edges):
        with autocast(image.device, precision):
            total = passes[0].rows(start, stop)
            for other in passes[1:]:
                total += other.rows(start, stop)
        total /= len(passes)
        inside = roi[start:stop, box.slices[1], box.slices[2]]
        total *= inside
        total[0] += ~inside
        yield Slab(start, widened_to(total, roi.shape, box))
    yield from background(classes, box.stop[0], roi[box.stop[0] :])
