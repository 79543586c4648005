"""The way to the network's grid and back: every orientation, world coordinates, inverses."""

import itertools
import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.orientations import aff2axcodes
from scipy.spatial.transform import Rotation

from segkit.volume.geometry import Native, same_grid, spacing_of

SHAPE = (4, 5, 6)
ORIENTATIONS = [
    "".join(pair[side] for pair, side in zip(pairs, sides, strict=True))
    for pairs in itertools.permutations(("LR", "PA", "IS"))
    for sides in itertools.product((0, 1), repeat=3)
]


def affine_of(spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0), degrees=(0.0, 0.0, 0.0)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() * spacing
    affine[:3, 3] = origin
    return affine


OBLIQUE = affine_of((0.8, 1.1, 3.0), (-20.0, 35.0, 7.0), (11.0, -7.0, 15.0))


def world(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """World coordinates of all voxel centers, [3, X, Y, Z]."""
    return np.einsum("ij,jxyz->ixyz", affine[:3, :3], np.indices(shape)) + affine[:3, 3, None, None, None]


def distinct(shape=SHAPE) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)


def test_there_are_48_orientations():
    assert len(set(ORIENTATIONS)) == 48


@pytest.mark.parametrize("codes", ORIENTATIONS)
@pytest.mark.parametrize("affine", [affine_of((1, 2, 3)), OBLIQUE], ids=["straight", "oblique"])
def test_every_orientation_keeps_each_voxel_at_its_place_and_returns(codes, affine):
    native = Native.plan(SHAPE, affine, codes).cropped((1, 0, 1), (3, 4, 4))
    label = distinct()
    network = native.label_to_network(label)
    assert "".join(aff2axcodes(native.affine)) == codes
    # the world position of each network voxel, read in the native volume, holds the same value
    index = np.einsum("ij,jxyz->ixyz", np.linalg.inv(affine)[:3, :3], world(native.affine, network.shape))
    index = np.rint(index + np.linalg.inv(affine)[:3, 3, None, None, None]).astype(int)
    np.testing.assert_array_equal(label[tuple(index)], network)
    back = native.label_to_native(network, fill=200)
    inside = np.zeros(SHAPE, dtype=bool)
    inside[tuple(index)] = True
    np.testing.assert_array_equal(back, np.where(inside, label, 200))


