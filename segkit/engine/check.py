"""Integrity of data and recipe: every finding at once, nothing trained."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Literal, TypeVar

import numpy as np

from segkit.config.errors import InputError, SegkitError
from segkit.datasets.base import Dataset
from segkit.datasets.split import Splits
from segkit.engine.cohort import check_patch, reach, store_settings
from segkit.models.base import Network
from segkit.recipe import Recipe
from segkit.volume.case import Case, CaseFiles
from segkit.volume.geometry import Shape
from segkit.volume.labels import ClassMap
from segkit.volume.preprocess import Preprocess, prepare
from segkit.volume.store import Store

T = TypeVar("T")
Grade = Literal["error", "notice"]
SIDES = ("training", "validation", "test")
TOGETHER = 2  # cases read at once: more would only hold more volumes in memory


@dataclass(frozen=True)
class Finding:
    """One thing found: what is wrong, in which case and file, what was expected and what is there, and what to do."""

    grade: Grade
    code: str
    case: str | None
    what: str
    where: str | None = None
    expected: str | None = None
    got: str | None = None
    remedy: str | None = None

    @classmethod
    def of(cls, error: SegkitError, case: str | None = None) -> "Finding":
        """An error as a finding."""
        where = None if error.where is None else str(error.where)
        return cls("error", error.code, case, error.what, where, error.expected, error.got, error.remedy)

    def block(self) -> str:
        """As errors are printed, with grade and case in front."""
        facts = InputError(self.code, self.what, where=self.where, expected=self.expected, got=self.got, remedy=self.remedy)
        return f"{self.grade}{f', case {self.case}' if self.case else ''}: {facts.block()}"

    def facts(self) -> dict[str, str | None]:
        """For `integrity.json`."""
        return asdict(self)


@dataclass(frozen=True)
class Plan:
    """What is to be read, and what was found on the way to it. network, splits: None without a recipe, or where none is to be had."""

    dataset: Dataset
    recipe: Recipe | None
    network: Network | None
    class_map: ClassMap | None
    cases: Sequence[CaseFiles]
    splits: Splits | None
    findings: Sequence[Finding]

    @property
    def margin(self) -> int:
        """Voxels the crop keeps around the ROI."""
        return reach(self.network, self.recipe.sampling.patch_shape) if self.recipe and self.network else 0

    def prepare(self, files: CaseFiles) -> Case:
        """Reads and preprocesses a case as training would."""
        settings = self.recipe.preprocess if self.recipe else Preprocess()
        dataset = self.dataset
        return prepare(files, settings, roi=dataset.roi, class_map=self.class_map, margin=self.margin, accept_sform=dataset.accept_sform)


@dataclass(frozen=True)
class Seen:
    """What is kept of a case that was read. counts: labeled ROI voxels by class index, none without a label. images: their SHA-256."""

    case: str
    shape: Shape
    counts: tuple[int, ...]
    images: str


def plan(dataset: Dataset, recipe: Recipe | None = None) -> Plan:
    """Look at everything but the voxels: the network and its patch, the classes, the files' names, the split."""
    findings: list[Finding] = []

    def found(look: Callable[[], T]) -> T | None:
        try:
            return look()
        except InputError as error:
            finding = Finding.of(error)
            findings.extend([finding] if finding not in findings else [])  # one file may be missed twice
            return None

    network = found(lambda: _network(recipe)) if recipe else None
    class_map = found(lambda: dataset.class_map)
    cases, splits = found(dataset.find), None
    if cases is None:
        cases = _usable(dataset)
    elif recipe:
        splits = found(dataset.splits)
    return Plan(dataset, recipe, network, class_map, cases, splits, findings)


def check(plan: Plan) -> Iterator[list[Finding]]:
    """Findings of each case, in order, then of all together: every file is read to its end and preprocessed as training would."""
    seen: list[Seen] = []
    with ThreadPoolExecutor(TOGETHER) as pool:
        for case, findings in pool.map(lambda files: _read(files, plan.prepare), plan.cases):
            seen += [case] if case else []
            yield findings
    yield [*_classes(plan, seen), *_patch(plan, seen), *_twins(plan, seen), *_store(plan)]


def _network(recipe: Recipe) -> Network:
    network = recipe.model.build(len(recipe.dataset.channel_names), len(recipe.class_names()))
    network.lattices(recipe.sampling.patch_shape)  # refuses a patch that does not suit it
    return network


