"""Batches: patches drawn by the balance, cut and augmented, the same for a step whatever happened before."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from segkit.config.settings import Settings
from segkit.models.base import Lattice, Shape
from segkit.sampling.augment import Augment, Drawn, draw
from segkit.sampling.balance import Balance, Center
from segkit.sampling.counter import Purpose, Stream
from segkit.sampling.gather import gather
from segkit.sampling.memory import Memory
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

    @cached_property
    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Image and label of a case in the host's memory, C-contiguous, for those who know no tensors."""
        return self.image.contiguous().numpy(), self.label.contiguous().numpy()


@dataclass(frozen=True)
class Sample:
    """What was drawn for one patch. noise_seed: what its voxel noise is a function of."""

    center: Center
    place: Place
    noise_seed: int


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
    first: index of this process's first sample in the global batch, `count` how many it makes. threads: that cut patches in the host's
    memory, by default as many as torch computes with; they change no number.
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
        threads: int | None = None,
    ) -> None:
        self.settings, self.volumes, self.balance, self.lattices = settings, volumes, balance, lattices
        self.rare, self.seed, self.first, self.count = rare, seed, first, count
        self.device = device
        self.threads = threads or torch.get_num_threads()
        self._helpers = ThreadPoolExecutor(max(1, self.threads - 1), "cutter")
        self._memory = Memory()

    def batch(self, step: int) -> Batch:
        """The patches of `step`, cut where the volumes live and then moved to `device`."""
        samples = self._drawn(step)
        cases = [self.volumes[sample.center.case] for sample in samples]
        in_host = all(case.image.device.type == "cpu" for case in cases)
        image, label = self._gathered(samples, cases) if in_host else self._stacked(samples, cases)
        return Batch(
            image=tuple(view.to(self.device, non_blocking=True) for view in image),
            label=label.to(self.device, non_blocking=True),
            cases=tuple(case.id for case in cases),
            centers=tuple(sample.center.voxel for sample in samples),
            classes=tuple(sample.center.index for sample in samples),
            augmented=tuple(sample.place.drawn != Drawn() for sample in samples),
        )

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """Batches of the steps start .. stop - 1; the next one is made while the caller works on the last."""
        if start >= stop:
            return
        with ThreadPoolExecutor(1, "sampler") as ahead:
            upcoming = ahead.submit(self.batch, start)
            for step in range(start + 1, stop + 1):
                batch = upcoming.result()
                if step < stop:
                    upcoming = ahead.submit(self.batch, step)
                yield batch

    def _drawn(self, step: int) -> list[Sample]:
        stream, samples = Stream(self.seed), []
        for index in range(self.first, self.first + self.count):
            center = self.balance.draw(rng := stream.at(step, index, Purpose.CENTER))
            start = self._start(center, rng)
            drawn = self._augmentation(center, stream.at(step, index, Purpose.AUGMENT))
            noisy = drawn.tone is not None and drawn.tone.noise
            noise_seed = int(stream.at(step, index, Purpose.NOISE).integers(2**63)) if noisy else 0
            samples.append(Sample(center, Place(start, self.settings.patch_shape, drawn), noise_seed))
        return samples

    def _start(self, center: Center, rng: np.random.Generator) -> Shape:
        shape, most = self.settings.patch_shape, self.settings.offset
        shift = rng.integers(-most, most + 1, 3).tolist() if most else (0, 0, 0)
        start = [voxel + move - size // 2 for voxel, move, size in zip(center.voxel, shift, shape, strict=True)]
        if self.settings.keep_inside:
            room = [extent - size for extent, size in zip(self.volumes[center.case].label.shape, shape, strict=True)]
            start = [min(max(s, 0), r) if r >= 0 else r // 2 for s, r in zip(start, room, strict=True)]
        return start[0], start[1], start[2]

    def _augmentation(self, center: Center, rng: np.random.Generator) -> Drawn:
        augment, volume = self.settings.augment, self.volumes[center.case]
        drawn = draw(augment, rng, volume.image.shape[0], self.settings.patch_shape, volume.spacing_mm)
        if augment.asymmetric and center.index not in self.rare and rng.random() >= augment.other_probability:
            return Drawn()
        return drawn

    def _gathered(self, samples: Sequence[Sample], cases: Sequence[Resident]) -> tuple[list[Tensor], Tensor]:
        """Patches of volumes in the host's memory, by this thread and its helpers: each takes the next sample until none is left."""
        channels = cases[0].image.shape[0]
        image = [self._room((len(samples), channels, *lattice.shape), "float32") for lattice in self.lattices]
        label = self._room((len(samples), *self.settings.patch_shape), "uint8")
        views, targets = [view.numpy() for view in image], label.numpy()
        todo = iter(range(len(samples)))

        def work() -> None:
            for i in todo:
                gather(*cases[i].arrays, self.lattices, samples[i].place, samples[i].noise_seed, [view[i] for view in views], targets[i])

        helpers = [self._helpers.submit(work) for _ in range(min(self.threads, len(samples)) - 1)]
        work()
        for helper in helpers:
            helper.result()
        return image, label

    def _stacked(self, samples: Sequence[Sample], cases: Sequence[Resident]) -> tuple[list[Tensor], Tensor]:
        """Patches of volumes on the device."""
        pairs = zip(samples, cases, strict=True)
        patches = [cut(case.image, case.label, self.lattices, sample.place, sample.noise_seed) for sample, case in pairs]
        return [torch.stack(views) for views in zip(*(views for views, _ in patches), strict=True)], torch.stack(
            [label for _, label in patches]
        )

    def _room(self, shape: tuple[int, ...], dtype: str) -> Tensor:
        """Memory for a part of the batch; for one that goes to a device, pinned (torch itself uses that again)."""
        if self.device.type == "cuda":
            return torch.empty(shape, dtype=getattr(torch, dtype), pin_memory=True)
        return self._memory.lend(shape, dtype)
