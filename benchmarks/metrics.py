"""Dice, 95 % Hausdorff distance and surface Dice of label maps: segkit, MONAI, SimpleITK, surface-distance.

    python benchmarks/metrics.py [--repeats 5] [--data FOLDER]
    python benchmarks/metrics.py --repeats 1 --shrink 4     a try

--data: a folder with `labels/NAME.nii.gz` and `predictions/NAME.nii.gz`; every label value but 0 is a class. Without it, a brain of
240 x 240 x 155 voxels with 3 classes and a torso of 512 x 512 x 150 with 13 organs are drawn, and predictions made from them by moving
voxels about along smooth fields. Times are from two label maps in memory to the values of all classes. SimpleITK is used as its users do
who know of cropping: contours and distance maps in the box around a class. MONAI and SimpleITK have to give the same values;
surface-distance weighs by area and gives others.
"""

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from measure import Work, compare, installed, options
from scipy.ndimage import find_objects

from segkit.metrics import Dice, Hausdorff95, NormalizedSurfaceDice, pairs
from segkit.metrics.voxels import union
from segkit.phantom import brain, torso
from segkit.phantom.fields import smooth, stream
from segkit.volume import nifti
from segkit.volume.nifti import Volume

PACKAGES = ("segkit", "numba", "numpy", "torch", "monai", "SimpleITK", "surface-distance")
PHANTOMS = {"brain": (brain.draw, "seg", (240, 240, 155)), "torso": (torso.draw, "label", (512, 512, 150))}
TOLERANCE_MM = 1.0
MOVED = 2.0  # voxels, standard deviation
Spacing = tuple[float, float, float]
Values = dict[int, tuple[float, float, float]]  # class -> Dice, HD95 in mm, surface Dice


