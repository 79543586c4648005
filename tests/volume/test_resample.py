"""Values between voxels, against SciPy and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from segkit.volume import resample
from segkit.volume.labels import IGNORED
from segkit.volume.resample import shared_center

CUBE = np.random.default_rng(0).normal(size=(7, 9, 8)).astype(np.float32)
AT = (shared_center(10, 7, 0.7), shared_center(5, 9, 1.9), shared_center(11, 8, 0.72))
EVEN = (1.0, 1.0, 1.0)


def grid(positions):
    return np.meshgrid(*positions, indexing="ij")


def test_positions_by_hand():
    np.testing.assert_allclose(shared_center(2, 4, 2.0), [0.5, 2.5])
    np.testing.assert_allclose(shared_center(4, 2, 0.5), [-0.25, 0.25, 0.75, 1.25])


def test_images_are_scipys_cubic_splines():
    expected = map_coordinates(CUBE.astype(np.float64), grid(AT), order=3, mode="nearest").clip(CUBE.min(), CUBE.max())
    np.testing.assert_allclose(resample.image(CUBE, AT, EVEN), expected, atol=1e-5)


def test_linear_is_scipys_linear():
    expected = map_coordinates(CUBE.astype(np.float64), grid(AT), order=1, mode="nearest")
    np.testing.assert_allclose(resample.linear(CUBE, AT), expected, atol=1e-5)


def test_a_slab_reads_like_the_whole():
    slab = (AT[0][3:5], AT[1], AT[2])
    np.testing.assert_array_equal(resample.linear(CUBE, slab), resample.linear(CUBE, AT)[3:5])


def test_a_spline_does_not_leave_the_range_of_the_image():
    step = np.zeros((12, 12, 12), np.float32)
    step[6:] = 1
    out = resample.image(step, (shared_center(30, 12, 0.4),) * 3, EVEN)
    assert out.min() == 0
    assert out.max() == 1


def test_thick_and_short_axes_are_linear():
    ramp_then_flat = np.array([0, 0, 0, 1, 1, 1], np.float32).reshape(1, 1, 6) * np.ones((8, 8, 1), np.float32)
    at = (np.arange(8.0), np.arange(8.0), np.array([2.25, 2.5]))
    np.testing.assert_allclose(resample.image(ramp_then_flat, at, (1, 1, 3.1))[0, 0], [0.25, 0.5])
    assert abs(resample.image(ramp_then_flat, at, (1, 1, 3.0))[0, 0, 0] - 0.25) > 0.03
    short = ramp_then_flat[..., 2:4]
    np.testing.assert_allclose(resample.image(short, (at[0], at[1], np.array([0.25])), EVEN)[0, 0], [0.25])


def test_the_larger_share_takes_the_voxel():
    row = np.array([0, 3, 3, 7], np.uint8).reshape(4, 1, 1)
    zero = np.zeros(1)
    at = np.array([0.4, 0.5, 0.6, 2.4, 2.5, 2.6, 9.0])
    assert resample.labels(row, (at, zero, zero)).ravel().tolist() == [0, 0, 3, 3, 3, 7, 7]


def test_ignored_voxels_keep_their_nearest_place():
    row = np.array([0, IGNORED, 2], np.uint8).reshape(3, 1, 1)
    zero = np.zeros(1)
    assert resample.labels(row, (np.array([0.4, 0.6, 1.0, 1.4, 1.6]), zero, zero)).ravel().tolist() == [0, 255, 255, 255, 2]


def by_formula(channels, positions):
    """Every channel at the new size, then the largest."""
    return np.stack([resample.linear(channel, positions) for channel in channels]).argmax(0)


@pytest.mark.parametrize("planes_bytes", [1, 2**27], ids=["one thread", "threads"])
@pytest.mark.parametrize("at", [AT, tuple(at[:1] for at in AT), (np.arange(7.0), AT[1], AT[2])], ids=["all", "one voxel", "kept axis"])
def test_the_most_probable_channel_is_the_largest_linear_value(monkeypatch, planes_bytes, at):
    monkeypatch.setattr(resample, "PLANES_BYTES", planes_bytes)
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    channels = np.random.default_rng(1).random((5, *CUBE.shape), dtype=np.float32)
    out = np.full([len(positions) for positions in at], 77, np.uint8)
    resample.most_probable(channels, at, out)
    np.testing.assert_array_equal(out, by_formula(channels, at))
    scipys = np.stack([map_coordinates(channel.astype(np.float64), grid(at), order=1, mode="nearest") for channel in channels])
    np.testing.assert_array_equal(out, scipys.argmax(0))


@settings(deadline=None, max_examples=60)
@given(
    old=st.tuples(*[st.integers(1, 6)] * 3),
    new=st.tuples(*[st.integers(1, 9)] * 3),
    ratios=st.tuples(*[st.sampled_from([0.3, 0.5, 1.0, 1.7, 2.0])] * 3),
    channels=st.integers(1, 6),
    levels=st.integers(1, 4),
    seed=st.integers(0, 10**6),
)
def test_ties_are_those_of_the_formula_to_the_bit(old, new, ratios, channels, levels, seed):
    values = np.random.default_rng(seed).integers(0, levels, (channels, *old)).astype(np.float32) / 3
    at = tuple(shared_center(n, o, ratio) for n, o, ratio in zip(new, old, ratios, strict=True))
    out = np.empty(new, np.uint8)
    resample.most_probable(values, at, out)
    np.testing.assert_array_equal(out, by_formula(values, at))


def test_the_largest_channel_and_the_lower_of_two():
    channels = np.random.default_rng(3).integers(0, 4, (5, 6, 7, 9)).astype(np.float32)
    out = np.full((6, 7, 9), 77, np.uint8)
    resample.largest(channels[:, ::-1], out[::-1])
    np.testing.assert_array_equal(out, channels.argmax(0))  # numpy's is the first
    resample.largest(-np.ones((2, 3, 1, 1), np.float32), out[:3, :1, :1])
    assert not out[:3, 0, 0].any()


def test_any_view_is_filled_and_any_kind_of_number_read():
    channels = np.random.default_rng(2).normal(size=(3, *CUBE.shape[::-1])).astype(np.float16).transpose(0, 3, 2, 1)
    whole = np.zeros((11, 10, 5), np.uint8)
    resample.most_probable(channels, AT, whole.transpose(1, 2, 0)[::-1, :, ::-1])
    np.testing.assert_array_equal(whole.transpose(1, 2, 0)[::-1, :, ::-1], by_formula(channels, AT))
    resample.most_probable(channels, AT, whole[:0])


def test_nearest_keeps_values_and_dtype():
    out = resample.nearest(np.array([5, 9], np.int16).reshape(2, 1, 1), (np.array([-3, 0.4, 0.6]), np.zeros(1), np.zeros(1)))
    assert out.dtype == np.int16
    assert out.ravel().tolist() == [5, 5, 9]
