"""Batches: patches drawn by the balance, cut and augmented, the same for a step whatever happened before."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from segkit.config.settings import Settings
from segkit.models.base import Lattice, Shape
from segkit.sampling.augment import Augment, Drawn, draw
from segkit.sampling.balance import Balance, Center
from segkit.sampling.counter import Purpose, fast, host
from segkit.sampling.patch import Place, cut


class Sampling(Settings):
    """Where patches come from, their shape, and what is done to them."""

    patch_shape: tuple[int, int, int] = Field(description="output voxels")
    proportions: dict[str, float] | None = Field(
        None, description="share of centers per class, or of background and foreground; null: equal"
    )
    case_first: bool = Field(False, description="draw the case before the class")
    offset: int = Field(0, ge=0, description="largest random distance of the patch's center from the drawn voxel, voxels per axis")
    keep_inside: bool = Field(False, description="move patches into the volume; where it is smaller, center it in the patch")
    residence: Literal["auto", "device", "host", "disk"] = "auto"
    augment: Augment = Augment()

    @model_validator(mode="after")
    def _shares_sum_to_one(self) -> "Sampling":
        if min(self.patch_shape) < 1:
            raise ValueError(f"patch_shape: expected 3 voxel counts > 0, got {list(self.patch_shape)}")
        if self.proportions is not None:
            if min(self.proportions.values(), default=0.0) < 0:
                raise ValueError("proportions: expected shares >= 0")
            total = sum(self.proportions.values())
            if abs(total - 1) > 1e-6:
                raise ValueError(f"proportions: expected shares that sum to 1, got a sum of {total:g}")
        return self


@dataclass(frozen=True)
class Resident:
    """One training case where the sampler reads it."""

    id: str
    image: Tensor  # [M, X, Y, Z], stored dtype
    label: Tensor  # uint8 [X, Y, Z]
    spacing_mm: tuple[float, float, float]


@dataclass(frozen=True)
class Batch:
    """Patches of one step.

    image: one float32 tensor [B, M, ...] per lattice. label: uint8 [B, X, Y, Z] class indices, IGNORED where none.
    classes: class index of each center. augmented: which patches were.
    """

    image: tuple[Tensor, ...]
    label: Tensor
    cases: tuple[str, ...]
    centers: tuple[Shape, ...]
    classes: tuple[int, ...]
    augmented: tuple[bool, ...]

    def class_voxels(self, classes: int) -> Tensor:
        """Labelled voxels per class in this batch: int64 [C], where the batch is (nothing waits for the device)."""
        return torch.stack([(self.label == index).sum() for index in range(classes)])


class Loader:
    """Makes the batch of any step from (seed, step) alone.

    volumes and balance speak of the same cases in the same order. rare: class indices always augmented where augmentation is asymmetric.
    first: index of this process's first sample in the global batch, `count` how many it makes.
    """

    def __init__(
        self,
        settings: Sampling,
        volumes: Sequence[Resident],
        balance: Balance,
        lattices: tuple[Lattice, ...],
        *,
        rare: frozenset[int] = frozenset(),
        seed: int,
        count: int,
        first: int = 0,
        device: torch.device,
    ) -> None:
        self.settings, self.volumes, self.balance, self.lattices = settings, volumes, balance, lattices
        self.rare, self.seed, self.first, self.count = rare, seed, first, count
        self.device = device

    def batch(self, step: int) -> Batch:
        """The patches of `step`, on the device the volumes live on (moved to `device` at the end)."""
        centers, places = [], []
        for index in range(self.first, self.first + self.count):
            center = self.balance.draw(rng := host(self.seed, step, index, Purpose.CENTER))
            centers.append(center)
            places.append(self._place(step, index, center, rng))
        patches = [self._cut(step, self.first + i, centers[i], place) for i, place in enumerate(places)]
        image = tuple(torch.stack(views).to(self.device, non_blocking=True) for views in zip(*(p[0] for p in patches), strict=True))
        return Batch(
            image=image,
            label=torch.stack([label for _, label in patches]).to(self.device, non_blocking=True),
            cases=tuple(self.volumes[center.case].id for center in centers),
            centers=tuple(center.voxel for center in centers),
            classes=tuple(center.index for center in centers),
            augmented=tuple(place.drawn != Drawn() for place in places),
        )

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """Batches of the steps start .. stop - 1; the next one is made while the caller works on the last."""
        if start >= stop:
            return
        threads = 1 if self.device.type == "cpu" else torch.get_num_threads()  # more would fight the training step for the cores
        with ThreadPoolExecutor(1, "sampler", torch.set_num_threads, (threads,)) as ahead:
            upcoming = ahead.submit(self.batch, start)
            for step in range(start + 1, stop + 1):
                batch = upcoming.result()
                if step < stop:
                    upcoming = ahead.submit(self.batch, step)
                yield batch

    def _place(self, step: int, index: int, center: Center, rng: np.random.Generator) -> Place:
        volume, shape = self.volumes[center.case], self.settings.patch_shape
        shift = rng.integers(-self.settings.offset, self.settings.offset + 1, 3)
        start = [int(voxel + move) - size // 2 for voxel, move, size in zip(center.voxel, shift, shape, strict=True)]
        if self.settings.keep_inside:
            room = [extent - size for extent, size in zip(volume.label.shape, shape, strict=True)]
            start = [min(max(s, 0), r) if r >= 0 else r // 2 for s, r in zip(start, room, strict=True)]
        augment = self.settings.augment
        rng = host(self.seed, step, index, Purpose.AUGMENT)
        drawn = draw(augment, rng, volume.image.shape[0], shape, volume.spacing_mm)
        if augment.asymmetric and center.index not in self.rare and rng.random() >= augment.other_probability:
            drawn = Drawn()
        return Place((start[0], start[1], start[2]), shape, drawn)

    def _cut(self, step: int, index: int, center: Center, place: Place) -> tuple[list[Tensor], Tensor]:
        volume = self.volumes[center.case]
        views, label = cut(volume.image, volume.label, self.lattices, place)
        if place.drawn.tone is not None:
            low = torch.stack([view.flatten(1).amin(1) for view in views]).amin(0)
            high = torch.stack([view.flatten(1).amax(1) for view in views]).amax(0)
            generator = fast(self.seed, step, index, Purpose.NOISE, views[0].device)
            views = [place.drawn.tone(view, low, high, generator) for view in views]
        return views, label
