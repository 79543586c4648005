"""Moments: numpy's own mean and covariance, however the vectors are split; the participation ratio of known covariances."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segkit.analysis.moments import FULL, Moments


def vectors(n, channels=5, seed=0):
    return np.random.default_rng(seed).normal(3.0, [1, 2, 3, 4, 5][:channels], (n, channels))


def close(first, second):
    assert first.count == second.count
    np.testing.assert_allclose(first.mean, second.mean, rtol=1e-12)
    np.testing.assert_allclose(first.scatter, second.scatter, rtol=1e-11, atol=1e-9)


def test_mean_variance_and_covariance_are_numpys():
    rows = vectors(50)
    moments = Moments.of(rows)
    np.testing.assert_allclose(moments.mean, rows.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(moments.variance, rows.var(axis=0, ddof=1), rtol=1e-12)
    np.testing.assert_allclose(moments.scatter / 49, np.cov(rows.T), rtol=1e-12, atol=1e-12)


@given(st.lists(st.integers(0, 100), max_size=6), st.randoms())
def test_parts_in_any_order_merge_into_the_whole(cuts, random):
    rows = vectors(100)
    parts = [Moments.of(part) for part in np.split(rows, sorted(cuts))]
    random.shuffle(parts)
    close(sum(parts[1:], parts[0]), Moments.of(rows))


def test_features_far_from_zero_lose_nothing():
    rows = vectors(1000) * 1e-3 + 1e4
    halves = Moments.of(rows[:300]) + Moments.of(rows[300:])
    np.testing.assert_allclose(halves.variance, np.cov((rows - 1e4).T).diagonal(), rtol=1e-7)  # 1e4 has 1e-12 to spare


def test_above_512_channels_only_the_diagonal_is_kept():
    rows = np.random.default_rng(0).normal(size=(8, FULL + 1))
    moments = Moments.of(rows[:3]) + Moments.of(rows[3:])
    assert moments.scatter.shape == (FULL + 1,)
    np.testing.assert_allclose(moments.variance, rows.var(axis=0, ddof=1), rtol=1e-12)
    assert np.isnan(moments.participation)


def test_nothing_has_no_variance():
    none = Moments.of(np.empty((0, 3)))
    assert (none + none).count == 0
    assert np.isnan(none.variance).all()
    assert np.isnan(none.participation)


def test_one_vector_has_no_variance():
    assert np.isnan(Moments.of(np.ones((1, 3))).variance).all()


@pytest.mark.parametrize("directions", [1, 2, 5])
def test_participation_counts_directions_of_equal_variance(directions):
    rows = np.zeros((2 * directions, 5))
    for d in range(directions):
        rows[2 * d, d], rows[2 * d + 1, d] = 1, -1
    assert Moments.of(rows).participation == pytest.approx(directions, rel=1e-12)


def test_participation_by_hand():
    rows = np.array([[3.0, 0], [-3, 0], [0, 1], [0, -1]])  # variances 9 : 1
    assert Moments.of(rows).participation == pytest.approx(100 / 82, rel=1e-12)


def test_participation_of_an_isotropic_sample_is_near_its_dimension():
    rows = np.zeros((20_000, 12))
    rows[:, :7] = np.random.default_rng(0).normal(size=(20_000, 7))
    assert Moments.of(rows).participation == pytest.approx(7, rel=0.01)
