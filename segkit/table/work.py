"""Working on an item: train, predict, score, each as far as it is not done yet."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal

import numpy as np

from segkit.config.atomic import atomic
from segkit.config.errors import InputError, WorkError
from segkit.config.parse import parse
from segkit.config.yaml import load
from segkit.engine.console import Console
from segkit.engine.device import choose_device
from segkit.engine.evaluate import Row, Scoring, score_all, write_scores
from segkit.engine.infer import Predictor, keep_largest, predict_all
from segkit.engine.train import train
from segkit.recipe import Recipe
from segkit.table.data import changes, files_of, record, recorded
from segkit.table.item import Item, Result
from segkit.volume.case import CaseFiles

State = Literal["done", "busy"]  # busy: another process works on it


@dataclass(frozen=True)
class LargestParts(Scoring):
    """Scores that count, of each class or region by itself, only the largest 26-connected part of its prediction."""

    def rows(self, case: str, prediction: np.ndarray, label: np.ndarray, spacing_mm: tuple[float, float, float]) -> list[Row]:
        """As `Scoring.rows`."""
        rows = []
        for name, members in self.regions.items():
            kept = prediction.copy()
            keep_largest(kept, members)
            rows += Scoring(self.metrics, {name: members}, self.class_map, self.convention).rows(case, kept, label, spacing_mm)
        return rows


@contextmanager
def claimed(item: Item) -> Iterator[bool]:
    """Whether this process alone may work on the item now.

    The system holds the lock for the open file, so a killed process leaves none, and no process number has to be trusted.
    """
    item.folder.mkdir(parents=True, exist_ok=True)
    with item.place.lock.open("a", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        except OSError as error:
            remedy = "choose an output folder on another file system; see docs/scale.md"
            raise WorkError("SK-B022", "the file system has no locks", where=item.folder, got=error.strerror, remedy=remedy) from None
        else:
            yield True


def work(item: Item) -> State:
    """Do what is left of an item. Raises what training, prediction and scoring raise; what they wrote until then is used next time.

    What was made from data that have changed since is set aside, and the item begins anew.
    """
    with claimed(item) as mine:
        if not mine:
            return "busy"
        before, now = recorded(item), files_of(item.recipe.dataset)
        if before is not None and changes(before, now):
            set_aside(item)
            before = None
        if before is None and not item.run.exists():
            record(item, now)
        if item.result() is None:
            item.place.result.unlink(missing_ok=True)  # before a score is replaced that it speaks of
            _complete(item)
        return "done"


def set_aside(item: Item) -> None:
    """Into a folder `outdated_N` of the item. The record goes last: where a kill comes between, what is left is out of date still."""
    number = 1
    while (aside := item.folder / f"outdated_{number}").exists():
        number += 1
    made = [path for path in item.folder.iterdir() if path != item.place.lock and not path.name.startswith("outdated_")]
    aside.mkdir()
    for path in sorted(made, key=lambda path: (path == item.place.data, path != item.place.result)):
        path.rename(aside / path.name)


def _complete(item: Item) -> None:
    splits = item.recipe.dataset.splits()
    cases: dict[str, tuple[CaseFiles, ...]] = {split: getattr(splits, split) for split in item.asked.splits}
    for split, found in cases.items():
        if not found:
            raise InputError("SK-B010", f"the recipe has no {split} cases", where=f"{item.name}: dataset.split", expected="at least one")
    train(_begun(item), item.run, resumed=item.run.exists(), console=Console("quiet"))
    predictor = Predictor.load([item.run.path], choose_device("auto"))
    for split, found in cases.items():
        for outcome in predict_all(predictor, found, item.predictions(split)):
            if outcome.error is not None:
                raise outcome.error
    for split, largest in item.asked.variants:
        _score(item, split, largest, cases[split])
    origin = json.loads(item.run.provenance.read_text(encoding="utf-8"))
    commits = [facts["commit"] for facts in (origin, *origin.get("resumed", [])) if facts["commit"]]
    result = Result(item.asked, len(splits.training), item.recipe.train.steps, version("segkit"), tuple(dict.fromkeys(commits)))
    with atomic(item.place.result) as temporary:
        temporary.write_text(item.write(result), encoding="utf-8")


def _begun(item: Item) -> Recipe:
    """The recipe that its training began with, and today's places: what is incidental, such as a checkpoint's interval, may be another."""
    if not item.run.recipe.exists():
        return item.recipe
    began = parse(Recipe, load(item.run.recipe))
    return began.model_copy(update={part: getattr(item.recipe, part) for part in ("dataset", "preprocess", "sampling")})


def _score(item: Item, split: str, largest: bool, cases: tuple[CaseFiles, ...]) -> None:
    """`scores.csv` of a split from its label maps, on the cases' own grids."""
    evaluate = item.recipe.evaluate.model_copy(update={"metrics": item.asked.metrics})
    recipe = item.recipe.model_copy(update={"evaluate": evaluate})
    scoring = (LargestParts if largest else Scoring).of(recipe)
    folder = item.predictions(split)
    files = [(case.id, folder / f"{case.id}.nii.gz", case.label) for case in cases if case.label is not None]
    rows, failed = score_all(scoring, files, recipe.dataset.accept_sform)
    if failed:
        raise failed[0][1]
    write_scores(item.scores(split, largest), rows)
