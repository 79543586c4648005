"""Patches on the CPU: from the stored volume into their batch in one pass, by compiled loops.

What is computed is said in `patch.py` and by `Tone`, which serve other devices. Both agree up to rounding, but for the voxel noise: it is
another draw of the same law.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.polynomial import Chebyshev, Polynomial

from segkit.config.compiled import compiled
from segkit.models.base import Lattice, Shape
from segkit.sampling.augment import Tone, Warp
from segkit.sampling.patch import Place, centered, indices_along, output_of
from segkit.volume.labels import IGNORED

fused = partial(compiled, fused=True)
HALF, ZERO, ONE = np.float32(0.5), np.float32(0), np.float32(1)


def _fit(law: Callable[[np.ndarray], np.ndarray], degree: int) -> tuple[np.float32, ...]:
    """Coefficients of the polynomial that stands for `law` on 0..1, the constant first."""
    return tuple(np.float32(c) for c in Chebyshev.interpolate(law, degree, [0, 1]).convert(kind=Polynomial).coef)


# To float32's precision. Compilers turn polynomials into vector code, and calls of a mathematical library into one call a voxel.
LOG2 = _fit(lambda t: np.log2(1 + t), 8)
EXP2 = _fit(np.exp2, 5)
COSINE = _fit(lambda t: np.cos(np.pi * t), 9)


class Path(NamedTuple):
    """The samples of a lattice in a volume: (i, j, k) lies at `matrix @ (x[i], y[j], z[k]) + center`, in voxels, displaced by the field.

    field: displacements [3, a, b, c] at control points, of size 0 where there are none. Along each axis the samples lie behind the control
    points `cells`, by `shares` of the way to the next ones.
    """

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    matrix: np.ndarray
    center: np.ndarray
    field: np.ndarray
    cells: tuple[np.ndarray, ...]
    shares: tuple[np.ndarray, ...]


def gather(
    image: np.ndarray,
    label: np.ndarray,
    lattices: Sequence[Lattice],
    place: Place,
    noise_seed: int,
    views: Sequence[np.ndarray],
    target: np.ndarray,
) -> None:
    """Fill `views` (float32 [M, x, y, z], one a lattice) and `target` (uint8 [X, Y, Z]) with the patch that `patch.cut` makes.

    image: float16 or float32 [M, X, Y, Z]; label: uint8 [X, Y, Z]; both C-contiguous. The interpreter's lock is free meanwhile.
    """
    warp, tone = place.drawn.warp, place.drawn.tone
    stored = image.view(np.uint16) if image.dtype == np.float16 else image  # numba has no half floats
    if warp is None:
        for lattice, view in zip(lattices, views, strict=True):
            _slice(stored, *_strides(lattice, place), view)
        _slice_label(label, *_strides(output_of(place), place), target)
    else:
        if 1 in stored.shape[1:]:  # interpolation reads two neighbors an axis
            stored = np.pad(stored, [(0, 0), *((0, int(size == 1)) for size in stored.shape[1:])], mode="edge")
        for lattice, view in zip(lattices, views, strict=True):
            _interpolate(stored, _path(lattice, place, warp), view)
        _nearest(label, _path(output_of(place), place, warp), target)
    if tone is not None:
        _color(tone, noise_seed, views)


def _strides(lattice: Lattice, place: Place) -> tuple[Shape, Shape]:
    """The volume index of the lattice's first sample, and the step to the next, an axis each."""
    x, y, z = (indices_along(lattice, place, axis) for axis in range(3))
    return (x.start, y.start, z.start), (x.step, y.step, z.step)


