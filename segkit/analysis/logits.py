"""Logits of labeled voxels, of every case and true class the same number: the sample that logit analysis reads."""

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from segkit.analysis.lowest import Lowest
from segkit.analysis.observe import SPLITS, Split, Voxels
from segkit.config.atomic import atomic

Scale = Literal["logit", "log_probability"]


@dataclass(frozen=True, eq=False)
class CaseLogits:
    """The sampled voxels of one case, by true class and then by key.

    label: uint8 [n], true class indices. logits: float32 [n, C].
    """

    split: Split
    case: str
    label: np.ndarray
    logits: np.ndarray

    def of(self, index: int) -> np.ndarray:
        """The logits [k, C] of the voxels whose true class is `index`."""
        return self.logits[self.label == index]


@dataclass(frozen=True, eq=False)
class LogitSample:
    """Sampled logits of training and test cases.

    classes: names by index, the background first. voxels: most of one case and true class. cases: in the order of split and id, whatever
    order they came in. scale: what a value is. `log_probability`, of models of which only probabilities are known, is the logit less a
    number that all classes of a voxel share. mark: what the sample was made from.
    """

    classes: tuple[str, ...]
    voxels: int
    cases: tuple[CaseLogits, ...]
    scale: Scale = "logit"
    mark: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "cases", tuple(sorted(self.cases, key=lambda each: (SPLITS.index(each.split), each.case))))

    def of(self, split: Split, index: int) -> Iterator[np.ndarray]:
        """Of each case of the split that has voxels of class `index`: their logits [k, C]."""
        for each in self.cases:
            if each.split == split and len(found := each.of(index)):
                yield found

    def holds(self, split: Split) -> tuple[str, ...]:
        """Ids of the cases of a split, with or without a voxel."""
        return tuple(each.case for each in self.cases if each.split == split)


@dataclass
class Logits:
    """Observer of the pass over cases: the logits of the `voxels` lowest keys of each case and true class.

    Keys are random and belong to the voxel, so this is a random sample that depends neither on tiles nor on their order. Of each class of
    each case `voxels` times C numbers stay in memory, however large the volumes are.
    """

    voxels: int
    cases: list[CaseLogits] = field(default_factory=list)
    _at: tuple[Split, str] = ("training", "")
    _kept: list[Lowest] = field(default_factory=list)  # by class, from the first part of a case on

    def begin(self, split: Split, case: str) -> None:
        """A case comes."""
        self._at, self._kept = (split, case), []

    def see(self, voxels: Voxels) -> None:
        """A part of it."""
        self._kept = self._kept or [Lowest(self.voxels) for _ in range(voxels.logits.shape[1])]
        limits = torch.tensor([kept.limit for kept in self._kept], dtype=torch.float64, device=voxels.key.device)
        near = voxels.key < limits[voxels.label]
        label, key, logits = (each[near].cpu().numpy() for each in (voxels.label, voxels.key, voxels.logits))
        for index in np.unique(label):
            self._kept[index].add(key[label == index], logits[label == index])

    def end(self) -> None:
        """All of it was seen."""
        self.cases.append(case_logits(*self._at, {index: kept.rows()[1] for index, kept in enumerate(self._kept) if not kept.empty}))

    def sample(self, classes: Sequence[str], mark: str = "") -> LogitSample:
        """Of the cases that ended."""
        return LogitSample(tuple(classes), self.voxels, tuple(self.cases), "logit", mark)


def case_logits(split: Split, case: str, by_class: Mapping[int, np.ndarray]) -> CaseLogits:
    """From the sampled logits [k, C] of each true class that the case has."""
    indices = sorted(by_class)
    label = np.repeat(np.array(indices, dtype=np.uint8), [len(by_class[index]) for index in indices])
    logits = np.concatenate([by_class[index] for index in indices]) if indices else np.empty((0, 0))
    return CaseLogits(split, case, label, logits.astype(np.float32))


def write_sample(path: Path, sample: LogitSample) -> None:
    """As a NumPy archive without pickles: what `read_sample` reads."""
    with atomic(path) as temporary:
        np.savez(
            temporary,
            logits=np.concatenate(
                [each.logits.reshape(-1, len(sample.classes)) for each in sample.cases] or [np.empty((0, 0), np.float32)]
            ),
            label=np.concatenate([each.label for each in sample.cases] or [np.empty(0, np.uint8)]),
            count=np.array([len(each.label) for each in sample.cases], dtype=np.int64),
            case=np.array([each.case for each in sample.cases], dtype=str),
            split=np.array([each.split for each in sample.cases], dtype=str),
            classes=np.array(sample.classes, dtype=str),
            voxels=np.array(sample.voxels),
            scale=np.array(sample.scale),
            mark=np.array(sample.mark),
        )


def read_sample(path: Path) -> LogitSample | None:
    """The sample in a file; None where there is none, or none that can be read: it can be made again."""
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            ends = np.cumsum(stored["count"])[:-1]
            parts = zip(stored["split"], stored["case"], np.split(stored["label"], ends), np.split(stored["logits"], ends), strict=True)
            cases = tuple(CaseLogits(split.item(), case.item(), label, logits) for split, case, label, logits in parts)
            classes = tuple(name.item() for name in stored["classes"])
            return LogitSample(classes, int(stored["voxels"]), cases, stored["scale"].item(), stored["mark"].item())
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError, OSError):
        return None
