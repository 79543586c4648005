"""A case in pictures: slices of the scan in three planes, what is labeled as outlines, what is predicted as tints."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import find_objects

from segkit.config.errors import InputError
from segkit.engine.run import Run
from segkit.recipe import Recipe
from segkit.report.outline import outline
from segkit.volume import nifti
from segkit.volume.case import CaseFiles
from segkit.volume.geometry import Native, Triple, same_grid
from segkit.volume.intensity import Window
from segkit.volume.labels import IGNORED
from segkit.volume.scans import read_scans

ORIENTATION = "LPI"  # so that the first voxel of a slice is at its upper left: the patient's right, front and top, as radiologists look
MARGIN_MM = 10.0  # of the scan around what is labeled or predicted
SIDE = 256  # voxels of a picture; of a larger one every second voxel is shown, or every third
PERCENTILES = (0.5, 99.5)  # of the nonzero voxels: black and white
QUALITY = 85  # of JPEG


@dataclass(frozen=True)
class Plane:
    """across: the axis, in ORIENTATION, that a slice stands across. left, right, top, bottom: where its borders lie in the patient."""

    name: str
    across: int
    left: str
    right: str
    top: str
    bottom: str

    def slice_of(self, array: np.ndarray, index: int) -> np.ndarray:
        """[x, y, z] -> [rows, columns]."""
        return np.take(array, index, self.across).T


PLANES = (
    Plane("axial", 2, "R", "L", "A", "P"),
    Plane("coronal", 1, "R", "L", "S", "I"),
    Plane("sagittal", 0, "A", "P", "S", "I"),
)


@dataclass(frozen=True, eq=False)
class Look:
    """A case as it is shown: on its own grid in ORIENTATION, cut to what is labeled or predicted and MARGIN_MM around it.

    channels: uint8 [x, y, z], black to white. label, prediction: class indices uint8 [x, y, z].
    numbers: along each axis which voxel of the file a slice is, counted from 0.
    """

    case: str
    classes: tuple[str, ...]
    channels: Mapping[str, np.ndarray]
    label: np.ndarray
    prediction: np.ndarray
    spacing_mm: Triple
    numbers: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Panel:
    """One plane of a case. strips: by channel an image of all slices, one below the other, each with a voxel more all around.

    columns, rows: voxels of a slice; width_mm, height_mm: its size. numbers: of the slices, as in the file. start: the one shown first.
    outlines: of each slice, of the label and of the prediction, an SVG path a class.
    """

    plane: Plane
    columns: int
    rows: int
    width_mm: float
    height_mm: float
    strips: Mapping[str, str]
    numbers: tuple[int, ...]
    start: int
    label: tuple[tuple[str, ...], ...]
    prediction: tuple[tuple[str, ...], ...]
    coarser: int

    @property
    def content(self) -> dict[str, Any]:
        """For the page's script."""
        return {"numbers": self.numbers, "label": self.label, "prediction": self.prediction}


def look_at(run: Run, recipe: Recipe, files: CaseFiles) -> Look:
    """A case of the recipe's data set with its label and the run's prediction.

    Raises InputError where a file cannot be relied on, is not there, or lies on another grid than the scan.
    """
    dataset = recipe.dataset
    scans = read_scans(files, label=True, mask=False, accept_sform=dataset.accept_sform)
    path = run.predictions / f"{files.id}.nii.gz"
    predicted = nifti.read_label(path, accept_sform=dataset.accept_sform)
    first = scans.channels[0]
    differs = same_grid(first.array.shape, first.affine, predicted.array.shape, predicted.affine)
    if differs:
        expected = f"the grid of {first.path}"
        raise InputError("SK-W020", "prediction and scan are on different grids", where=path, expected=expected, got=differs)
    if scans.label is None:
        raise InputError("SK-W021", "the case has no label", where=files.id, expected="a label map in the data set")
    native = Native.plan(first.array.shape, first.affine, ORIENTATION)
    encode = dataset.class_map.encode
    label, prediction = (native.oriented(encode(volume.array, str(volume.path))) for volume in (scans.label, predicted))
    box = around(_shown(label) | _shown(prediction), native.network_spacing_mm)
    window = recipe.preprocess.intensity
    limits = (window.low, window.high) if isinstance(window, Window) else None
    channels = {
        name: _gray(native.oriented(volume.array), box, limits) for name, volume in zip(files.channels, scans.channels, strict=True)
    }
    numbers = tuple(
        tuple(size - 1 - k if flip else k for k in range(side.start, side.stop))
        for side, flip, size in zip(box, native.flips, native.resampled, strict=True)
    )
    return Look(files.id, dataset.class_map.names[1:], channels, label[box], prediction[box], native.network_spacing_mm, numbers)


