"""The scores of the items of a table that are done, by case."""

import csv
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from segkit.config.errors import InputError
from segkit.table.item import Item, Result
from segkit.table.spec import Spec

GAP = "gap"  # training minus test
MOST_NAMED = 5  # cases in a message
ByCase = dict[str, float | None]  # None: not applicable
Scores = dict[tuple[str, str], ByCase]  # by (class, metric)


@dataclass(frozen=True)
class View:
    """What scores are of. split: or GAP. largest: only the largest part of each class or region is kept."""

    split: str
    largest: bool


Found = Mapping[tuple[str, float, int, View], Scores]  # by row, fraction, seed and view


def read_done(spec: Spec, done: Sequence[tuple[Item, Result]]) -> Found:
    """Every set of scores of the items that are done, with the table's means.

    Raises InputError (SK-B030) where two items of one share were not scored on the same cases of a split.
    """
    found = {
        (item.row, item.fraction, item.seed, View(split, largest)): _with_means(_read(item.scores(split, largest) / "scores.csv"), spec)
        for item, _ in done
        for split, largest in item.asked.variants
    }
    _same_cases(done, found)
    return found


def mean_of(values: Iterable[float | None]) -> float | None:
    """Over the values that are known; None where there are none."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


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
            found[name, metric] = {case: mean_of(part[case] for part in parts) for case in parts[0]}
    return found


def _same_cases(done: Sequence[tuple[Item, Result]], scores: Found) -> None:
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
