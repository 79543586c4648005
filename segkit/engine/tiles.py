"""Whole volumes through a network, tile by tile: class probabilities on the network's grid."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
import torch
from torch import Tensor

from segkit.engine.device import Precision, autocast, laid_out
from segkit.models.base import Lattice, Network, Shape
from segkit.models.blocks import Faces
from segkit.models.deepmedic import Cells, DeepMedicNetwork
from segkit.sampling.patch import Place, image_of

CELLS = 32  # low-resolution cells of an axis computed at once
EXACT_TILE = (45, 45, 45)  # little halo, and small enough to leave out what holds no ROI voxel
SIGMA = 1 / 8  # of the Gaussian over a tile, in tile lengths


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


def bounding_box(roi: Tensor) -> Box | None:
    """The smallest box around the True voxels of roi [X, Y, Z]; None where there are none."""
    start, stop = [], []
    for axis in range(3):
        held = torch.nonzero(roi.any(dim=tuple(other for other in range(3) if other != axis))).flatten()
        if not len(held):
            return None
        start.append(int(held[0]))
        stop.append(int(held[-1]) + 1)
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


@torch.inference_mode()
def probabilities(
    network: Network, image: Tensor, roi: Tensor, tile: Shape, overlap: float, mirrored: tuple[int, ...], precision: Precision
) -> Tensor:
    """Class probabilities float32 [C, X, Y, Z] of image [M, X, Y, Z]; outside the ROI (bool [X, Y, Z]) certain background.

    Exact networks are tiled without overlap and do not depend on `tile`; others blend tiles that overlap.
    mirrored: the mean over the volume flipped along every subset of these axes (0, 1, 2); of none, the volume as it is.
    """
    network.eval()
    one_pass = exact_pass if network.exact else blended_pass
    flips = [axes for count in range(len(mirrored) + 1) for axes in combinations(mirrored, count)]
    total: Tensor | None = None
    for axes in flips:
        with autocast(image.device, precision):
            seen = one_pass(network, image.flip([axis + 1 for axis in axes]), roi.flip(axes), tile, overlap)  # type: ignore[arg-type]
        seen = seen.flip([axis + 1 for axis in axes])
        total = seen if total is None else total.add_(seen)
    assert total is not None
    total /= len(flips)
    total[:, ~roi] = 0
    total[0, ~roi] = 1
    return total


def exact_pass(network: DeepMedicNetwork, image: Tensor, roi: Tensor, tile: Shape, overlap: float) -> Tensor:
    """DeepMedic over a volume. overlap plays no part."""
    out = torch.zeros((network.classifier.out_channels, *roi.shape), device=image.device)
    for part, features in exact_features(network, image, roi, tile):
        out[:, *part.slices] = network.classifier(features)[0].float().softmax(0)
    return out


def exact_features(network: DeepMedicNetwork, image: Tensor, roi: Tensor, tile: Shape) -> Iterator[tuple[Box, Tensor]]:
    """What the classifier reads, [1, D, x, y, z] of disjoint boxes that together hold every ROI voxel, at most a tile each.

    Low-resolution pathways are computed once for all tiles, the rest reads its real neighbors.
    """
    box = bounding_box(roi)
    if box is None:
        return
    context = [Context.over(network, index, image, box) for index in range(1, len(network.strides))]
    for part in needed(disjoint_tiles(box, tile), roi):
        seen, faces = widened(part, network.halo, roi.shape)
        normal = Lattice(1, _shape(size + 2 * network.border for size in seen.shape), (-network.border,) * 3)
        local = network.path_map(0, *laid_out((image_of(image, normal, Place(seen.start, seen.shape))[None],), network))
        yield part, network.tile_features(local, [cells.at(seen) for cells in context], faces)


def widened(box: Box, voxels: int, extent: Sequence[int]) -> tuple[Box, Faces]:
    """A box with `voxels` more at each face, but at those where the volume ends; and which these are."""
    low = [start == 0 for start in box.start]
    high = [stop == size for stop, size in zip(box.stop, extent, strict=True)]
    start = _shape(max(0, first - voxels) for first in box.start)
    stop = _shape(min(size, last + voxels) for last, size in zip(box.stop, extent, strict=True))
    return Box(start, stop), (low[0], high[0], low[1], high[1], low[2], high[2])


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
        first = _shape(max(0, start - network.halo) // stride for start in box.start)
        last = _shape((min(size, stop + network.halo) - 1) // stride for stop, size in zip(box.stop, image.shape[1:], strict=True))
        grid = Box(first, _shape(cell + 1 for cell in last))
        cells: Tensor | None = None
        for block in disjoint_tiles(grid, (CELLS, CELLS, CELLS)):
            offset = _shape(start + stride * cell for start, cell in zip(origin, block.start, strict=True))
            lattice = Lattice(stride, _shape(size + 2 * network.border for size in block.shape), offset)
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
        return Cells(self.cells[:, :, *held], _shape(start % self.stride for start in box.start))


def blended_pass(network: Network, image: Tensor, roi: Tensor, tile: Shape, overlap: float) -> Tensor:
    """Any network over a volume: overlapping tiles, their probabilities weighted by a Gaussian around the tile's center."""
    extent = _shape(roi.shape)
    out = torch.zeros((network.classifier.out_channels, *extent), device=image.device)
    weights = torch.zeros(extent, device=image.device)
    bump = gaussian(tile).to(image.device)
    lattices = network.lattices(tile)
    for start in overlapping_starts(extent, tile, overlap):
        inside = Box(_shape(max(0, s) for s in start), _shape(min(s + n, size) for s, n, size in zip(start, tile, extent, strict=True)))
        if not roi[inside.slices].any():
            continue
        place = Place(start, tile)
        logits = network(laid_out(tuple(image_of(image, lattice, place)[None] for lattice in lattices), network))
        shares = logits[0].float().softmax(0)
        local = tuple(slice(a - s, b - s) for a, b, s in zip(inside.start, inside.stop, start, strict=True))
        out[:, *inside.slices] += shares[:, *local] * bump[local]
        weights[inside.slices] += bump[local]
    return out.div_(weights.clamp_(min=torch.finfo(torch.float32).tiny))


