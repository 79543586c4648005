"""Surface metrics: values by hand, laws, and MONAI and SimpleITK as oracles."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice

from segkit.metrics.base import Pair
from segkit.metrics.surface import AverageSurfaceDistance, Hausdorff95, NormalizedSurfaceDice

ONE_MM = (1.0, 1.0, 1.0)
# MONAI passes itself an argument it has deprecated
monai_warns = pytest.mark.filterwarnings("ignore:monai.metrics.utils get_mask_edges:FutureWarning")
ALL = (Hausdorff95(), AverageSurfaceDistance(), NormalizedSurfaceDice())


def voxels(*points, shape=(10, 10, 10)):
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(np.array(points, dtype=int).reshape(-1, 3).T)] = True
    return mask


def cube(corner, side, shape=(10, 10, 10)):
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(start, start + side) for start in corner)] = True
    return mask


def blobs(seed, shape=(14, 13, 12)):
    """Two overlapping ellipsoids with ragged edges, reaching over the image's border."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    masks = []
    for _ in range(2):
        center, radii = rng.uniform(2, 10, 3), rng.uniform(2, 6, 3)
        masks.append((((grid - center) / radii) ** 2).sum(-1) + rng.normal(0, 0.2, shape) < 1)
    return masks


def values(pair, tolerance_mm=1.0):
    return np.array([Hausdorff95()(pair), AverageSurfaceDistance()(pair), NormalizedSurfaceDice(tolerance_mm=tolerance_mm)(pair)])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_two_voxels_one_step_apart_are_a_spacing_apart(axis):
    spacing = (0.5, 3.0, 7.0)
    pair = Pair(voxels((4, 4, 4)), voxels(np.eye(3, dtype=int)[axis] + 4), spacing)
    assert values(pair) == pytest.approx([spacing[axis], spacing[axis], float(spacing[axis] <= 1)])


def test_two_voxels_diagonally_apart_are_a_hypotenuse_apart():
    pair = Pair(voxels((1, 1, 1)), voxels((4, 3, 1)), (1.0, 2.0, 9.0))
    assert values(pair)[:2] == pytest.approx([5.0, 5.0])


def test_percentile_mean_and_share_by_hand():
    # one label voxel at 0; predicted 0, 2, 4 and 9 steps along X: directed distances (0, 2, 4, 9) and (0)
    pair = Pair(voxels((0, 0, 0), (2, 0, 0), (4, 0, 0), (9, 0, 0)), voxels((0, 0, 0)), ONE_MM)
    assert Hausdorff95()(pair) == pytest.approx(4 + 0.85 * (9 - 4))  # 0.95 * 3 = 2.85 ranks up
    assert AverageSurfaceDistance()(pair) == pytest.approx((0 + 2 + 4 + 9 + 0) / 5)
    assert NormalizedSurfaceDice(tolerance_mm=2.0)(pair) == pytest.approx(3 / 5)


def test_a_cube_shifted_by_one_voxel_by_hand():
    # all 26 outer voxels of each cube; those 1 mm off are the face of 9 that the other does not reach and, in the far face, the one
    # voxel that is the other's core; the remaining 16 lie on both surfaces
    pair = Pair(cube((3, 3, 3), 3), cube((4, 3, 3), 3), ONE_MM)
    directed = np.array([1.0] * 10 + [0.0] * 16)
    assert AverageSurfaceDistance()(pair) == pytest.approx(directed.mean())
    assert Hausdorff95()(pair) == 1
    assert NormalizedSurfaceDice(tolerance_mm=0.5)(pair) == pytest.approx(16 / 26)


def test_the_border_of_the_image_closes_a_surface():
    # label fills a 4^3 image, so its surface is all but a core of 2^3; the prediction is that core, all surface, one step from it
    pair = Pair(cube((1, 1, 1), 2, (4, 4, 4)), np.ones((4, 4, 4), dtype=bool), ONE_MM)
    forth, back = pair.distances_mm
    assert len(forth) == 8
    assert len(back) == 56
    assert set(forth) == {1.0}
    assert back.max() == pytest.approx(3**0.5)


def test_equal_masks_are_0_mm_apart():
    assert values(Pair(cube((2, 2, 2), 4), cube((2, 2, 2), 4), ONE_MM)) == pytest.approx([0, 0, 1])


@pytest.mark.parametrize(
    ("prediction", "label", "expected"),
    [
        (voxels(), voxels(), (None, None, None)),
        (voxels(), voxels((1, 1, 1)), (None, None, 0.0)),
        (voxels((1, 1, 1)), voxels(), (None, None, 0.0)),
    ],
    ids=["absent", "missed", "spurious"],
)
def test_empty_masks(prediction, label, expected):
    assert tuple(metric(Pair(prediction, label, ONE_MM)) for metric in ALL) == expected


