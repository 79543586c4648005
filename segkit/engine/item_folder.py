"""The folder of an item of a table: a run and, beside it, what its network predicts for each split and how that scores."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from segkit.config.errors import InputError
from segkit.engine.run import Run

RUN = "run"


@dataclass(frozen=True)
class ItemFolder:
    """Paths. The only place that knows an item's file names:

    run/              the run                                 SPLIT/           label maps, scores.csv, summary.json
    data.json         written first: what it is made from     SPLIT_largest/   scores.csv, summary.json
    result.json       written last: the item is done          outdated_N/      all of this, made from data that have changed since
    lock              held by whoever works on it
    """

    path: Path

    @classmethod
    def around(cls, folder: Path) -> "ItemFolder | None":
        """The item that a folder is, or whose run it is; None for any other folder."""
        here = folder.resolve()
        items = (cls(folder), cls(here.parent)) if here.name == RUN else (cls(folder),)
        return next((item for item in items if item.result.is_file() or item.lock.is_file()), None)

    @property
    def run(self) -> Run:
        """Its training."""
        return Run(self.path / RUN)

    @property
    def result(self) -> Path:
        """Written last."""
        return self.path / "result.json"

    @property
    def data(self) -> Path:
        """Written first."""
        return self.path / "data.json"

    @property
    def lock(self) -> Path:
        """Held by whoever works on it."""
        return self.path / "lock"

    def predictions(self, split: str) -> Path:
        """Label maps of a split."""
        return self.path / split

    def scores(self, split: str, largest: bool = False) -> Path:
        """The folder of the scores of a split, as predicted or with only the largest parts kept."""
        return self.path / (f"{split}_largest" if largest else split)

    def done(self) -> bool:
        """Whether it is finished, and its test cases are scored as predicted."""
        return self.result.is_file() and self.tested.scores.is_file()

    @property
    def tested(self) -> Run:
        """Its run with label maps and scores of the test cases, as predicted."""
        return Run(self.run.path, self.predictions("test"))

    def unfinished(self) -> InputError:
        """The error of asking for its scores where it is not done."""
        command = f"segkit table SPEC.yaml --output {shlex.quote(str(self.path.parent))} --run, with the file of its table"
        finished = self.result.is_file()
        return InputError(
            "SK-E040",
            "this item of a table has no scores of test cases" if finished else "this item of a table is not finished",
            where=self.path,
            expected=f"{self.result.name} and {self.tested.scores.relative_to(self.path)}",
            got=f"no {self.tested.scores.relative_to(self.path)}" if finished else f"no {self.result.name}",
            remedy=f"name test among the splits of its table; then {command}" if finished else f"finish it: {command}",
        )


def run_at(folder: Path) -> Run:
    """The run that a folder is or holds, with the label maps and scores of its test cases.

    A run has its own. The folder of an item of a table means its run and the scores beside it; so does that run by itself, where the item
    is done and the run was not scored once more. Raises InputError for the folder of an item that is not done.
    """
    run, item = Run(folder), ItemFolder.around(folder)
    if item is None or run.scores.is_file():
        return run
    if item.done():
        return item.tested
    if run.recipe.is_file():
        return run
    raise item.unfinished()
