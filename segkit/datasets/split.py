"""Which cases train, which choose the best weights, which are only ever tested."""

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from segkit.config.errors import InputError
from segkit.config.settings import Settings, UserPath
from segkit.datasets.document import read_object
from segkit.volume.case import CaseFiles

Share = Annotated[int, Field(ge=0)] | Annotated[float, Field(ge=0, lt=1)]  # a count of cases, or a fraction of them


@dataclass(frozen=True)
class Splits:
    """Three sides without a common case, and without a common patient where the ids tell patients."""

    training: tuple[CaseFiles, ...]
    validation: tuple[CaseFiles, ...]
    test: tuple[CaseFiles, ...]


class Split(Settings):
    """One of three forms: `{test: 0.25, validation: 0.1, seed: 0}`, `{file: split.json}` or `{fold: 0, of: 5}`.

    Order: patients by the SHA-256 of seed and name, so it depends on nothing else, and a new case leaves the others in their order.
    Test: the beginning of it (with folds every `of`-th patient; with a file its list). The rest, n cases, is the training order (with a
    file its `train_order`).
    Validation: from the end of the training order, or the file's list.
    Training: the first max(1, floor(f n + 0.5)) of the training order for `train_fraction` f, validation cases excepted. So smaller
    fractions are nested in larger ones, and f never changes test or validation.

    A share below 1 is a fraction (of all cases for test, of n for validation), rounded half up, and at least one case unless it is 0.
    A patient with several cases goes to one side as a whole: test or validation may then hold a few more.
    """

    test: Share | None = Field(None, description="cases held out: a count, or a fraction below 1")
    file: UserPath | None = Field(
        None, description="JSON object with `test`, `train_order` and perhaps `validation`: lists of case ids; more keys are ignored"
    )
    fold: int | None = Field(None, ge=0, description="the fold held out as test, from 0")
    of: int | None = Field(None, ge=2, description="number of folds")
    validation: Share | None = Field(None, description="cases from the end of the training order; null: none, or the file's list")
    seed: int = Field(0, ge=0, description="of the order; a file has its own order")

    @model_validator(mode="after")
    def _one_form(self) -> "Split":
        folds = self.fold is not None or self.of is not None
        if (self.test is not None) + (self.file is not None) + folds != 1:
            raise ValueError("expected exactly one of {test: ...}, {file: ...} and {fold: ..., of: ...}")
        if folds and (self.fold is None or self.of is None):
            raise ValueError("expected fold and of together")
        if self.fold is not None and self.of is not None and self.fold >= self.of:
            raise ValueError(f"fold: expected int from 0 to {self.of - 1}, got {self.fold}")
        if self.file is not None and self.seed != 0:
            raise ValueError(f"seed: expected none beside a file, which has its own order, got {self.seed}")
        return self

    def assign(self, cases: Sequence[CaseFiles], train_fraction: float = 1.0) -> Splits:
        """Every case to at most one side. Raises InputError where the form does not fit the cases or nothing is left to train on."""
        if self.file is not None:
            test, order, validation = _listed(self.file, cases, self.validation)
        else:
            test, order = self._held_out(cases)
            validation = _end(order, _count(self.validation or 0, len(order)))
        kept = {case.id for case in validation}
        training = [case for case in order if case.id not in kept][: max(1, math.floor(train_fraction * len(order) + 0.5))]
        if not training:
            raise InputError(
                "SK-D045",
                "no case is left for training",
                where="dataset.split",
                expected="fewer test and validation cases",
                got=f"{len(cases)} cases: {len(test)} for test, {len(validation)} for validation",
                remedy="change dataset.split",
            )
        return Splits(tuple(training), tuple(validation), tuple(test))

    def _held_out(self, cases: Sequence[CaseFiles]) -> tuple[list[CaseFiles], list[CaseFiles]]:
        """Test cases and the training order."""
        groups = _ordered(cases, self.seed)
        if self.fold is not None and self.of is not None:
            if len(groups) < self.of:
                raise InputError(
                    "SK-D044",
                    "more folds than patients",
                    where="dataset.split",
                    expected=f"at least {self.of} patients",
                    got=f"{len(groups)} ({len(cases)} cases)",
                    remedy="lower dataset.split.of",
                )
            test = groups[self.fold :: self.of]
            rest = [group for position, group in enumerate(groups) if position % self.of != self.fold]
        else:
            wanted, taken = _count(self.test or 0, len(cases)), 0
            while taken < len(groups) and sum(map(len, groups[:taken])) < wanted:
                taken += 1
            test, rest = groups[:taken], groups[taken:]
        return [case for group in test for case in group], [case for group in rest for case in group]


