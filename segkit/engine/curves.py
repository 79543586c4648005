"""What a threshold sweep found: curves of sensitivity, precision and Dice over the shifts, as files and as a figure."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from segkit.config.atomic import atomic
from segkit.config.errors import SegkitError
from segkit.engine.evaluate import Row, Summary, summarize
from segkit.metrics.overlap import Dice, Precision, Sensitivity

SHIFTS = tuple(half / 2 for half in range(-8, 9))  # added to logits, in nats: e^4 is 55 times the odds
METRICS = (Dice(), Sensitivity(), Precision())


@dataclass(frozen=True)
class Point:
    """Means over cases at one shift."""

    shift: float
    dice: Summary
    sensitivity: Summary
    precision: Summary


@dataclass(frozen=True)
class Curve:
    """One class or region, a point a shift."""

    points: tuple[Point, ...]

    @property
    def written(self) -> Point:
        """As predicted, shift 0."""
        return next(point for point in self.points if point.shift == 0)

    @property
    def best(self) -> Point:
        """The largest mean Dice; where it is equal (or there is none) the shift nearest to 0, of two the lower one."""
        return max(self.points, key=lambda point: (-1.0 if point.dice.mean is None else point.dice.mean, -abs(point.shift)))


@dataclass(frozen=True)
class Sweep:
    """A swept split. shifted: class names. rows: by shift. failed: cases that could not be swept, with their errors."""

    split: str
    shifted: tuple[str, ...]
    rows: Mapping[float, Sequence[Row]]
    failed: Sequence[tuple[str, SegkitError]] = ()

    def curves(self) -> dict[str, Curve]:
        """By class or region; none where no case was swept."""
        points: dict[str, list[Point]] = {}
        for shift, rows in self.rows.items():
            means: dict[str, dict[str, Summary]] = {}
            for entry in summarize(rows):
                means.setdefault(entry.structure, {})[entry.metric] = entry
            for structure, by_metric in means.items():
                points.setdefault(structure, []).append(Point(shift, **by_metric))
        return {structure: Curve(tuple(found)) for structure, found in points.items()}


def write_sweep(folder: Path, sweep: Sweep) -> None:
    """`sweep.csv`, `sweep.json` and `sweep.png` into a folder, each at once."""
    folder.mkdir(parents=True, exist_ok=True)
    curves = sweep.curves()
    with atomic(folder / "sweep.csv") as temporary:
        temporary.write_text(_table(sweep), encoding="utf-8")
    content = {
        "split": sweep.split,
        "shifted_classes": list(sweep.shifted),
        "classes": {structure: _facts(curve) for structure, curve in curves.items()},
        "failed": {case: {"error": error.code, "message": error.what} for case, error in sweep.failed},
    }
    with atomic(folder / "sweep.json") as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    with atomic(folder / "sweep.png") as temporary:
        draw(temporary, sweep.split, curves)


def _table(sweep: Sweep) -> str:
    """A line a case, class and shift; an empty value is not applicable."""
    values: dict[tuple[str, str], dict[float, list[float | None]]] = {}
    for shift, rows in sweep.rows.items():
        for row in rows:
            values.setdefault((row.case, row.structure), {}).setdefault(shift, []).append(row.value)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", "class", "shift", *(metric.name for metric in METRICS)])
    for (case, structure), by_shift in values.items():
        for shift, scores in by_shift.items():
            writer.writerow([case, structure, shift, *("" if score is None else score for score in scores)])
    return text.getvalue()


def _facts(curve: Curve) -> dict[str, object]:
    """For `sweep.json`: each mean with what `summary.json` says of one."""
    points = []
    for point in curve.points:
        summaries = {metric.name: asdict(getattr(point, metric.name)) for metric in METRICS}
        for facts in summaries.values():
            del facts["structure"], facts["metric"]
        points.append({"shift": point.shift} | summaries)
    return {"best_shift": curve.best.shift if curve.best.dice.cases else None, "points": points}


def draw(path: Path, split: str, curves: Mapping[str, Curve]) -> None:
    """Mean sensitivity against mean precision as a PNG file: a curve a class or region, a dot a shift, a large one at shift 0."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import TABLEAU_COLORS
    from matplotlib.figure import Figure
    from matplotlib.rcsetup import cycler

    figure = Figure(figsize=(8, 6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="mean sensitivity", ylabel="mean precision")
    axes.set_title(f"{split} cases; small dots: shifts {SHIFTS[0]:+g} to {SHIFTS[-1]:+g}, large dots: as predicted")
    axes.set_prop_cycle(cycler(linestyle=["-", "--", ":"]) * cycler(color=list(TABLEAU_COLORS)))
    lines = []
    for curve in curves.values():
        seen = [(p.sensitivity.mean, p.precision.mean, p.shift) for p in curve.points if p.sensitivity.cases and p.precision.cases]
        x, y, shift = np.array(seen, dtype=np.float64).reshape(-1, 3).T
        lines += axes.plot(x, y, marker=".")
        axes.plot(x[shift == 0], y[shift == 0], marker="o", markersize=9, linestyle="", color=lines[-1].get_color())
    for text in figure.legend(lines, list(curves), loc="outside right upper").get_texts():
        text.set_parse_math(False)  # a class name may hold a dollar sign
    figure.savefig(path, dpi=150)
