"""Where voxels are: the way from the scanner's grid to the network's grid, and back.

native  --permute and flip axes-->  oriented  --resample about the center-->  resampled  --cut a box-->  network grid
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from segkit.volume import resample
from segkit.volume.resample import Positions, shared_center

Shape = tuple[int, int, int]
Triple = tuple[float, float, float]

SPACING_TOLERANCE = 1e-3  # relative
CORNER_TOLERANCE = 0.5  # voxels
SLAB_VOXELS = 2**22  # of native voxels made at once on the way back
SLAB_VALUES = 2**23  # of probabilities, all classes together, held for them


def spacing_of(affine: np.ndarray) -> Triple:
    """Distance of neighboring voxels along each axis, in mm."""
    x, y, z = voxel_sizes(np.asarray(affine, dtype=np.float64))
    return float(x), float(y), float(z)


def same_grid(shape_a: Shape, affine_a: np.ndarray, shape_b: Shape, affine_b: np.ndarray) -> str | None:
    """None if two grids hold the same voxels at the same places, else what differs, as text.

    Same: equal shapes, spacings within 1e-3 (relative), and no corner of a more than half a voxel away from the same corner of b.
    """
    if tuple(shape_a) != tuple(shape_b):
        return f"shape {_times(shape_a)} and {_times(shape_b)}"
    spacing_a, spacing_b = spacing_of(affine_a), spacing_of(affine_b)
    if not np.allclose(spacing_a, spacing_b, rtol=SPACING_TOLERANCE, atol=0):
        return f"spacing {_times(spacing_a)} and {_times(spacing_b)} mm"
    corners = np.array(np.meshgrid(*[(0, size - 1) for size in shape_a], indexing="ij")).reshape(3, -1)
    corners = np.vstack([corners, np.ones(8)])
    away = (np.linalg.inv(affine_a) @ affine_b @ corners - corners)[:3]
    farthest = float(np.linalg.norm(away, axis=0).max())
    if farthest > CORNER_TOLERANCE:
        return f"origin or direction: corners up to {farthest:.3g} voxels apart"
    return None


@dataclass(frozen=True)
class Native:
    """The native grid of a case, and how the network's grid lies in it. Plain data only.

    axes, flips: oriented axis i is native axis axes[i], run backwards if flips[i].
    ratio: network spacing / native spacing per oriented axis (1 where an axis is kept); None where nothing is resampled.
    resampled: shape after orientation and resampling. start, stop: the box cut out of it.
    """

    shape: Shape
    native_affine: tuple[tuple[float, ...], ...]
    axes: Shape
    flips: tuple[bool, bool, bool]
    ratio: Triple | None
    resampled: Shape
    start: Shape
    stop: Shape

    @classmethod
    def plan(cls, shape: Shape, affine: np.ndarray, orientation: str | None = None, spacing_mm: Triple | None = None) -> "Native":
        """The whole volume (no box cut yet) oriented to axis codes such as "RAS" and resampled to spacing_mm; None keeps what there is.

        New shape: round(n * old / new spacing), at least 1. An axis within 1e-4 (relative) of the wanted spacing is kept as it is.
        """
        axes, flips = _orientation(affine, orientation)
        oriented = tuple(shape[axis] for axis in axes)
        ratio, resampled = None, oriented
        if spacing_mm is not None:
            old = spacing_of(affine)
            ratio = tuple(_kept(new / old[axis]) for new, axis in zip(spacing_mm, axes, strict=True))
            resampled = tuple(max(1, round(size / r)) for size, r in zip(oriented, ratio, strict=True))
            ratio = None if all(r == 1 for r in ratio) else ratio
        rows = tuple(tuple(float(value) for value in row) for row in np.asarray(affine, dtype=np.float64))
        return cls(tuple(shape), rows, axes, flips, ratio, resampled, (0, 0, 0), resampled)  # type: ignore[arg-type]

    def cropped(self, start: Shape, stop: Shape) -> "Native":
        """The same grid with another box [start, stop) of the resampled volume cut out."""
        if not all(0 <= low < high <= size for low, high, size in zip(start, stop, self.resampled, strict=True)):
            raise ValueError(f"box {start} to {stop} is not inside {self.resampled}")
        return replace(self, start=start, stop=stop)

    @property
    def network_shape(self) -> Shape:
        """Voxels of the network's grid."""
        return tuple(high - low for low, high in zip(self.start, self.stop, strict=True))  # type: ignore[return-value]

    @property
    def box(self) -> tuple[slice, slice, slice]:
        """The crop as slices of the resampled volume."""
        return tuple(slice(low, high) for low, high in zip(self.start, self.stop, strict=True))  # type: ignore[return-value]

    @property
    def index_to_native(self) -> np.ndarray:
        """4x4: index of the network's grid -> index (a fraction) of the native grid."""
        matrix = np.eye(4)
        matrix[:3] = 0
        for i, axis in enumerate(self.axes):
            size, ratio = self.shape[axis], self._ratio[i]
            shift = (self.start[i] - (self.resampled[i] - 1) / 2) * ratio + (size - 1) / 2
            matrix[axis, [i, 3]] = (-ratio, size - 1 - shift) if self.flips[i] else (ratio, shift)
        return matrix

    @property
    def affine(self) -> np.ndarray:
        """Index of the network's grid -> world, RAS+ mm."""
        return np.array(self.native_affine) @ self.index_to_native

    @property
    def network_spacing_mm(self) -> Triple:
        """Distance of neighboring voxels of the network's grid, per axis."""
        return spacing_of(self.affine)

    @property
    def _ratio(self) -> Triple:
        return self.ratio or (1.0, 1.0, 1.0)

    def oriented(self, array: np.ndarray) -> np.ndarray:
        """A native array with its axes permuted and flipped: a view, writing through."""
        backwards = tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)
        return array.transpose(self.axes)[backwards]

    def image_to_network(self, array: np.ndarray) -> np.ndarray:
        """Intensities, native [X, Y, Z] -> network [x, y, z] float32; cubic spline where resampled."""
        array = self.oriented(array)
        if self.ratio is None:
            return array[self.box].astype(np.float32, order="C")
        native = spacing_of(np.array(self.native_affine))
        spacing: Triple = tuple(native[axis] for axis in self.axes)  # type: ignore[assignment]
        # the clipping range is the whole volume's, so the box is cut afterwards
        return np.ascontiguousarray(resample.image(array, self._forward((0, 0, 0), self.resampled), spacing)[self.box])

    def label_to_network(self, indices: np.ndarray) -> np.ndarray:
        """Class indices uint8, native -> network; where resampled, the class with the largest interpolated mask."""
        array = self.oriented(indices)
        if self.ratio is None:
            return array[self.box].copy(order="C")
        return resample.labels(array, self._forward(self.start, self.stop))

    def mask_to_network(self, mask: np.ndarray) -> np.ndarray:
        """bool, native -> network; where resampled, half or more of it is in the mask."""
        array = self.oriented(mask)
        if self.ratio is None:
            return array[self.box].copy(order="C")
        return resample.linear(array, self._forward(self.start, self.stop)) >= 0.5

    def label_to_native(self, indices: np.ndarray, fill: int = 0) -> np.ndarray:
        """Class indices, network -> native; `fill` outside the box. Exact where nothing is resampled."""
        native = np.full(self.shape, fill, dtype=indices.dtype)
        for place, positions in self._slabs(native):
            place[...] = indices[self._whole(positions)] if self.ratio is None else resample.labels(indices, positions)
        return native

    def field_to_native(self, field: np.ndarray, fill: float = 0.0) -> np.ndarray:
        """One value per voxel (a probability), network -> native float32, linear; `fill` outside the box."""
        native = np.full(self.shape, fill, dtype=np.float32)
        for place, positions in self._slabs(native):
            place[...] = resample.linear(field, positions)
        return native

    def probabilities_to_native_labels(self, slabs: Iterable[np.ndarray], fill: int = 0) -> np.ndarray:
        """The most probable class of every native voxel -> uint8.

        slabs: probabilities (or logits) on the network's grid [C, n, y, z], one after the other along x; each is read before the next is
        asked for, and all are. Each class is interpolated linearly, plane by plane, and only the largest value is kept: the memory is one
        native label map, the slabs around some native rows, SLAB_VALUES, and a few planes (`resample.PLANES_BYTES`). `fill` outside the
        box; the lower class where two tie.
        """
        native = np.full(self.shape, fill, dtype=np.uint8)
        rows = _Rows(slabs, self.network_shape[0])
        needed = rows.held[:, 0].size / self._ratio[0]  # values a native row
        for place, (x, y, z) in self._slabs(native, max(1, int(SLAB_VALUES / max(1, needed)))):
            held, first = rows.between(x[0], x[-1])
            resample.most_probable(held, (x - first, y, z), place)
        for _ in rows.slabs:  # behind the last native center
            pass
        return native

    def to_json(self) -> dict[str, Any]:
        """Plain data; `from_json` is its inverse, exactly."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Native":
        """From what `to_json` gave, also after a journey through a JSON file."""
        rows = tuple(tuple(row) for row in data["native_affine"])
        plain = {name: value if value is None else tuple(value) for name, value in data.items()}
        return cls(**plain | {"native_affine": rows})

    def _forward(self, start: Shape, stop: Shape) -> Positions:
        """Where the voxels of a box of the resampled grid lie in the oriented one."""
        whole = [shared_center(self.resampled[i], self.shape[self.axes[i]], self._ratio[i])[start[i] : stop[i]] for i in range(3)]
        return whole[0], whole[1], whole[2]

    def _slabs(self, native: np.ndarray, most: int | None = None) -> Iterator[tuple[np.ndarray, Positions]]:
        """Pieces of a native array (views, oriented) that lie in the box, at most `most` rows each, with positions on the network's grid.

        A voxel of the network covers half a voxel to each side of its center: what lies farther out is outside the box.
        """
        ranges, positions = [], []
        for i in range(3):
            at = shared_center(self.shape[self.axes[i]], self.resampled[i], 1 / self._ratio[i]) - self.start[i]
            # the first and last voxel of the whole volume reach as far as the volume does
            first = 0 if self.start[i] == 0 else np.searchsorted(at, -0.5)
            last = len(at) if self.stop[i] == self.resampled[i] else np.searchsorted(at, self.network_shape[i] - 0.5)
            ranges.append(slice(int(first), int(last)))
            positions.append(at[first:last])
        view = self.oriented(native)[tuple(ranges)]
        rows = max(1, SLAB_VOXELS // max(1, view.shape[1] * view.shape[2]))
        rows = rows if most is None else min(rows, most)
        for low in range(0, view.shape[0] if view.size else 0, rows):
            yield view[low : low + rows], (positions[0][low : low + rows], positions[1], positions[2])

    @staticmethod
    def _whole(positions: Positions) -> tuple[slice, slice, slice]:
        return tuple(slice(round(at[0]), round(at[-1]) + 1) for at in positions)  # type: ignore[return-value]


class _Rows:
    """The rows of slabs [C, n, y, z] around ascending positions: those passed are let go, those ahead not asked for yet."""

    def __init__(self, slabs: Iterable[np.ndarray], count: int) -> None:
        self.slabs, self.count = iter(slabs), count
        self.held, self.first = next(self.slabs).copy(), 0

    def between(self, low: float, high: float) -> tuple[np.ndarray, int]:
        """The rows that linear interpolation at positions low .. high reads, and the number of the first of them."""
        start = min(max(int(np.floor(low)), 0), self.count - 1)
        stop = min(max(int(np.ceil(high)), 0), self.count - 1) + 1
        parts, reached = [self.held[:, start - self.first :]], self.first + self.held.shape[1]
        while reached < stop:
            ahead = next(self.slabs)
            parts.append(ahead[:, max(0, start - reached) :].copy())
            reached += ahead.shape[1]
        self.held, self.first = np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0], start
        return self.held[:, : stop - start], start


def _orientation(affine: np.ndarray, codes: str | None) -> tuple[Shape, tuple[bool, bool, bool]]:
    """Which native axis, and which way, makes each oriented axis; the nearest axes where the scan is oblique."""
    if codes is None:
        return (0, 1, 2), (False, False, False)
    moves = ornt_transform(io_orientation(affine), axcodes2ornt(tuple(codes)))
    axes, flips = [0, 0, 0], [False, False, False]
    for native, (out, direction) in enumerate(moves):
        axes[int(out)], flips[int(out)] = native, bool(direction < 0)
    return tuple(axes), tuple(flips)  # type: ignore[return-value]


def _kept(ratio: float) -> float:
    return 1.0 if abs(ratio - 1) < 1e-4 else float(ratio)


def _times(values: tuple[float, ...]) -> str:
    return " x ".join(f"{value:.6g}" for value in values)
