"""What is kept of a population: the same for any split into cases, chunks and workers, and no larger for more volumes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segkit.analysis.accumulator import CHUNK, Accumulator
from segkit.analysis.channels import leading

D, K, RESERVOIR = 6, 2, 32
WEIGHTS = np.random.default_rng(9).normal(size=(2, D))


def case(index, n=40):
    """Features and keys of a case."""
    rng = np.random.default_rng(index)
    return rng.normal(size=(n, D)).astype(np.float32), rng.random(n)


def of(index, n=40):
    return Accumulator.of(f"case_{index}", *case(index, n), WEIGHTS, K, RESERVOIR)


def merged(parts):
    return sum(parts, Accumulator.empty(WEIGHTS, RESERVOIR))


def same(first, second):
    assert first.moments.count == second.moments.count
    np.testing.assert_allclose(first.moments.mean, second.moments.mean, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(first.moments.scatter, second.moments.scatter, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(first.leads, second.leads)
    for ours, theirs in zip(first.reservoir.rows(), second.reservoir.rows(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert first.cases.keys() == second.cases.keys()
    assert [one.count for one in map(first.cases.get, second.cases)] == [one.count for one in second.cases.values()]
    np.testing.assert_allclose(first.case_means(), second.case_means(), rtol=1e-6, atol=1e-7)


def whole(cases, n=40):
    """All voxels of the cases in one pass, as if of one case."""
    features, keys = zip(*(case(index, n) for index in cases), strict=True)
    return Accumulator.of("all", np.concatenate(features), np.concatenate(keys), WEIGHTS, K, RESERVOIR)


@given(st.permutations(range(6)), st.integers(0, 6))
@settings(max_examples=30)
def test_any_order_and_any_workers_give_the_same(order, cut):
    workers = merged(map(of, order[:cut])) + merged(map(of, order[cut:]))
    same(workers, merged(map(of, range(6))))


def test_cases_together_are_one_pass_over_all_voxels():
    together, once = merged(map(of, range(6))), whole(range(6))
    assert together.moments.count == once.moments.count
    np.testing.assert_allclose(together.moments.mean, once.moments.mean, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(together.moments.scatter, once.moments.scatter, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(together.leads, once.leads)
    np.testing.assert_array_equal(together.reservoir.rows()[1], once.reservoir.rows()[1])


def test_chunks_do_not_matter():
    n = CHUNK // D + 9
    features, key = case(0, n)
    kept = Accumulator.of("large", features, key, WEIGHTS, K, RESERVOIR)
    exact = features.astype(np.float64)
    assert kept.moments.count == n
    np.testing.assert_allclose(kept.moments.mean, exact.mean(axis=0), rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(kept.moments.variance, exact.var(axis=0, ddof=1), rtol=1e-11)
    np.testing.assert_array_equal(kept.leads, [leading(exact * weight, K).sum(axis=0) for weight in WEIGHTS])


def test_a_case_with_both_outcomes_is_one_case():
    features, key = case(0)
    hit = np.arange(40) < 13
    parts = [Accumulator.of("case_0", features[rows], key[rows], WEIGHTS, K, RESERVOIR) for rows in (hit, ~hit)]
    same(parts[0] + parts[1], of(0))


def test_each_voxel_has_k_leading_channels():
    kept = merged(map(of, range(3)))
    np.testing.assert_array_equal(kept.leads.sum(axis=1), K * kept.moments.count)
    assert kept.leads.min() >= 0
    assert kept.leads.max() <= kept.moments.count


def test_the_leading_channel_by_hand():
    # embedding (1, 0, 2) of the first reading, (-1, 5, 0) of the second
    weights = np.array([[1.0, 0, 2], [-1, 5, 0]])
    kept = Accumulator.of("one", np.ones((1, 3), dtype=np.float32), np.zeros(1), weights, 1, 4)
    np.testing.assert_array_equal(kept.leads, [[0, 0, 1], [0, 1, 0]])


def test_the_leading_channels_do_not_depend_on_the_scale_of_a_channel():
    features, key = case(0)
    scale = np.array([2.0, 0.5, 64.0, 1.0, 0.125, 8.0])
    scaled = Accumulator.of("case_0", (features * scale).astype(np.float32), key, WEIGHTS / scale, K, RESERVOIR)
    np.testing.assert_array_equal(scaled.leads, of(0).leads)
    np.testing.assert_array_equal(scaled.moments.mean * WEIGHTS / scale, of(0).moments.mean * WEIGHTS)


def size(kept):
    """Bytes of all arrays but the means of cases."""
    return sum(array.nbytes for array in (kept.moments.mean, kept.moments.scatter, kept.leads, *kept.reservoir.rows()))


def test_a_hundred_volumes_take_no_more_than_one_but_for_the_means_of_cases():
    one, hundred = of(0), merged(map(of, range(100)))
    assert hundred.moments.count == 100 * one.moments.count
    assert size(hundred) == size(one)
    assert sum(each.mean.nbytes for each in hundred.cases.values()) == 100 * D * 4


def test_nothing_adds_nothing():
    same(of(0) + Accumulator.empty(WEIGHTS, RESERVOIR), of(0))
    same(Accumulator.empty(WEIGHTS, RESERVOIR) + of(0), of(0))
    assert Accumulator.empty(WEIGHTS, RESERVOIR).case_means().shape == (0, D)


def test_means_of_cases_come_by_ascending_id():
    kept = merged([of(2), of(0), of(1)])
    np.testing.assert_array_equal(kept.case_means(), np.concatenate([of(index).case_means() for index in range(3)]))
    assert kept.case_means()[0] == pytest.approx(case(0)[0].mean(axis=0), abs=1e-6)
