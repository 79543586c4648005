"""Where patches are centered: a class by its share, a case that holds it, a voxel of that class."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from segkit.config.errors import InputError
from segkit.models.base import Shape

FOREGROUND = "foreground"


@dataclass(frozen=True)
class Voxels:
    """Labelled ROI voxels of one case, sorted by class.

    flat: C-order indices into a volume of shape `shape`; class c's are flat[offsets[c] : offsets[c + 1]].
    """

    flat: np.ndarray
    offsets: tuple[int, ...]
    shape: Shape

    def count(self, group: range) -> int:
        """Voxels of the classes in `group`."""
        return self.offsets[group.stop] - self.offsets[group.start]

    def pick(self, group: range, rng: np.random.Generator) -> tuple[Shape, int]:
        """A voxel of the classes in `group`, all alike, and its class index."""
        position = self.offsets[group.start] + int(rng.integers(self.count(group)))
        plane, z = divmod(int(self.flat[position]), self.shape[2])
        return (*divmod(plane, self.shape[1]), z), bisect_right(self.offsets, position) - 1


@dataclass(frozen=True)
class Center:
    """A drawn center: case by its position in the training list, the voxel, and its class index."""

    case: int
    voxel: Shape
    index: int


class Balance:
    """Draws centers: first a class by `proportions`, then a case uniformly among those that hold it, then a voxel uniformly inside the ROI.

    proportions: class name -> share, summing to 1; "foreground" stands for all classes but the background together.
    case_first: first a case uniformly, then a class by the shares of those it holds (DeepMedic's law).
    Raises InputError (SK-S001) where a class with a share has no voxel in any training case.
    """

    def __init__(self, cases: Sequence[Voxels], names: Sequence[str], proportions: Mapping[str, float], case_first: bool = False) -> None:
        self.cases, self.case_first = cases, case_first
        last = len(names)
        groups = {name: range(i, i + 1) for i, name in enumerate(names)} | {FOREGROUND: range(1, last)}
        self.groups = [groups[name] for name, share in proportions.items() if share > 0]
        shares = np.array([share for share in proportions.values() if share > 0])
        self.shares = shares / shares.sum()
        self.ends = _ends(self.shares)
        self.holders = [[i for i, case in enumerate(cases) if case.count(group)] for group in self.groups]
        empty = [name for (name, share), holders in zip(self._named(proportions), self.holders, strict=True) if not len(holders)]
        if empty:
            raise InputError(
                "SK-S001",
                f"no training case holds a voxel of {', '.join(empty)}",
                where="sampling.proportions",
                expected="every class with a share to have labelled voxels inside the ROI of a training case",
                got=f"{len(cases)} training cases without any",
                remedy="check dataset.classes against the label files, use more training cases, or give the class the share 0",
            )
        self.ends_of = [self._ends_of(case) for case in cases] if case_first else []

    @staticmethod
    def _named(proportions: Mapping[str, float]) -> list[tuple[str, float]]:
        return [(name, share) for name, share in proportions.items() if share > 0]

    def _ends_of(self, case: Voxels) -> list[float]:
        """Of the classes that a case holds; empty where it holds none of those with a share."""
        held = self.shares * [case.count(group) > 0 for group in self.groups]
        return _ends(held / held.sum()) if held.any() else []

    def draw(self, rng: np.random.Generator) -> Center:
        """One center."""
        if self.case_first:
            case = int(rng.integers(len(self.cases)))
            if not self.ends_of[case]:  # another case, by the same law
                return self.draw(rng)
            group = self.groups[bisect_right(self.ends_of[case], rng.random())]
        else:
            chosen = bisect_right(self.ends, rng.random())
            group, holders = self.groups[chosen], self.holders[chosen]
            case = holders[int(rng.integers(len(holders)))]
        return Center(case, *self.cases[case].pick(group, rng))


def _ends(shares: np.ndarray) -> list[float]:
    """Where each share's part of 0..1 ends: a uniform number falls into one, as in numpy's `choice`, which adds them up at every call."""
    ends = np.cumsum(shares)
    return (ends / ends[-1]).tolist()
