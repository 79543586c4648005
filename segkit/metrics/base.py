"""What a metric sees: one class of one case as two masks; and the driver that cuts label maps into such pairs."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np

from segkit.config.registry import Registry
from segkit.config.settings import Settings
from segkit.metrics.distance import distances
from segkit.metrics.voxels import EMPTY, boxes, surface, union

State = Literal["ok", "absent", "missed", "spurious"]


@dataclass(frozen=True, eq=False)
class Pair:
    """One class (or region) of one case: what was predicted and what the experts drew, on one grid.

    prediction, label: bool [X, Y, Z]. spacing_mm: voxel size along X, Y, Z. image_shape: of the whole image where the masks are a crop
    of it that holds all their foreground; default the masks' own shape. Cropping changes no result, since the image's border counts
    as outside. ignored: how many voxels of the whole image do not count; both masks are false there.
    """

    prediction: np.ndarray
    label: np.ndarray
    spacing_mm: tuple[float, float, float]
    image_shape: tuple[int, ...] | None = None
    ignored: int = 0

    def __post_init__(self) -> None:
        masks = (self.prediction, self.label)
        if self.prediction.shape != self.label.shape or any(mask.dtype != bool or mask.ndim != 3 for mask in masks):
            got = " and ".join(f"{mask.dtype} {mask.shape}" for mask in masks)
            raise ValueError(f"expected two bool masks [X, Y, Z] of one shape, got {got}")

    @cached_property
    def true_positives(self) -> int:
        """Voxels in both masks."""
        return int(np.count_nonzero(self.prediction & self.label))

    @cached_property
    def predicted(self) -> int:
        """Voxels of the prediction."""
        return int(np.count_nonzero(self.prediction))

    @cached_property
    def labeled(self) -> int:
        """Voxels of the label."""
        return int(np.count_nonzero(self.label))

    @property
    def false_positives(self) -> int:
        """Voxels of the prediction alone."""
        return self.predicted - self.true_positives

    @property
    def false_negatives(self) -> int:
        """Voxels of the label alone."""
        return self.labeled - self.true_positives

    @property
    def true_negatives(self) -> int:
        """Voxels of the whole image in neither mask, but for those that do not count."""
        return math.prod(self.image_shape or self.label.shape) - self.ignored - self.predicted - self.false_negatives

    @property
    def state(self) -> State:
        """`ok` in both masks, `absent` in neither, `missed` in the label only, `spurious` in the prediction only."""
        if self.labeled:
            return "ok" if self.predicted else "missed"
        return "spurious" if self.predicted else "absent"

    @property
    def extent_mm(self) -> float:
        """Diagonal of the whole image, the longest distance in it: 373.13 mm for 240 x 240 x 155 voxels of 1 mm."""
        return float(np.linalg.norm(np.multiply(self.image_shape or self.label.shape, self.spacing_mm)))

    @cached_property
    def distances_mm(self) -> tuple[np.ndarray, np.ndarray] | None:
        """For each surface voxel the distance to the nearest surface voxel of the other mask, float64, in mm.

        (from the prediction's surface to the label's, from the label's to the prediction's); None unless the state is `ok`. Between
        voxel centers, exact. Memory is that of the masks and their surfaces: one stray voxel at the far end of the scan costs nothing.
        """
        if self.state != "ok":
            return None
        return distances(surface(self.prediction), surface(self.label), self.spacing_mm)


class Metric(Settings):
    """A score of a `Pair`: a plug-in of the shelf.

    unit: "" for a fraction (0 the worst, 1 the best) or "mm" for a distance (0 the best).
    """

    name: ClassVar[str]
    unit: ClassVar[str]

    def __call__(self, pair: Pair) -> float | None:
        """The value, or None where it is not applicable: such a case stays out of the mean and is counted."""
        raise NotImplementedError


metrics: Registry[Metric] = Registry("metric", "segkit.metrics")


def segkit_value(metric: Metric, pair: Pair) -> float | None:
    """The metric as it is; None where it is not applicable."""
    return metric(pair)


def brats_value(metric: Metric, pair: Pair) -> float:
    """BraTS' convention, in which every case has a value.

    A class in neither mask scores best (1, or 0 mm), a missed or spurious one worst (0, or the image's diagonal).
    """
    best, worst = (0.0, pair.extent_mm) if metric.unit == "mm" else (1.0, 0.0)
    if pair.state == "absent":
        return best
    value = metric(pair) if pair.state == "ok" else None
    return worst if value is None else value


CONVENTIONS: Mapping[str, Callable[[Metric, Pair], float | None]] = {"segkit": segkit_value, "brats": brats_value}


def pairs(
    prediction: np.ndarray,
    label: np.ndarray,
    regions: Mapping[str, tuple[int, ...]],
    spacing_mm: tuple[float, float, float],
    ignored: int = 255,
) -> Iterator[tuple[str, Pair]]:
    """Each class or region of a case, by name, cut out of two maps of class indices [X, Y, Z] (unsigned integers).

    regions: name -> the class indices it unites. A voxel whose label is `ignored` belongs to neither mask of any pair. The maps are read
    as a whole once; a pair then costs the box around its region.
    """
    if prediction.shape != label.shape:
        raise ValueError(f"expected two maps of one shape, got {prediction.shape} and {label.shape}")
    count = 1 + max((index for members in regions.values() for index in members), default=0)
    found = [boxes(indices, max(count, ignored + 1)) for indices in (prediction, label)]
    nowhere = found[1][ignored] or EMPTY
    left_out = int(np.count_nonzero(label[nowhere] == ignored))
    whole = tuple(slice(0, length) for length in label.shape)
    for name, members in regions.items():
        around = whole if 0 in members else union(box[index] for box in found for index in members)
        predicted, labeled = (_united(indices[around], members) for indices in (prediction, label))
        if left_out:
            predicted &= label[around] != ignored
            labeled &= label[around] != ignored
        yield name, Pair(predicted, labeled, spacing_mm, label.shape, left_out)


def _united(indices: np.ndarray, members: tuple[int, ...]) -> np.ndarray:
    """Where a map has one of the indices. A comparison is vector code, a look-up in a table is not: for a few indices it is far slower."""
    mask = np.zeros_like(indices, dtype=bool)
    for index in members:
        mask |= indices == index
    return mask