def _patient(case: CaseFiles) -> str:
    return case.id if case.patient is None else case.patient


def _ordered(cases: Iterable[CaseFiles], seed: int) -> list[list[CaseFiles]]:
    """Patients in the seed's order, each with its cases by id."""
    groups: dict[str, list[CaseFiles]] = {}
    for case in sorted(cases, key=lambda case: case.id):
        groups.setdefault(_patient(case), []).append(case)
    return [groups[patient] for patient in sorted(groups, key=lambda patient: hashlib.sha256(f"{seed} {patient}".encode()).digest())]


def _count(share: int | float, cases: int) -> int:
    if isinstance(share, int) or share == 0:
        return int(share)
    return max(1, math.floor(share * cases + 0.5))


def _end(order: Sequence[CaseFiles], count: int) -> list[CaseFiles]:
    """The patients met from the end of the order until they hold `count` cases: their cases, in the order."""
    sizes = Counter(map(_patient, order))
    chosen: set[str] = set()
    for case in reversed(order):
        if sum(sizes[patient] for patient in chosen) >= count:
            break
        chosen.add(_patient(case))
    return [case for case in order if _patient(case) in chosen]


def _listed(path: Path, cases: Sequence[CaseFiles], share: int | float | None) -> tuple[list[CaseFiles], list[CaseFiles], list[CaseFiles]]:
    """Test, training order and validation of a split file."""
    document = read_object(path)
    lists = {key: _ids(document, key, path) for key in ("test", "train_order", "validation") if key in document or key != "validation"}
    if "validation" in lists and share is not None:
        raise InputError(
            "SK-D046",
            "validation cases are named twice",
            where=path,
            expected="either the file's list `validation` or dataset.split.validation",
            got=f"a list of {len(lists['validation'])} and {share}",
        )
    _known(lists, {case.id for case in cases}, path)
    by_id = {case.id: case for case in cases}
    test, order, validation = ([by_id[case] for case in lists.get(key, ())] for key in ("test", "train_order", "validation"))
    if share is not None:
        validation = _end(order, _count(share, len(order)))
    _apart(test, order, validation, path)
    return test, order, validation


def _ids(document: dict[str, Any], key: str, path: Path) -> list[str]:
    ids = document.get(key)
    if not isinstance(ids, list) or not all(isinstance(case, str) for case in ids) or len(set(ids)) < len(ids):
        got = (
            "no such key"
            if key not in document
            else "a case twice"
            if isinstance(ids, list) and all(isinstance(case, str) for case in ids)
            else repr(ids)[:80]
        )
        raise InputError(
            "SK-D042", f"the split file's `{key}` cannot be used", where=path, expected="a list of different case ids", got=got
        )
    return ids


def _known(lists: dict[str, list[str]], known: set[str], path: Path) -> None:
    unknown = sorted({case for ids in lists.values() for case in ids} - known)
    if unknown:
        raise InputError(
            "SK-D040",
            f"the split file names cases that the data set does not have: {', '.join(unknown)}",
            where=path,
            expected=f"ids among the {len(known)} of the data set, such as {min(known, default='none')}",
        )


def _apart(test: list[CaseFiles], order: list[CaseFiles], validation: list[CaseFiles], path: Path) -> None:
    """No case, and no patient, on two sides. Validation cases may stand in the training order, they are taken out of it."""
    kept = {case.id for case in validation}
    training = [case for case in order if case.id not in kept]
    for one, other, names in ((test, [*order, *validation], "test and training"), (validation, training, "validation and training")):
        both = sorted({case.id for case in one} & {case.id for case in other})
        if both:
            raise InputError(
                "SK-D041", f"cases on two sides of the split, {names}: {', '.join(both)}", where=path, remedy="name each case once"
            )
        patients = sorted(set(map(_patient, one)) & set(map(_patient, other)))
        if patients:
            raise InputError(
                "SK-D043",
                f"patients on two sides of the split, {names}: {', '.join(patients)}",
                where=path,
                remedy="keep the cases of a patient together",
            )
