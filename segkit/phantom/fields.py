"""Shapes made of numbers: smooth random fields, ellipsoids, tubes, and the filling of a shape to a wanted volume.

Everything is drawn in patient coordinates (Right, Anterior, Superior) and never in voxels, so one seed is one patient at every resolution.
A *level* is a field [X, Y, Z] that grows outward, in the units of its points: an organ is where its level is lowest.
"""

from collections.abc import Sequence

import numpy as np

Shape = tuple[int, int, int]
Vector = Sequence[float] | np.ndarray


def stream(seed: int, *key: int) -> np.random.Generator:
    """Counter-based random numbers that depend on the seed and the key (integers >= 0) alone.

    The key goes in as spawn key: as plain entropy, zeros at its end would not count.
    """
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=key)))


def spread(seed: int, index: int) -> tuple[float, float]:
    """Two numbers in [0, 1) that fill the square evenly as `index` runs, so that a small cohort already holds every kind.

    Kronecker's sequence (u, v) + index (golden ratio, sqrt 2) mod 1; the start (u, v) depends on the seed. No numbers are further from
    every fraction than these two, so each coordinate is even at any length.
    """
    u, v = stream(seed).random(2)
    return (u + index * (5**0.5 + 1) / 2) % 1, (v + index * 2**0.5) % 1


def points(shape: Shape, extent: Vector, codes: str) -> np.ndarray:
    """Patient coordinates [3, X, Y, Z] of the voxel centers of a box that is centered on 0.

    extent: size of the box along the array's axes. codes: where each axis points, L or R, then P or A, then I or S.
    """
    towards = [1.0 if code in "RAS" else -1.0 for code in codes]
    along = [way * size * ((np.arange(n) + 0.5) / n - 0.5) for n, size, way in zip(shape, extent, towards, strict=True)]
    return np.stack(np.meshgrid(*along, indexing="ij")).astype(np.float32)


def smooth(rng: np.random.Generator, shape: Shape, cells: int | Shape) -> np.ndarray:
    """A Gaussian random field [X, Y, Z]: mean 0, variance 1 at every voxel, correlated over 1/cells of the array.

    Cubic B-splines on independent normal nodes; each voxel's weights are scaled to unit length, which makes the variance exact.
    """
    counts = (cells,) * 3 if isinstance(cells, int) else cells
    field = rng.standard_normal([count + 3 for count in counts]).astype(np.float32)
    for axis, (n, count) in enumerate(zip(shape, counts, strict=True)):
        first, weights = _spline(n, count)
        lanes = [n if i == axis else 1 for i in range(3)]
        field = sum(field.take(first + tap, axis) * weights[tap].reshape(lanes) for tap in range(4))
    return field


def _spline(n: int, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """The first of the four nodes under each of n voxels [n], and their weights [4, n] of unit length."""
    place = (np.arange(n) + 0.5) / n * cells
    first = place.astype(int)
    t = place - first
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3])
    return first, (weights / np.linalg.norm(weights, axis=0)).astype(np.float32)


def filaments(rng: np.random.Generator, shape: Shape, cells: int, share: float) -> np.ndarray:
    """Thin winding tubes, bool [X, Y, Z], which take about `share` (0..1) of the array.

    They run where two independent fields a, b vanish together. a^2 + b^2 is exponential with mean 2, so P(a^2 + b^2 < s) = 1 - exp(-s / 2).
    """
    a, b = smooth(rng, shape, cells), smooth(rng, shape, cells)
    return a * a + b * b < -2 * np.log1p(-share)


def ellipsoid(at: np.ndarray, center: Vector, radii: Vector, axes: np.ndarray | None = None) -> np.ndarray:
    """Level of an ellipsoid: about the distance to its surface, negative inside.

    With q the point in units of the radii it is |q| (|q| - 1) / |q / radii|, the first-order distance.
    at: points [3, ...]. axes: rotation [3, 3] whose rows are the ellipsoid's axes in patient coordinates; None is upright.
    """
    offset = at - _column(center, at)
    if axes is not None:
        offset = np.tensordot(axes.astype(np.float32), offset, axes=1)
    scaled = offset / _column(radii, at)
    reach = np.sqrt(np.square(scaled).sum(axis=0))
    slope = np.sqrt(np.square(scaled / _column(radii, at)).sum(axis=0))
    return reach * (reach - 1) / np.maximum(slope, 1e-6)


def tube(at: np.ndarray, path: np.ndarray, radii: Vector) -> np.ndarray:
    """Level of a tube of varying radius: distance to the polyline `path` [N, 3] less the radius there (`radii`, N)."""
    level = np.full(at.shape[1:], np.inf, np.float32)
    for start, end, near, far in zip(path[:-1], path[1:], radii[:-1], radii[1:], strict=True):
        run = np.asarray(end, float) - start
        offset = at - _column(start, at)
        t = np.clip(np.tensordot((run / (run @ run)).astype(np.float32), offset, axes=1), 0, 1)
        distance = np.sqrt(sum((offset[i] - np.float32(run[i]) * t) ** 2 for i in range(3)))
        np.minimum(level, distance - (near + (far - near) * t), out=level)
    return level


def tilt(rng: np.random.Generator, degrees: float) -> np.ndarray:
    """A random small rotation [3, 3]: a normal angle of `degrees` standard deviation about each axis."""
    turned = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(rng.normal(0, degrees, 3))):
        i, j = (k for k in range(3) if k != axis)
        about = np.eye(3)
        about[i, i] = about[j, j] = np.cos(angle)
        about[i, j], about[j, i] = -np.sin(angle), np.sin(angle)
        turned = about @ turned
    return turned


def fill(level: np.ndarray, free: np.ndarray, count: int) -> np.ndarray:
    """The `count` free voxels of the lowest level, bool [X, Y, Z]; all free ones where there are fewer."""
    candidates = np.flatnonzero(free)
    chosen = np.zeros(free.size, bool)
    if count >= len(candidates):
        chosen[candidates] = True
    elif count > 0:
        chosen[candidates[np.argpartition(level.ravel()[candidates], count - 1)[:count]]] = True
    return chosen.reshape(free.shape)


def _column(vector: Vector, at: np.ndarray) -> np.ndarray:
    return np.asarray(vector, np.float32).reshape(3, *[1] * (at.ndim - 1))
