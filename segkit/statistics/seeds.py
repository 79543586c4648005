"""Two methods by the means of their seeds: whether networks that are trained anew would differ as well."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import ttest_ind_from_stats

from segkit.statistics.paired import without_noise

FEW = 3  # seeds of each method with which only differences well beyond the scatter of the seeds are found

Values = Sequence[float | None]  # one a case; None: not applicable


def seeds_p(a: Sequence[Values], b: Sequence[Values]) -> float | None:
    """Two-sided p of Welch's t-test between the means of the seeds of method A and of method B, on the same cases.

    a, b: of each seed its values for the same cases in the same order. A seed's mean is over the cases that have a value in every seed of
    both methods; their difference of means is that of `compare_pairs` with seeds averaged first. Of n seeds with the mean m and the sample
    variance s^2 (over seeds, n - 1) of their means, each for A and B,

        t = (m_B - m_A) / sqrt(v_A + v_B),  v = s^2 / n
        f = (v_A + v_B)^2 / (v_A^2 / (n_A - 1) + v_B^2 / (n_B - 1))

    and p is from Student's law with f degrees of freedom. Where `compare_pairs` asks of these networks what other cases would show, this
    asks of these cases what other seeds would show. It takes the means to be normal, which nobody can see from a few. With equal s the
    difference has to exceed 4.3 s for p < 0.05 with 2 seeds each, 2.3 s with 3 and 1.5 s with 5, so a large p says little.

    None where there is no test: fewer than 2 seeds of a method, no case with a value in all of them, or seeds of neither method that differ
    in their mean: then nothing says how far other seeds would be off. Means closer than 1e-12 of the largest value count as equal.

    Raises ValueError where seeds differ in their number of cases or hold a value that is not finite.
    Source: Welch, Biometrika 1947.
    """
    by_case = [values for values in zip(*a, *b, strict=True) if None not in values]
    known = np.array(by_case, dtype=np.float64).reshape(-1, len(a) + len(b))
    if not np.isfinite(known).all():
        raise ValueError("expected finite values, or None")
    if min(len(a), len(b)) < 2 or not len(known):
        return None
    means = without_noise(known.mean(axis=0), np.abs(known).max())
    groups = (means[: len(a)], means[len(a) :])
    if all(np.ptp(group) == 0 for group in groups):
        return None
    facts = [fact for group in groups for fact in (group.mean(), group.std(ddof=1), len(group))]
    return float(ttest_ind_from_stats(*facts, equal_var=False).pvalue)
