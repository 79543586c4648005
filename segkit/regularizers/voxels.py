"""The voxels of a batch by class: sorted, found again on the grid, and drawn."""

from typing import NamedTuple

import torch
from torch import Generator, Tensor


class Voxels(NamedTuple):
    """The N = B X Y Z voxels of a batch, sorted by class.

    label: int64 [N], C where ignored. order: int64 [N], the voxels of class 0, those of 1, ..., those ignored.
    begins, counts: int64 [C], where in `order` a class begins, and how many voxels it has.
    """

    label: Tensor
    order: Tensor
    begins: Tensor
    counts: Tensor


def by_class(target: Tensor) -> Voxels:
    """The voxels of a target [B, C, X, Y, Z]; a soft one is of its largest class."""
    classes = target.shape[1]
    label = target.argmax(dim=1).masked_fill(target.sum(dim=1) == 0, classes).flatten()
    in_order = label.short().sort(stable=True)
    borders = torch.searchsorted(in_order.values, torch.arange(classes + 1, device=target.device, dtype=torch.int16))
    return Voxels(label, in_order.indices, borders[:-1], borders.diff())


def nth_of_class(voxels: Voxels, classes: Tensor, n: Tensor) -> Tensor:
    """The nth voxel of each class, int64; some voxel of the batch where the class has none."""
    return voxels.order[(voxels.begins[classes] + n).clamp(max=len(voxels.order) - 1)]


def chosen_voxels(voxels: Voxels, weakened: Tensor, most: int, rng: Generator) -> Tensor:
    """All voxels, or `most` of them at random, those of weakened classes (bool [C + 1]) before others: int64 [min(N, most)]."""
    label = voxels.label
    if len(label) <= most:
        return torch.arange(len(label), device=label.device)
    key = torch.rand(len(label), generator=rng, device=rng.device, dtype=torch.float64).to(label.device)
    return key.masked_fill(~weakened[label], 2.0).topk(most, largest=False, sorted=False).indices


def drawn_classes(own: Tensor, available: Tensor, other: bool, u: Tensor) -> tuple[Tensor, Tensor]:
    """An available class for each of M voxels of class `own`, each as likely; with `other` not its own. u: float64 [M], 0 to 1.

    Returns int64 [M], and bool [M]: whether there was one.
    """
    up_to = available.cumsum(0)
    last, total = len(available) - 1, up_to[-1]
    if other:
        rank = (u * (total - 1)).long()
        rank = rank + (rank >= up_to[own.clamp(max=last)] - 1)  # the own class is left out of the numbering
    else:
        rank = (u * total).long()
    return torch.searchsorted(up_to, rank, right=True).clamp(max=last), rank < total


def places(flat: Tensor, grid: torch.Size) -> tuple[Tensor, ...]:
    """Indices into a grid, one tensor an axis, of flat ones."""
    found = []
    for size in reversed(grid):
        found.append(flat % size)
        flat = flat // size
    return tuple(reversed(found))
