"""Pairs: their state and surfaces by hand, what cropping may not change, and how label maps are cut into them."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_erosion, distance_transform_edt, generate_binary_structure

from segkit.metrics.base import Pair, pairs, surface
from segkit.volume.labels import IGNORED

ONE_MM = (1.0, 1.0, 1.0)


def voxels(*points, shape=(6, 6, 6)):
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(np.array(points, dtype=int).reshape(-1, 3).T)] = True
    return mask


def block(*sides, shape=(12, 12, 12)):
    """A cuboid from (start, stop) of each axis."""
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(*side) for side in sides)] = True
    return mask


@pytest.mark.parametrize(
    ("prediction", "label", "state"),
    [([], [], "absent"), ([], [(1, 1, 1)], "missed"), ([(1, 1, 1)], [], "spurious"), ([(1, 1, 1)], [(2, 2, 2)], "ok")],
)
def test_the_state_says_which_masks_hold_anything(prediction, label, state):
    pair = Pair(voxels(*prediction), voxels(*label), ONE_MM)
    assert pair.state == state
    assert (pair.distances_mm is None) is (state != "ok")


def test_counts_by_hand():
    pair = Pair(block((0, 4), (0, 1), (0, 1)), block((1, 7), (0, 1), (0, 1)), ONE_MM)
    assert (pair.true_positives, pair.false_positives, pair.false_negatives) == (3, 1, 3)


def test_the_surface_of_a_cube_of_side_4_is_all_but_its_core_of_side_2():
    cube = block((3, 7), (3, 7), (3, 7))
    np.testing.assert_array_equal(surface(cube), cube & ~block((4, 6), (4, 6), (4, 6)))


def test_beyond_the_border_is_outside():
    everything = np.ones((4, 5, 6), dtype=bool)
    assert surface(everything).sum() == 4 * 5 * 6 - 2 * 3 * 4


@pytest.mark.parametrize("density", [0.5, 0.9, 0.98])
def test_surfaces_are_what_erosion_by_a_6_neighborhood_removes(density):
    mask = np.random.default_rng(0).random((9, 8, 7)) < density
    np.testing.assert_array_equal(surface(mask), mask & ~binary_erosion(mask, generate_binary_structure(3, 1), border_value=0))


def test_distances_are_those_of_the_exact_distance_transform():
    rng, spacing = np.random.default_rng(1), (0.7, 1.3, 4.0)
    prediction, label = rng.random((2, 11, 12, 13)) < 0.05
    forth, back = Pair(prediction, label, spacing).distances_mm
    np.testing.assert_allclose(forth, distance_transform_edt(~surface(label), sampling=spacing)[surface(prediction)], rtol=1e-12)
    np.testing.assert_allclose(back, distance_transform_edt(~surface(prediction), sampling=spacing)[surface(label)], rtol=1e-12)


@settings(deadline=None, max_examples=20)
@given(st.tuples(*[st.integers(0, 4)] * 3), st.tuples(*[st.integers(0, 3)] * 3), st.integers(0, 99))
def test_room_around_both_masks_changes_no_distance(before, after, seed):
    prediction, label = np.random.default_rng(seed).random((2, 5, 5, 5)) < 0.4
    room = list(zip(before, after, strict=True))
    tight, roomy = (
        Pair(p, q, (0.9, 1.1, 2.3)).distances_mm for p, q in ((prediction, label), (np.pad(prediction, room), np.pad(label, room)))
    )
    for a, b in zip(tight, roomy, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_extent_of_a_brats_scan_is_373_mm():
    empty = np.zeros((1, 1, 1), dtype=bool)
    assert Pair(empty, empty, ONE_MM, image_shape=(240, 240, 155)).extent_mm == pytest.approx(373.13, abs=0.005)


def test_the_extent_of_uncropped_masks_is_their_own():
    assert Pair(voxels(), voxels(), (1.0, 2.0, 3.0)).extent_mm == pytest.approx(6 * 14**0.5)


@pytest.mark.parametrize("other", [np.zeros((2, 2, 3), dtype=bool), np.zeros((2, 2, 2), dtype=np.uint8)])
def test_masks_that_do_not_match_are_refused(other):
    with pytest.raises(ValueError, match=r"expected two bool masks \[X, Y, Z\] of one shape, got bool \(2, 2, 2\) and"):
        Pair(np.zeros((2, 2, 2), dtype=bool), other, ONE_MM)


def test_pairs_are_the_crops_of_the_full_masks():
    rng = np.random.default_rng(2)
    prediction, label = np.zeros((2, 16, 15, 14), dtype=np.uint8)
    for value, (x, y, z) in enumerate([(1, 2, 0), (9, 4, 8), (4, 9, 3)], start=1):  # each class in a place of its own
        prediction[x : x + 5, y : y + 4, z : z + 6] = value * rng.integers(0, 2, (5, 4, 6))
        label[x + 1 : x + 6, y : y + 5, z : z + 5] = value * rng.integers(0, 2, (5, 5, 5))
    regions = {"one": (1,), "two": (2,), "union": (1, 3), "never": (7,), "rest": (0,)}
    found = dict(pairs(prediction, label, regions, (1.0, 1.0, 2.0)))
    assert list(found) == list(regions)
    for name, members in regions.items():
        full = Pair(np.isin(prediction, members), np.isin(label, members), (1.0, 1.0, 2.0))
        crop = found[name]
        facts = [(p.state, p.true_positives, p.predicted, p.labeled, p.extent_mm) for p in (crop, full)]
        assert facts[0] == facts[1], name
        if crop.state == "ok":
            for a, b in zip(crop.distances_mm, full.distances_mm, strict=True):
                np.testing.assert_array_equal(a, b)
    assert found["never"].state == "absent"
    assert found["one"].label.size < label.size / 2


def test_an_ignored_voxel_is_in_neither_mask():
    prediction, label = np.ones((2, 3, 3, 3), dtype=np.uint8)
    label[0] = IGNORED  # a third of the image
    ((_, lesion),) = pairs(prediction, label, {"lesion": (1,)}, ONE_MM)
    assert (lesion.true_positives, lesion.false_positives, lesion.false_negatives) == (18, 0, 0)


def test_an_ignored_voxel_is_not_background_either():
    prediction, label = np.zeros((2, 3, 3, 3), dtype=np.uint8)
    label[0] = IGNORED
    ((_, background),) = pairs(prediction, label, {"background": (0,)}, ONE_MM)
    assert background.predicted == background.labeled == 18


def test_maps_of_different_shape_are_refused():
    with pytest.raises(ValueError, match=r"expected two maps of one shape, got \(2, 2, 2\) and \(2, 2, 3\)"):
        list(pairs(np.zeros((2, 2, 2), np.uint8), np.zeros((2, 2, 3), np.uint8), {"a": (1,)}, ONE_MM))


def test_metrics_load_without_torch():
    code = "import sys; from segkit.metrics import metrics; print(*metrics); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"dice", "sensitivity", "precision", "hd95", "assd", "nsd"} <= set(done.stdout.split())