def _usable(dataset: Dataset) -> list[CaseFiles]:
    """The complete cases among others, so that one missing file does not hide what is wrong with the rest."""
    if not dataset.root.is_dir():
        return []
    try:
        candidates = dataset.locate(dataset.root)
    except InputError:  # said already: nothing can be found at all
        return []
    return list({candidate.files.id: candidate.files for candidate in candidates if not candidate.problems}.values())


def _read(files: CaseFiles, prepare: Callable[[CaseFiles], Case]) -> tuple[Seen | None, list[Finding]]:
    try:
        case = prepare(files)
    except InputError as error:
        return None, [Finding.of(error, files.id)]
    findings = [Finding("notice", "SK-V099", files.id, notice) for notice in case.notices]
    if case.outside:
        what = f"{case.outside} voxels of a class lie outside the cropped box: they train nothing"
        findings.append(Finding("notice", "SK-D095", files.id, what))
    counts: tuple[int, ...] = ()
    if case.label is None:
        findings.append(Finding("notice", "SK-D090", files.id, "no label: this case can be predicted, not trained on"))
    else:
        inside = np.bincount(case.label[case.roi], minlength=case.classes)
        counts = tuple(int(count) for count in inside[: case.classes])
    return Seen(files.id, case.roi.shape, counts, hashlib.sha256(case.image.tobytes()).hexdigest()), findings


def _classes(plan: Plan, seen: Sequence[Seen]) -> Iterator[Finding]:
    """Classes that no case holds, or no case of a side. Silent where a case could not be read: it may hold them."""
    if plan.class_map is None or not seen or len(seen) < len(plan.cases):
        return
    names = plan.class_map.names
    empty = _absent(names, seen)
    if empty:
        expected, remedy = "every class in at least one label, inside the ROI", "check dataset.classes against the label files"
        yield Finding("error", "SK-D091", None, f"no case holds a voxel of {', '.join(empty)}", expected=expected, remedy=remedy)
    for side in ("training", "test") if plan.splits else ():
        ids = {files.id for files in getattr(plan.splits, side)}
        missing = [name for name in _absent(names, [case for case in seen if case.case in ids]) if name not in empty]
        if missing and ids:
            grade: Grade = "error" if side == "training" and _drawn(plan, missing) else "notice"
            yield Finding(grade, "SK-D092", None, f"no {side} case holds a voxel of {', '.join(missing)}", remedy="change dataset.split")


def _absent(names: Sequence[str], seen: Sequence[Seen]) -> list[str]:
    return [name for index, name in enumerate(names) if not any(case.counts and case.counts[index] for case in seen)]


def _drawn(plan: Plan, names: Sequence[str]) -> bool:
    """Whether the sampler is asked for a center of one of these classes."""
    return plan.recipe is not None and any(plan.recipe.proportions().get(name, 0) > 0 for name in names)


def _patch(plan: Plan, seen: Sequence[Seen]) -> Iterator[Finding]:
    if plan.recipe is None or plan.network is None or plan.splits is None:
        return
    shapes = {case.case: case.shape for case in seen}
    ids = [files.id for files in plan.splits.training]
    if all(case in shapes for case in ids):
        try:
            check_patch(plan.recipe.sampling.patch_shape, plan.network, [shapes[case] for case in ids])
        except InputError as error:
            yield Finding.of(error)


def _store(plan: Plan) -> Iterator[Finding]:
    """Files of the recipe's store, as far as it is there, whose bytes are not those that were written: training looks at sizes only."""
    if plan.recipe is None or plan.recipe.preprocess.store is None or plan.class_map is None:
        return
    for path in Store.locate(plan.cases, plan.recipe.preprocess.store, store_settings(plan.recipe, plan.margin)).verify():
        remedy = f"remove {path.parent}: training makes it again"
        yield Finding("error", "SK-D096", None, "a preprocessed case is damaged", where=str(path), remedy=remedy)


def _twins(plan: Plan, seen: Sequence[Seen]) -> Iterator[Finding]:
    """Cases with the same images: an error where they stand on two sides of the split, since one then tests what it was trained on."""
    groups: dict[str, list[str]] = {}
    for case in seen:
        groups.setdefault(case.images, []).append(case.case)
    side_of = {files.id: side for side in SIDES for files in getattr(plan.splits, side, ())}
    for twins in groups.values():
        if len(twins) > 1:
            sides = {side_of[case] for case in twins if case in side_of}
            grade: Grade = "error" if len(sides) > 1 else "notice"
            got = ", ".join(f"{case} ({side_of[case]})" if case in side_of else case for case in twins)
            remedy = "remove all but one"
            yield Finding(grade, "SK-D094", None, "cases with the same images", expected="each scan once", got=got, remedy=remedy)
