"""The logit shift: how far the logits of a class move from cases that were trained on to cases that were not.

Softmax ignores a number added to all logits of a voxel, so a network may move them together for nothing. Raw logits are listed since
pictures show them; a claim rests on what such a number leaves as it is: centered logits, margins, and the share over the boundary.
Source: Li, Kamnitsas, Glocker, MICCAI 2019 and IEEE TMI 2020, who show raw logits and the difference of their means.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from segkit.analysis.logits import LogitSample
from segkit.analysis.observe import SPLITS
from segkit.analysis.sheet import Cell, write_sheet
from segkit.statistics.bootstrap import Interval, difference_interval

Quantity = Literal["logit", "log_probability", "centered", "margin", "over_boundary"]
HEADER = (
    "run", "class", "quantity", "of",
    "training", "training_std", "training_cases", "training_voxels",
    "test", "test_std", "test_cases", "test_voxels",
    "shift", "low", "high",
)  # fmt: skip


@dataclass(frozen=True)
class Group:
    """A quantity over the cases of a split: mean and sample standard deviation of the means of cases, so that every case counts the same.

    cases: those that have voxels of the class, `voxels` together. Without a case there is no mean, with one no deviation.
    """

    mean: float | None
    std: float | None
    cases: int
    voxels: int

    @classmethod
    def over(cls, means: np.ndarray, voxels: int) -> "Group":
        """From the mean of each case."""
        n = len(means)
        return cls(float(means.mean()) if n else None, float(means.std(ddof=1)) if n > 1 else None, n, voxels)


@dataclass(frozen=True)
class Shift:
    """One quantity of the voxels of one true class, on training and on test cases.

    structure: the true class c. quantity, over the logits z of a voxel:
      `logit` (or `log_probability`)  z_j of the class j named by `of`
      `centered`                      z_j - mean_k z_k of the class j named by `of`
      `margin`                        z_c - max_{k != c} z_k, positive where the voxel is right
      `over_boundary`                 1 where the margin is positive, else 0: its mean is the sensitivity on the sample
    difference: test minus training, None unless both have cases. interval: of 95 % over cases (`statistics.bootstrap`), None unless both
    have two.
    """

    structure: str
    quantity: Quantity
    of: str | None
    training: Group
    test: Group
    difference: float | None
    interval: Interval | None


def quantities(logits: np.ndarray, index: int) -> np.ndarray:
    """The mean of every quantity over voxels of true class `index`: C logits, C centered logits, margin, share over the boundary.

    logits: [n, C], n >= 1. Returns float64 [2 C + 2].
    """
    z = logits.astype(np.float64)
    margin = z[:, index] - np.delete(z, index, axis=1).max(axis=1)
    centered = z - z.mean(axis=1, keepdims=True)
    return np.concatenate([z.mean(axis=0), centered.mean(axis=0), [margin.mean(), (margin > 0).mean()]])


def shifts(sample: LogitSample) -> list[Shift]:
    """Every quantity of every class, by class in the order of the indices."""
    return [shift for index in range(len(sample.classes)) for shift in _of_class(sample, index)]


def _of_class(sample: LogitSample, index: int) -> Iterator[Shift]:
    names = sample.classes
    columns: list[tuple[Quantity, str | None]] = [(quantity, name) for quantity in (sample.scale, "centered") for name in names]
    columns += [("margin", None), ("over_boundary", None)]
    found = {split: list(sample.of(split, index)) for split in SPLITS}
    voxels = {split: sum(map(len, cases)) for split, cases in found.items()}
    means = {split: np.array([quantities(case, index) for case in cases]).reshape(-1, len(columns)) for split, cases in found.items()}
    for column, (quantity, of) in enumerate(columns):
        known, unknown = (means[split][:, column] for split in SPLITS)
        training, test = Group.over(known, voxels["training"]), Group.over(unknown, voxels["test"])
        difference = None if training.mean is None or test.mean is None else test.mean - training.mean
        yield Shift(names[index], quantity, of, training, test, difference, difference_interval(unknown, known))


def write_shifts(path: Path, runs: Sequence[tuple[str, Sequence[Shift]]]) -> None:
    """`shift.csv` of runs by name, a line a quantity of a class.

    Columns: run; class, quantity, of as in `Shift`; mean, std, cases and voxels of training and of test cases; shift is test minus
    training, low and high its interval. What is not known is empty.
    """
    write_sheet(path, HEADER, (_line(name, shift) for name, each in runs for shift in each))


def _line(run: str, shift: Shift) -> tuple[Cell, ...]:
    groups = [cell for group in (shift.training, shift.test) for cell in (group.mean, group.std, group.cases, group.voxels)]
    low, high = (None, None) if shift.interval is None else (shift.interval.low, shift.interval.high)
    return run, shift.structure, shift.quantity, shift.of, *groups, shift.difference, low, high
