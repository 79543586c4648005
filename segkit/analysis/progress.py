"""Training progress by class, from what the monitor of a run wrote down: tables and curves."""

import csv
import io
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TypeVar

from segkit.analysis.progress_figure import Look, Panel, draw, looks
from segkit.config.atomic import atomic
from segkit.config.errors import InputError
from segkit.engine.log import Record
from segkit.engine.run import Run

Values = Mapping[str, float | None]  # by class; None where the class had no voxel

T = TypeVar("T")

HALF = 0.5  # of a class's voxels


@dataclass(frozen=True)
class Window:
    """A line of `progress.jsonl`, by class name. step: the window's last one. grad_*: empty where gradients were not recorded.

    What the quantities are stands with `segkit.engine.monitor.RunningMonitor`.
    """

    step: int
    major: tuple[str, ...]
    n: Mapping[str, int]
    recall: Values
    absorbed: Values
    grad_clean: Values = field(default_factory=dict)
    grad_train: Values = field(default_factory=dict)

    @classmethod
    def of(cls, record: Record) -> "Window":
        """From a line as read; what else it says is left out. Raises ValueError, KeyError or TypeError where it is none of a monitor."""
        kinds = ("recall", "absorbed", *(key for key in ("grad_clean", "grad_train") if key in record))
        counts = {name: operator.index(count) for name, count in dict(record["n"]).items()}
        values = {kind: {name: _number(value) for name, value in dict(record[kind]).items()} for kind in kinds}
        if any(each.keys() != counts.keys() for each in values.values()):
            raise ValueError("not the same classes in all quantities")
        return cls(operator.index(record["step"]), tuple(map(str, record["major"])), counts, **values)

    @property
    def spread(self) -> float | None:
        """Largest recall minus smallest, over the classes that had voxels."""
        known = _known(self.recall.values())
        return max(known) - min(known) if known else None

    def ratio(self, gradients: Values) -> float | None:
        """Mean over the minor classes over the mean over the major ones; each class counts the same however many voxels it has."""
        minor, major = (_known(value for name, value in gradients.items() if (name in self.major) is large) for large in (False, True))
        return fmean(minor) / fmean(major) if minor and major and fmean(major) else None


def write_progress(run: Run) -> list[Path]:
    """What each class of a run had learned at which step, into its folder `analysis`. Returns the files written.

        progress.csv             a line a window and class: step, class, n, recall, absorbed, grad_clean, grad_train
        progress_imbalance.csv   a line a window: spread of recall, ratio minor:major of each gradient
        progress_summary.csv     a line a class: half_step, the end of the first window with a recall of 0.5 or more, and how many steps
                                 later than in the first class that was; a fresh network may call nearly all voxels one class,
                                 which then is the first
        progress_curves.png      recall and absorption, a line a class
        feature_grad.png         both gradients, a line a class, and their ratios; not where no gradients were recorded

    An empty value does not exist: a class without voxels in the window, one that was never half learned, gradients not recorded.

    Raises InputError where the run was not monitored, or not for a whole window (SK-A040), or a line of it is damaged (SK-A041).
    """
    windows = read_windows(run)
    if not windows:
        raise InputError(
            "SK-A040",
            "this run's training was not monitored",
            where=run.progress,
            expected="a line a window of steps",
            got="no whole line" if run.progress.exists() else "no such file",
            remedy="train with train.monitor={every: 50, gradients: true}",
        )
    run.analysis.mkdir(parents=True, exist_ok=True)
    tables = {"progress.csv": progress_table, "progress_imbalance.csv": imbalance_table, "progress_summary.csv": summary_table}
    for name, table in tables.items():
        run.write_text(run.analysis / name, _text(table(windows)))
    pictures = {"progress_curves.png": draw_progress} | ({"feature_grad.png": draw_gradients} if windows[0].grad_clean else {})
    for name, picture in pictures.items():
        with atomic(run.analysis / name) as temporary:
            picture(temporary, windows)
    return [run.analysis / name for name in (*tables, *pictures)]


def read_windows(run: Run) -> list[Window]:
    """In order. Raises InputError where a line is no window, or is one of other classes than the first."""
    windows: list[Window] = []
    for number, record in enumerate(run.windows(), 1):
        try:
            windows.append(Window.of(record))
            if windows[-1].n.keys() != windows[0].n.keys():
                raise ValueError("other classes than in the first line")
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                "SK-A041",
                "a line of the progress is damaged",
                where=f"{run.progress}:{number}",
                expected="what segkit train writes with train.monitor",
                got=str(error),
                remedy="restore the file, or take the line out",
            ) from None
    return windows


