"""A run folder without a training: three small scans in folders, a recipe, predictions that are wrong in a known way, scores and a log."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import nibabel
import numpy as np
import pytest

from segkit.config.overrides import apply_values
from segkit.config.parse import dump
from segkit.config.yaml import loads
from segkit.engine.console import Console
from segkit.engine.evaluate import write_scores
from segkit.engine.folders import score_recipe
from segkit.engine.run import Run
from segkit.recipe import Recipe, resolve
from segkit.report.page import gather, render

RECIPE = """
dataset:
  name: files
  root: {root}
  images: {{t1: "{{case}}/t1.nii.gz", flair: "{{case}}/flair.nii.gz"}}
  labels: "{{case}}/label.nii.gz"
  classes: {{organ: 1, lesion: 2}}
  rare_classes: [lesion]
  split: {{test: 3, validation: 0}}
preprocess: {{store: {root}/store}}
sampling: {{patch_shape: [9, 9, 9]}}
model: deepmedic_tiny
losses: [cross_entropy, {{name: focal, gamma: 3.0, asymmetric: true}}]
train: {{steps: 40}}
evaluate: {{metrics: [dice, sensitivity, hd95], regions: {{both: [organ, lesion]}}}}
"""
SHAPE = (20, 24, 16)
RAS = np.diag([1.0, 1.0, 2.0, 1.0])


def label_of(lesion: bool = True) -> np.ndarray:
    """An organ of 8 x 10 x 6 voxels, and in it a lesion of 3 x 3 x 2."""
    label = np.zeros(SHAPE, dtype=np.uint8)
    label[6:14, 6:16, 5:11] = 1
    if lesion:
        label[8:11, 8:11, 6:8] = 2
    return label


def moved(label: np.ndarray, by: int) -> np.ndarray:
    """The label `by` voxels farther along the first axis."""
    return np.roll(label, by, axis=0)


@dataclass(frozen=True)
class Made:
    """A run and where its data are."""

    run: Run
    recipe: Recipe
    root: Path

    def page(self) -> str:
        """The page of the run."""
        return render(gather(self.run, Console("quiet")))


def save(path: Path, array: np.ndarray, affine: np.ndarray = RAS) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(array, affine).to_filename(path)


def write_log(run: Run, steps: int = 40) -> None:
    lines: list[dict[str, object]] = [{"event": "begin", "step": 0, "steps": steps}]
    for step in range(1, steps + 1):
        facts = {"loss": 3 / step, "cross_entropy": 2 / step, "focal": 1 / step, "learning_rate": 1e-3, "seconds": 0.25}
        lines.append({"event": "step", "step": step, "updates": step} | facts)
        if step % 20 == 0:
            dice = {"organ": 0.5, "lesion": None, "both": 0.25}
            lines.append({"event": "validate", "step": step, "seconds": 1.0, "mean": 0.5, "dice": dice, "cases": dict.fromkeys(dice, 2)})
    lines.append({"event": "end", "step": steps})
    run.log.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def make(tmp_path) -> Callable[..., Made]:
    """Makes the run. moves: by case, how far its prediction is moved (two training cases without one beside them)."""

    def make_run(moves: Mapping[str, int] | None = None, scored: bool = True, **values: object) -> Made:
        root, rng = tmp_path / "scans", np.random.default_rng(0)
        moves = {"a": 0, "b": 2, "c": 5} if moves is None else moves
        label = label_of()
        for case in (*moves, *(f"train{index}" for index in range(2))):
            for name in ("t1", "flair"):
                save(root / case / f"{name}.nii.gz", (100 * label + rng.normal(200, 10, SHAPE)).astype(np.float32))
            save(root / case / "label.nii.gz", label)
        split = tmp_path / "split.json"
        split.write_text(json.dumps({"test": list(moves), "train_order": ["train0", "train1"]}))
        document = loads(RECIPE.format(root=root), "r.yaml")
        settings = {"dataset.split": {"file": str(split)}} | {key.replace("__", "."): value for key, value in values.items()}
        recipe = resolve(apply_values(document, settings))
        run = Run(tmp_path / "runs" / "mine")
        run.create(dump(recipe))
        for case, by in moves.items():
            save(run.predictions / f"{case}.nii.gz", moved(label, by))
        if scored:
            write_scores(run.path, *score_recipe(run.predictions, recipe, "test"))
        write_log(run)
        run.write_json(
            run.provenance,
            {
                "command": ["segkit", "train", "my recipe.yaml"],
                "started": "2026-11-21T11:34:27+0000",
                "python": "3.11.7",
                "versions": {"segkit": "0.1.0", "torch": "2.13.0"},
                "commit": "abc123+",
                "device": "CPU, 2 threads",
                "cuda": None,
                "machine": "Linux x86_64",
                "data": "713c64e9",
            },
        )
        return Made(run, recipe, root)

    return make_run


class Page(HTMLParser):
    """A page as a browser's parser sees it. tags: (name, attributes) in order; text: by tag, what stands directly in it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._open:
            self.text.setdefault(self._open[-1], []).append(data)

    def words(self) -> str:
        """All text but styles and scripts, with single spaces."""
        return " ".join(" ".join(text for tag, parts in self.text.items() if tag not in ("style", "script") for text in parts).split())


@pytest.fixture
def parsed() -> Callable[[str], Page]:
    """`parsed(page)` is what a browser's parser makes of it."""
    return Page
