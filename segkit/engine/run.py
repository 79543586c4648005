"""The folder of a run. The only place that knows its file names."""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from segkit.config.atomic import atomic
from segkit.config.errors import InputError
from segkit.engine.log import Log, Record, line_of, whole_lines


@dataclass(frozen=True)
class Run:
    """Paths of a run folder, and its log. Every file but the log is written beside and renamed: no reader meets half a file.

    tested: where label maps and scores lie if not in the run itself, as with an item of a table (see `engine.item_folder`).
    """

    path: Path
    tested: Path | None = None

    @property
    def name(self) -> str:
        """The folder's own name; of an item of a table, the item's."""
        return (self.tested.resolve().parent if self.tested else self.path.resolve()).name

    @property
    def recipe(self) -> Path:
        """The resolved recipe; can be trained again as it is."""
        return self.path / "recipe.yaml"

    @property
    def provenance(self) -> Path:
        """Versions, commit, device, data hash, cases and command."""
        return self.path / "provenance.json"

    @property
    def log(self) -> Path:
        """One JSON object a line."""
        return self.path / "log.jsonl"

    @property
    def progress(self) -> Path:
        """What each class has learned, where training was monitored; one JSON object a line."""
        return self.path / "progress.jsonl"

    @property
    def tensorboard(self) -> Path:
        """Event files."""
        return self.path / "tensorboard"

    @property
    def checkpoints(self) -> Path:
        """`last.pt`, `best.pt` and their checksums."""
        return self.path / "checkpoints"

    @property
    def weights(self) -> Path:
        """What prediction loads, with `description` beside it."""
        return self.path / "model.safetensors"

    @property
    def description(self) -> Path:
        """Everything prediction needs besides the weights."""
        return self.path / "model.json"

    @property
    def predictions(self) -> Path:
        """Label maps by case."""
        return self.tested or self.path / "predictions"

    @property
    def scores(self) -> Path:
        """Scores by case."""
        return (self.tested or self.path) / "scores.csv"

    @property
    def summary(self) -> Path:
        """The scores over cases, and the cases that could not be scored."""
        return (self.tested or self.path) / "summary.json"

    @property
    def analysis(self) -> Path:
        """Tables and pictures that explain the run."""
        return self.path / "analysis"

    @property
    def report(self) -> Path:
        """The run on one HTML page."""
        return self.path / "report.html"

    def probability(self, case: str, name: str) -> Path:
        """Where the probability of a class lies, with the label map of its case."""
        return probability_map(self.predictions, case, name)

    def exists(self) -> bool:
        """Whether a run was started here."""
        return self.recipe.exists() or self.log.exists()

    def in_use(self) -> InputError:
        """The error of starting a run where one is."""
        return InputError(
            "SK-T010",
            "this run folder is in use",
            where=self.path,
            expected="a folder without a run",
            got="a run",
            remedy="continue it with --resume, or choose another folder with --run",
        )

    def create(self, recipe_text: str) -> None:
        """A new run folder with its recipe."""
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        self.write_text(self.recipe, recipe_text)

    def write_text(self, path: Path, text: str) -> None:
        """Text into a file of the run, at once or not at all."""
        with atomic(path) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def write_json(self, path: Path, value: Mapping[str, Any]) -> None:
        """Strict JSON (no NaN) into a file of the run."""
        self.write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")

    def note_origin(self, facts: Record) -> bool:
        """Where the run comes from; when it is resumed, added to what was noted before. False if the data are no longer the same."""
        if not self.provenance.exists():
            self.write_json(self.provenance, facts)
            return True
        before = json.loads(self.provenance.read_text(encoding="utf-8"))
        self.write_json(self.provenance, before | {"resumed": [*before.get("resumed", []), facts]})
        return bool(before["data"] == facts["data"])

    def records(self) -> Iterator[Record]:
        """Lines of the log, in order. A last line cut off by a kill is left out. Raises InputError (SK-T013) at a damaged one."""
        return whole_lines(self.log)

    def windows(self) -> Iterator[Record]:
        """Lines of `progress.jsonl`, likewise; none where training was not monitored."""
        return whole_lines(self.progress)

    def note_window(self, facts: Record) -> None:
        """A line of `progress.jsonl`, on the disk when this returns: a checkpoint that follows has forgotten the window."""
        with self.progress.open("a", encoding="utf-8") as file:
            file.write(line_of(facts))
            file.flush()
            os.fsync(file.fileno())

    def end(self, step: int) -> None:
        """Close the log of a run that has all its steps, where a kill came before its last line."""
        if not any(record["event"] == "end" for record in self.records()):
            log = Log(self.log)
            log.write("end", step=step)
            log.close()

    def cut_log(self, step: int) -> int:
        """Drop what was logged after checkpoint `step` (and a half line), windows too. Returns the number of log records dropped."""
        if self.progress.exists():
            self._cut(self.progress, step)
        return self._cut(self.log, step)

    def _cut(self, path: Path, step: int) -> int:
        whole = list(whole_lines(path))
        kept = [record for record in whole if record.get("step", 0) <= step]
        self.write_text(path, "".join(json.dumps(record, allow_nan=False) + "\n" for record in kept))
        return len(whole) - len(kept)


def provenance(device: str, data_hash: str, cases: Mapping[str, Sequence[str]]) -> Record:
    """Where a result comes from: versions, commit, hardware, data, command, time. cases: ids by side, `training` and `validation`."""
    packages = ("segkit", "torch", "monai", "numpy", "nibabel", "scipy", "pydantic")
    return {
        "command": sys.argv,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
        "commit": _commit(),
        "device": device,
        "cuda": torch.version.cuda,
        "threads": torch.get_num_threads(),
        "machine": f"{platform.system()} {platform.machine()}",
        "data": data_hash,
        "cases": {side: list(ids) for side, ids in cases.items()},
    }


def _commit() -> str | None:
    """The commit of the source tree segkit runs from, with `+` where it was changed; None outside a repository."""
    here = Path(__file__).resolve().parent
    ask = ("git", "-C", str(here))
    try:
        commit = subprocess.run([*ask, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        dirty = subprocess.run([*ask, "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+" if dirty else "")


def probability_map(predictions: Path, case: str, name: str) -> Path:
    """Where the probability of a class lies, in a folder of predictions."""
    return predictions / "probabilities" / f"{case}_{name}.nii.gz"