def panels(look: Look, slices: int) -> list[Panel]:
    """The three planes, each with at most so many slices at equal distances. The first one shown has the most labeled voxels.

    Where nothing is labeled it is the one with the most predicted voxels, where nothing is predicted either the one in the middle.
    """
    return [_panel(look, plane, slices) for plane in PLANES]


def _shown(indices: np.ndarray) -> np.ndarray:
    return (indices != 0) & (indices != IGNORED)


def around(shown: np.ndarray, spacing_mm: Triple) -> tuple[slice, ...]:
    """The box of a mask with the margin, inside the volume; the whole volume where the mask is empty."""
    found = find_objects(shown.view(np.uint8))
    if not found:
        return tuple(slice(0, size) for size in shown.shape)
    wide = [math.ceil(MARGIN_MM / spacing) for spacing in spacing_mm]
    return tuple(
        slice(max(0, side.start - margin), min(size, side.stop + margin))
        for side, margin, size in zip(found[0], wide, shown.shape, strict=True)
    )


def _gray(array: np.ndarray, box: tuple[slice, ...], limits: tuple[float, float] | None) -> np.ndarray:
    """uint8 [x, y, z] of a box. limits: intensities of black and white; None takes PERCENTILES of the nonzero voxels of the whole scan."""
    inside = array[array != 0]
    low, high = limits or (np.percentile(inside, PERCENTILES) if inside.size else (0.0, 1.0))
    share = (array[box].astype(np.float32) - low) / max(float(high) - float(low), np.finfo(np.float32).tiny)
    return np.round(255 * np.clip(share, 0, 1)).astype(np.uint8)


def _panel(look: Look, plane: Plane, slices: int) -> Panel:
    across = tuple(axis for axis in range(3) if axis != plane.across)
    size = look.label.shape[plane.across]
    areas = [np.count_nonzero(_shown(indices), axis=across) for indices in (look.label, look.prediction)]
    fullest = next((int(area.argmax()) for area in areas if area.any()), size // 2)
    apart = math.ceil(size / slices)
    chosen = range(fullest % apart, size, apart)
    rows, columns = plane.slice_of(look.label, 0).shape
    coarser = math.ceil(max(rows, columns) / SIDE)

    def pictures(array: np.ndarray) -> list[np.ndarray]:
        return [plane.slice_of(array, index) for index in chosen]

    def outlines(array: np.ndarray) -> tuple[tuple[str, ...], ...]:
        coarse = [picture[coarser // 2 :: coarser, coarser // 2 :: coarser] for picture in pictures(array)]
        return tuple(tuple(outline(picture == index) for index in range(1, len(look.classes) + 1)) for picture in coarse)

    label = outlines(look.label)
    rows, columns = (len(range(coarser // 2, side, coarser)) for side in (rows, columns))
    across_mm, down_mm = (look.spacing_mm[axis] * coarser for axis in across)
    return Panel(
        plane,
        columns,
        rows,
        columns * across_mm,
        rows * down_mm,
        {name: _strip([_coarse(picture, coarser, rows, columns) for picture in pictures(array)]) for name, array in look.channels.items()},
        tuple(look.numbers[plane.across][index] for index in chosen),
        chosen.index(fullest),
        label,
        outlines(look.prediction),
        coarser,
    )


def _coarse(picture: np.ndarray, by: int, rows: int, columns: int) -> np.ndarray:
    """Means of by x by voxels, as many as there are places; the border is repeated where the last ones are cut off."""
    wide = np.pad(picture, ((0, max(0, rows * by - picture.shape[0])), (0, max(0, columns * by - picture.shape[1]))), mode="edge")
    return wide[: rows * by, : columns * by].reshape(rows, by, columns, by).mean((1, 3)).round().astype(np.uint8)


def _strip(pictures: Sequence[np.ndarray]) -> str:
    """Slices one below the other as a JPEG in a data URI; the voxel around each keeps its neighbors out when a browser smooths."""
    from matplotlib.image import imsave

    stacked = np.concatenate([np.pad(picture, 1, mode="edge") for picture in pictures])
    file = io.BytesIO()
    imsave(file, stacked, format="jpg", cmap="gray", vmin=0, vmax=255, pil_kwargs={"quality": QUALITY})
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")
