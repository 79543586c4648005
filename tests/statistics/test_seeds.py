"""Two methods by the means of their seeds: by hand, SciPy as oracle, which cases count, and where there is no test."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from segkit.statistics.paired import compare_pairs
from segkit.statistics.seeds import seeds_p

dyadic = st.integers(0, 64).map(lambda number: number / 64)  # sums and differences of these are exact
seeds_of_three_cases = st.lists(st.tuples(dyadic, dyadic, dyadic), min_size=2, max_size=4)
few_examples = settings(max_examples=30, deadline=None)


def with_means(*means: float) -> list[tuple[float, float]]:
    """Seeds with these means over two cases."""
    return [(mean - 0.125, mean + 0.125) for mean in means]


def test_one_degree_of_freedom_by_hand():
    # A does not vary; B: means 0.25 and 0.5, v = (0.25^2 / 2) / 2 = 1/64, so t = (0.375 - 0.125) / (1/8) = 2 and f = 1, Cauchy's law
    p = seeds_p(with_means(0.125, 0.125), with_means(0.25, 0.5))
    assert p == pytest.approx(1 - 2 * math.atan(2) / math.pi)


def test_two_degrees_of_freedom_by_hand():
    # v = 1/64 on either side, t = (0.875 - 0.375) / sqrt(1/32) = sqrt 8; with f = 2 two-sided p is 1 - t / sqrt(2 + t^2)
    p = seeds_p(with_means(0.25, 0.5), with_means(0.75, 1.0))
    assert p == pytest.approx(1 - math.sqrt(8 / 10))


@pytest.mark.parametrize(("first", "second"), [(2, 2), (2, 5), (3, 3), (4, 3)])
def test_it_is_scipys_test_of_the_means(first, second):
    rng = np.random.default_rng(first + second)
    a, b = rng.normal(0.5, 0.1, (first, 20)), rng.normal(0.6, 0.2, (second, 20))
    oracle = stats.ttest_ind(a.mean(axis=1), b.mean(axis=1), equal_var=False)
    assert seeds_p(a.tolist(), b.tolist()) == pytest.approx(oracle.pvalue)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_with_equal_scatter_a_difference_has_to_exceed_what_the_docstring_says(seeds):
    least = {2: 4.3, 3: 2.3, 5: 1.5}[seeds]
    pattern = np.linspace(-1, 1, seeds)
    pattern /= pattern.std(ddof=1)

    def p_at(difference: float) -> float | None:
        return seeds_p(with_means(*pattern), with_means(*(pattern + difference)))

    assert p_at(least - 0.1) > 0.05 > p_at(least + 0.1)


def test_only_cases_with_a_value_in_every_seed_of_both_count():
    a = [(0.25, 0.5, None, 0.75), (0.5, 0.5, 0.125, 0.5)]
    b = [(0.5, 0.75, 0.5, 0.25), (0.75, 0.875, 0.5, None)]
    assert seeds_p(a, b) == seeds_p([values[:2] for values in a], [values[:2] for values in b])
    assert seeds_p([(None, 0.5), (0.5, None)], [(0.5, 0.5), (0.5, 0.5)]) is None


@pytest.mark.parametrize(("first", "second"), [(1, 3), (3, 1), (1, 1)])
def test_a_single_seed_has_no_scatter_and_no_test(first, second):
    seeds = [(0.1, 0.5), (0.2, 0.7), (0.3, 0.8)]
    assert seeds_p(seeds[:first], seeds[:second]) is None


@pytest.mark.parametrize("other", [0.25, 0.5])
def test_seeds_that_vary_in_neither_method_have_no_test_whether_methods_differ_or_not(other):
    assert seeds_p(with_means(0.25, 0.25, 0.25), with_means(other, other)) is None
    assert seeds_p([(0.0, 0.0)] * 2, [(0.0, 0.0)] * 2) is None


def test_one_method_that_varies_is_enough():
    assert seeds_p([(0.0, 0.0)] * 3, with_means(0.25, 0.26, 0.24)) < 0.05


def test_means_that_are_equal_on_paper_do_not_vary():
    a = [(0.1, 0.2, 0.3), (0.3, 0.2, 0.1)]
    assert np.mean(a[0]) != np.mean(a[1])
    assert seeds_p(a, [(0.7, 0.8, 0.9), (0.9, 0.8, 0.7)]) is None


def test_the_difference_of_the_means_is_that_of_the_paired_cases():
    rng = np.random.default_rng(0)
    a, b = rng.random((3, 9)), rng.random((2, 9))
    paired = compare_pairs(a.mean(axis=0).tolist(), b.mean(axis=0).tolist())
    assert b.mean(axis=1).mean() - a.mean(axis=1).mean() == pytest.approx(paired.difference)


@few_examples
@given(seeds_of_three_cases, seeds_of_three_cases)
def test_the_order_of_methods_and_of_seeds_changes_nothing(a, b):
    p = seeds_p(a, b)
    for other in (seeds_p(b, a), seeds_p(a[::-1], b)):
        assert other == p if p is None else other == pytest.approx(p)


@few_examples
@given(seeds_of_three_cases, seeds_of_three_cases, st.sampled_from([0.25, 8.0]))
def test_another_unit_changes_nothing_and_p_stays_in_its_range(a, b, factor):
    p, scaled = (seeds_p([[k * v for v in seed] for seed in a], [[k * v for v in seed] for seed in b]) for k in (1, factor))
    assert scaled == p if p is None else scaled == pytest.approx(p)
    assert p is None or 0 <= p <= 1


def test_of_methods_that_do_not_differ_at_most_one_in_twenty_seems_to():
    seeds = np.random.default_rng(0).normal(0.5, 0.01, (1000, 2, 3, 1))
    false_alarms = np.mean([seeds_p(*each.tolist()) <= 0.05 for each in seeds])
    assert 0.01 < false_alarms < 0.05 + 0.021  # 3 standard errors of 1000 samples; with few seeds Welch's test errs on the safe side


def test_seeds_need_values_of_the_same_cases():
    with pytest.raises(ValueError, match="shorter"):
        seeds_p([(0.1, 0.2), (0.1,)], [(0.1, 0.2), (0.1, 0.2)])
    with pytest.raises(ValueError, match="expected finite values, or None"):
        seeds_p([(0.1, float("nan"))] * 2, [(0.1, 0.2)] * 2)
