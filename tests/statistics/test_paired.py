"""Two methods on the same cases: values by hand, SciPy and enumeration as oracles, the rule of the test, and its laws."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from segkit.statistics.paired import choices_by_sum, compare_pairs, rank_biserial, sign_flip_p, signed_rank_p

dyadic = st.integers(0, 64).map(lambda number: number / 64)  # sums and differences of these are exact
pairs_of_values = st.lists(st.tuples(dyadic, dyadic), min_size=2, max_size=20)
few_examples = settings(max_examples=30, deadline=None)


def compared(pairs):
    return compare_pairs([a for a, _ in pairs], [b for _, b in pairs])


def with_differences(differences):
    return compare_pairs([0.0] * len(differences), list(differences))


def distinct(count: int, seed: int = 0) -> np.ndarray:
    """Differences without ties."""
    return np.random.default_rng(seed).normal(0.3, 1.0, size=count)


def test_three_cases_by_hand():
    result = compare_pairs((0.5, 0.6, 0.7), (0.6, 0.8, 0.7))
    assert (result.n, result.dropped, result.higher, result.ties, result.lower) == (3, 0, 2, 1, 0)
    assert (result.mean_a, result.mean_b, result.difference) == pytest.approx((0.6, 0.7, 0.1))
    assert (result.test, result.p) == ("sign-flip", 0.5)  # |+-0.1 +-0.2| is 0.3 for 2 of 4 choices of signs
    assert result.effect == 1
    assert (result.interval.low, result.interval.high) == pytest.approx((0, 0.2))


def test_a_case_without_a_value_in_either_method_is_dropped_and_counted():
    result = compare_pairs((0.5, None, 0.7, None, 0.1), (0.25, 0.5, None, None, 0.0))
    assert (result.n, result.dropped, result.lower) == (2, 3, 2)
    assert (result.mean_a, result.mean_b) == pytest.approx((0.3, 0.125))


def test_one_case_has_a_difference_but_no_interval_no_p_and_no_effect():
    result = compare_pairs((0.5,), (0.75,))
    assert (result.n, result.mean_a, result.mean_b, result.difference, result.higher) == (1, 0.5, 0.75, 0.25, 1)
    assert (result.interval, result.test, result.p, result.effect) == (None, None, None, None)


def test_no_case_has_nothing():
    result = compare_pairs((None, 0.5), (0.5, None))
    assert (result.n, result.dropped) == (0, 2)
    assert (result.mean_a, result.mean_b, result.difference, result.interval, result.p) == (None,) * 5


@pytest.mark.parametrize("count", [2, 40])
def test_methods_that_agree_in_every_case_have_p_1(count):
    result = with_differences([0.0] * count)
    assert (result.p, result.effect, result.difference, result.ties) == (1, 0, 0, count)
    assert (result.interval.low, result.interval.high) == (0, 0)


@pytest.mark.parametrize(
    ("differences", "effect"),
    [
        ((0.3, 0.1, -0.2), (3 + 1 - 2) / 6),
        ((0.3, 0.0, -0.1), (2 - 1) / 3),
        ((0.2, 0.2, -0.2), (2 + 2 - 2) / 6),  # tied: each has the mean rank 2
        ((-0.1, -0.5), -1),
    ],
)
def test_the_effect_by_hand(differences, effect):
    assert rank_biserial(np.array(differences)) == pytest.approx(effect)


@pytest.mark.parametrize("count", range(2, 13))
def test_the_sign_flip_test_is_scipys_permutation_test(count):
    differences = distinct(count)
    oracle = stats.permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=False)
    result = with_differences(differences)
    assert result.test == "sign-flip"
    assert result.p == pytest.approx(oracle.pvalue)


def test_equal_sums_count_however_they_are_rounded():
    # |0.1 + 0.2 + 0.3 - 0.4| = |0.1 - 0.2 + 0.3 - 0.4| = 0.2; below it is only |0.1 - 0.2 - 0.3 + 0.4| = 0, with either sign
    assert sign_flip_p(np.array([0.1, 0.2, 0.3, -0.4])) == 14 / 16


@pytest.mark.parametrize("count", range(2, 13))
def test_no_p_is_below_2_to_the_1_minus_n(count):
    assert with_differences(distinct(count) ** 2).p == 2.0 ** (1 - count)


def p_by_enumeration(differences) -> float:
    """Of the signed-rank test: every choice of signs looked through."""
    ranks = stats.rankdata(np.abs(differences))
    sums = np.array(list(product((-1, 1), repeat=len(ranks)))) @ ranks  # R+ - R-, halves at most: exact
    return float(np.mean(np.abs(sums) >= abs(np.sign(differences) @ ranks)))


def tied(count: int) -> np.ndarray:
    """Differences of 5 sizes and both signs, a few more above 0."""
    return np.array([(1 + index * 7 % 5) * (-1 if index % 3 == 0 else 1) / 16 for index in range(count)])


def test_three_tied_ranks_by_hand():
    # sizes 1, 1, 2: mean ranks 1.5, 1.5, 3. The 8 sums R+ are 0, 1.5, 1.5, 3, 3, 4.5, 4.5, 6; 4.5 is 1.5 away from the middle, as six are
    assert signed_rank_p(np.array([1, -1, 2])) == 6 / 8
    assert signed_rank_p(np.array([1, 1, 2])) == 2 / 8
    assert signed_rank_p(np.array([-1, -1, 2])) == 1


@pytest.mark.parametrize("count", [13, 20, 35, 50])
@pytest.mark.parametrize("seed", [0, 1])
def test_without_ties_the_signed_rank_test_is_scipys_exact_one(count, seed):
    differences = distinct(count, seed)
    result = with_differences(differences)
    assert result.test == "signed-rank"
    assert result.p == pytest.approx(stats.wilcoxon(differences, method="exact").pvalue, rel=1e-12)


@pytest.mark.parametrize("count", [1, 2, 5, 8, 13, 14])
def test_with_ties_it_is_what_enumeration_finds(count):
    assert signed_rank_p(tied(count)) == p_by_enumeration(tied(count))
    assert signed_rank_p(np.abs(tied(count))) == p_by_enumeration(np.abs(tied(count))) == 2 / 2**count


@few_examples
@given(st.lists(st.integers(-3, 3).filter(bool), min_size=1, max_size=9))
def test_any_few_differences_with_any_ties_have_the_p_of_enumeration(sizes):
    assert signed_rank_p(np.array(sizes)) == p_by_enumeration(np.array(sizes))


@pytest.mark.parametrize("count", [13, 14, 49, 50])
def test_ties_are_tested_exactly_up_to_50_differences(count):
    result = with_differences(tied(count))
    assert (result.test, result.p) == ("signed-rank", signed_rank_p(tied(count)))


def test_differences_of_one_size_are_tested_as_signs():
    # all ranks are equal, so R+ is their number above 0: the law is that of 40 fair coins
    differences = np.array([0.25] * 27 + [-0.25] * 13)
    assert signed_rank_p(differences) == pytest.approx(stats.binomtest(27, 40).pvalue, rel=1e-12)


def test_the_exact_law_comes_near_the_normal_one_with_many_tied_differences():
    exact, normal = signed_rank_p(tied(50)), stats.wilcoxon(tied(50), method="approx").pvalue
    assert exact != normal
    assert exact == pytest.approx(normal, abs=0.005)


def test_the_law_of_the_ranks_is_symmetric_and_holds_every_choice_of_signs():
    for differences in (tied(13), tied(50), distinct(50)):
        doubled = np.rint(2 * stats.rankdata(np.abs(differences))).astype(int)
        counts = choices_by_sum(doubled)
        assert len(counts) == 1 + len(differences) * (len(differences) + 1)
        assert counts.tolist() == counts[::-1].tolist()
        assert counts.sum() == 2 ** len(differences)  # to the last one


def test_subsets_by_sum_by_hand():
    assert choices_by_sum(np.array([3, 3, 6])).tolist() == [1, 0, 0, 2, 0, 0, 2, 0, 0, 2, 0, 0, 1]  # 3 twice; 3 + 3 and 6; 3 + 6 twice; all


def test_more_than_50_tied_differences_are_tested_by_the_normal_law_with_its_correction():
    differences = tied(60)
    ranks = stats.rankdata(np.abs(differences))
    groups = np.unique(ranks, return_counts=True)[1]
    n = len(differences)
    variance = n * (n + 1) * (2 * n + 1) / 24 - (groups**3 - groups).sum() / 48
    z = (ranks[differences > 0].sum() - n * (n + 1) / 4) / np.sqrt(variance)
    result = with_differences(differences)
    assert result.test == "signed-rank, normal"
    assert result.p == pytest.approx(2 * stats.norm.sf(abs(z)))


@pytest.mark.parametrize(("count", "test"), [(12, "sign-flip"), (13, "signed-rank"), (50, "signed-rank"), (51, "signed-rank, normal")])
def test_the_number_of_differences_chooses_the_test(count, test):
    assert with_differences(distinct(count)).test == test


@pytest.mark.parametrize("count", [5, 12, 13, 30])
def test_cases_in_which_the_methods_agree_change_neither_test_nor_effect(count):
    differences = distinct(count)
    result, diluted = with_differences(differences), with_differences([0.0, *differences, 0.0])
    assert (diluted.test, diluted.p, diluted.effect) == (result.test, result.p, result.effect)
    assert diluted.ties == 2
    assert abs(diluted.difference) < abs(result.difference)


def test_differences_that_are_equal_on_paper_are_ties():
    assert 0.3 - 0.2 < 0.2 - 0.1 < 0.4 - 0.3
    assert 0.1 + 0.2 > 0.3
    result = compare_pairs((0.2, 0.1, 0.4, 0.3), (0.3, 0.2, 0.3, 0.1 + 0.2))
    assert (result.higher, result.ties, result.lower) == (2, 1, 1)
    assert result.effect == pytest.approx((2 + 2 - 2) / 6)


@few_examples
@given(pairs_of_values)
def test_turned_around_only_the_signs_change(pairs):
    one, other = compared(pairs), compared([(b, a) for a, b in pairs])
    assert (other.p, other.test, other.ties) == (one.p, one.test, one.ties)
    assert (other.higher, other.lower, other.mean_a, other.mean_b) == (one.lower, one.higher, one.mean_b, one.mean_a)
    assert (other.difference, other.effect) == (-one.difference, -one.effect)
    assert (other.interval.low, other.interval.high) == pytest.approx((-one.interval.high, -one.interval.low), abs=1e-9)


@few_examples
@given(pairs_of_values, st.sampled_from([0.25, 8.0]), st.integers(-2, 2))
def test_another_unit_and_another_zero_change_neither_test_nor_effect(pairs, factor, zero):
    one, other = compared(pairs), compared([(factor * a + zero, factor * b + zero) for a, b in pairs])
    assert (other.test, other.effect, other.higher, other.lower) == (one.test, one.effect, one.higher, one.lower)
    assert other.p == pytest.approx(one.p)
    assert other.difference == pytest.approx(factor * one.difference)


@few_examples
@given(pairs_of_values, st.randoms())
def test_the_order_of_cases_changes_neither_test_nor_effect(pairs, random):
    one = compared(pairs)
    random.shuffle(pairs)
    assert (compared(pairs).p, compared(pairs).effect) == pytest.approx((one.p, one.effect))


@few_examples
@given(pairs_of_values)
def test_the_counts_add_up_and_effect_and_p_stay_in_their_ranges(pairs):
    result = compared(pairs)
    assert result.higher + result.ties + result.lower == result.n == len(pairs)
    assert -1 <= result.effect <= 1
    assert 0 < result.p <= 1
    assert result.difference == pytest.approx(result.mean_b - result.mean_a)


def test_of_methods_that_do_not_differ_one_in_twenty_seems_to():
    differences = np.random.default_rng(0).laplace(size=(1000, 9))
    false_alarms = np.mean([sign_flip_p(each) <= 0.05 for each in differences])
    assert false_alarms == pytest.approx(0.05, abs=0.021)  # 3 standard errors of 1000 samples


def test_pairs_need_values_of_the_same_cases():
    with pytest.raises(ValueError, match="shorter"):
        compare_pairs((0.1, 0.2), (0.1,))
    with pytest.raises(ValueError, match="expected finite values, or None"):
        compare_pairs((0.1, float("nan")), (0.1, 0.2))