def write_phantoms(folder: Path, shrink: int) -> None:
    """The default data, so many times smaller along each axis.

    Where a voxel of the prediction takes its value from is off by a smooth random field along each axis.
    """
    for part in ("labels", "predictions"):
        (folder / part).mkdir()
    for name, (draw, file, whole) in PHANTOMS.items():
        shape = tuple(size // shrink for size in whole)
        volumes, affine = draw(0, 0, shape)
        label, rng = volumes[file], stream(0)
        places = [
            np.clip(np.rint(own + MOVED * smooth(rng, shape, 6)), 0, size - 1).astype(np.int32)
            for own, size in zip(np.indices(shape, dtype=np.int16, sparse=True), shape, strict=True)
        ]
        for part, array in (("labels", label), ("predictions", label[tuple(places)])):
            nifti.write(folder / part / f"{name}.nii.gz", array, Volume.new(array, affine))


def with_segkit(prediction: np.ndarray, label: np.ndarray, spacing_mm: Spacing, classes: list[int]) -> Values:
    """Ours."""
    metrics = (Dice(), Hausdorff95(), NormalizedSurfaceDice(tolerance_mm=TOLERANCE_MM))
    found = pairs(prediction, label, {str(value): (value,) for value in classes}, spacing_mm)
    return {int(name): tuple(metric(pair) for metric in metrics) for name, pair in found}


def with_monai(prediction: np.ndarray, label: np.ndarray, spacing_mm: Spacing, classes: list[int]) -> Values:
    """One mask a class, all at once, as MONAI takes them."""
    import torch
    from monai.metrics import compute_dice, compute_hausdorff_distance, compute_surface_dice

    masks = [torch.from_numpy(np.stack([indices == value for value in classes])[None]) for indices in (prediction, label)]
    every = {"include_background": True}
    columns = (
        compute_dice(*masks, **every),
        compute_hausdorff_distance(*masks, **every, percentile=95, spacing=spacing_mm),
        compute_surface_dice(*masks, [TOLERANCE_MM] * len(classes), **every, spacing=spacing_mm),
    )
    return dict(zip(classes, zip(*(column[0].tolist() for column in columns), strict=True), strict=True))


def with_simpleitk(prediction: np.ndarray, label: np.ndarray, spacing_mm: Spacing, classes: list[int]) -> Values:
    """Class by class in the box around it."""
    import SimpleITK

    found = [find_objects(indices) for indices in (prediction, label)]
    values: Values = {}
    for value in classes:
        box = union(boxes[value - 1] for boxes in found)
        masks = [np.pad((indices[box] == value).astype(np.uint8), 1) for indices in (prediction, label)]
        surfaces, maps = [], []
        for mask in masks:
            image = SimpleITK.GetImageFromArray(mask)
            image.SetSpacing(spacing_mm[::-1])
            contour = SimpleITK.LabelContour(image, fullyConnected=False)
            away = SimpleITK.SignedMaurerDistanceMap(contour, squaredDistance=False, useImageSpacing=True)
            surfaces.append(SimpleITK.GetArrayViewFromImage(contour) == 1)
            maps.append(np.abs(SimpleITK.GetArrayViewFromImage(away)))
        forth, back = maps[1][surfaces[0]], maps[0][surfaces[1]]
        within = np.count_nonzero(forth <= TOLERANCE_MM) + np.count_nonzero(back <= TOLERANCE_MM)
        dice = 2 * np.count_nonzero(masks[0] & masks[1]) / sum(map(np.count_nonzero, masks))
        values[value] = (dice, max(np.percentile(forth, 95), np.percentile(back, 95)), within / (len(forth) + len(back)))
    return values


def with_surface_distance(prediction: np.ndarray, label: np.ndarray, spacing_mm: Spacing, classes: list[int]) -> Values:
    """Class by class; it crops by itself."""
    import surface_distance

    values: Values = {}
    for value in classes:
        masks = label == value, prediction == value
        found = surface_distance.compute_surface_distances(*masks, spacing_mm)
        values[value] = (
            surface_distance.compute_dice_coefficient(*masks),
            surface_distance.compute_robust_hausdorff(found, 95),
            surface_distance.compute_surface_dice_at_tolerance(found, TOLERANCE_MM),
        )
    return values


WAYS: dict[str, tuple[str, Callable[..., Values]]] = {
    "segkit": ("segkit", with_segkit),
    "MONAI": ("monai", with_monai),
    "SimpleITK": ("SimpleITK", with_simpleitk),
    "surface-distance": ("surface-distance", with_surface_distance),
}


def work_of(path: Path) -> Work:
    """One case, from the path of its label map."""
    label, prediction = (nifti.read_label(path.parents[1] / part / path.name) for part in ("labels", "predictions"))
    # as written: headers keep float32, and 1.0000001 mm is not within 1 mm
    spacing_mm = tuple(round(side, 5) for side in label.spacing_mm)[::-1]
    classes = sorted(set(np.unique(label.array).tolist()) & set(np.unique(prediction.array).tolist()) - {0})
    # [Z, Y, X] in C order, as files have it: nobody has to transpose anything
    maps = [np.ascontiguousarray(volume.array.T, dtype=np.uint8) for volume in (prediction, label)]

    def way(function: Callable[..., Values]) -> Callable[[], Values]:
        return lambda: function(*maps, spacing_mm, classes)

    ways = {name: way(function) for name, (package, function) in WAYS.items() if installed(package)}
    name = f"{path.name.removesuffix('.nii.gz')} {' x '.join(map(str, label.array.shape))}, {len(classes)} classes"
    return Work(name, ways, moved=2.0 * label.array.size)


def check(work: Work) -> None:
    """Raises AssertionError unless MONAI and SimpleITK give our values."""
    ours = work.ways["segkit"]()
    for peer in {"MONAI", "SimpleITK"} & set(work.ways):
        theirs = work.ways[peer]()
        for value in ours:
            np.testing.assert_allclose(theirs[value], ours[value], rtol=1e-4, err_msg=f"{peer}, class {value} of {work.name}")


def main() -> None:
    """Draw what is missing, check, measure."""
    warnings.simplefilter("ignore", FutureWarning)  # MONAI passes itself an argument it has deprecated
    parser = options(__doc__)
    parser.add_argument("--data", type=Path, metavar="FOLDER")
    parser.add_argument("--shrink", type=int, default=1, metavar="N", help="phantoms so many times smaller along each axis")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.data or Path(temporary)
        if not arguments.data:
            write_phantoms(folder, arguments.shrink)
        works = [work_of(path) for path in sorted(folder.glob("labels/*.nii.gz"))]
        if not arguments.memory_of:
            for work in works:
                check(work)
        compare(works, arguments, [__file__, "--data", str(folder)], PACKAGES)


if __name__ == "__main__":
    main()
