"""Intervals of means over cases: values by hand, Student's and SciPy's as oracles, laws, and how often they cover."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from segkit.statistics.bootstrap import DRAWS, ENOUGH, difference_interval, mean_interval, resampled

SCORES = (0.91, 0.85, 0.42, 0.88, 0.79, 0.93, 0.0, 0.81)
samples = st.lists(st.integers(-50, 50).map(lambda number: number / 64), min_size=2, max_size=12)
few_examples = settings(max_examples=25, deadline=None)


def limits(interval) -> tuple[float, float]:
    return interval.low, interval.high


def quantiles(count: int, law=stats.norm) -> np.ndarray:
    """A sample that looks like its law as well as it can."""
    return law.ppf((np.arange(count) + 0.5) / count)


def test_two_cases_reach_from_one_to_the_other():
    # resampled means are 0, 1/2 and 1; Student's t of one degree of freedom asks for more than they have
    assert limits(mean_interval((0.0, 1.0))) == (0.0, 1.0)


def test_fewer_than_two_values_have_no_interval():
    assert mean_interval(()) is None
    assert mean_interval((0.5,)) is None
    assert difference_interval((0.5, 0.6), (0.5,)) is None
    assert difference_interval((), (0.5, 0.6)) is None


def test_equal_values_have_an_interval_of_one_point():
    assert limits(mean_interval((0.1, 0.1, 0.1))) == (0.1, 0.1)
    assert limits(difference_interval((0.75, 0.75), (0.5, 0.5, 0.5))) == (0.25, 0.25)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_is_refused(bad):
    with pytest.raises(ValueError, match="expected finite values"):
        mean_interval((0.5, bad))


def test_the_levels_are_expanded_by_students_law_and_the_missing_degree_of_freedom():
    # n = 8: q = t(0.975; 7) sqrt(8/7) = 2.364624 * 1.069045 = 2.527889, and Phi(-q) = 0.005737
    means = np.array(SCORES)[resampled(8)].mean(axis=1)
    assert limits(mean_interval(SCORES)) == pytest.approx(tuple(np.quantile(means, [0.005737, 0.994263])), abs=1e-4)


def test_scipys_percentile_interval_at_the_expanded_level_is_the_same():
    oracle = stats.bootstrap((SCORES,), np.mean, n_resamples=DRAWS, method="percentile", confidence_level=1 - 2 * 0.005737, rng=1)
    assert limits(mean_interval(SCORES)) == pytest.approx(tuple(oracle.confidence_interval), abs=0.02)


@pytest.mark.parametrize("count", [8, 20, 50])
def test_of_symmetric_values_it_is_students_interval(count):
    values = quantiles(count)
    oracle = stats.ttest_1samp(values, 0).confidence_interval()
    assert limits(mean_interval(values)) == pytest.approx(tuple(oracle), rel=0.06)


@pytest.mark.parametrize(("first", "second", "ratio"), [(12, 40, 1.0), (40, 12, 5.0), (10, 10, 1.0)])
def test_of_two_symmetric_groups_it_is_welchs_interval(first, second, ratio):
    test, training = 3 + ratio * quantiles(first), quantiles(second)
    oracle = stats.ttest_ind(test, training, equal_var=False).confidence_interval()
    low, high = limits(difference_interval(test, training))
    assert (low + high) / 2 == pytest.approx(3, abs=0.05 * ratio)
    assert high - low == pytest.approx(oracle.high - oracle.low, rel=0.06)


def test_a_group_that_does_not_vary_leaves_the_interval_of_the_other_one():
    low, high = limits(mean_interval(SCORES))
    assert limits(difference_interval(SCORES, (0.25,) * 5)) == pytest.approx((low - 0.25, high - 0.25))


def test_two_equal_groups_are_resampled_separately():
    low, high = limits(difference_interval(SCORES, SCORES))
    assert low < -0.2
    assert high > 0.2  # from the same resamples it would be 0 to 0


def test_the_difference_turned_around_has_the_other_sign():
    other = (0.5, 0.7, 0.75, 0.2, 0.9)
    low, high = limits(difference_interval(SCORES, other))
    assert limits(difference_interval(other, SCORES)) == pytest.approx((-high, -low), abs=0.03)  # two draws of the same law


@few_examples
@given(samples)
def test_the_interval_holds_the_mean_and_lies_between_the_values(values):
    low, high = limits(mean_interval(values))
    assert min(values) - 1e-12 <= low <= np.mean(values) + 1e-12
    assert np.mean(values) - 1e-12 <= high <= max(values) + 1e-12


@few_examples
@given(samples, st.integers(-4, 4), st.sampled_from([-2.0, -0.5, 3.0]))
def test_it_moves_and_stretches_and_turns_with_the_values(values, shift, factor):
    expected = [factor * limit + shift for limit in limits(mean_interval(values))]
    assert limits(mean_interval(factor * np.array(values) + shift)) == pytest.approx(tuple(sorted(expected)), abs=1e-9)


def test_the_same_cases_are_always_resampled_alike():
    assert mean_interval(SCORES) == mean_interval(list(SCORES))
    assert np.array_equal(resampled(8), resampled(8))
    assert not np.array_equal(resampled(8), resampled(8, seed=1))
    assert not np.array_equal(resampled(8), resampled(8, group=1))


def test_the_seed_and_the_order_of_cases_change_an_interval_by_little():
    low, high = limits(mean_interval(SCORES))
    assert limits(mean_interval(SCORES, seed=1)) == pytest.approx((low, high), abs=0.02)
    assert limits(mean_interval(SCORES[::-1])) == pytest.approx((low, high), abs=0.02)


def test_every_case_is_drawn_equally_often():
    indices = resampled(5, draws=20_000)
    assert indices.shape == (20_000, 5)
    assert np.bincount(indices.ravel()) / indices.size == pytest.approx([0.2] * 5, abs=0.005)  # 4 standard errors


def test_statistics_of_one_set_of_resamples_belong_together():
    dice, error = np.array(SCORES), 1 - np.array(SCORES)
    indices = resampled(len(SCORES))
    assert dice[indices].mean(axis=1) + error[indices].mean(axis=1) == pytest.approx(1)


def test_it_covers_the_mean_as_often_as_it_says_and_bca_does_not():
    samples = np.random.default_rng(0).normal(size=(400, 8))
    ours = [limits(mean_interval(values)) for values in samples]
    theirs = stats.bootstrap((samples,), np.mean, n_resamples=500, method="BCa", axis=1, rng=0).confidence_interval
    covered = np.mean([low <= 0 <= high for low, high in ours])
    assert covered == pytest.approx(0.95, abs=0.033)  # 3 standard errors of 400 samples
    assert np.mean((theirs.low <= 0) & (theirs.high >= 0)) < 0.9


def test_the_difference_of_groups_of_different_spread_is_covered_too():
    generator = np.random.default_rng(0)
    pairs = [(generator.normal(1.0, 3.0, size=6), generator.normal(0.0, 0.5, size=25)) for _ in range(200)]
    found = [limits(difference_interval(test, training)) for test, training in pairs]
    assert np.mean([low <= 1 <= high for low, high in found]) == pytest.approx(0.95, abs=0.046)  # 3 standard errors of 200 samples


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6])
def test_the_range_of_few_values_covers_the_mean_in_all_but_2_to_the_1_minus_n_of_all_samples(count):
    values = np.random.default_rng(count).normal(size=(40_000, count))
    covered = np.mean((values.min(axis=1) < 0) & (values.max(axis=1) > 0))
    assert covered == pytest.approx(1 - 2.0 ** (1 - count), abs=0.01)  # 4 standard errors
    assert (1 - 2.0 ** (1 - count) >= 0.95) == (count >= ENOUGH)