@monai_warns
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("spacing", [ONE_MM, (0.8, 1.5, 4.0)])
def test_monai_agrees(seed, spacing):
    prediction, label = blobs(seed)
    masks = [torch.from_numpy(mask)[None, None].float() for mask in (prediction, label)]
    expected = [
        compute_hausdorff_distance(*masks, include_background=True, percentile=95, spacing=spacing).item(),
        compute_average_surface_distance(*masks, include_background=True, symmetric=True, spacing=spacing).item(),
        compute_surface_dice(*masks, [2.0], include_background=True, spacing=spacing).item(),
    ]
    assert values(Pair(prediction, label, spacing), tolerance_mm=2.0) == pytest.approx(expected, rel=1e-5)


def itk_distances(of, to, spacing):
    """Directed surface distances the way SimpleITK's users compute them: contours, then a Maurer distance map."""
    import SimpleITK

    images = []
    for mask in (of, to):
        image = SimpleITK.GetImageFromArray(np.pad(mask, 1).astype(np.uint8).transpose(2, 1, 0))
        image.SetSpacing(spacing)
        images.append(SimpleITK.LabelContour(image, fullyConnected=False))
    distance = SimpleITK.SignedMaurerDistanceMap(images[1], squaredDistance=False, useImageSpacing=True)
    return np.abs(SimpleITK.GetArrayFromImage(distance))[SimpleITK.GetArrayFromImage(images[0]) == 1]


@pytest.mark.parametrize("seed", range(2))
def test_simpleitk_agrees(seed):
    spacing = (0.8, 1.5, 4.0)
    prediction, label = blobs(seed)
    forth, back = itk_distances(prediction, label, spacing), itk_distances(label, prediction, spacing)
    pooled = np.concatenate([forth, back])
    expected = [max(np.percentile(forth, 95), np.percentile(back, 95)), pooled.mean(), (pooled <= 2).mean()]
    assert values(Pair(prediction, label, spacing), tolerance_mm=2.0) == pytest.approx(expected, rel=1e-5)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6))
def test_swapping_the_masks_changes_nothing(seed):
    prediction, label = blobs(seed)
    assume(prediction.any() and label.any())
    np.testing.assert_allclose(
        values(Pair(prediction, label, (1.0, 2.0, 3.0))), values(Pair(label, prediction, (1.0, 2.0, 3.0))), rtol=1e-12
    )


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6), st.floats(0.1, 10))
def test_distances_grow_with_the_spacing(seed, factor):
    prediction, label = blobs(seed)
    assume(prediction.any() and label.any())
    small = values(Pair(prediction, label, (1.0, 2.0, 3.0)), tolerance_mm=1.5)
    large = values(Pair(prediction, label, (factor, 2 * factor, 3 * factor)), tolerance_mm=1.5 * factor)
    np.testing.assert_allclose(large, small * [factor, factor, 1], rtol=1e-9)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6), st.tuples(*[st.integers(-2, 2)] * 3))
def test_moving_both_masks_changes_nothing(seed, shift):
    prediction, label = (np.pad(mask, 2) for mask in blobs(seed, (9, 9, 9)))
    assume(prediction.any() and label.any())
    moved = (np.roll(mask, shift, (0, 1, 2)) for mask in (prediction, label))
    np.testing.assert_allclose(values(Pair(*moved, (0.7, 1.1, 2.0))), values(Pair(prediction, label, (0.7, 1.1, 2.0))), rtol=1e-12)


def test_a_spacing_rounded_by_the_header_stays_inside_the_tolerance():
    pair = Pair(voxels((1, 1, 1)), voxels((2, 1, 1)), (float(np.nextafter(np.float32(1), np.float32(2))), 1.0, 1.0))
    assert NormalizedSurfaceDice(tolerance_mm=1.0)(pair) == 1


@monai_warns
def test_a_real_label_map_agrees_with_monai(shared_data):
    import nibabel

    path = shared_data / "Task04_Hippocampus" / "labelsTr" / "hippocampus_190.nii.gz"
    image = nibabel.load(path)
    label = np.asarray(image.dataobj) > 0
    prediction = np.roll(label, (1, -2, 1), (0, 1, 2))
    spacing = tuple(float(side) for side in image.header.get_zooms())
    masks = [torch.from_numpy(mask)[None, None].float() for mask in (prediction, label)]
    hd95 = compute_hausdorff_distance(*masks, include_background=True, percentile=95, spacing=spacing).item()
    assert Hausdorff95()(Pair(prediction, label, spacing)) == pytest.approx(hd95, rel=1e-5)
