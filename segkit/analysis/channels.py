"""The channels of a class embedding: which are the largest, how many are used, how evenly, how far they reach."""

import numpy as np
from scipy.special import entr

REACH = (0.001, 0.999)  # quantiles instead of extremes, which grow with the number of voxels


def top_count(channels: int, wish: int) -> int:
    """K: as many as wished for, but where there are less than 4 times as many channels a quarter of them, at least 1."""
    return wish if channels >= 4 * wish else max(1, channels // 4)


def leading(values: np.ndarray, k: int) -> np.ndarray:
    """True at the k largest of the last axis, of equal ones at those of lowest index: bool [..., D]. All False where a value is NaN."""
    bound = -np.partition(-values, k - 1)[..., k - 1 : k]
    above, equal = values > bound, values == bound
    mask = above | (equal & (equal.cumsum(axis=-1) <= k - above.sum(axis=-1, keepdims=True)))
    return mask & ~np.isnan(values).any(axis=-1, keepdims=True)


def ranked(values: np.ndarray, k: int) -> np.ndarray:
    """Indices of the k leading values [D], largest first; none where a value is NaN."""
    indices = np.flatnonzero(leading(values, k))
    return indices[np.argsort(-values[indices], kind="stable")]


def used(counts: np.ndarray, percent: int) -> float:
    """How many channels hold `percent` % of all occurrences at the least. counts: how often each occurs [D]. NaN where none does."""
    held = np.cumsum(np.sort(counts)[::-1])
    return float(np.argmax(100 * held >= percent * held[-1]) + 1) if held[-1] else np.nan


def diversity(counts: np.ndarray) -> float:
    """exp(entropy) of p = counts / sum: K where the same K channels always lead, D where all do equally often; NaN where none does."""
    total = counts.sum()
    return float(np.exp(entr(counts / total).sum())) if total else np.nan


def range_gap(training: np.ndarray, test: np.ndarray) -> float:
    """How far test features reach beyond those of training, as a share of the training range; mean over channels.

        [max(0, low_training - low_test) + max(0, high_test - high_training)] / (high_training - low_training)

    low, high: the 0.1 and 99.9 % quantiles of a channel. training, test: [n, D] of the same n, since the range of a sample grows with n.
    Samples of one law have a gap too, which falls with n, and grows as training cases get fewer, since few cases span less of what is
    possible: of a hippocampus network, 4 against 20 training cases dealt at random had 0.111 against 0.066 for one class. So only runs
    with the same numbers of training and of test cases compare. Channels that are constant in training are left out.
    NaN where none is left, or without voxels.
    """
    if not len(training) or not len(test):
        return np.nan
    (low, high), (test_low, test_high) = (np.quantile(rows.astype(np.float64), REACH, axis=0) for rows in (training, test))
    alive = high > low
    if not alive.any():
        return np.nan
    beyond = np.maximum(0, low - test_low) + np.maximum(0, test_high - high)
    return float((beyond[alive] / (high - low)[alive]).mean())
