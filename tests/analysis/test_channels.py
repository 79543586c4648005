"""Channels of a class embedding: the largest and their ties, how many are used, how evenly, how far they reach."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segkit.analysis.channels import diversity, leading, range_gap, ranked, top_count, used

VALUES = arrays(np.float64, (4, 7), elements=st.sampled_from([-1.0, 0.0, 0.5, 2.0]))  # many ties


def test_leading_by_hand():
    np.testing.assert_array_equal(leading(np.array([1.0, 0.0, 2.0]), 1), [False, False, True])
    np.testing.assert_array_equal(leading(np.array([[1.0, 3.0, 3.0, 0.0], [0, 0, 0, 0]]), 2), [[0, 1, 1, 0], [1, 1, 0, 0]])


@given(VALUES, st.integers(1, 7))
def test_leading_are_the_first_of_a_stable_sort(values, k):
    expected = np.zeros(values.shape, dtype=bool)
    np.put_along_axis(expected, np.argsort(-values, axis=1, kind="stable")[:, :k], True, axis=1)
    np.testing.assert_array_equal(leading(values, k), expected)
    np.testing.assert_array_equal(ranked(values[0], k), np.argsort(-values[0], kind="stable")[:k])


def test_nothing_leads_where_a_value_is_nan():
    assert not leading(np.array([np.nan, 1.0, 2.0]), 2).any()
    assert len(ranked(np.full(3, np.nan), 2)) == 0


@pytest.mark.parametrize(("channels", "k"), [(250, 10), (40, 10), (39, 9), (32, 8), (16, 4), (4, 1), (2, 1), (1, 1)])
def test_k_is_at_most_a_quarter_of_the_channels(channels, k):
    assert top_count(channels, 10) == k


def test_used_channels_by_hand():
    counts = np.array([0, 1, 6, 3])  # 60 % in one, 90 % in two, all in three
    assert (used(counts, 50), used(counts, 60), used(counts, 61), used(counts, 90), used(counts, 91)) == (1, 1, 2, 2, 3)


def test_diversity_of_channels_that_lead_alike_is_their_number():
    assert diversity(np.array([0, 5, 5, 0, 5])) == pytest.approx(3, rel=1e-12)


def test_diversity_by_hand():
    assert diversity(np.array([2, 1, 1])) == pytest.approx(2**1.5, rel=1e-12)  # entropy 1.5 bit


def test_without_an_occurrence_there_is_no_number():
    nothing = np.zeros(4, dtype=np.int64)
    assert np.isnan(used(nothing, 50))
    assert np.isnan(diversity(nothing))


def test_range_gap_by_hand():
    inside = np.linspace(0, 1, 1001)  # quantiles 0.001 and 0.999
    training = np.stack([inside, inside, inside, np.zeros(1001)], axis=1)
    test = np.stack([inside, inside + 0.499, inside * 2 - 0.5, inside], axis=1)
    # a range of 0.998: kept; 0.499 above; -0.5 + 0.002 to 1.5 - 0.002, 0.499 on either side; constant in training: left out
    assert range_gap(training, test) == pytest.approx((0 + 0.499 + 2 * 0.499) / 0.998 / 3, rel=1e-9)


def test_a_smaller_range_is_no_gap():
    wide, narrow = np.linspace(0, 1, 100)[:, None], np.linspace(0.2, 0.7, 100)[:, None]
    assert range_gap(wide, narrow) == 0
    assert range_gap(narrow, wide) > 0


def test_the_gap_does_not_depend_on_the_scale_of_a_channel():
    training, test = (np.random.default_rng(seed).normal(size=(50, 3)) for seed in (0, 1))
    scale = np.array([4.0, 0.25, 1024.0])
    assert range_gap(training * scale, test * scale) == pytest.approx(range_gap(training, test), rel=1e-12)


def test_there_is_no_gap_without_voxels_or_without_a_range():
    none, some = np.empty((0, 2)), np.ones((5, 2))
    assert np.isnan([range_gap(none, some), range_gap(some, none), range_gap(some, some)]).all()
