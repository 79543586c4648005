"""The density of points in a plane, every case weighing the same, and the regions that hold most of it."""

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import gaussian_filter


def density(cases: Sequence[np.ndarray], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A Gaussian kernel estimate in the cells between the edges x [I + 1] and y [J + 1]: [I, J], the share of points in each cell.

    cases: points [n, 2] of each case, at least one of all. A point weighs 1 / n of its case; the kernel's width is Scott's rule for the
    effective number of points, (sum w)^2 / sum w^2, and no less than a cell. Points are counted in cells first, so that a million of them
    cost no more than a thousand.
    """
    points = np.concatenate(cases)
    weights = np.concatenate([np.full(len(case), 1 / len(case)) for case in cases]) / len(cases)
    counted, _, _ = np.histogram2d(points[:, 0], points[:, 1], bins=(x, y), weights=weights)
    factor = np.sum(weights**2) ** (1 / 6)  # n^(-1 / (d + 4)) in d = 2 dimensions
    center = weights @ points
    spread = np.sqrt(weights @ (points - center) ** 2)
    cell = np.array([x[1] - x[0], y[1] - y[0]])
    return gaussian_filter(counted, np.maximum(1.0, factor * spread / cell), mode="constant")


def levels(field: np.ndarray, shares: Sequence[float]) -> list[float]:
    """For each share of the whole the density at the rim of the smallest region that holds it. field: [I, J], not all 0."""
    ranked = np.sort(field, axis=None)[::-1]
    held = np.cumsum(ranked) / ranked.sum()
    return [float(ranked[min(int(np.searchsorted(held, share)), len(ranked) - 1)]) for share in shares]
