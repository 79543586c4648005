"""The curves of a training as drawings: lines and ticks in the units of a picture, thinned to what a screen can show."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from segkit.report.history import GRADIENT_NORM, LEARNING_RATE, SECONDS, History

BINS = 300  # points of a line
WIDTH, HEIGHT = 560, 250  # of a chart, in CSS pixels
LEFT, RIGHT, TOP, BOTTOM = 78, 14, 12, 40  # around its frame
MARKED = 60  # a line of so few points shows each of them


@dataclass(frozen=True, eq=False)
class Series:
    """A line before it is drawn: x, y float64 [N], NaN where there is no value; low and high [N] where a point stands for several."""

    name: str
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None


@dataclass(frozen=True)
class Tick:
    """A mark of an axis: where, in pixels, and what stands there."""

    at: float
    text: str


@dataclass(frozen=True)
class Line:
    """A line as SVG paths. band: between the lowest and the highest value behind each point; empty where there is none."""

    name: str
    path: str
    band: str
    marks: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Chart:
    """A drawing of WIDTH x HEIGHT pixels. note: what a point stands for. summary: the drawing in words, for those who cannot see it."""

    title: str
    unit: str
    note: str
    summary: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...]

    frame = (LEFT, TOP, WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM)  # x, y, width, height
    size = (WIDTH, HEIGHT)


def charts(history: History) -> list[Chart]:
    """Loss and its terms, validation Dice, learning rate, seconds of a step, norm of the gradient: those that were logged."""
    per = max(1, math.ceil(len(history.steps) / BINS))
    note = f"Each point is the mean of {per} steps; the shaded band runs from the smallest to the largest." if per > 1 else ""
    found = [_chart("Training loss", "loss", note, _thinned(history, history.losses, per))]
    found.append(_validation(history))
    for name, title, unit, log in (
        (LEARNING_RATE, "Learning rate", "learning rate", False),
        (SECONDS, "Time of a step", "seconds (log scale)", True),
        (GRADIENT_NORM, "Norm of the gradient, before clipping", "norm (log scale)", True),
    ):
        columns = {title: history.values[name]} if name in history.values else {}
        found.append(_chart(title, unit, note, _thinned(history, columns, per), log=log))
    return [chart for chart in found if chart is not None]


def thin(values: np.ndarray, per: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, smallest and largest of each `per` values in a row [ceil(N / per)]; NaN counts for nothing, and is what is left of nothing."""
    padded = np.full(math.ceil(len(values) / per) * per, np.nan)
    padded[: len(values)] = values
    rows = padded.reshape(-1, per)
    known = np.isfinite(rows)
    count = known.sum(1)
    mean = np.divide(np.where(known, rows, 0).sum(1), count, out=np.full(len(rows), np.nan), where=count > 0)
    low, high = np.where(known, rows, np.inf).min(1), np.where(known, rows, -np.inf).max(1)
    return mean, np.where(count > 0, low, np.nan), np.where(count > 0, high, np.nan)


def _thinned(history: History, columns: Mapping[str, np.ndarray], per: int) -> list[Series]:
    """A series a column; the first one has a band, since the bands of several hide one another."""
    steps = thin(history.steps.astype(np.float64), per)[0]
    found = []
    for index, (name, column) in enumerate(columns.items()):
        mean, low, high = thin(column, per)
        found.append(Series(name, steps, mean, low, high) if per > 1 and index == 0 else Series(name, steps, mean))
    return found


def _validation(history: History) -> Chart | None:
    steps = np.array([record["step"] for record in history.validations], dtype=np.float64)
    names = dict.fromkeys(name for record in history.validations for name in record["dice"])
    series = [
        Series(name, steps, np.array([record["dice"].get(name) for record in history.validations], dtype=np.float64)) for name in names
    ]
    cases = max((count for record in history.validations for count in record["cases"].values()), default=0)
    note = f"Mean over the validation cases that have a value, at most {cases}: whole volumes, on the scans' own grids."
    return _chart("Validation Dice", "mean Dice", note, series, limits=(0.0, 1.0))


