"""Any network over a volume, in overlapping tiles, their probabilities weighted by a Gaussian around the tile's center."""

from collections.abc import Sequence
from itertools import product

import numpy as np
import torch
from torch import Tensor

from segkit.engine.accumulate import accumulate
from segkit.engine.device import laid_out
from segkit.engine.tiles import Box, overlapping_starts, shape_of
from segkit.models.base import Network, Shape
from segkit.sampling.augment import Drawn
from segkit.sampling.patch import Place, image_of

SIGMA = 1 / 8  # of the Gaussian over a tile, in tile lengths


class Blend:
    """Sums of weighted tiles over some rows: what lies behind them is done and forgotten, what lies before not begun.

    Each tile is seen flipped along each of `flips`; batch: tiles and their flips computed at once. The sums reach as deep as the tiles
    begun, so that a volume of any length takes the memory of one tile's depth.
    """

    def __init__(
        self,
        network: Network,
        image: Tensor,
        roi: np.ndarray,
        box: Box,
        tile: Shape,
        overlap: float,
        flips: Sequence[tuple[int, ...]] = ((),),
        batch: int = 1,
    ) -> None:
        self.network, self.image, self.roi, self.box, self.tile, self.flips = network, image, roi, box, tile, flips
        self.batch = batch
        self._starts = list(overlapping_starts(box, tile, overlap))
        self._lattices = network.lattices(tile)
        self._bump = gaussian(tile).to(image.device)
        self.edges = (box.start[0], *sorted({start[0] for start in self._starts})[1:], box.stop[0])
        self._first = box.start[0]  # row of the volume that stands first in the sums
        self._sums = torch.zeros((network.classifier.out_channels, 0, *box.shape[1:]), device=image.device)
        self._weights = torch.zeros((0, *box.shape[1:]), device=image.device)

    def rows(self, start: int, stop: int) -> Tensor:
        """Class probabilities float32 [C, stop - start, y, z] of these rows of the box; 0 where tiles were left out."""
        begun = [low for low in self._starts if low[0] < stop]
        self._starts = self._starts[len(begun) :]
        self._move(start, max(stop, min(self.box.stop[0], max((low[0] for low in begun), default=stop) + self.tile[0])))
        jobs = list(product((low for low in begun if self.roi[self._inside(low).slices].any()), self.flips))
        for first in range(0, len(jobs), self.batch):
            self._add(jobs[first : first + self.batch])
        done = self._sums[:, : stop - start]
        return done.div_(self._weights[: stop - start].clamp_(min=torch.finfo(torch.float32).tiny))

    def _move(self, start: int, stop: int) -> None:
        """Let the sums begin at one row, and reach up to another at least."""
        passed, kept = start - self._first, self._sums.shape[1] - (start - self._first)
        for sums in (self._weights[None], self._sums):
            for channel in sums if passed else ():
                channel[:kept] = channel[passed:].clone()
                channel[kept:] = 0
        self._first = start
        missing = stop - start - self._sums.shape[1]
        if missing > 0:
            rows = self._weights.new_zeros((missing, *self._weights.shape[1:]))
            self._weights = torch.cat((self._weights, rows))
            self._sums = torch.cat((self._sums, rows.expand(len(self._sums), *rows.shape)), dim=1)

    def _add(self, jobs: Sequence[tuple[Shape, tuple[int, ...]]]) -> None:
        seen = [
            torch.stack([image_of(self.image, lattice, Place(start, self.tile, flipped(axes))) for start, axes in jobs])
            for lattice in self._lattices
        ]
        logits = self.network(laid_out(tuple(seen), self.network)).float()
        for (start, axes), own in zip(jobs, logits, strict=True):
            inside = self._inside(start)
            here = [a - low for a, low in zip(inside.start, start, strict=True)]
            there = [a - low for a, low in zip(inside.start, (self._first, *self.box.start[1:]), strict=True)]
            straight = own.flip([axis + 1 for axis in axes]) if axes else own
            accumulate(straight, self._bump, self._sums, self._weights, here, there, inside.shape)

    def _inside(self, start: Shape) -> Box:
        """The part of a tile that lies in the box."""
        low = shape_of(max(first, at) for first, at in zip(self.box.start, start, strict=True))
        high = shape_of(min(last, at + size) for last, at, size in zip(self.box.stop, start, self.tile, strict=True))
        return Box(low, high)


def flipped(axes: Sequence[int]) -> Drawn:
    """A patch mirrored along axes."""
    return Drawn(flip=(0 in axes, 1 in axes, 2 in axes))


def gaussian(tile: Shape) -> Tensor:
    """exp(-d^2 / (2 sigma^2)), d from the center of a tile, sigma an eighth of its length on each axis; at least 1e-3."""
    bump = torch.ones(1)
    for size in tile:
        away = torch.arange(size) - (size - 1) / 2
        bump = bump[..., None] * torch.exp(-((away / (SIGMA * size)) ** 2) / 2)
    return bump[0].clamp(min=1e-3)
