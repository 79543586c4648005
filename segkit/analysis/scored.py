"""A scored run: its scores case by case, which experiment it is a seed of, and what its scores mean."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

from segkit.analysis.noted import noted_cases
from segkit.config.errors import InputError
from segkit.engine.evaluate import read_scores
from segkit.engine.item_folder import ItemFolder, run_at
from segkit.engine.progress import MOVABLE
from segkit.recipe import Recipe, read

Quantity = tuple[str, str]  # class or region, metric
Values = Mapping[str, float | None]  # by case; None: not applicable
Scores = Mapping[Quantity, Values]

INCIDENTAL = (  # no part of the method: the seed, where things lie, and what is written on the way
    *MOVABLE,
    "train.seed",
    "train.checkpoint_minutes",
    "train.checkpoint_every",
    "train.monitor",
    "train.compile",
    "train.deterministic",
    "evaluate.metrics",
)


def without_incidental(recipe: Recipe) -> dict[str, Any]:
    """The recipe's values, by section, but for those that are no part of the method."""
    values = recipe.model_dump(mode="json")
    for key in INCIDENTAL:
        *sections, last = key.split(".")
        del reduce(getitem, sections, values)[last]
    return values


@dataclass(frozen=True)
class Scored:
    """units: by metric. trained_on: ids of the cases by side, training and validation; None where the run does not note them."""

    folder: Path
    recipe: Recipe
    scores: Scores
    units: Mapping[str, str]
    trained_on: Mapping[str, frozenset[str]] | None

    @classmethod
    def of(cls, folder: Path) -> "Scored":
        """From a run folder, or that of an item of a table. Raises InputError where it is neither, or was not scored."""
        run = run_at(folder)
        if not run.recipe.is_file():
            raise InputError("SK-A050", "this is no run", where=folder, expected=f"a run folder with {run.recipe.name}")
        if not run.scores.is_file():
            item = ItemFolder.around(folder)
            if item is not None:
                raise item.unfinished()
            remedy = f"segkit predict {folder} --split test && segkit evaluate {folder} --split test"
            raise InputError("SK-A051", "this run has no scores", where=run.scores, remedy=remedy)
        scores: dict[Quantity, dict[str, float | None]] = {}
        rows = read_scores(run.scores)
        for row in rows:
            scores.setdefault((row.structure, row.metric), {})[row.case] = row.value
        noted = noted_cases(run)
        trained_on = None if noted is None else {side: frozenset(cases) for side, cases in noted.items()}
        return cls(folder, read(run.recipe), scores, {row.metric: row.unit for row in rows}, trained_on)

    @property
    def cases(self) -> set[str]:
        """That were scored; the same for every class and metric."""
        return set(next(iter(self.scores.values()), ()))

    def experiment(self) -> dict[str, Any]:
        """The recipe without what is incidental: equal for the seeds of one method."""
        return without_incidental(self.recipe)

    def is_seed_of(self, other: "Scored") -> bool:
        """Whether both are runs of one method: of one experiment and, as far as both note them, trained and validated on the same cases.

        The cases tell apart what a place does not: data that were moved are the same, another share of them, or other data, are not.
        """
        noted = self.trained_on is not None and other.trained_on is not None
        return self.experiment() == other.experiment() and (not noted or self.trained_on == other.trained_on)

    def rules(self, metrics: Sequence[str]) -> dict[str, str]:
        """What scores of these metrics mean, by the recipe: the convention, the tolerance, the label values of each class and region."""
        evaluate, class_map = self.recipe.evaluate, self.recipe.dataset.class_map
        background = ("rest",) if class_map.background == "rest" else class_map.background
        values: dict[str, tuple[object, ...]] = {class_map.names[0]: background, **class_map.classes}
        rules = {"evaluate.convention": evaluate.convention, "dataset.ignore": _listed(class_map.ignore)}
        if "nsd" in metrics:
            rules["evaluate.nsd_tolerance_mm"] = str(evaluate.nsd_tolerance_mm)
        rules |= {f"label values of {name}": _listed(values[name]) for name in class_map.classes}
        for region, members in evaluate.regions.items():
            rules[f"label values of {region}"] = _listed(value for member in members for value in values[member])
        return rules


def _listed(values: Iterable[object]) -> str:
    """The same text for the same values in any order."""
    return f"[{', '.join(sorted({str(value) for value in values}))}]"
