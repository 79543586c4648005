"""The numbers of a table: scores of the items that are done, summed up over cases and seeds, tested, and set beside published ones."""

import csv
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from segkit.config.errors import InputError
from segkit.metrics.base import metrics
from segkit.statistics.correction import holm
from segkit.statistics.paired import Paired, compare_pairs
from segkit.table.item import Item, Result
from segkit.table.spec import Spec, Table

LEVEL = 0.05  # of the tests, after correction
GAP = "gap"  # training minus test
MOST_NAMED = 5  # cases in a message
ByCase = dict[str, float | None]  # None: not applicable
Scores = dict[tuple[str, str], ByCase]  # by (class, metric)
Key = tuple[str, float, str]  # row, fraction, metric: a cell of a block


@dataclass(frozen=True)
class View:
    """What the scores of a block are of. split: or GAP. largest: only the largest part of each class or region is kept."""

    split: str
    largest: bool


@dataclass(frozen=True)
class Difference:
    """A row (method B) against its counterpart (A). corrected: p by Holm over the rows of its column; None where no test was possible."""

    paired: Paired
    corrected: float | None

    @property
    def significant(self) -> bool:
        """At LEVEL, after correction."""
        return self.corrected is not None and self.corrected < LEVEL


@dataclass(frozen=True)
class Value:
    """A published value, in the unit of our own. verified: read in the publication itself."""

    value: float
    verified: bool


@dataclass(frozen=True)
class Cell:
    """One row, share of the cases and metric.

    means: over cases, one a seed that is done; None where no case has a value. seeds: asked for. cases: of one seed. left_out: values of
    single cases, over all seeds, that are not applicable and in no mean. unit: "" for a fraction, or "mm".
    """

    means: tuple[float | None, ...]
    seeds: int
    cases: int
    left_out: int
    unit: str
    best: bool = False
    difference: Difference | None = None
    published: Value | None = None

    @property
    def values(self) -> list[float]:
        """The means that are known."""
        return [mean for mean in self.means if mean is not None]

    @property
    def complete(self) -> bool:
        """Every seed is done."""
        return len(self.means) == self.seeds

    @property
    def mean(self) -> float | None:
        """Over seeds; None where a seed is without a value, since a mean over the others is another quantity."""
        return statistics.fmean(self.values) if self.means and len(self.values) == len(self.means) else None

    @property
    def std(self) -> float | None:
        """Sample standard deviation over seeds; None for fewer than two."""
        return statistics.stdev(self.values) if self.mean is not None and len(self.values) > 1 else None


@dataclass(frozen=True)
class Block:
    """One class, region or mean in one view."""

    structure: str
    view: View
    cells: Mapping[Key, Cell]


@dataclass(frozen=True)
class Filled:
    """A table with its numbers. done: items, with what they say of themselves. missing: the others. cases: how many, by (split, share)."""

    table: Table
    blocks: tuple[Block, ...]
    done: tuple[tuple[Item, Result], ...]
    missing: tuple[Item, ...]
    cases: Mapping[tuple[str, float], int]


def rounded(value: float, unit: str) -> str:
    """As tables show it, with one decimal: fractions in percent, distances in mm."""
    return f"{value if unit else 100 * value:z.1f}"


def unit_of(metric: str) -> str:
    """Of a metric's values: mm, or nothing for a fraction."""
    return metrics[metric].unit


def fill(table: Table, items: Sequence[Item]) -> Filled:
    """Read the scores of the items that are done. Raises InputError (SK-B030) where those of one column are not of the same cases."""
    spec = table.spec
    done = [(item, result) for item in items if (result := item.result()) is not None]
    scores = {
        (item.row, item.fraction, item.seed, View(split, largest)): _with_means(_read(item.scores(split, largest) / "scores.csv"), spec)
        for item, _ in done
        for split, largest in item.asked.variants
    }
    _same_cases(done, scores)
    views = [View(split, largest) for largest in ((False, True) if spec.largest_component else (False,)) for split in _splits(spec)]
    blocks = [_block(spec, scores, structure, view) for structure in spec.classes for view in views]
    cases = {
        (view.split, fraction): len(next(iter(found.values()))) for (_, fraction, _, view), found in scores.items() if not view.largest
    }
    finished = {item.folder for item, _ in done}
    missing = tuple(item for item in items if item.folder not in finished)
    return Filled(table, tuple(blocks), tuple(done), missing, cases)


def _same_cases(done: Sequence[tuple[Item, Result]], scores: Mapping[tuple[str, float, int, View], Scores]) -> None:
    """Raises InputError where two items of one share were not scored on the same cases of a split."""
    first: dict[tuple[str, float], tuple[Item, set[str]]] = {}
    for item, _ in done:
        for split, largest in item.asked.variants:
            cases = {case for found in scores[item.row, item.fraction, item.seed, View(split, largest)].values() for case in found}
            other, expected = first.setdefault((split, item.fraction), (item, cases))
            if cases != expected:
                signed = [f"{sign}{case}" for sign, only in (("-", expected - cases), ("+", cases - expected)) for case in sorted(only)]
                raise InputError(
                    "SK-B030",
                    f"two items were scored on different {split} cases",
                    where=item.scores(split, largest),
                    expected=f"the {len(expected)} cases of {other.scores(split, largest)}",
                    got=", ".join(signed[:MOST_NAMED]) + ", ..." * (len(signed) > MOST_NAMED),
                    remedy="remove the folder of the item whose data are out of date, and run again",
                )


