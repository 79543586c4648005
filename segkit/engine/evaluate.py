"""Scoring: rows of scores per case, class and metric, and honest summaries of them."""

import csv
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import cast

import numpy as np

from segkit.config.atomic import atomic
from segkit.config.errors import InputError, SegkitError
from segkit.metrics.base import CONVENTIONS, Metric, State, pairs
from segkit.recipe import Recipe
from segkit.volume import nifti
from segkit.volume.geometry import same_grid
from segkit.volume.labels import ClassMap


@dataclass(frozen=True)
class Row:
    """One line of `scores.csv`. value None: not applicable, the state says why."""

    case: str
    # `class` in the file
    structure: str
    metric: str
    value: float | None
    unit: str
    state: State


TOGETHER = 8  # cases at most that are scored at once, each on a core: more would only hold more volumes in memory
HEADER = ["case", "class", "metric", "value", "unit", "state"]


@dataclass(frozen=True)
class Scoring:
    """What is scored and how: metrics, classes and regions as unions of class indices, the convention for empty masks."""

    metrics: tuple[Metric, ...]
    regions: Mapping[str, tuple[int, ...]]
    class_map: ClassMap
    convention: str = "segkit"

    @classmethod
    def of(cls, recipe: Recipe) -> "Scoring":
        """As the recipe says; every class, then its regions."""
        return cls(recipe.evaluate.scorers(), recipe.structures(), recipe.dataset.class_map, recipe.evaluate.convention)

    def only(self, *metrics: Metric) -> "Scoring":
        """The same classes and regions with other metrics."""
        return replace(self, metrics=metrics)

    def rows(self, case: str, prediction: np.ndarray, label: np.ndarray, spacing_mm: tuple[float, float, float]) -> list[Row]:
        """Scores of one case from two maps of class indices on one grid."""
        value = CONVENTIONS[self.convention]
        return [
            Row(case, name, metric.name, value(metric, pair), metric.unit, pair.state)
            for name, pair in pairs(prediction, label, self.regions, spacing_mm)
            for metric in self.metrics
        ]

    def score_files(self, case: str, prediction: Path, label: Path, accept_sform: bool = False) -> list[Row]:
        """The same from two files. Raises InputError where they are not on one grid: nothing is resampled silently."""
        ours, theirs = (nifti.read_label(path, accept_sform=accept_sform) for path in (prediction, label))
        differs = same_grid(ours.array.shape, ours.affine, theirs.array.shape, theirs.affine)
        if differs:
            raise InputError(
                "SK-E001",
                "prediction and label are on different grids",
                where=prediction,
                expected=f"the grid of {label}",
                got=differs,
                remedy="predict again on the labelled scan, or resample one of them",
            )
        found, wanted = self.class_map.encode(ours.array, str(prediction)), self.class_map.encode(theirs.array, str(label))
        return self.rows(case, found, wanted, theirs.spacing_mm)


def score_all(
    scoring: Scoring, cases: Sequence[tuple[str, Path, Path]], accept_sform: bool = False
) -> tuple[list[Row], list[tuple[str, SegkitError]]]:
    """Rows of every (case, prediction, label), and the cases that could not be scored with their errors. Cases run side by side."""
    rows: list[Row] = []
    failed: list[tuple[str, SegkitError]] = []
    with ThreadPoolExecutor(min(TOGETHER, os.cpu_count() or 1)) as pool:
        work = [(case, pool.submit(scoring.score_files, case, prediction, label, accept_sform)) for case, prediction, label in cases]
        try:
            for case, future in work:
                try:
                    rows += future.result()
                except SegkitError as error:
                    failed.append((case, error))
        finally:
            pool.shutdown(cancel_futures=True)  # Ctrl-C waits for the cases that have begun, not for all
    return rows, failed


@dataclass(frozen=True)
class Summary:
    """One class and metric over cases. Statistics are over the `cases` values; None where there are none."""

    structure: str
    metric: str
    unit: str
    mean: float | None
    std: float | None
    median: float | None
    cases: int
    left_out: int
    missed: int
    spurious: int
    absent: int


def summarize(rows: Iterable[Row]) -> list[Summary]:
    """Per class and metric, in the order of the rows. std is the sample standard deviation (n - 1), None for one case."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.structure, row.metric), []).append(row)
    return [_summary(structure, metric, group) for (structure, metric), group in groups.items()]


def _summary(structure: str, metric: str, group: Sequence[Row]) -> Summary:
    values = np.array([row.value for row in group if row.value is not None], dtype=np.float64)
    states = [row.state for row in group]
    n = len(values)
    return Summary(
        structure,
        metric,
        group[0].unit,
        float(values.mean()) if n else None,
        float(values.std(ddof=1)) if n > 1 else None,
        float(np.median(values)) if n else None,
        n,
        len(group) - n,
        states.count("missed"),
        states.count("spurious"),
        states.count("absent"),
    )


def write_scores(folder: Path, rows: Sequence[Row], failed: Sequence[tuple[str, SegkitError]] = ()) -> None:
    """`scores.csv` and `summary.json` into a folder, each at once."""
    folder.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    for row in rows:
        writer.writerow(["" if value is None else value for value in (getattr(row, field.name) for field in fields(Row))])
    with atomic(folder / "scores.csv") as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")
    summary: dict[str, dict[str, dict[str, object]]] = {}
    for entry in summarize(rows):
        facts = asdict(entry)
        summary.setdefault(facts.pop("structure"), {})[facts.pop("metric")] = facts
    content = {"classes": summary, "failed": {case: {"error": error.code, "message": error.what} for case, error in failed}}
    with atomic(folder / "summary.json") as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_scores(path: Path) -> list[Row]:
    """The rows of a `scores.csv`. Raises InputError where it is none: each class and metric stands there once for each case."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *lines = csv.reader(file, strict=True)
        rows = [
            Row(case, structure, metric, float(value) if value else None, unit, cast(State, state))
            for case, structure, metric, value, unit, state in lines
        ]
    except (ValueError, csv.Error):
        header, rows = [], []
    cells = {(row.case, row.structure, row.metric) for row in rows}
    full = len({case for case, _, _ in cells}) * len({cell[1:] for cell in cells})
    if header != HEADER or not len(rows) == len(cells) == full or not all(row.value is None or np.isfinite(row.value) for row in rows):
        raise InputError(
            "SK-E030",
            "the scores cannot be used",
            where=path,
            expected=f"the columns {','.join(HEADER)}; each class and metric once for each case; a value is a number or empty",
            remedy="write them again with segkit evaluate",
        )
    return rows


@dataclass(frozen=True)
class DiceMeans:
    """Mean Dice per class and region over validation cases, each with its number of cases. deciding: those that choose the best weights."""

    means: dict[str, float | None]
    counts: dict[str, int]
    deciding: tuple[str, ...]

    @property
    def mean(self) -> float | None:
        """Mean over what decides, as far as it has a value; None where nothing has."""
        values = [value for name in self.deciding if (value := self.means[name]) is not None]
        return sum(values) / len(values) if values else None

    @classmethod
    def over(cls, rows: Iterable[Row], deciding: Sequence[str]) -> "DiceMeans":
        """From rows of Dice."""
        entries = summarize(rows)
        means = {entry.structure: entry.mean for entry in entries}
        return cls(means, {entry.structure: entry.cases for entry in entries}, tuple(deciding))
