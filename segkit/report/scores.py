"""The scores of a run as tables, with its cases in the order of their mean Dice."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

from segkit.engine.evaluate import Row, Summary, summarize
from segkit.metrics.base import State, metrics

TITLES = {"dice": "Dice", "hd95": "HD95", "assd": "ASSD", "nsd": "NSD"}  # others are their name with a capital
RANKED_BY = "dice"
SHADES = 6  # of the background of a cell, from 0 for a score of 1 on
WORST = 1e9  # worse than any distance in mm


@dataclass(frozen=True)
class Cell:
    """A score of a case. rank: the larger the worse, None for none (a class in neither mask); shade: 0 to SHADES - 1, None for none."""

    value: float | None
    state: State
    unit: str

    @property
    def rank(self) -> float | None:
        if self.value is not None:
            return self.value if self.unit else 1 - self.value
        return None if self.state == "absent" else WORST

    @property
    def shade(self) -> int | None:
        """Of a fraction; the worse the darker."""
        if self.unit or self.value is None:
            return None
        return min(SHADES - 1, int((1 - self.value) * SHADES))


@dataclass(frozen=True)
class Line:
    """A case: the mean over `counted` classes that have a value, and a cell a class or region."""

    case: str
    mean: Cell
    counted: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class MetricTable:
    """All cases by one metric. meaning: what it is, in a line; empty where no plug-in of this name is at hand."""

    metric: str
    title: str
    unit: str
    meaning: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Scores:
    """rows: at least one, each class and metric once for each case. averaged: the classes in the mean of a case, regions left out."""

    rows: tuple[Row, ...]
    averaged: tuple[str, ...]

    @property
    def structures(self) -> tuple[str, ...]:
        """Classes and regions, in the order of the file."""
        return tuple(dict.fromkeys(row.structure for row in self.rows))

    @property
    def metrics(self) -> tuple[str, ...]:
        """In the order of the file."""
        return tuple(dict.fromkeys(row.metric for row in self.rows))

    @property
    def cases(self) -> tuple[str, ...]:
        """In the order of the file."""
        return tuple(dict.fromkeys(row.case for row in self.rows))

    @property
    def first_metric(self) -> str:
        """What is told at a glance: Dice, or where it was not asked for the first metric."""
        return RANKED_BY if RANKED_BY in self.metrics else self.metrics[0]

    def summary(self) -> dict[str, dict[str, Summary]]:
        """By class or region, then by metric."""
        found: dict[str, dict[str, Summary]] = {}
        for entry in summarize(self.rows):
            found.setdefault(entry.structure, {})[entry.metric] = entry
        return found

    def values(self, structure: str, metric: str) -> list[float]:
        """Of all cases that have one."""
        return [row.value for row in self.rows if (row.structure, row.metric) == (structure, metric) and row.value is not None]

    def of(self, case: str, structure: str, metric: str) -> list[float]:
        """The value of one case, where it has one."""
        return [
            row.value for row in self.rows if (row.case, row.structure, row.metric) == (case, structure, metric) and row.value is not None
        ]

    def ranking(self) -> list[tuple[str, float]]:
        """Cases and their mean Dice over classes, worst first; without those in which no class has a value, and empty without Dice."""
        if RANKED_BY not in self.metrics:
            return []
        means = [(line.case, line.mean.value) for line in self._lines(RANKED_BY)]
        return sorted(((case, mean) for case, mean in means if mean is not None), key=lambda pair: (pair[1], pair[0]))

    def tables(self) -> list[MetricTable]:
        """One a metric, each with the worst mean Dice first, so that the tables go together; cases without one come last."""
        place = {case: index for index, (case, _) in enumerate(self.ranking())}
        meanings = {facts.name: facts.line for facts in metrics.describe()}
        units = {row.metric: row.unit for row in self.rows}
        return [
            MetricTable(
                metric,
                title_of(metric),
                units[metric],
                meanings.get(metric, ""),
                tuple(sorted(self._lines(metric), key=lambda line: place.get(line.case, len(place)))),
            )
            for metric in self.metrics
        ]

    def _lines(self, metric: str) -> list[Line]:
        cells = {(row.case, row.structure): Cell(row.value, row.state, row.unit) for row in self.rows if row.metric == metric}
        return [self._line(case, {name: cells[case, name] for name in self.structures}) for case in self.cases]

    def _line(self, case: str, cells: Mapping[str, Cell]) -> Line:
        own = [cells[name] for name in self.averaged]
        known = [cell.value for cell in own if cell.value is not None]
        empty = all(cell.rank is None for cell in own)
        mean = Cell(fmean(known) if known else None, "absent" if empty else "ok", own[0].unit if own else "")
        return Line(case, mean, len(known), tuple(cells.values()))


def title_of(metric: str) -> str:
    """`hd95` -> HD95, `sensitivity` -> Sensitivity."""
    return TITLES.get(metric, metric.replace("_", " ").capitalize())
