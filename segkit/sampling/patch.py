"""Cutting a patch: every lattice of a network, straight from the stored volume."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from segkit.models.base import Lattice, Shape
from segkit.sampling.augment import Drawn, Warp
from segkit.volume.labels import IGNORED

UNCHANGED = Drawn()


@dataclass(frozen=True)
class Place:
    """Where a patch lies: its first output voxel in the volume, its shape, and what was drawn for it."""

    start: Shape
    shape: Shape
    drawn: Drawn = UNCHANGED


def cut(image: Tensor, label: Tensor, lattices: Sequence[Lattice], place: Place, noise_seed: int = 0) -> tuple[list[Tensor], Tensor]:
    """A patch of volume [M, X, Y, Z] through every lattice (float32 [M, x, y, z] each), and its labels (uint8 [X, Y, Z]).

    An index outside the volume is clamped to the border voxel; labels there are IGNORED. Without a warp this is slicing, exact to the
    bit. With one, the volume is interpolated once: trilinear for intensities, the nearest voxel for labels. Tone comes last.
    """
    output, warp, tone = output_of(place), place.drawn.warp, place.drawn.tone
    if warp is None:
        views, target = [image_of(image, lattice, place) for lattice in lattices], _sliced_label(label, output, place)
    else:
        points = {lattice: _warped(lattice, place, warp, image.device) for lattice in dict.fromkeys((*lattices, output))}
        views, target = [_interpolated(image, points[lattice]) for lattice in lattices], _nearest(label, points[output])
    if tone is not None:
        low = torch.stack([view.flatten(1).amin(1) for view in views]).amin(0)
        high = torch.stack([view.flatten(1).amax(1) for view in views]).amax(0)
        generator = torch.Generator(image.device).manual_seed(noise_seed)
        views = [tone(view, low, high, generator) for view in views]
    return views, target


def output_of(place: Place) -> Lattice:
    """The lattice of a place's output voxels."""
    return Lattice(1, place.shape, (0, 0, 0))


def image_of(volume: Tensor, lattice: Lattice, place: Place) -> Tensor:
    """What a network sees through one lattice of an unwarped place: float32 [M, x, y, z], clamped to the volume's border."""
    return _sliced(volume, lattice, place).float()


def indices_along(lattice: Lattice, place: Place, axis: int) -> range:
    """Volume indices of the lattice's samples along one axis; descending where the patch is mirrored."""
    first, step = lattice.offset[axis], lattice.stride
    if place.drawn.flip[axis]:
        first, step = place.shape[axis] - 1 - first, -step
    first += place.start[axis]
    return range(first, first + step * lattice.shape[axis], step)


def centered(lattice: Lattice, place: Place, axis: int) -> tuple[float, int]:
    """Where the lattice's samples lie along one axis, in voxels from the patch's center: the first, and the step to the next."""
    first = lattice.offset[axis] - (place.shape[axis] - 1) / 2
    return (-first, -lattice.stride) if place.drawn.flip[axis] else (first, lattice.stride)


def _sliced_label(label: Tensor, output: Lattice, place: Place) -> Tensor:
    patch = _sliced(label[None], output, place)[0].clone()
    for axis in range(3):
        outside = [not 0 <= index < label.shape[axis] for index in indices_along(output, place, axis)]
        if any(outside):
            patch.movedim(axis, 0)[torch.tensor(outside, device=patch.device)] = IGNORED
    return patch


def _interpolated(volume: Tensor, points: Tensor) -> Tensor:
    """Volume [M, X, Y, Z] at points [x, y, z, 3], trilinear, from the smallest box that holds them."""
    low = [int(points[..., axis].min().floor().clamp(0, volume.shape[axis + 1] - 1)) for axis in range(3)]
    high = [int(points[..., axis].max().ceil().clamp(0, volume.shape[axis + 1] - 1)) for axis in range(3)]
    box = volume[:, low[0] : high[0] + 1, low[1] : high[1] + 1, low[2] : high[2] + 1].float()
    extent = torch.tensor(box.shape[1:], device=volume.device)
    unit = (points - torch.tensor(low, device=volume.device)) / (extent - 1).clamp(min=1) * 2 - 1
    return grid_sample(box[None], unit.flip(-1)[None], align_corners=True, padding_mode="border")[0]


def _nearest(label: Tensor, points: Tensor) -> Tensor:
    """Labels [X, Y, Z] of the voxels nearest to points [x, y, z, 3], IGNORED outside."""
    nearest = points.round().long()
    extent = torch.tensor(label.shape, device=label.device)
    inside = ((nearest >= 0) & (nearest < extent)).all(-1)
    x, y, z = torch.minimum(nearest.clamp(min=0), extent - 1).unbind(-1)
    return torch.where(inside, label[x, y, z], torch.full((), IGNORED, dtype=label.dtype, device=label.device))


def _sliced(volume: Tensor, lattice: Lattice, place: Place) -> Tensor:
    """Volume [M, X, Y, Z] at the lattice's indices, clamped to the border: slices where the lattice is inside, else an index."""
    for axis in range(3):
        indices = indices_along(lattice, place, axis)
        size = volume.shape[axis + 1]
        low, high = min(indices[0], indices[-1]), max(indices[0], indices[-1])
        if low >= 0 and high < size:
            kept = volume.movedim(axis + 1, 0)[low : high + 1 : lattice.stride].movedim(0, axis + 1)
            volume = kept.flip(axis + 1) if indices.step < 0 else kept
        else:
            clamped = torch.tensor([min(max(index, 0), size - 1) for index in indices], device=volume.device)
            volume = volume.index_select(axis + 1, clamped)
    return volume


def _warped(lattice: Lattice, place: Place, warp: Warp, device: torch.device) -> Tensor:
    """Volume coordinates [x, y, z, 3] of the lattice's samples under a warp about the patch's center, mirrored first."""
    axes = []
    for axis in range(3):
        first, step = centered(lattice, place, axis)
        axes.append(first + step * torch.arange(lattice.shape[axis], dtype=torch.float32, device=device))
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    moved = points @ torch.as_tensor(warp.matrix, dtype=torch.float32, device=device).T
    if warp.field is not None:
        moved = moved + warp.displacement(points)
    center = [start + (size - 1) / 2 for start, size in zip(place.start, place.shape, strict=True)]
    return moved + torch.tensor(center, dtype=torch.float32, device=device)