def test_a_flip_by_hand():
    # stored right-to-left along x: RAS reverses it
    native = Native.plan((3, 1, 1), np.diag([-1.0, 1, 1, 1]), "RAS")
    np.testing.assert_array_equal(native.label_to_network(np.array([1, 2, 3], np.uint8).reshape(3, 1, 1)).ravel(), [3, 2, 1])
    np.testing.assert_array_equal(native.affine, [[1, 0, 0, -2], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


def test_the_resampled_shape_is_the_rounded_extent_and_at_least_one():
    native = Native.plan((10, 3, 1), affine_of((1.0, 1.0, 1.0)), None, (4.0, 1.5, 9.0))
    assert native.resampled == (2, 2, 1)  # 2.5 rounds to even
    assert native.network_spacing_mm == pytest.approx((4.0, 1.5, 9.0))


def test_both_grids_share_their_center():
    native = Native.plan((10, 11, 12), OBLIQUE, "LSA", (1.7, 0.6, 2.2))
    center = (np.array(native.network_shape) - 1) / 2
    middle = native.affine @ [*center, 1]
    np.testing.assert_allclose(middle, OBLIQUE @ [4.5, 5, 5.5, 1])


@pytest.mark.parametrize("spacing_mm", [None, (1.0, 1.0, 1.0), (0.5, 2.0, 1.2)])
def test_a_ramp_in_world_coordinates_stays_that_ramp(spacing_mm):
    shape = (12, 14, 9)
    ramp = np.einsum("i,ixyz->xyz", (0.3, -0.2, 0.5), world(OBLIQUE, shape))
    native = Native.plan(shape, OBLIQUE, "PIR", spacing_mm)
    native = native.cropped((1, 1, 2), tuple(size - 1 for size in native.resampled))
    expected = np.einsum("i,ixyz->xyz", (0.3, -0.2, 0.5), world(native.affine, native.network_shape))
    inner = tuple(slice(4, -4) if size > 12 else slice(2, -2) for size in native.network_shape)  # away from the splines' border
    np.testing.assert_allclose(native.image_to_network(ramp)[inner], expected[inner], atol=0.02)
    back = native.field_to_native(expected.astype(np.float32), fill=np.nan)
    to_network = np.linalg.inv(native.index_to_native)
    index = np.einsum("ij,jxyz->ixyz", to_network[:3, :3], np.indices(shape)) + to_network[:3, 3, None, None, None]
    top = np.reshape(native.network_shape, (3, 1, 1, 1)) - 1
    between = ((index > -1e-9) & (index < top + 1e-9)).all(0)  # farther out the border voxel is read
    assert between.sum() > 50
    np.testing.assert_allclose(back[between], ramp[between], atol=1e-4)


def test_a_spacing_that_is_already_there_changes_no_voxel():
    native = Native.plan(SHAPE, affine_of((1, 2, 3)), None, (1.00001, 2.0, 3.0))
    assert native.ratio is None
    np.testing.assert_array_equal(native.image_to_network(distinct()), distinct())
    assert native.network_spacing_mm == (1, 2, 3)


def test_a_box_survives_a_finer_grid_and_the_way_back():
    label = np.zeros((20, 20, 12), np.uint8)
    label[5:12, 6:15, 3:8] = 2
    native = Native.plan(label.shape, affine_of((1, 1, 3)), "RAS", (0.5, 0.5, 1.0))
    np.testing.assert_array_equal(native.label_to_native(native.label_to_network(label)), label)


def test_probabilities_and_labels_agree_where_nothing_is_resampled():
    rng = np.random.default_rng(0)
    native = Native.plan((7, 8, 9), OBLIQUE, "ASL").cropped((1, 0, 2), (5, 6, 7))
    probabilities = rng.random((3, *native.network_shape), dtype=np.float32)
    before = probabilities.copy()
    got = native.probabilities_to_native_labels([probabilities], fill=7)
    np.testing.assert_array_equal(got, native.label_to_native(probabilities.argmax(0).astype(np.uint8), fill=7))
    np.testing.assert_array_equal(probabilities, before)


def test_slabs_do_not_change_the_result(monkeypatch):
    rng = np.random.default_rng(1)
    native = Native.plan((9, 8, 7), OBLIQUE, "RSP", (1.0, 0.9, 2.0)).cropped((1, 1, 1), (6, 20, 3))
    probabilities = rng.random((4, *native.network_shape), dtype=np.float32)
    whole = native.probabilities_to_native_labels([probabilities])
    fields = np.stack([native.field_to_native(channel, fill=-1) for channel in probabilities])
    monkeypatch.setattr("segkit.volume.geometry.SLAB_VOXELS", 1)
    np.testing.assert_array_equal(native.probabilities_to_native_labels([probabilities]), whole)
    inside = fields[0] >= 0
    np.testing.assert_array_equal(fields.argmax(0)[inside], whole[inside])


@pytest.mark.parametrize("spacing", [(1.0, 0.9, 2.0), (0.4, 3.0, 0.7), (6.0, 1.0, 1.0), None])
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_slabs_that_come_one_after_the_other_give_what_the_whole_gives(monkeypatch, spacing, depth):
    rng = np.random.default_rng(2)
    native = Native.plan((9, 8, 7), OBLIQUE, "RSP", spacing)
    probabilities = rng.random((3, *native.network_shape), dtype=np.float32)
    whole = native.probabilities_to_native_labels([probabilities])
    monkeypatch.setattr("segkit.volume.geometry.SLAB_VOXELS", 100)
    monkeypatch.setattr("segkit.volume.geometry.SLAB_VALUES", 200)
    asked = []

    def slabs():
        buffer = np.empty((3, depth, *native.network_shape[1:]), dtype=np.float32)
        for start in range(0, native.network_shape[0], depth):
            slab = buffer[:, : min(depth, native.network_shape[0] - start)]
            slab[...] = probabilities[:, start : start + depth]
            asked.append(start)
            yield slab
            buffer[...] = np.nan  # what was given is good until the next is asked for

    np.testing.assert_array_equal(native.probabilities_to_native_labels(slabs()), whole)
    assert asked == list(range(0, native.network_shape[0], depth))


def test_the_memory_does_not_grow_with_the_rows(monkeypatch):
    monkeypatch.setattr("segkit.volume.geometry.SLAB_VALUES", 20_000)
    native, rng = Native.plan((200, 40, 40), affine_of(), None, (0.5, 1.0, 1.0)), np.random.default_rng(3)
    native.probabilities_to_native_labels(np.zeros((4, 2, 40, 40), np.float32) for _ in range(200))  # translates the loops
    tracemalloc.start()
    native.probabilities_to_native_labels(rng.random((4, 2, 40, 40), dtype=np.float32) for _ in range(200))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2_000_000  # all classes of all 400 rows would be 10 MB, the label map is 0.3


def test_the_crop_reaches_half_a_voxel_beyond_its_centers():
    # native 8 voxels of 1 mm, network 4 of 2 mm; the box keeps the middle two: native voxels 2..5
    native = Native.plan((8, 1, 1), affine_of(), None, (2.0, 1.0, 1.0)).cropped((1, 0, 0), (3, 1, 1))
    back = native.label_to_native(np.ones((2, 1, 1), np.uint8))
    np.testing.assert_array_equal(back.ravel(), [0, 0, 1, 1, 1, 1, 0, 0])


def test_ties_go_to_the_lower_class():
    native = Native.plan((2, 1, 1), affine_of())
    assert native.probabilities_to_native_labels([np.full((3, 2, 1, 1), 1 / 3)]).tolist() == [[[0]], [[0]]]


def test_json_and_back_is_the_same_plan():
    native = Native.plan(SHAPE, OBLIQUE, "LIP", (1.3, 0.7, 2.0)).cropped((0, 1, 0), (2, 3, 1))
    assert Native.from_json(json.loads(json.dumps(native.to_json()))) == native
    plain = Native.plan(SHAPE, OBLIQUE)
    assert Native.from_json(json.loads(json.dumps(plain.to_json()))) == plain


def test_a_box_outside_the_volume_is_refused():
    with pytest.raises(ValueError, match="is not inside"):
        Native.plan(SHAPE, np.eye(4)).cropped((0, 0, 0), (4, 5, 7))


@settings(deadline=None, max_examples=40)
@given(
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    spacing=st.tuples(*[st.floats(0.3, 4)] * 3),
    wanted=st.tuples(*[st.floats(0.3, 4)] * 3),
    codes=st.sampled_from(ORIENTATIONS),
    degrees=st.tuples(*[st.floats(-40, 40)] * 3),
    data=st.data(),
)
def test_any_plan_returns_a_constant_inside_its_box_and_only_there(shape, spacing, wanted, codes, degrees, data):
    whole = Native.plan(shape, affine_of(spacing, (3, 2, 1), degrees), codes, wanted)
    start = tuple(data.draw(st.integers(0, size - 1)) for size in whole.resampled)
    stop = tuple(data.draw(st.integers(low + 1, size)) for low, size in zip(start, whole.resampled, strict=True))
    native = whole.cropped(start, stop)
    ones = np.ones(native.network_shape, np.uint8)
    back = native.label_to_native(ones)
    index = np.einsum("ij,jxyz->ixyz", np.linalg.inv(native.index_to_native)[:3, :3], np.indices(shape))
    index += np.linalg.inv(native.index_to_native)[:3, 3, None, None, None]
    top = np.reshape(native.network_shape, (3, 1, 1, 1))
    surely_inside = ((index > -0.499) & (index < top - 0.501)).all(0)
    assert back[surely_inside].all()
    low_open = np.reshape([s == 0 for s in start], (3, 1, 1, 1))
    high_open = np.reshape([e == n for e, n in zip(stop, whole.resampled, strict=True)], (3, 1, 1, 1))
    surely_outside = (((index < -0.501) & ~low_open) | ((index > top - 0.499) & ~high_open)).any(0)
    assert not back[surely_outside].any()
    np.testing.assert_array_equal(native.probabilities_to_native_labels([np.stack([1 - ones, ones])]), back)
    probabilities = np.random.default_rng(0).random((3, *native.network_shape), dtype=np.float32)
    fields = np.stack([native.field_to_native(channel, fill=-1) for channel in probabilities])
    expected = np.where(fields[0] < 0, 9, fields.argmax(0))  # the sweep relies on it: written probabilities say what was predicted
    np.testing.assert_array_equal(native.probabilities_to_native_labels([probabilities], fill=9), expected)


def test_spacing_is_the_length_of_the_columns():
    assert spacing_of(OBLIQUE) == pytest.approx((0.8, 1.1, 3.0))


@pytest.mark.parametrize(
    ("shape", "affine", "text"),
    [
        (SHAPE, affine_of((1, 1, 2), (0.4, 0, 0)), None),
        (SHAPE, affine_of((1, 1, 2.0005)), None),
        ((4, 5, 7), affine_of((1, 1, 2)), "shape 4 x 5 x 6 and 4 x 5 x 7"),
        (SHAPE, affine_of((1, 1, 2.1)), "spacing 1 x 1 x 2 and 1 x 1 x 2.1 mm"),
        (SHAPE, affine_of((1, 1, 2), (0, 0, -3)), "origin or direction: corners up to 1.5 voxels apart"),
        (SHAPE, np.diag([-1.0, 1, 2, 1]), "origin or direction: corners up to 6 voxels apart"),
    ],
)
def test_grids_that_differ_say_how(shape, affine, text):
    assert same_grid(SHAPE, affine_of((1, 1, 2)), shape, affine) == text