def _path(lattice: Lattice, place: Place, warp: Warp) -> Path:
    field = np.empty((3, 2, 2, 2), np.float32)[..., :0] if warp.field is None else warp.field.numpy()
    axes, cells, shares = [], [], []
    for axis in range(3):
        (first, step), points = centered(lattice, place, axis), max(2, field.shape[axis + 1])
        along = (first + step * np.arange(lattice.shape[axis])).astype(np.float32)
        inside = np.clip(along / np.float32(warp.spacing) + np.float32((points - 1) / 2), 0, points - 1)
        axes.append(along)
        cells.append(np.minimum(inside.astype(np.int32), points - 2))
        shares.append(inside - cells[-1].astype(np.float32))
    center = np.array([start + (size - 1) / 2 for start, size in zip(place.start, place.shape, strict=True)], np.float32)
    x, y, z = axes
    return Path(x, y, z, warp.matrix.astype(np.float32), center, np.ascontiguousarray(field), tuple(cells), tuple(shares))


def _color(tone: Tone, noise_seed: int, views: Sequence[np.ndarray]) -> None:
    low = high = np.zeros(len(tone.gamma), np.float32)
    if (tone.gamma != 1).any():
        flat = [view.reshape(len(view), -1) for view in views]
        low = np.min([values.min(1) for values in flat], axis=0)
        high = np.max([values.max(1) for values in flat], axis=0)
    span = np.maximum(high - low, np.float32(1e-6))
    gamma, shift, scale = (law.astype(np.float32) for law in (tone.gamma, tone.shift, tone.scale))
    key = np.random.SeedSequence(noise_seed).generate_state(1, np.uint64)[0] | np.uint64(1)
    first = 0
    for view in views:
        _tone(view, low, span, gamma, shift, scale, np.float32(tone.noise), key, first)
        first += view.size


def _floats(count: int) -> Any:
    """A function of (flat array, index): `count` neighbors as a tuple of float32, from one load. 16-bit numbers are halves."""

    def floats(context: Any, array: Any, index: Any) -> Any:
        halves = array.dtype == types.uint16

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            several = (lambda kind: ir.VectorType(kind, count)) if count > 1 else lambda kind: kind
            stored = several(ir.HalfType() if halves else ir.FloatType())
            data = context.make_array(array)(context, builder, arguments[0]).data
            address = builder.bitcast(builder.gep(data, [arguments[1]]), stored.as_pointer())
            values = builder.load(address, align=2 if halves else 4)
            if halves:
                values = builder.fpext(values, several(ir.FloatType()))
            single = [builder.extract_element(values, ir.Constant(ir.IntType(32), i)) for i in range(count)] if count > 1 else [values]
            return context.make_tuple(builder, signature.return_type, single)

        return types.UniTuple(types.float32, count)(array, types.uintp), generate

    return intrinsic(floats)


_one, _two = _floats(1), _floats(2)


@fused
def _clamped(index: int, size: int) -> Any:
    """Unsigned, since numba counts a negative index from the end, and asks for each."""
    return np.uintp(min(max(index, 0), size - 1))


@fused
def _slice(volume: np.ndarray, first: tuple[int, int, int], step: tuple[int, int, int], view: np.ndarray) -> None:
    channels, size_x, size_y, size_z = volume.shape
    n = view.shape[3]
    dense = step[2] == 1 and first[2] >= 0 and first[2] + n <= size_z
    for m in range(channels):
        for i in range(view.shape[1]):
            x = _clamped(first[0] + i * step[0], size_x)
            for j in range(view.shape[2]):
                row, out = volume[m, x, _clamped(first[1] + j * step[1], size_y)], view[m, i, j]
                if dense:  # vector code
                    begin = np.uintp(first[2])
                    for k in range(n):
                        out[k] = _one(row, begin + np.uintp(k))[0]
                else:
                    for k in range(n):
                        out[k] = _one(row, _clamped(first[2] + k * step[2], size_z))[0]


@fused
def _slice_label(label: np.ndarray, first: tuple[int, int, int], step: tuple[int, int, int], target: np.ndarray) -> None:
    size_x, size_y, size_z = label.shape
    for i in range(target.shape[0]):
        x = first[0] + i * step[0]
        for j in range(target.shape[1]):
            y = first[1] + j * step[1]
            if x < 0 or x >= size_x or y < 0 or y >= size_y:
                target[i, j] = IGNORED
                continue
            row, out = label[x, y], target[i, j]
            for k in range(len(out)):
                z = first[2] + k * step[2]
                out[k] = row[_clamped(z, size_z)] if 0 <= z < size_z else IGNORED


