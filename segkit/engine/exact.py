"""DeepMedic over a volume, in disjoint tiles that are not seen in the result."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from segkit.engine.device import laid_out
from segkit.engine.tiles import Box, disjoint_tiles, mirrored, needed, shape_of, widened
from segkit.models.base import Lattice, Shape
from segkit.models.deepmedic import Cells, DeepMedicNetwork
from segkit.sampling.patch import Place, image_of

CELLS = 32  # low-resolution cells of an axis computed at once
EXACT_TILE = (45, 45, 45)  # little halo, and small enough to leave out what holds no ROI voxel


class Exact:
    """The mean of an exact network's probabilities over the volume flipped along each of `flips`, some rows at a time.

    Each flip has a copy of the image and cells of its own, since the grid of cells begins at the flipped volume's voxel 0.
    """

    def __init__(
        self, network: DeepMedicNetwork, image: Tensor, roi: np.ndarray, box: Box, tile: Shape, flips: Sequence[tuple[int, ...]] = ((),)
    ) -> None:
        self.network, self.box, self.flips = network, box, flips
        self.edges = (*range(box.start[0], box.stop[0], tile[0]), box.stop[0])
        self._extent = shape_of(roi.shape)
        self._sides = [
            Side.over(network, image.flip([axis + 1 for axis in axes]), np.flip(roi, axes), mirrored(box, self._extent, axes), tile)
            for axes in flips
        ]

    def rows(self, start: int, stop: int) -> Tensor:
        """Class probabilities float32 [C, stop - start, y, z] of these rows of the box; 0 where a tile was left out."""
        part = Box((start, *self.box.start[1:]), (stop, *self.box.stop[1:]))
        total: Tensor | None = None
        for axes, side in zip(self.flips, self._sides, strict=True):
            seen = side.probabilities(self.network, mirrored(part, self._extent, axes)).flip([axis + 1 for axis in axes])
            total = seen if total is None else total.add_(seen)
        assert total is not None
        return total.div_(len(self.flips))


@dataclass(frozen=True)
class Side:
    """A volume as it is seen, flipped or not, and the cells of its low-resolution pathways, computed once for all tiles."""

    image: Tensor  # [M, X, Y, Z]
    roi: np.ndarray
    context: tuple["Context", ...]
    tile: Shape

    @classmethod
    def over(cls, network: DeepMedicNetwork, image: Tensor, roi: np.ndarray, box: Box, tile: Shape) -> "Side":
        """Ready for every part of the box."""
        return cls(image, roi, tuple(Context.over(network, index, image, box) for index in range(1, len(network.strides))), tile)

    def probabilities(self, network: DeepMedicNetwork, box: Box) -> Tensor:
        """float32 [C, x, y, z]; 0 where a tile was left out."""
        out = torch.zeros((network.classifier.out_channels, *box.shape), device=self.image.device)
        for part, features in self.features(network, box):
            inside = tuple(slice(a - low, b - low) for a, b, low in zip(part.start, part.stop, box.start, strict=True))
            out[:, *inside] = network.classifier(features)[0].float().softmax(0)
        return out

    def features(self, network: DeepMedicNetwork, box: Box) -> Iterator[tuple[Box, Tensor]]:
        """What the classifier reads, [1, D, x, y, z] of disjoint boxes that together hold every ROI voxel of the box, a tile each at most.

        A tile reads its real neighbors.
        """
        for part in needed(disjoint_tiles(box, self.tile), self.roi):
            seen, faces = widened(part, network.halo, self.roi.shape)
            normal = Lattice(1, shape_of(size + 2 * network.border for size in seen.shape), (-network.border,) * 3)
            local = network.path_map(0, *laid_out((image_of(self.image, normal, Place(seen.start, seen.shape))[None],), network))
            yield part, network.tile_features(local, [cells.at(seen) for cells in self.context], faces)


@dataclass(frozen=True)
class Context:
    """Feature maps of one low-resolution pathway. Cell k is centered on voxels ks .. ks + s - 1 of the volume; `first` is held first."""

    cells: Tensor  # [1, D, x, y, z]
    first: Shape
    stride: int

    @classmethod
    def over(cls, network: DeepMedicNetwork, index: int, image: Tensor, box: Box) -> "Context":
        """Pathway `index` on every cell that a tile of the box and its halo touch, in blocks of cells: a valid pathway has no seams."""
        stride = network.strides[index]
        origin = network.lattices((1, 1, 1))[index].offset  # of the first sample that cell 0 reads
        first = shape_of(max(0, start - network.halo) // stride for start in box.start)
        last = shape_of((min(size, stop + network.halo) - 1) // stride for stop, size in zip(box.stop, image.shape[1:], strict=True))
        grid = Box(first, shape_of(cell + 1 for cell in last))
        cells: Tensor | None = None
        for block in disjoint_tiles(grid, (CELLS, CELLS, CELLS)):
            offset = shape_of(start + stride * cell for start, cell in zip(origin, block.start, strict=True))
            lattice = Lattice(stride, shape_of(size + 2 * network.border for size in block.shape), offset)
            maps = network.path_map(index, *laid_out((image_of(image, lattice, Place((0, 0, 0), (1, 1, 1)))[None],), network))
            if cells is None:
                cells = maps.new_empty((1, maps.shape[1], *grid.shape))
            inside = tuple(slice(a - b, c - b) for a, b, c in zip(block.start, first, block.stop, strict=True))
            cells[:, :, *inside] = maps
        assert cells is not None
        return cls(cells, first, stride)

    def at(self, box: Box) -> Cells:
        """The cells of a box of voxels."""
        held = [
            slice(start // self.stride - cell, (stop - 1) // self.stride + 1 - cell)
            for start, stop, cell in zip(box.start, box.stop, self.first, strict=True)
        ]
        return Cells(self.cells[:, :, *held], shape_of(start % self.stride for start in box.start))
