"""Count, mean and scatter of vectors, merged without seeing the vectors again."""

from dataclasses import dataclass

import numpy as np

FULL = 512  # channels up to which covariances are kept: 512^2 float64 are 2 MB


@dataclass(frozen=True, eq=False)
class Moments:
    """Of n vectors x in R^D, in float64:

        mean = sum x / n    [D], zeros where n = 0
        scatter = sum (x - mean)(x - mean)^T    [D, D]; its diagonal [D] where D > 512

    `+` merges two sets of vectors:  scatter = scatter_a + scatter_b + d d^T n_a n_b / n  with d = mean_b - mean_a.

    Source: Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances" (1979).
    """

    count: int
    mean: np.ndarray
    scatter: np.ndarray

    @classmethod
    def of(cls, vectors: np.ndarray) -> "Moments":
        """vectors: [n, D], n may be 0."""
        n, channels = vectors.shape
        mean = vectors.mean(axis=0, dtype=np.float64) if n else np.zeros(channels)
        centered = vectors - mean
        return cls(n, mean, centered.T @ centered if channels <= FULL else (centered**2).sum(axis=0))

    def __add__(self, other: "Moments") -> "Moments":
        count = self.count + other.count
        if not count:
            return self
        distance = other.mean - self.mean
        between = np.outer(distance, distance) if self.scatter.ndim == 2 else distance**2
        mean = self.mean + distance * (other.count / count)
        return Moments(count, mean, self.scatter + other.scatter + between * (self.count * other.count / count))

    @property
    def variance(self) -> np.ndarray:
        """By channel [D], divided by n - 1; NaN for less than two vectors."""
        squares = np.diagonal(self.scatter) if self.scatter.ndim == 2 else self.scatter
        return squares / (self.count - 1) if self.count > 1 else np.full(len(self.mean), np.nan)

    @property
    def participation(self) -> float:
        """Participation ratio  tr(S)^2 / tr(S^2)  of the covariance S: in how many directions the vectors vary.

        From 1 (along a line) to D (equally in all). NaN where S is zero or was not kept.
        """
        if self.scatter.ndim != 2 or not self.scatter.any():
            return np.nan
        return float(np.trace(self.scatter) ** 2 / (self.scatter**2).sum())
