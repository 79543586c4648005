"""How far a mean over cases may be off: intervals from resampled cases.

Cases are resampled, never voxels: the voxels of one scan are not independent of one another, the patients are.

The interval is the percentile interval with expanded levels. Percentiles of resampled means are too narrow for few cases, for two reasons:
a resample has the variance s^2 (n - 1) / n instead of s^2, and its percentiles follow the normal law instead of Student's. So the levels
a/2 and 1 - a/2 are replaced by  Phi(-q), Phi(q)  with

    q = t(1 - a/2; n - 1) * sqrt(n / (n - 1))

For symmetric values this is Student's interval; a skew of the values stays visible, and no limit leaves the range of the values, so that a
mean Dice never exceeds 1. The bias-corrected accelerated interval (BCa) mends the skew, which for a mean is the smaller error, and leaves
the narrowness: `tests/statistics/test_bootstrap.py` measures both.

No such interval can reach beyond the smallest and the largest value. Of a symmetric law these two enclose the mean in 1 - 2^(1 - n) of all
samples: 50, 75, 88 and 94 % for 2 to 5 cases. Only from 6 cases on can 95 % be meant.

Sources: Efron, Annals of Statistics 1979 (bootstrap); Hesterberg, The American Statistician 2015, "What Teachers Should Know About the
Bootstrap" (expanded levels).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, t

Values = Sequence[float] | np.ndarray  # one a case, finite

DRAWS = 10_000
CONFIDENCE = 0.95
ENOUGH = 6  # cases from which on the range of the values covers the mean with 95 %
FEW = f"few cases: less than {100 * CONFIDENCE:g} %"  # said of an interval of fewer


@dataclass(frozen=True)
class Interval:
    """Limits of a mean, or of a difference of means; in the unit of the values."""

    low: float
    high: float


def resampled(n: int, draws: int = DRAWS, seed: int = 0, group: int = 0) -> np.ndarray:
    """Which cases each resample holds: int64 [draws, n], in 0..n-1, drawn with replacement.

    The same for the same arguments: statistics of the same cases that are taken from the same resamples vary together, as they would in
    other patients. group: another number, another stream; groups of cases that are independent must not share one.
    """
    return np.random.Generator(np.random.Philox(key=np.array([seed, group], dtype=np.uint64))).integers(n, size=(draws, n))


def mean_interval(values: Values, seed: int = 0) -> Interval | None:
    """95 % interval of the mean over cases; of paired differences, that of the mean difference. None for fewer than 2 values.

    Every call resamples alike: the interval of another quantity of the same n cases comes from the same
    resamples.
    """
    return _interval([(1.0, values)], seed)


def difference_interval(first: Values, second: Values, seed: int = 0) -> Interval | None:
    """95 % interval of  mean(first) - mean(second)  of two independent groups of cases, resampled separately: test and training cases.

    Each group may have its own size and spread: with the squared standard errors  v_i = s_i^2 / n_i  the levels expand by

        q = t(1 - a/2; f) * sqrt( (v_1 + v_2) / (v_1 (n_1 - 1) / n_1 + v_2 (n_2 - 1) / n_2) )
        f = (v_1 + v_2)^2 / (v_1^2 / (n_1 - 1) + v_2^2 / (n_2 - 1))                            (Welch, Biometrika 1947)

    which is the expansion of one group where the other one does not vary. None where a group has fewer than 2 values.
    """
    return _interval([(1.0, first), (-1.0, second)], seed)


def _interval(terms: Sequence[tuple[float, Values]], seed: int) -> Interval | None:
    """Of the sum of the groups' means, each times its sign."""
    groups = [sign * np.asarray(values, dtype=np.float64) for sign, values in terms]
    if not all(np.isfinite(values).all() for values in groups):
        raise ValueError("expected finite values")
    if min(map(len, groups)) < 2:
        return None
    if all(np.ptp(values) == 0 for values in groups):
        constant = float(sum(values[0] for values in groups))
        return Interval(constant, constant)
    means = sum(values[resampled(len(values), seed=seed, group=index)].mean(axis=1) for index, values in enumerate(groups))
    level = float(norm.cdf(-_reach(groups)))
    low, high = np.quantile(means, [level, 1 - level])
    return Interval(float(low), float(high))


def _reach(groups: Sequence[np.ndarray]) -> float:
    """q: how many standard deviations of the resampled means the interval reaches to either side."""
    sizes = np.array([len(values) for values in groups])
    squared_errors = np.array([values.var(ddof=1) for values in groups]) / sizes
    total = squared_errors.sum()
    freedom = total**2 / (squared_errors**2 / (sizes - 1)).sum()
    return float(t.ppf((1 + CONFIDENCE) / 2, freedom) * np.sqrt(total / (squared_errors * (sizes - 1) / sizes).sum()))
