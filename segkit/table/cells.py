"""The numbers of a table: scores of the items that are done, summed up over cases and seeds, tested, and set beside published ones."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from segkit.metrics.base import metrics
from segkit.table.difference import Difference, Key, differences
from segkit.table.item import Item, Result
from segkit.table.scores import GAP, ByCase, Found, View, mean_of, read_done
from segkit.table.spec import Spec, Table


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
    scores = read_done(spec, done)
    views = [View(split, largest) for largest in ((False, True) if spec.largest_component else (False,)) for split in _splits(spec)]
    blocks = [_block(spec, scores, structure, view) for structure in spec.classes for view in views]
    cases = {
        (view.split, fraction): len(next(iter(found.values()))) for (_, fraction, _, view), found in scores.items() if not view.largest
    }
    finished = {item.folder for item, _ in done}
    missing = tuple(item for item in items if item.folder not in finished)
    return Filled(table, tuple(blocks), tuple(done), missing, cases)


def _splits(spec: Spec) -> tuple[str, ...]:
    """Those of the table; where training and test are among them, also the gap between the two."""
    return (*spec.splits, GAP) if {"training", "test"} <= set(spec.splits) else spec.splits


def _block(spec: Spec, scores: Found, structure: str, view: View) -> Block:
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
            for key, difference in differences(spec, values, column).items():
                cells[key] = replace(cells[key], difference=difference)
    if view == View("test", False):
        for key, value in _published(spec, structure).items():
            cells[key] = replace(cells[key], published=value)
    return Block(structure, view, cells)


def _cell(seeds: Mapping[int, ByCase], spec: Spec, metric: str) -> Cell:
    cases = max(map(len, seeds.values()), default=0)
    left_out = sum(value is None for found in seeds.values() for value in found.values())
    return Cell(tuple(mean_of(found.values()) for found in seeds.values()), len(spec.seeds), cases, left_out, unit_of(metric))


def _gap(training: Mapping[int, ByCase], test: Mapping[int, ByCase], spec: Spec, metric: str) -> Cell:
    """Mean over training cases minus mean over test cases, seed by seed."""
    means = [(mean_of(training[seed].values()), mean_of(test[seed].values())) for seed in training if seed in test]
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
