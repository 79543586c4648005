"""How far two surfaces are apart, in mm: 95 % Hausdorff distance, average distance, surface Dice.

P, L the surface voxels of prediction and label; d(x, S) the distance from voxel center x to the nearest center in S. Every surface voxel
weighs the same, whatever the spacing.
"""

from typing import ClassVar

import numpy as np
from pydantic import Field

from segkit.metrics.base import Metric, Pair, metrics

SLACK = 1e-5  # headers store spacing as float32: 1 mm may be read as 1.0000001 mm and must not fall outside a tolerance of 1 mm


@metrics.register("hd95")
class Hausdorff95(Metric):
    """max(95th percentile of d(p, L) over p in P, the same of d(l, P) over l in L), percentiles interpolated linearly."""

    unit: ClassVar[str] = "mm"

    def __call__(self, pair: Pair) -> float | None:
        if pair.distances_mm is None:
            return None
        return float(max(np.percentile(directed, 95) for directed in pair.distances_mm))


@metrics.register("assd")
class AverageSurfaceDistance(Metric):
    """(sum over P of d(p, L) + sum over L of d(l, P)) / (|P| + |L|): average symmetric surface distance, both surfaces pooled."""

    unit: ClassVar[str] = "mm"

    def __call__(self, pair: Pair) -> float | None:
        if pair.distances_mm is None:
            return None
        return float(np.concatenate(pair.distances_mm).mean())


@metrics.register("nsd")
class NormalizedSurfaceDice(Metric):
    """Share of the surface voxels of both masks with d <= tolerance_mm, pooled.

    0 where a class is missed or spurious: there is a surface, and none of it is matched.
    Source: Nikolov et al., JMIR 2021, "Clinically applicable segmentation of head and neck anatomy"; here by voxel, not by area.
    """

    unit: ClassVar[str] = ""
    tolerance_mm: float = Field(1.0, gt=0, description="mm; a surface this far off still counts as matched")

    def __call__(self, pair: Pair) -> float | None:
        if pair.distances_mm is None:
            return None if pair.state == "absent" else 0.0
        return float((np.concatenate(pair.distances_mm) <= self.tolerance_mm * (1 + SLACK)).mean())