@fused
def _between(position: Any, size: int) -> Any:
    """The lower of the two grid points around a position, and how far it is from there: 0..1. At least 2 points; clamped to them."""
    inside = min(max(position, ZERO), np.float32(size - 1))
    low = min(np.int32(inside), np.int32(size - 2))
    return low, inside - np.float32(low)


@fused
def _trace(path: Path, i: int, j: int, line: np.ndarray, points: np.ndarray) -> None:
    """points [3, z]: volume coordinates of the samples (i, j, :). line [c] is for work."""
    matrix, field, n = path.matrix, path.field, len(path.z)
    for axis in range(3):
        begin, along = matrix[axis, 0] * path.x[i] + matrix[axis, 1] * path.y[j] + path.center[axis], matrix[axis, 2]
        for k in range(n):
            points[axis, k] = begin + along * path.z[k]
    if field.size == 0:
        return
    # lattice and control points have the same axes: the first two are interpolated once a row
    u, v, f, g = path.cells[0][i], path.cells[1][j], path.shares[0][i], path.shares[1][j]
    cells, shares = path.cells[2], path.shares[2]
    for axis in range(3):
        for c in range(len(line)):
            low = field[axis, u, v, c] + g * (field[axis, u, v + 1, c] - field[axis, u, v, c])
            high = field[axis, u + 1, v, c] + g * (field[axis, u + 1, v + 1, c] - field[axis, u + 1, v, c])
            line[c] = low + f * (high - low)
        for k in range(n):
            c = cells[k]
            points[axis, k] += line[c] + shares[k] * (line[c + 1] - line[c])


@fused
def _interpolate(volume: np.ndarray, path: Path, view: np.ndarray) -> None:
    """Trilinear, clamped to the border."""
    channels, size_x, size_y, size_z = volume.shape
    n = len(path.z)
    line, points, distance = np.empty(path.field.shape[3], np.float32), np.empty((3, n), np.float32), np.empty((3, n), np.float32)
    corner = np.empty(n, np.uintp)
    down, across = np.uintp(size_z), np.uintp(size_y * size_z)
    for i in range(len(path.x)):
        for j in range(len(path.y)):
            _trace(path, i, j, line, points)
            for k in range(n):
                x, distance[0, k] = _between(points[0, k], size_x)
                y, distance[1, k] = _between(points[1, k], size_y)
                z, distance[2, k] = _between(points[2, k], size_z)
                corner[k] = (np.uintp(x) * np.uintp(size_y) + np.uintp(y)) * down + np.uintp(z)
            for m in range(channels):
                voxels, out = volume[m].ravel(), view[m, i, j]
                for k in range(n):
                    f, g, h, at = distance[0, k], distance[1, k], distance[2, k], corner[k]
                    # pairs along z are blended as pairs, and with one another last: that makes half of the work
                    a0, a1 = _two(voxels, at)
                    b0, b1 = _two(voxels, at + down)
                    c0, c1 = _two(voxels, at + across)
                    d0, d1 = _two(voxels, at + across + down)
                    low0, low1 = a0 + g * (b0 - a0), a1 + g * (b1 - a1)
                    high0, high1 = c0 + g * (d0 - c0), c1 + g * (d1 - c1)
                    left, right = low0 + f * (high0 - low0), low1 + f * (high1 - low1)
                    out[k] = left + h * (right - left)


