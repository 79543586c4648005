"""Features and logits of whole volumes: what analysis looks at, every voxel once."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv3d

from segkit.engine.device import Precision, autocast, laid_out
from segkit.engine.exact import Side
from segkit.engine.tiles import Box, bounding_box, overlapping_starts
from segkit.models.base import Network, Shape
from segkit.models.deepmedic import DeepMedicNetwork
from segkit.sampling.patch import Place, image_of


@dataclass(frozen=True)
class Tap:
    """One box of a volume.

    features: what the classifier reads, float32 [D, x, y, z]. logits: W features + b, float32 [C, x, y, z], whatever the precision of
    the features: rounded to bf16 they would be off by up to 1/256 of themselves.
    """

    box: Box
    features: Tensor
    logits: Tensor


@torch.inference_mode()
def tapped(network: Network, image: Tensor, roi: np.ndarray, tile: Shape, overlap: float, precision: Precision) -> Iterator[Tap]:
    """Boxes of image [M, X, Y, Z] that together hold every ROI voxel (bool [X, Y, Z]) once, and others beside them.

    Exact networks are cut into disjoint tiles, as in prediction. Others see the tiles that prediction blends, and of two that overlap
    each keeps its half: a blend of tiles is not the classifier's answer to any features. No mirrored passes.

    Raises ValueError for a network in training mode: dropout and batch statistics would be analyzed with it.
    """
    if network.training:
        raise ValueError("the network is in training mode: call eval() before analyzing it")
    weight, bias = network.classifier.weight.float(), network.classifier.bias
    box = bounding_box(roi)
    if box is None:
        return
    tiles = exact_features(network, image, roi, box, tile) if network.exact else owned_features(network, image, roi, box, tile, overlap)  # type: ignore[arg-type]
    while True:
        with autocast(image.device, precision):
            part = next(tiles, None)
        if part is None:
            return
        held, features = part
        features = features.float()
        yield Tap(held, features[0], conv3d(features, weight, None if bias is None else bias.float())[0])


def exact_features(network: DeepMedicNetwork, image: Tensor, roi: np.ndarray, box: Box, tile: Shape) -> Iterator[tuple[Box, Tensor]]:
    """Features [1, D, x, y, z] of disjoint boxes that hold every ROI voxel."""
    yield from Side.over(network, image, roi, box, tile).features(network, box)


def owned_features(network: Network, image: Tensor, roi: np.ndarray, box: Box, tile: Shape, overlap: float) -> Iterator[tuple[Box, Tensor]]:
    """Features [1, D, x, y, z] of overlapping tiles, each cut to what it owns; what holds no ROI voxel is left out."""
    lattices, starts = network.lattices(tile), list(overlapping_starts(box, tile, overlap))
    owned = [owned_ranges(sorted({start[axis] for start in starts}), tile[axis], box.start[axis], box.stop[axis]) for axis in range(3)]
    for start in starts:
        (x0, x1), (y0, y1), (z0, z1) = (ranges[low] for ranges, low in zip(owned, start, strict=True))
        own = Box((x0, y0, z0), (x1, y1, z1))
        if not roi[own.slices].any():
            continue
        place = Place(start, tile)
        features = network.features(laid_out(tuple(image_of(image, lattice, place)[None] for lattice in lattices), network))
        yield own, features[:, :, x0 - start[0] : x1 - start[0], y0 - start[1] : y1 - start[1], z0 - start[2] : z1 - start[2]]


def owned_ranges(starts: list[int], length: int, low: int, high: int) -> dict[int, tuple[int, int]]:
    """Start of each tile along an axis -> the voxels it owns, (first, after the last): up to the middle of what it shares with the next.

    Together the ranges are low .. high - 1, without gap or overlap.
    """
    cuts = [low, *((first + length + second) // 2 for first, second in pairwise(starts)), high]
    return {start: (cuts[index], cuts[index + 1]) for index, start in enumerate(starts)}