def draw_progress(path: Path, windows: Sequence[Window]) -> None:
    """Recall and absorption of each class."""
    classes = _looks(windows)
    panels = [
        Panel("recall", _lines(classes, [window.recall for window in windows])),
        Panel("absorbed by major classes", _lines(classes, [window.absorbed for window in windows])),
    ]
    title = "training progress: share of a class's voxels in clean training batches"
    draw(path, title, [window.step for window in windows], panels, _legend(classes, windows))


def draw_gradients(path: Path, windows: Sequence[Window]) -> None:
    """Both gradients of each class, and of both the mean of the minor classes over that of the major ones."""
    classes = _looks(windows)
    kinds = {"clean": Look("#000000", "-", 1.5), "train": Look("#000000", "--", 1.5)}
    ratios = [(look, [w.ratio(w.grad_clean if kind == "clean" else w.grad_train) for w in windows]) for kind, look in kinds.items()]
    panels = [
        Panel("clean: ||W\u1d40(p - y)||", _lines(classes, [window.grad_clean for window in windows]), log=True),
        Panel("train: N ||d loss / d h||", _lines(classes, [window.grad_train for window in windows]), log=True),
        Panel("ratio minor : major", ratios, log=True),
    ]
    title = "gradient at a voxel's features, mean over a class's voxels in clean training batches"
    legend = _legend(classes, windows) | {f"ratio, {kind}": look for kind, look in kinds.items()}
    draw(path, title, [window.step for window in windows], panels, legend)


def _looks(windows: Sequence[Window]) -> dict[str, Look]:
    """Of each class; minor are those that no window calls major."""
    names = tuple(windows[0].n)
    return looks(names, {name for name in names if not any(name in window.major for window in windows)})


def _lines(classes: Mapping[str, Look], windows: Sequence[Values]) -> list[tuple[Look, list[float | None]]]:
    return [(look, [values.get(name) for values in windows]) for name, look in classes.items()]


def _legend(classes: Mapping[str, Look], windows: Sequence[Window]) -> dict[str, Look]:
    """Each class with the number of its voxels in all windows together."""
    return {f"{name} (n = {sum(window.n[name] for window in windows):,})": look for name, look in classes.items()}


def progress_table(windows: Sequence[Window]) -> list[tuple[object, ...]]:
    """A row a window and class."""
    rows: list[tuple[object, ...]] = [("step", "class", "n", "recall", "absorbed", "grad_clean", "grad_train")]
    for window in windows:
        by_class = (window.recall, window.absorbed, window.grad_clean, window.grad_train)
        rows += [(window.step, name, n, *(values.get(name) for values in by_class)) for name, n in window.n.items()]
    return rows


def imbalance_table(windows: Sequence[Window]) -> list[tuple[object, ...]]:
    """A row a window: how unequal the classes were."""
    rows: list[tuple[object, ...]] = [("step", "recall_spread", "grad_clean_ratio", "grad_train_ratio")]
    return rows + [(w.step, w.spread, w.ratio(w.grad_clean), w.ratio(w.grad_train)) for w in windows]


def summary_table(windows: Sequence[Window]) -> list[tuple[object, ...]]:
    """A row a class."""
    halves = half_steps(windows)
    first = min(_known(halves.values()), default=0)
    rows: list[tuple[object, ...]] = [("class", "half_step", "lag")]
    return rows + [(name, half, None if half is None else half - first) for name, half in halves.items()]


def half_steps(windows: Sequence[Window]) -> dict[str, int | None]:
    """Of each class the end of the first window in which it had a recall of 0.5 or more; None if there is none."""
    return {name: next((window.step for window in windows if (window.recall[name] or 0.0) >= HALF), None) for name in windows[0].recall}


def _number(value: object) -> float | None:
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    raise TypeError(f"expected a number or null, got {type(value).__name__}")


def _known(values: Iterable[T | None]) -> list[T]:
    return [value for value in values if value is not None]


def _text(rows: Sequence[tuple[object, ...]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(["" if value is None else value for value in row] for row in rows)
    return text.getvalue()