@fused
def _nearest(label: np.ndarray, path: Path, target: np.ndarray) -> None:
    size_x, size_y, size_z = label.shape
    n, voxels = len(path.z), label.ravel()
    line, points, at = np.empty(path.field.shape[3], np.float32), np.empty((3, n), np.float32), np.empty(n, np.int64)
    for i in range(len(path.x)):
        for j in range(len(path.y)):
            _trace(path, i, j, line, points)
            for k in range(n):
                x, y, z = np.int32(np.rint(points[0, k])), np.int32(np.rint(points[1, k])), np.int32(np.rint(points[2, k]))
                inside = (x >= 0) & (x < size_x) & (y >= 0) & (y < size_y) & (z >= 0) & (z < size_z)
                at[k] = (np.int64(x) * size_y + y) * size_z + z if inside else -1
            out = target[i, j]
            for k in range(n):
                out[k] = voxels[np.uintp(at[k])] if at[k] >= 0 else IGNORED


@fused
def _polynomial(coefficients: tuple[np.float32, ...], t: Any) -> Any:
    value = coefficients[-1]
    for i in range(len(coefficients) - 2, -1, -1):
        value = value * t + coefficients[i]
    return value


@fused
def _log2(value: Any) -> Any:
    """Of a normal float32 > 0: its exponent, and the logarithm of its mantissa 1 + t."""
    bits = np.float32(value).view(np.int32)
    t = np.int32((bits & np.int32(0x7FFFFF)) | np.int32(0x3F800000)).view(np.float32) - ONE
    return np.float32((bits >> np.int32(23)) - np.int32(127)) + _polynomial(LOG2, t)


@fused
def power_of_two(exponent: Any) -> Any:
    """2 ^ exponent for -126 <= exponent <= 127."""
    whole = np.floor(exponent)
    two = np.int32((np.int32(whole) + np.int32(127)) << np.int32(23)).view(np.float32)
    return two * _polynomial(EXP2, exponent - whole)


@fused
def _power(value: Any, exponent: Any) -> Any:
    """value ^ exponent for 0 <= value <= 1 and an exponent > 0."""
    return power_of_two(max(exponent * _log2(value), np.float32(-126))) if value > 0 else ZERO


@fused
def _normal(number: int, key: Any) -> Any:
    """The standard normal of a number under an odd 64-bit key of mixed bits: 32 bits by "Squares" (Widynski 2020), then Box and Muller.

    Half of the bits are a radius, the others an angle in 0..pi: sqrt(-2 ln u) cos(pi t).
    """
    turn = np.uint64(32)
    y = np.uint64(number) * key
    z = y + key
    x = y * y + y
    x = (x >> turn) | (x << turn)
    x = x * x + z
    x = (x >> turn) | (x << turn)
    x = x * x + y
    x = (x >> turn) | (x << turn)
    bits = np.uint32((x * x + z) >> turn)
    u = (np.float32(bits >> np.uint32(16)) + HALF) * np.float32(2**-16)
    t = (np.float32(bits & np.uint32(0xFFFF)) + HALF) * np.float32(2**-16)
    return np.sqrt(np.float32(-2 * np.log(2)) * _log2(u)) * _polynomial(COSINE, t)


@fused
def _tone(
    view: np.ndarray,
    low: np.ndarray,
    span: np.ndarray,
    gamma: np.ndarray,
    shift: np.ndarray,
    scale: np.ndarray,
    noise: np.float32,
    key: np.uint64,
    first: int,
) -> None:
    """In place. first: the number of the first voxel among all of the patch, for the noise."""
    for m in range(len(view)):
        bottom, height, exponent, add, factor = low[m], span[m], gamma[m], shift[m], scale[m]
        for i in range(view.shape[1]):
            values = view[m, i].ravel()  # one step after the other, on what the cache can hold
            if exponent != ONE:
                for k in range(len(values)):
                    unit = min(max((values[k] - bottom) / height, ZERO), ONE)
                    values[k] = _power(unit, exponent) * height + bottom
            for k in range(len(values)):
                values[k] = (values[k] + add) * factor
            if noise > ZERO:
                number = first + (m * view.shape[1] + i) * len(values)
                for k in range(len(values)):
                    values[k] += noise * _normal(number + k, key)
