"""One piece of a table's work: a row trained on a share of the cases with a seed. Where it lies, and whether it is done."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from segkit.engine.item_folder import ItemFolder
from segkit.engine.progress import MOVABLE
from segkit.engine.run import Run
from segkit.recipe import Recipe
from segkit.table.spec import TESTED_BY, Table

INCIDENTAL = (
    *MOVABLE,  # places: what lies there is compared by content, see `table.data`
    "train.checkpoint_minutes",
    "train.checkpoint_every",  # a run that goes on from a checkpoint is the run that was not stopped
    "train.monitor",  # watches, and changes nothing
    "evaluate.metrics",  # the table has its own
    "evaluate.nsd_tolerance_mm",  # scored anew from the label maps
    "evaluate.regions",  # likewise, but for those that training or prediction names
)


@dataclass(frozen=True)
class Asked:
    """What is to be scored of a trained item. rules: regions, tolerance and convention, plain."""

    splits: tuple[str, ...]
    metrics: tuple[str, ...]
    largest_component: bool = False
    rules: dict[str, Any] = field(default_factory=dict)

    @property
    def variants(self) -> tuple[tuple[str, bool], ...]:
        """(split, whether only largest parts are kept) of every set of scores."""
        return tuple((split, largest) for split in self.splits for largest in ((False, True) if self.largest_component else (False,)))


@dataclass(frozen=True)
class Result:
    """What an item says of itself when all its scores are written. training_cases: that it was trained on. commits: of its training."""

    asked: Asked
    training_cases: int
    steps: int
    segkit: str
    commits: tuple[str, ...]


@dataclass(frozen=True)
class Item:
    """A row, a share of the training cases, a seed; `recipe` is resolved and has both. Plain data: it may be worked on anywhere.

    Working on it twice changes nothing, and it may be interrupted at any moment.
    """

    row: str
    fraction: float
    seed: int
    recipe: Recipe
    folder: Path
    asked: Asked

    @property
    def name(self) -> str:
        """For people: `focal, 25 %, seed 0`."""
        return f"{self.row}, {percent(self.fraction)}, seed {self.seed}"

    @property
    def place(self) -> ItemFolder:
        """What lies where in `folder`."""
        return ItemFolder(self.folder)

    @property
    def run(self) -> Run:
        """Its training."""
        return self.place.run

    def predictions(self, split: str) -> Path:
        """Label maps of a split."""
        return self.place.predictions(split)

    def scores(self, split: str, largest: bool) -> Path:
        """The folder of the scores of a split, as predicted or with only the largest parts kept."""
        return self.place.scores(split, largest)

    def write(self, result: Result) -> str:
        """The text of `result.json`."""
        return json.dumps(asdict(result), indent=2) + "\n"

    def result(self) -> Result | None:
        """None where the item is not done: something that is asked for was not scored, or `result.json` is not whole."""
        try:
            facts = json.loads(self.place.result.read_text(encoding="utf-8"))
            asked = facts["asked"]
            scored = Asked(tuple(asked["splits"]), tuple(asked["metrics"]), asked["largest_component"], asked["rules"])
            result = Result(scored, facts["training_cases"], facts["steps"], facts["segkit"], tuple(facts["commits"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        covers = set(self.asked.variants) <= set(scored.variants) and set(self.asked.metrics) <= set(scored.metrics)
        covers = covers and scored.rules == self.asked.rules
        there = all((self.scores(*variant) / "scores.csv").is_file() for variant in self.asked.variants)
        return result if covers and there else None


def percent(fraction: float) -> str:
    """`5 %`, `12.5 %`."""
    return f"{100 * fraction:g} %"


def items_of(table: Table, output: Path) -> list[Item]:
    """Every item of a table: the rows of the first share and seed first, so that a comparison is whole as early as possible."""
    spec = table.spec
    return [_item(row, fraction, seed, table, output) for seed in spec.seeds for fraction in spec.fractions for row in spec.rows]


def _item(row: str, fraction: float, seed: int, table: Table, output: Path) -> Item:
    recipe, spec = table.recipes[row], table.spec
    dataset = recipe.dataset.model_copy(update={"train_fraction": fraction})
    train = recipe.train.model_copy(update={"seed": seed})
    own = recipe.model_copy(update={"dataset": dataset, "train": train})
    rules = recipe.evaluate.model_dump(mode="json", include=TESTED_BY["evaluate"])
    asked = Asked(spec.splits, spec.metrics, spec.largest_component, rules)
    return Item(row, fraction, seed, own, output / f"{row}_{fraction:g}_{seed}_{digest(own)}", asked)


def digest(recipe: Recipe) -> str:
    """8 hexadecimal digits of what a recipe says a trained network depends on, and of the content of its split file.

    What is INCIDENTAL changes no number of it and is left out. What the data are is told by their content, which is not in here.
    """
    plain = recipe.model_dump(mode="json")
    named = {*(recipe.train.best or ()), *recipe.infer.keep_largest}
    regions = {name: members for name, members in plain["evaluate"]["regions"].items() if name in named}
    for key in INCIDENTAL:
        *sections, last = key.split(".")
        part = plain
        for section in sections:
            part = part[section]
        del part[last]
    file = recipe.dataset.split.file
    listed = file.read_bytes() if file is not None and file.is_file() else b""
    return hashlib.sha256(json.dumps([plain, regions]).encode() + listed).hexdigest()[:8]


def missing(items: Sequence[Item]) -> list[Item]:
    """Those that are not done."""
    return [item for item in items if item.result() is None]