def disjoint_tiles(box: Box, tile: Shape) -> Iterator[Box]:
    """Tiles that cover a box once, from its low corner; the last of an axis may be smaller."""
    ranges = [range(start, stop, size) for start, stop, size in zip(box.start, box.stop, tile, strict=True)]
    for corner in product(*ranges):
        yield Box(_shape(corner), _shape(min(c + size, stop) for c, size, stop in zip(corner, tile, box.stop, strict=True)))


def needed(tiles: Iterable[Box], roi: Tensor) -> Iterator[Box]:
    """Of each tile the smallest box around its ROI voxels; tiles without any are left out."""
    for tile in tiles:
        inner = bounding_box(roi[tile.slices])
        if inner is not None:
            yield Box(*(_shape(a + b for a, b in zip(tile.start, corner, strict=True)) for corner in (inner.start, inner.stop)))


def overlapping_starts(extent: Shape, tile: Shape, overlap: float) -> Iterator[Shape]:
    """First voxels of tiles spread evenly over a volume, neighbors sharing at least `overlap` of a tile.

    A volume smaller than the tile sits in its middle, so the start is negative.
    """
    axes = []
    for size, length in zip(extent, tile, strict=True):
        room = size - length
        if room <= 0:
            axes.append([room // 2])
            continue
        count = int(np.ceil(room / max(1.0, length * (1 - overlap)))) + 1
        axes.append([int(start) for start in np.linspace(0, room, count).round()])
    yield from product(*axes)


def gaussian(tile: Shape) -> Tensor:
    """exp(-d^2 / (2 sigma^2)), d from the center of a tile, sigma an eighth of its length on each axis; at least 1e-3."""
    bump = torch.ones(1)
    for size in tile:
        away = torch.arange(size) - (size - 1) / 2
        bump = bump[..., None] * torch.exp(-((away / (SIGMA * size)) ** 2) / 2)
    return bump[0].clamp(min=1e-3)


def _shape(values: Iterable[int]) -> Shape:
    x, y, z = values
    return int(x), int(y), int(z)
