"""The rows with the lowest keys: the same whatever the order and the parts, and a fair sample."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segkit.analysis.lowest import Lowest

KEYS = np.random.default_rng(0).permutation(100) / 100
ROWS = np.arange(100) * 10.0


@given(st.integers(1, 120), st.lists(st.integers(0, 100), max_size=8), st.randoms())
def test_order_and_parts_do_not_matter(most, cuts, random):
    parts = list(zip(np.split(KEYS, sorted(cuts)), np.split(ROWS, sorted(cuts)), strict=True))
    random.shuffle(parts)
    lowest = Lowest(most)
    for key, rows in parts:
        lowest.add(key, rows)
    key, rows = lowest.rows()
    expected = np.argsort(KEYS)[:most]
    np.testing.assert_array_equal(key, KEYS[expected])
    np.testing.assert_array_equal(rows, ROWS[expected])


def test_samples_of_parts_merge_into_the_sample_of_the_whole():
    halves = Lowest(10), Lowest(10)
    halves[0].add(KEYS[:70], ROWS[:70])
    halves[1].add(KEYS[70:], ROWS[70:])
    merged = Lowest(10)
    for half in halves:
        merged.add(*half.rows())
    np.testing.assert_array_equal(merged.rows()[1], ROWS[np.argsort(KEYS)[:10]])


def test_rows_above_the_limit_would_not_have_been_kept():
    lowest, sieved = Lowest(5), Lowest(5)
    for start in range(0, 100, 4):
        key, rows = KEYS[start : start + 4], ROWS[start : start + 4]
        lowest.add(key, rows)
        below = key < sieved.limit
        sieved.add(key[below], rows[below])
    assert sieved.limit < 1
    np.testing.assert_array_equal(lowest.rows()[1], sieved.rows()[1])


def test_never_more_than_twice_as_many_rows_are_held():
    lowest = Lowest(8)
    for key, row in zip(KEYS, ROWS, strict=True):
        lowest.add(np.array([key]), np.array([row]))
        assert sum(len(part[0]) for part in lowest._parts) <= 16


def test_no_rows_are_rows_too():
    lowest = Lowest(3)
    assert lowest.empty
    lowest.add(np.empty(0), np.empty((0, 4)))
    assert not lowest.empty
    assert lowest.rows()[1].shape == (0, 4)
    assert lowest.limit == np.inf


def test_means_of_samples_are_unbiased():
    values = np.random.default_rng(0).exponential(size=2000)
    means = []
    for seed in range(200):
        lowest = Lowest(100)
        lowest.add(np.random.default_rng(seed + 1).random(2000), values)
        means.append(lowest.rows()[1].mean())
    assert np.mean(means) == pytest.approx(values.mean(), abs=3 * np.std(means, ddof=1) / np.sqrt(200))
