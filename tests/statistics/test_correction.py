"""Holm's correction: a case by hand, the closed tests it stands for, and its laws."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segkit.statistics.correction import holm

chances = st.lists(st.floats(0, 1), max_size=6)


def closed(p: list[float]) -> list[float]:
    """Each hypothesis falls when Bonferroni's test rejects every set of hypotheses that holds it: the largest p of all these sets."""
    everything = range(len(p))
    sets = [each for size in range(1, len(p) + 1) for each in combinations(everything, size)]
    return [max(min(1.0, len(each) * min(p[j] for j in each)) for each in sets if i in each) for i in everything]


def test_four_tests_by_hand():
    # sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1: 0.02, 0.03, 0.06, and 0.04, which may not fall below the one before
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_none_stays_none_and_does_not_count():
    assert holm([0.01, None, 0.04, None]) == [pytest.approx(0.02), None, pytest.approx(0.04), None]
    assert holm([None]) == [None]


def test_nothing_is_above_1():
    assert holm([0.6, 0.7, 1.0]) == [1, 1, 1]


@pytest.mark.parametrize("p", [0.0, 0.03, 1.0])
def test_one_test_needs_no_correction(p):
    assert holm([p]) == [p]


def test_no_test_has_no_correction():
    assert holm([]) == []


@pytest.mark.parametrize("bad", [-0.1, 1.5, float("nan")])
def test_what_is_no_p_is_refused(bad):
    with pytest.raises(ValueError, match=r"expected p values in 0\.\.1"):
        holm([0.5, bad])


@given(chances)
def test_it_is_the_closed_test_of_bonferroni(p):
    assert holm(p) == pytest.approx(closed(p))


@given(chances)
def test_it_keeps_the_order_and_lies_between_p_and_bonferroni(p):
    corrected = holm(p)
    assert [corrected[i] for i in sorted(range(len(p)), key=p.__getitem__)] == sorted(corrected)
    assert all(before <= after <= min(1, len(p) * before) for before, after in zip(p, corrected, strict=True))


@given(chances, st.randoms())
def test_the_order_of_the_tests_does_not_matter(p, random):
    places = list(range(len(p)))
    random.shuffle(places)
    corrected = holm(p)
    assert holm([p[i] for i in places]) == [corrected[i] for i in places]
