"""Two methods on the same cases: their mean difference with its interval, whether it is more than chance, and how one-sided it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import rankdata, wilcoxon

from segkit.statistics.bootstrap import Interval, mean_interval

FEW = 12  # differences other than 0 up to which all 2^n choices of their signs are looked through
EXACT = 50  # differences up to which the law of the signed ranks is counted out, not approximated
ROUNDING = 12  # decimals, relative to the largest value, beyond which two differences, or two means, are equal

Test = Literal["sign-flip", "signed-rank", "signed-rank, normal"]


@dataclass(frozen=True)
class Paired:
    """Method B beside method A, on the n cases in which both have a value.

    dropped: cases in which one of them has none. mean_a, mean_b: over the n cases; None where there are none. difference: mean_b - mean_a.
    interval: 95 % interval of the difference. p: two-sided, from `test`. effect: matched-pairs rank-biserial correlation, -1 (B is lower
    in every case that differs) to 1 (higher in every one). interval, test, p and effect are None for fewer than 2 cases: one case says
    nothing about others. higher, ties, lower: cases in which B's value is higher than, equal to, lower than A's.
    """

    n: int
    dropped: int
    mean_a: float | None
    mean_b: float | None
    difference: float | None
    interval: Interval | None
    test: Test | None
    p: float | None
    effect: float | None
    higher: int
    ties: int
    lower: int


def compare_pairs(a: Sequence[float | None], b: Sequence[float | None], seed: int = 0) -> Paired:
    """Compare two methods by their values for the same cases in the same order; None: not applicable, the pair is dropped and counted.

    Hypothesis of the test: the differences are symmetric around 0, so that each could as well have the other sign. Differences of 0 take no
    part in it (Wilcoxon's own rule; in the sign-flip test they change nothing). Which test is taken follows from m, the number of others:

        m <= 12   sign-flip test of the mean difference, exact: all 2^m choices of signs. m = 0 gives p = 1.
        m > 12    Wilcoxon's signed-rank test with mean ranks for ties among the |differences|; exact for m <= 50, with ties too, else by
                  its normal approximation with correction for ties ("signed-rank, normal")

    With few cases the sign-flip test uses the sizes of the differences, and tests the number that is reported, the mean; with more cases
    ranks keep one missed structure from deciding. The smallest p of m differences is 2^(1 - m): 5 or fewer are never significant at 5 %.

    effect = (R+ - R-) / (R+ + R-),  R+ and R-: sums of the ranks of |difference| over differences above and below 0; 0 where m = 0.

    Differences closer than 1e-12 of the largest value count as equal: 0.3 - 0.2 is a tie of 0.2 - 0.1.

    Raises ValueError where the sequences differ in length or hold a value that is not finite.
    Sources: Fisher, The Design of Experiments, 1935 (signs); Wilcoxon, Biometrics Bulletin 1945 (ranks); Streitberg and Röhmel, Statistical
    Software Newsletter 1986 (their law with ties); Kerby, Comprehensive Psychology 2014 (effect).
    """
    pairs = np.array([(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None], dtype=np.float64).reshape(-1, 2)
    if not np.isfinite(pairs).all():
        raise ValueError("expected finite values, or None")
    n = len(pairs)
    differences = pairs[:, 1] - pairs[:, 0]
    compared = without_noise(differences, np.abs(pairs).max(initial=0))
    test, p = _test(compared[compared != 0]) if n > 1 else (None, None)
    mean_a, mean_b = pairs.mean(axis=0).tolist() if n else (None, None)
    return Paired(
        n,
        len(a) - n,
        mean_a,
        mean_b,
        float(differences.mean()) if n else None,
        mean_interval(differences, seed),
        test,
        p,
        rank_biserial(compared) if n > 1 else None,
        higher=int((compared > 0).sum()),
        ties=int((compared == 0).sum()),
        lower=int((compared < 0).sum()),
    )


def sign_flip_p(differences: np.ndarray) -> float:
    """Two-sided p of the mean difference [n]: the share of all 2^n choices of signs whose |sum| is at least that of the signs at hand."""
    n = len(differences)
    signs = 1.0 - 2.0 * (np.arange(2**n)[:, None] >> np.arange(n) & 1)  # [2^n, n]; the first row is that at hand
    sums = np.abs(signs @ differences)
    slack = 1e-9 * np.abs(differences).sum()  # sums that are equal on paper differ by the order of their terms
    return float((sums >= sums[0] - slack).mean())


def signed_rank_p(differences: np.ndarray) -> float:
    """Two-sided p of Wilcoxon's signed-rank test of differences [m] that are not 0, exact with ties too; m up to 62.

    The share of all 2^m choices of signs with  |R+ - T / 2| >= |r+ - T / 2|,  R+: the sum of the ranks of |difference| that a choice gives
    the sign +, r+: that of the signs at hand, T: the sum of all ranks. Given the ranks, whatever ties there are, this is the law of R+
    where each difference could as well have the other sign.
    """
    doubled = np.rint(2 * rankdata(np.abs(differences))).astype(np.int64)  # mean ranks are whole or half
    total, positive = doubled.sum(), doubled[differences > 0].sum()
    sums = np.arange(total + 1)
    as_extreme = np.abs(2 * sums - total) >= np.abs(2 * positive - total)
    return float(choices_by_sum(doubled)[as_extreme].sum() / 2 ** len(doubled))


def choices_by_sum(weights: np.ndarray) -> np.ndarray:
    """How many of the 2^m subsets of positive whole weights [m] have which sum: int64 [1 + sum of all], exact for m up to 62."""
    counts = np.zeros(1 + weights.sum(), dtype=np.int64)
    counts[0] = 1
    for weight in weights:
        counts[weight:] += counts[:-weight].copy()  # each subset without it, and with it
    return counts


def rank_biserial(differences: np.ndarray) -> float:
    """Matched-pairs rank-biserial correlation of differences [n]; see `compare_pairs`."""
    others = differences[differences != 0]
    if not len(others):
        return 0.0
    ranks = rankdata(np.abs(others))
    return float((np.sign(others) * ranks).sum() / ranks.sum())


def _test(differences: np.ndarray) -> tuple[Test, float]:
    """By the rule of `compare_pairs`; no difference is 0."""
    m = len(differences)
    if m <= FEW:
        return "sign-flip", sign_flip_p(differences)
    if m <= EXACT:
        return "signed-rank", signed_rank_p(differences)
    return "signed-rank, normal", float(wilcoxon(differences, method="approx").pvalue)


def without_noise(numbers: np.ndarray, largest: float) -> np.ndarray:
    """Numbers as shares of the largest value, rounded, so that those which are equal on paper are equal."""
    return np.round(numbers / largest, ROUNDING) if largest else numbers
