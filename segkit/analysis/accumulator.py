"""What is kept of a population of voxels: its size does not depend on how many volumes they came from."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from segkit.analysis.channels import leading
from segkit.analysis.lowest import Lowest
from segkit.analysis.moments import Moments

CHUNK = 2**21  # features in float64 at a time: 16 MiB


@dataclass(frozen=True, eq=False)
class CaseMean:
    """Of one case: how many voxels, and the mean of their features, float32 [D]."""

    count: int
    mean: np.ndarray


@dataclass(frozen=True, eq=False)
class Accumulator:
    """Voxels of one true class in one split, with one outcome.

    moments: of the features. leads: int64 [W, D], in how many voxels a channel is among the K largest of the class embedding
    (feature times class weight), one row for each of W readings of the weights. reservoir: a random sample of the features. cases: by id,
    for intervals; the only part that grows, by 4 D + some 200 bytes a case.
    `+` merges two populations. A case that stands in both is one case.
    """

    moments: Moments
    leads: np.ndarray
    reservoir: Lowest
    cases: Mapping[str, CaseMean] = field(default_factory=dict)

    @classmethod
    def empty(cls, weights: np.ndarray, reservoir: int) -> "Accumulator":
        """Of no voxel. weights: [W, D]; reservoir: rows to keep at most."""
        nothing = np.empty((0, weights.shape[1]), dtype=np.float32)
        sample = Lowest(reservoir)
        sample.add(np.empty(0), nothing)
        return cls(Moments.of(nothing), np.zeros(weights.shape, dtype=np.int64), sample)

    @classmethod
    def of(cls, case: str, features: np.ndarray, key: np.ndarray, weights: np.ndarray, k: int, reservoir: int) -> "Accumulator":
        """Of voxels of one case, at least one.

        features: float32 [n, D]. key: float64 [n], random: the reservoir holds the lowest. weights: float64 [W, D], of their class.
        """
        moments, leads = Moments.of(features[:0]), np.zeros(weights.shape, dtype=np.int64)
        rows = max(1, CHUNK // weights.shape[1])
        for start in range(0, len(features), rows):
            chunk = features[start : start + rows].astype(np.float64)
            moments += Moments.of(chunk)
            for index, weight in enumerate(weights):
                leads[index] += leading(chunk * weight, k).sum(axis=0)
        sample = Lowest(reservoir)
        sample.add(key, features)
        sample.rows()
        return cls(moments, leads, sample, {case: CaseMean(moments.count, moments.mean.astype(np.float32))})

    def case_means(self) -> np.ndarray:
        """The mean features of each case by ascending id, float64 [cases, D]."""
        means = [self.cases[case].mean for case in sorted(self.cases)]
        return np.array(means, dtype=np.float64).reshape(-1, len(self.moments.mean))

    def __add__(self, other: "Accumulator") -> "Accumulator":
        sample = Lowest(self.reservoir.most)
        sample.add(*self.reservoir.rows())
        sample.add(*other.reservoir.rows())
        sample.rows()
        cases = {**self.cases, **other.cases}
        for case in self.cases.keys() & other.cases.keys():
            cases[case] = _together(self.cases[case], other.cases[case])
        return Accumulator(self.moments + other.moments, self.leads + other.leads, sample, cases)


def _together(a: CaseMean, b: CaseMean) -> CaseMean:
    count = a.count + b.count
    return CaseMean(count, a.mean + (b.mean - a.mean) * np.float32(b.count / count))