def _chart(
    title: str, unit: str, note: str, series: Sequence[Series], *, log: bool = False, limits: tuple[float, float] | None = None
) -> Chart | None:
    """None where no series has a value. log: of the y axis, on which values that are not above 0 are gaps."""
    positive = [_positive(each) for each in series] if log else list(series)
    values = np.concatenate(
        [column[np.isfinite(column)] for each in positive for column in (each.y, each.low, each.high) if column is not None] or [[]]
    )
    if not values.size:
        return None
    x = np.concatenate([each.x for each in positive])
    x_axis = _Axis(*_wide(0.0, float(x.max())), LEFT, WIDTH - RIGHT)
    low, high = limits or (float(values.min()), float(values.max()))
    if log:
        y_axis = _Axis(*_wide(math.log10(low), math.log10(high)), HEIGHT - BOTTOM, TOP)
        marks = [(math.log10(value), value) for value in _log_ticks(10**y_axis.low, 10**y_axis.high)]
        positive = [_log10(each) for each in positive]
    else:
        y_axis = _Axis(*_wide(low, high, 0.0 if limits else 0.04), HEIGHT - BOTTOM, TOP)
        marks = [(value, value) for value in _ticks(y_axis.low, y_axis.high, 5)]
    last = [f"{each.name} {_short(known[-1])}" for each in series if (known := each.y[np.isfinite(each.y)]).size]
    return Chart(
        title,
        unit,
        note,
        f"{title} over steps 0 to {x.max():.0f}; at the end: {', '.join(last)}.",
        tuple(Tick(x_axis.at(value), f"{value:,.0f}") for value in _ticks(x_axis.low, x_axis.high, 6)),
        tuple(Tick(y_axis.at(place), _short(value)) for place, value in marks),
        tuple(_line(each, x_axis, y_axis) for each in positive),
    )


@dataclass(frozen=True)
class _Axis:
    """low..high -> start..stop, in pixels."""

    low: float
    high: float
    start: float
    stop: float

    def at(self, value: float) -> float:
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.stop - self.start), 1)


def _wide(low: float, high: float, margin: float = 0.0) -> tuple[float, float]:
    """A range that has a width, with a share of it added at both ends."""
    if low == high:
        return low - (abs(low) / 2 or 0.5), high + (abs(high) / 2 or 0.5)
    return low - margin * (high - low), high + margin * (high - low)


def _ticks(low: float, high: float, count: int) -> list[float]:
    from matplotlib.ticker import MaxNLocator

    slack = 1e-9 * (high - low)
    return [
        float(value)
        for value in MaxNLocator(count, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
        if low - slack <= value <= high + slack
    ]


def _log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten; powers of ten alone over more than three of them; within one of them as on a linear axis."""
    if high / low < 10:
        return _ticks(low, high, 5)
    factors = (1, 2, 5) if high / low <= 1e3 else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [value for power in powers for factor in factors if low <= (value := factor * 10.0**power) <= high]


def _positive(series: Series) -> Series:
    columns = [None if column is None else np.where(column > 0, column, np.nan) for column in (series.y, series.low, series.high)]
    return Series(series.name, series.x, *columns)  # type: ignore[arg-type]


def _log10(series: Series) -> Series:
    columns = [None if column is None else np.log10(column) for column in (series.y, series.low, series.high)]
    return Series(series.name, series.x, *columns)  # type: ignore[arg-type]


def _short(value: float) -> str:
    return f"{value:.3g}"


def _line(series: Series, x_axis: _Axis, y_axis: _Axis) -> Line:
    def points(column: np.ndarray) -> list[tuple[float, float]]:
        return [(x_axis.at(x), y_axis.at(y)) for x, y in zip(series.x, column, strict=True) if math.isfinite(y)]

    runs, path = np.isfinite(series.y), []
    for index, (x, y) in enumerate(zip(series.x, series.y, strict=True)):
        if runs[index]:
            path.append(f"{'L' if index and runs[index - 1] else 'M'}{x_axis.at(x):g} {y_axis.at(y):g}")
    band = ""
    if series.low is not None and series.high is not None:
        around = points(series.low) + points(series.high)[::-1]
        band = "M" + "L".join(f"{x:g} {y:g}" for x, y in around) + "z"
    return Line(series.name, "".join(path), band, tuple(points(series.y)) if len(series.x) <= MARKED else ())
