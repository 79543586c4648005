"""Scores on cases that were trained on beside scores on test cases: what a network knows by heart, and what it has learned.

Source: Li, Kamnitsas, Glocker, MICCAI 2019: with less training data test sensitivity falls, precision stays, and training scores rise.
"""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from segkit.analysis.observe import Split
from segkit.analysis.scored import without_incidental
from segkit.analysis.sheet import write_sheet
from segkit.config.errors import SegkitError
from segkit.engine.console import Console
from segkit.engine.evaluate import Scoring, score_all, summarize
from segkit.engine.infer import Predictor, predict_all
from segkit.engine.weights import Trained
from segkit.metrics.overlap import Dice, Precision, Sensitivity
from segkit.recipe import Recipe
from segkit.volume.case import CaseFiles

METRICS = (Dice(), Sensitivity(), Precision())


@dataclass(frozen=True)
class Performance:
    """One line of `performance.csv`: a metric of a class or region over the cases of a split.

    train_fraction: of the recipe. training_cases: how many it trained on. mean, std (sample standard deviation): over `cases` cases, None
    where there are none (or one); left_out: those in which the metric is not applicable. mark: what the numbers were made from, empty
    where a case could not be scored.
    """

    run: str
    train_fraction: float
    training_cases: int
    split: Split
    # `class` in the file
    structure: str
    metric: str
    mean: float | None
    std: float | None
    cases: int
    left_out: int
    mark: str


HEADER = ["class" if field.name == "structure" else field.name for field in fields(Performance)]


def measure(
    trained: Trained, cases: Mapping[Split, Sequence[CaseFiles]], device: torch.device, mark: str, console: Console
) -> tuple[list[Performance], list[tuple[str, SegkitError]]]:
    """Dice, sensitivity and precision on the native grid, predicted and scored as `predict` and `evaluate` do; and the cases that failed.

    Label maps are written into a temporary folder: those of training cases have no place among a run's predictions.
    """
    recipe = trained.recipe
    scoring, predictor = Scoring.of(recipe).only(*METRICS), Predictor([trained], device)
    found, failed = [], []
    with console.track("predict and score", sum(map(len, cases.values()))) as tracker, TemporaryDirectory() as folder:
        for split, each in cases.items():
            rows, labels = [], {files.id: files.label for files in each}
            for outcome in predict_all(predictor, each, Path(folder) / split):
                written, label = Path(folder) / split / f"{outcome.case}.nii.gz", labels[outcome.case]
                if outcome.error is not None:
                    failed.append((outcome.case, outcome.error))
                else:
                    assert label is not None, "cases of a split have labels"
                    scored, wrong = score_all(scoring, [(outcome.case, written, label)], recipe.dataset.accept_sform)
                    rows += scored
                    failed += wrong
                    written.unlink()
                tracker.advance(outcome.case)
            found += [(split, entry) for entry in summarize(rows)]
    trained_on, mark = len(cases["training"]), "" if failed else mark
    return [
        Performance(
            trained.name,
            recipe.dataset.train_fraction,
            trained_on,
            split,
            one.structure,
            one.metric,
            one.mean,
            one.std,
            one.cases,
            one.left_out,
            mark,
        )
        for split, one in found
    ], failed


def differences(recipes: Sequence[Recipe]) -> list[str]:
    """Keys in which recipes differ beside the amount of training data and what is incidental, such as `train.steps` or `losses`."""
    said = [_sections(recipe) for recipe in recipes]
    return [key for key in dict.fromkeys(key for each in said for key in each) if any(each.get(key) != said[0].get(key) for each in said)]


def _sections(recipe: Recipe) -> dict[str, Any]:
    """The recipe's values by `section.key`, a list of plug-ins as a whole."""
    values = without_incidental(recipe)
    del values["dataset"]["train_fraction"]
    plain = {section: value for section, value in values.items() if not isinstance(value, dict)}
    return plain | {f"{section}.{key}": value for section, each in values.items() if isinstance(each, dict) for key, value in each.items()}


def write_performance(path: Path, entries: Sequence[Performance]) -> None:
    """`performance.csv`; what is not known is empty."""
    write_sheet(path, HEADER, map(astuple, entries))


def read_performance(path: Path, mark: str) -> list[Performance] | None:
    """What `write_performance` wrote, if all of it bears the mark; else None: it is to be measured (again)."""
    if not path.is_file():
        return None
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *lines = csv.reader(file)
        entries = [Performance(*(read(cell) for read, cell in zip(READERS, line, strict=True))) for line in lines]
    except ValueError:
        return None
    return entries if header == HEADER and {entry.mark for entry in entries} == {mark} else None


def _number(cell: str) -> float | None:
    return float(cell) if cell else None


READERS: Sequence[Callable[[str], Any]] = (str, float, int, str, str, str, _number, _number, int, int, str)  # of the columns
