"""Random fields and shapes: their laws, and values by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segkit.phantom.fields import ellipsoid, filaments, fill, points, smooth, spread, stream, tilt, tube


def test_a_stream_depends_on_every_part_of_its_key():
    keys = [(5,), (5, 0), (5, 0, 0), (5, 0, 1), (5, 1, 0), (6, 0, 0)]
    assert len({stream(*key).random() for key in keys}) == len(keys)
    assert stream(5, 0, 1).random() == stream(5, 0, 1).random()


def test_a_smooth_field_has_unit_variance_at_every_voxel():
    fields = np.stack([smooth(stream(0, i), (9, 6, 7), 3) for i in range(3000)])
    # the deviation of a variance from n samples is sqrt(2 / n) = 0.026; 378 correlated voxels stay within 5 of them
    np.testing.assert_allclose(fields.var(axis=0), 1, atol=0.13)
    np.testing.assert_allclose(fields.mean(axis=0), 0, atol=0.1)


def test_a_smooth_field_is_the_same_at_twice_the_resolution():
    coarse, fine = smooth(stream(1), (24, 24, 24), 2), smooth(stream(1), (48, 48, 48), 2)
    halved = fine.reshape(24, 2, 24, 2, 24, 2).mean(axis=(1, 3, 5))
    np.testing.assert_allclose(halved, coarse, atol=0.02)


def test_cells_are_counted_along_each_axis():
    field = smooth(stream(2), (40, 40, 40), (2, 2, 20))
    steps = [np.abs(np.diff(field, axis=axis)).mean() for axis in range(3)]
    assert steps[2] > 3 * max(steps[:2])


def test_filaments_take_the_share_asked_for():
    shares = [filaments(stream(3, i), (40, 40, 40), 12, 0.05).mean() for i in range(8)]
    assert np.mean(shares) == pytest.approx(0.05, rel=0.15)


def test_points_run_where_the_codes_say():
    at = points((2, 2, 2), (2, 4, 8), "LPS")
    assert at.shape == (3, 2, 2, 2)
    assert at[:, 0, 0, 0].tolist() == [0.5, 1.0, -2.0]  # the first voxel is right, anterior, inferior
    assert at[:, 1, 1, 1].tolist() == [-0.5, -1.0, 2.0]


def test_the_level_of_a_ball_is_the_distance_to_its_surface():
    at = np.array([[0.0, 3.0, 7.0], [0, 0, 0], [0, 4.0, 0]]).astype(np.float32)
    np.testing.assert_allclose(ellipsoid(at, (0, 0, 0), (5, 5, 5))[1:], [0, 2], atol=1e-5)


def test_a_turned_ellipsoid_is_zero_at_the_ends_of_its_turned_axes():
    turn = tilt(stream(4), 30)
    ends = (turn.T * (5, 3, 2)).astype(np.float32)  # column i: axis i in patient coordinates
    np.testing.assert_allclose(ellipsoid(ends, (0, 0, 0), (5, 3, 2), turn), 0, atol=1e-4)


def test_a_tilt_is_a_rotation():
    turn = tilt(stream(5), 20)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(turn) == pytest.approx(1)


def test_the_level_of_a_tube_narrows_with_its_radius():
    at = np.array([[0.0, 5.0, 10.0, 13.0], [4.0, 4.0, 4.0, 0.0], [0.0, 0.0, 0.0, 0.0]]).astype(np.float32)
    level = tube(at, np.array([[0, 0, 0], [10, 0, 0]]), (3, 1))
    np.testing.assert_allclose(level, [4 - 3, 4 - 2, 4 - 1, 3 - 1], atol=1e-5)


def test_filling_takes_the_lowest_free_voxels():
    level = np.arange(8.0).reshape(2, 2, 2)
    free = np.ones((2, 2, 2), bool)
    free[0, 0, 0] = False
    assert np.flatnonzero(fill(level, free, 3)).tolist() == [1, 2, 3]
    assert not fill(level, free, 0).any()
    assert np.array_equal(fill(level, free, 100), free)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000), count=st.integers(1, 200))
def test_a_filled_shape_has_exactly_its_volume_and_nothing_lower_is_left(seed, count):
    rng = stream(seed)
    level, free = rng.standard_normal((6, 6, 6)), rng.random((6, 6, 6)) < 0.95
    chosen = fill(level, free, count)
    assert chosen.sum() == min(count, free.sum())
    assert not (chosen & ~free).any()
    assert level[chosen].max() <= level[free & ~chosen].min(initial=np.inf)


def test_a_small_cohort_is_spread_over_the_square():
    pairs = [spread(7, i) for i in range(12)]
    assert {(int(2 * u), int(2 * v)) for u, v in pairs} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    for coordinate in np.sort(pairs, axis=0).T:
        assert np.diff(coordinate).max() < 0.16  # 12 independent numbers leave a larger gap in most draws
    assert spread(7, 0) != spread(8, 0)
