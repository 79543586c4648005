"""The class embeddings of training and test cases side by side: channels, frequency, diversity, and how well they match."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from segkit.analysis.accumulator import Accumulator
from segkit.analysis.channels import diversity, leading, range_gap, ranked, used
from segkit.analysis.moments import Moments
from segkit.analysis.observe import SPLITS, Split
from segkit.statistics.bootstrap import difference_interval

Group = Literal["tp", "fn", "all"]
GROUPS: tuple[Group, ...] = ("tp", "fn", "all")
Reading = Literal["raw", "centered"]  # of the weights
READINGS: tuple[Reading, ...] = ("raw", "centered")
Populations = Mapping[tuple[Split, Group, int], Accumulator]  # the voxels of a split, group and true class


@dataclass(frozen=True, eq=False)
class Portrait:
    """One class in one split, with one outcome, by one reading of the weights. NaN where there is no voxel.

    voxels, cases: how many count, and in how many cases they lie.
    magnitude: M [D], the mean embedding; a mean over the means of cases, so that every case counts the same.
    frequency: F [D], the share of voxels in which a channel is among the voxel's own K largest; sums up to K.
    used50, used90: how many channels hold 50 and 90 % of these K places.
    diversity: exp(entropy(F / K)), between K and D.
    participation: tr(S)^2 / tr(S^2) of the features' covariance S, between 1 and D.
    equal: from so many voxels, of every class and split the same, are equal_diversity and equal_participation: both grow with the number.
    share: sum_{T} M / sum_d max(M, 0), for the class's top channels T.
    overlap: J, the part of T that is among the K largest M here.
    """

    voxels: int
    cases: int
    magnitude: np.ndarray
    frequency: np.ndarray
    used50: float
    used90: float
    diversity: float
    participation: float
    equal: int
    equal_diversity: float
    equal_participation: float
    share: float
    overlap: float


@dataclass(frozen=True, eq=False)
class Match:
    """One class in training and in test, with one outcome, by one reading of the weights. NaN where either has no voxel.

    shift: M(test) - M(training) [D]. With raw weights and all voxels it adds up to the shift of the mean logit of the class.
    interval: of the shift of a top channel [D, 2]; NaN for the others.
    ratio: r = sum_{T} M(test) / sum_{T} M(training), 1 where they are equal; NaN where the latter is not positive.
    ratio_interval: [2]; that of the ratio's linear part,  (sum_{T} M(test) - r sum_{T} M(training)) / sum_{T} M(training).
    range_gap: how far test features reach beyond those of training, from `equal` voxels of each; see `channels.range_gap`.

    Intervals are 95 % bootstrap intervals over cases; NaN unless both splits have two cases with voxels.
    """

    shift: np.ndarray
    interval: np.ndarray
    ratio: float
    ratio_interval: np.ndarray
    range_gap: float


@dataclass(frozen=True, eq=False)
class Comparison:
    """All portraits and matches of a network.

    k of `channels` channels count as a class's own: top, by reading and class, T in descending order of M(training, tp); empty where no
    training voxel of the class is right. cases: in each split. most: voxels of a case that count at most, by class. recall: by split and
    class, tp / (tp + fn), mean over cases.
    class_overlap: by reading, [C, C], the part of class i's T that is in class j's.
    response: by reading, [C, C], how often channels of class i's T lead in voxels of class j, relative to those of class i (training, all).
    """

    classes: tuple[str, ...]
    channels: int
    k: int
    cases: Mapping[Split, int]
    most: Sequence[int]
    top: Mapping[tuple[Reading, int], np.ndarray]
    portraits: Mapping[tuple[Reading, Split, Group, int], Portrait]
    matches: Mapping[tuple[Reading, Group, int], Match]
    recall: Mapping[tuple[Split, int], float]
    class_overlap: Mapping[Reading, np.ndarray]
    response: Mapping[Reading, np.ndarray]

    @property
    def chance(self) -> float:
        """K / D: the frequency and the overlap of channels that lead by chance."""
        return self.k / self.channels

    def arrays(self) -> dict[str, np.ndarray]:
        """What has channels, over W readings (raw, centered), S splits (training, test), G groups (tp, fn, all), C classes, D channels:

        magnitude, frequency [W, S, G, C, D]; shift [W, G, C, D], shift_interval [W, G, C, D, 2]; top [W, C, K], -1 where a class has none;
        class_overlap, response [W, C, C]. classes [C]: names. most [C]: voxels of a case that count at most.
        """
        indices = range(len(self.classes))

        def portrayed(field: str) -> np.ndarray:
            return np.array(
                [[[[getattr(self.portraits[r, s, g, c], field) for c in indices] for g in GROUPS] for s in SPLITS] for r in READINGS]
            )

        def matched(field: str) -> np.ndarray:
            return np.array([[[getattr(self.matches[r, g, c], field) for c in indices] for g in GROUPS] for r in READINGS])

        none = np.full(self.k, -1)
        return {
            "classes": np.array(self.classes),
            "most": np.array(self.most),
            "magnitude": portrayed("magnitude"),
            "frequency": portrayed("frequency"),
            "shift": matched("shift"),
            "shift_interval": matched("interval"),
            "top": np.array([[self.top[r, c] if len(self.top[r, c]) else none for c in indices] for r in READINGS]),
            "class_overlap": np.array([self.class_overlap[r] for r in READINGS]),
            "response": np.array([self.response[r] for r in READINGS]),
        }


def compare(
    found: Populations,
    weights: np.ndarray,
    classes: Sequence[str],
    k: int,
    cases: Mapping[Split, int],
    most: Sequence[int],
    seed: int,
) -> Comparison:
    """Describe all populations.

    weights: float64 [W, C, D], by reading. cases: number of each split. most: voxels of a case that count at most, by class. seed: of the
    intervals.
    """
    indices = range(len(classes))
    equal = {group: _smallest(one for (_, own, _), one in found.items() if own == group) for group in GROUPS}
    top, portraits, matches = {}, {}, {}
    for row, reading in enumerate(READINGS):
        for index in indices:
            weight = weights[row, index]
            top[reading, index] = ranked(_magnitude(found["training", "tp", index], weight), k)
            for group in GROUPS:
                for split in SPLITS:
                    portraits[reading, split, group, index] = _portrait(
                        found[split, group, index], row, weight, top[reading, index], k, equal[group]
                    )
                pair = found["training", group, index], found["test", group, index]
                matches[reading, group, index] = _match(*pair, weight, top[reading, index], equal[group], seed)
    recall = {(split, index): _recall(found[split, "tp", index], found[split, "all", index]) for split in SPLITS for index in indices}
    overlaps, responses = {}, {}
    for reading in READINGS:
        tops = [top[reading, index] for index in indices]
        frequencies = np.stack([portraits[reading, "training", "all", index].frequency for index in indices])  # [C, D]
        overlaps[reading] = np.array([[_part(own, other) for other in tops] for own in tops])
        responses[reading] = np.stack([_relative(frequencies[:, own].sum(axis=1), index) for index, own in enumerate(tops)])
    return Comparison(tuple(classes), weights.shape[2], k, dict(cases), tuple(most), top, portraits, matches, recall, overlaps, responses)


def _portrait(found: Accumulator, row: int, weight: np.ndarray, top: np.ndarray, k: int, equal: int) -> Portrait:
    magnitude, leads, n = _magnitude(found, weight), found.leads[row], found.moments.count
    sample = found.reservoir.rows()[1][:equal].astype(np.float64)
    positive = np.maximum(magnitude, 0).sum()
    known = len(top) and n
    return Portrait(
        voxels=n,
        cases=len(found.cases),
        magnitude=magnitude,
        frequency=leads / n if n else np.full(len(weight), np.nan),
        used50=used(leads, 50),
        used90=used(leads, 90),
        diversity=diversity(leads),
        participation=found.moments.participation,
        equal=len(sample),
        equal_diversity=diversity(leading(sample * weight, k).sum(axis=0)),
        equal_participation=Moments.of(sample).participation,
        share=float(magnitude[top].sum() / positive) if known and positive > 0 else np.nan,
        overlap=_part(top, ranked(magnitude, k)),
    )


def _match(training: Accumulator, test: Accumulator, weight: np.ndarray, top: np.ndarray, equal: int, seed: int) -> Match:
    known, new = training.case_means() * weight, test.case_means() * weight  # [cases, D]
    shift = _magnitude(test, weight) - _magnitude(training, weight)
    interval, ratio, ratio_interval = np.full((len(weight), 2), np.nan), np.nan, np.full(2, np.nan)
    for channel in top:
        interval[channel] = _limits(new[:, channel], known[:, channel], seed)
    before = float(known[:, top].sum(axis=1).mean()) if len(known) and len(top) else np.nan
    if before > 0 and len(new):
        a, b = new[:, top].sum(axis=1) / before, known[:, top].sum(axis=1) / before  # the mean of b is 1
        ratio = float(a.mean())
        ratio_interval = ratio + _limits(a, ratio * b, seed)
    rows = (each.reservoir.rows()[1][:equal] for each in (training, test))
    return Match(shift, interval, ratio, ratio_interval, range_gap(*rows))


def _magnitude(found: Accumulator, weight: np.ndarray) -> np.ndarray:
    """Mean over cases of a case's mean embedding [D]; NaN without cases."""
    return found.case_means().mean(axis=0) * weight if found.cases else np.full(len(weight), np.nan)


def _limits(first: np.ndarray, second: np.ndarray, seed: int) -> np.ndarray:
    """Of the difference of the means of two groups of cases."""
    interval = difference_interval(first, second, seed)
    return np.array([interval.low, interval.high] if interval else [np.nan, np.nan])


def _recall(tp: Accumulator, every: Accumulator) -> float:
    shares = [tp.cases[case].count / one.count if case in tp.cases else 0.0 for case, one in every.cases.items()]
    return float(np.mean(shares)) if shares else np.nan


def _part(top: np.ndarray, others: np.ndarray) -> float:
    """Of the channels in `top`, the part which is in `others`; NaN where either is empty."""
    return float(np.isin(top, others).mean()) if len(top) and len(others) else np.nan


def _relative(values: np.ndarray, index: int) -> np.ndarray:
    """Values relative to one of them; NaN where that is 0."""
    return values / (values[index] or np.nan)


def _smallest(populations: Iterable[Accumulator]) -> int:
    """Rows of the smallest reservoir that is not empty, 0 if all are."""
    return min((rows for one in populations if (rows := len(one.reservoir.rows()[0]))), default=0)
