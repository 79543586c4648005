"""From mask to mask: SciPy's tree as the oracle, wherever the voxels lie and however they are stored; boxes as SciPy finds them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import find_objects
from scipy.spatial import KDTree

from segkit.metrics.distance import distances
from segkit.metrics.voxels import boxes, memory_order, surface, union

SPACING = (0.7, 1.3, 4.0)
EVERY_ORDER = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]


def stored(array, axes):
    """The same array with its axes in another order in memory, `axes` from the slowest to the fastest."""
    return np.ascontiguousarray(array.transpose(axes)).transpose(np.argsort(axes))


def by_tree(ours, theirs, spacing=SPACING):
    """Sorted, since the order of voxels is that of memory."""
    points = [np.argwhere(mask) * np.array(spacing) for mask in (ours, theirs)]
    return [np.sort(KDTree(to).query(of)[0]) for of, to in (points, points[::-1])]


def agree(ours, theirs, spacing=SPACING):
    for found, expected in zip(distances(ours, theirs, spacing), by_tree(ours, theirs, spacing), strict=True):
        np.testing.assert_allclose(np.sort(found), expected, rtol=1e-12, atol=1e-12)


@st.composite
def masks(draw):
    """Two masks that are never empty: clouds of any density, in parts of the image that may be far apart."""
    shape = draw(st.tuples(*[st.integers(1, 12)] * 3))
    rng, both = np.random.default_rng(draw(st.integers(0, 10**6))), []
    for _ in range(2):
        start = [draw(st.integers(0, size - 1)) for size in shape]
        stop = [draw(st.integers(low + 1, size)) for low, size in zip(start, shape, strict=True)]
        part = tuple(map(slice, start, stop))
        mask = np.zeros(shape, dtype=bool)
        mask[part] = rng.random(mask[part].shape) < draw(st.sampled_from([0.01, 0.3, 1.0]))
        mask[tuple(start)] = True
        both.append(mask)
    return both


@settings(deadline=None, max_examples=150)
@given(masks(), st.tuples(*[st.floats(0.2, 5)] * 3))
def test_distances_are_those_of_a_tree(both, spacing):
    agree(*both, spacing)


@pytest.mark.parametrize("axes", EVERY_ORDER)
def test_the_order_of_voxels_in_memory_changes_no_distance(axes):
    rng = np.random.default_rng(0)
    ours, theirs = rng.random((2, 9, 10, 11)) < 0.03
    agree(stored(ours, axes), theirs)
    agree(stored(ours, axes), stored(theirs, axes))


def test_voxels_come_in_the_order_of_memory():
    ours, theirs = np.zeros((2, 3, 1, 3), dtype=bool)
    ours[0, 0, 2] = ours[1, 0, 0] = theirs[0, 0, 0] = True
    assert distances(ours, theirs, (1.0, 1.0, 10.0))[0].tolist() == [20, 1]
    assert distances(stored(ours, (2, 1, 0)), theirs, (1.0, 1.0, 10.0))[0].tolist() == [1, 20]


def test_stray_voxels_in_every_corner_are_measured_exactly():
    ours = np.zeros((60, 70, 80), dtype=bool)
    ours[25:31, 30:36, 40:47] = True
    theirs = np.roll(ours, (2, -1, 3), (0, 1, 2))
    theirs[:: 60 - 1, :: 70 - 1, :: 80 - 1] = True
    agree(surface(ours), surface(theirs))


def test_shells_that_hold_one_another_are_measured_exactly():
    ours, theirs = np.zeros((2, 30, 31, 32), dtype=bool)
    ours[1:29, 1:30, 1:31] = theirs[14:16, 14:17, 14:18] = True
    agree(surface(ours), surface(theirs))


@pytest.mark.parametrize("axes", EVERY_ORDER)
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int64])
def test_boxes_are_those_of_scipy(axes, kind):
    rng = np.random.default_rng(1)
    indices = np.zeros((8, 9, 10), dtype=kind)
    indices[2:7, 1:5, 3:9] = rng.integers(0, 7, (5, 4, 6)) * (rng.random((5, 4, 6)) < 0.05)
    found = boxes(stored(indices, axes), 9)
    expected = find_objects(indices.astype(np.int32), 8)
    assert found == [None, *expected]
    assert any(expected)


def test_indices_beyond_the_count_are_passed_over():
    indices = np.array([0, 9, 1, 2, 9, 1], dtype=np.uint8).reshape(1, 1, 6)
    assert boxes(indices, 2) == [None, (slice(0, 1), slice(0, 1), slice(2, 6))]


def test_a_union_is_around_all_boxes_and_of_none_is_empty():
    a, b = (slice(1, 3), slice(4, 5), slice(0, 2)), (slice(2, 6), slice(1, 2), slice(0, 1))
    assert union([a, None, b]) == (slice(1, 6), slice(1, 5), slice(0, 2))
    assert np.empty((3, 3, 3))[union([None, None])].size == 0


@pytest.mark.parametrize("axes", EVERY_ORDER)
def test_surfaces_keep_the_order_of_memory(axes):
    mask = np.random.default_rng(2).random((6, 7, 8)) < 0.9
    found = surface(stored(mask, axes))
    np.testing.assert_array_equal(found, surface(mask))
    assert memory_order(found) == axes