def _splits(spec: Spec) -> tuple[str, ...]:
    """Those of the table; where training and test are among them, also the gap between the two."""
    return (*spec.splits, GAP) if {"training", "test"} <= set(spec.splits) else spec.splits


def _read(path: Path) -> Scores:
    scores: Scores = {}
    with path.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            value = float(line["value"]) if line["value"] else None
            scores.setdefault((line["class"], line["metric"]), {})[line["case"]] = value
    return scores


def _with_means(scores: Scores, spec: Spec) -> Scores:
    """And the table's means: of each case, over the classes that have a value in it."""
    found = dict(scores)
    for name, members in spec.means.items():
        for metric in spec.metrics:
            parts = [scores[member, metric] for member in members]
            found[name, metric] = {case: _mean(part[case] for part in parts) for case in parts[0]}
    return found


def _mean(values: Iterable[float | None]) -> float | None:
    """Over the values that are known; None where there are none."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _block(spec: Spec, scores: Mapping[tuple[str, float, int, View], Scores], structure: str, view: View) -> Block:
    keys = [(row, fraction, metric) for row in spec.rows for fraction in spec.fractions for metric in spec.metrics]

    def seeds_of(split: str) -> dict[Key, dict[int, ByCase]]:
        """Of each cell, the scores of the seeds that are done."""
        own = View(split, view.largest)
        return {
            key: {seed: found[structure, key[2]] for seed in spec.seeds if (found := scores.get((key[0], key[1], seed, own))) is not None}
            for key in keys
        }

    if view.split == GAP:
        training, test = seeds_of("training"), seeds_of("test")
        return Block(structure, view, {key: _gap(training[key], test[key], spec, key[2]) for key in keys})
    values = seeds_of(view.split)
    cells = {key: _cell(values[key], spec, key[2]) for key in keys}
    if view.split == "training":  # where the best score is no merit
        return Block(structure, view, cells)
    for fraction in spec.fractions:
        for metric in spec.metrics:
            column = [(row, fraction, metric) for row in spec.rows]
            for key in _best([(key, cells[key]) for key in column]):
                cells[key] = replace(cells[key], best=True)
            for key, difference in _differences(spec, cells, values, column).items():
                cells[key] = replace(cells[key], difference=difference)
    if view == View("test", False):
        for key, value in _published(spec, structure).items():
            cells[key] = replace(cells[key], published=value)
    return Block(structure, view, cells)


def _cell(seeds: Mapping[int, ByCase], spec: Spec, metric: str) -> Cell:
    cases = max(map(len, seeds.values()), default=0)
    left_out = sum(value is None for found in seeds.values() for value in found.values())
    return Cell(tuple(_mean(found.values()) for found in seeds.values()), len(spec.seeds), cases, left_out, unit_of(metric))


def _gap(training: Mapping[int, ByCase], test: Mapping[int, ByCase], spec: Spec, metric: str) -> Cell:
    """Mean over training cases minus mean over test cases, seed by seed."""
    means = [(_mean(training[seed].values()), _mean(test[seed].values())) for seed in training if seed in test]
    gaps = tuple(None if ours is None or theirs is None else ours - theirs for ours, theirs in means)
    return Cell(gaps, len(spec.seeds), 0, 0, unit_of(metric))


def _best(column: Sequence[tuple[Key, Cell]]) -> list[Key]:
    """The rows that show the best mean, as far as all seeds are done: of distances the smallest; none where there is nothing to compare."""
    if uneven([cell for _, cell in column]):
        return []
    known = [(key, cell.mean, cell.unit) for key, cell in column if cell.complete and cell.mean is not None]
    if len(known) < 2:
        return []
    unit = known[0][2]
    best = rounded((min if unit else max)(mean for _, mean, _ in known), unit)
    return [key for key, mean, _ in known if rounded(mean, unit) == best]


def uneven(column: Iterable[Cell]) -> bool:
    """Whether rows have different numbers of cases without a value, as far as all seeds are done: their means are not of the same cases."""
    return len({cell.left_out for cell in column if cell.complete}) > 1


def _published(spec: Spec, structure: str) -> dict[Key, Value]:
    return {
        (entry.row, entry.fraction, metric): Value(value if unit_of(metric) else value / 100, published.verified)
        for published in spec.published
        for entry in published.values
        if entry.structure == structure
        for metric, value in entry.scores.items()
    }


def _differences(
    spec: Spec, cells: Mapping[Key, Cell], values: Mapping[Key, Mapping[int, ByCase]], column: Sequence[Key]
) -> dict[Key, Difference]:
    """Of the rows of a column that have a counterpart, where all seeds of both are done."""
    tests: dict[Key, Paired] = {}
    for row, fraction, metric in column:
        against = spec.rows[row].against
        if against is None:
            continue
        ours, theirs = (row, fraction, metric), (against, fraction, metric)
        if cells[ours].complete and cells[theirs].complete:
            before, after = _over_seeds(values[theirs]), _over_seeds(values[ours])
            cases = dict.fromkeys([*before, *after])
            tests[ours] = compare_pairs([before.get(case) for case in cases], [after.get(case) for case in cases])
    corrected = holm([test.p for test in tests.values()])
    return {key: Difference(test, p) for (key, test), p in zip(tests.items(), corrected, strict=True)}


def _over_seeds(seeds: Mapping[int, ByCase]) -> ByCase:
    """The mean over seeds of each case; None where it has no value in one of them."""
    cases = dict.fromkeys(case for found in seeds.values() for case in found)
    by_case = {case: [found.get(case) for found in seeds.values()] for case in cases}
    return {case: None if None in values else _mean(values) for case, values in by_case.items()}
