"""The table of scores as text: aligned columns, never a wrapped line."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import typer

from segkit.cli.columns import Column, laid_out, terminal_width

if TYPE_CHECKING:
    from segkit.engine.curves import Curve, Sweep
    from segkit.engine.evaluate import Summary

SHORT = {"sensitivity": "sens", "precision": "prec", "specificity": "spec"}
LEGEND = [
    "mean±standard deviation over n cases; (k): over the k cases that have a value",
    "m/s/a: cases in which the class is missed, spurious or absent",
]
CHOSEN_FOR_OTHERS = "a shift chosen on validation cases may be applied to others"
CHOSEN_ON_ITSELF = "a shift chosen on the cases it is scored on is a diagnosis, not a result"


def show(summary: "Sequence[Summary]") -> None:
    """Print the table; on a terminal narrower than it is, in parts of as many metrics as fit."""
    for line in lines(summary, terminal_width()):
        typer.echo(line)


def show_sweep(sweep: "Sweep") -> None:
    """The same of a threshold sweep."""
    for line in sweep_lines(sweep, terminal_width()):
        typer.echo(line)


def lines(summary: "Sequence[Summary]", width: int | None = None) -> list[str]:
    """The legend, then a line a class: its name, the number of cases, how often a mask was empty, mean and spread of each metric.

    The number of cases in a mean stands behind it where it is not that of all cases. width: None is endless.
    """
    if not summary:
        return ["no scores"]
    names = list(dict.fromkeys(entry.structure for entry in summary))
    by_key = {(entry.structure, entry.metric): entry for entry in summary}
    metrics = list(dict.fromkeys(entry.metric for entry in summary))
    first = [by_key[name, metrics[0]] for name in names]
    left: list[Column] = [
        ["class", *names],
        ["n", *(str(entry.cases + entry.left_out) for entry in first)],
        ["m/s/a", *(f"{entry.missed}/{entry.spurious}/{entry.absent}" for entry in first)],
    ]
    columns = [column(metric, [by_key[name, metric] for name in names]) for metric in metrics]
    return LEGEND + laid_out(left, columns, width)


def sweep_lines(sweep: "Sweep", width: int | None = None) -> list[str]:
    """What a shift is, then three lines a class: as predicted, at the shift of its best mean Dice, and the range of means over shifts."""
    curves = sweep.curves()
    if not curves:
        return ["no scores"]
    advice = CHOSEN_FOR_OTHERS if sweep.split == "validation" else CHOSEN_ON_ITSELF
    legend = [
        *LEGEND,
        f"shift b: the probability of {', '.join(sweep.shifted)} is multiplied by e^b before the most probable class is taken",
        f"best: the largest mean Dice on these {sweep.split} cases; {advice}",
    ]
    pairs = [(curve.written, curve.best) for curve in curves.values()]
    shifts = [point.shift for point in next(iter(curves.values())).points]
    span = f"{_signed(min(shifts))} to {_signed(max(shifts))}"
    all_cases = [str(written.dice.cases + written.dice.left_out) for written, _ in pairs]
    states = [f"{point.dice.missed}/{point.dice.spurious}/{point.dice.absent}" for pair in pairs for point in pair]
    left: list[Column] = [
        ["class", *(cell for name in curves for cell in (name, "", ""))],
        ["shift", *(cell for _, top in pairs for cell in ("0", f"best {_signed(top.shift)}", span))],
        ["n", *(cell for count in all_cases for cell in (count, "", ""))],
        ["m/s/a", *_threefold(states, [""] * len(curves))],
    ]
    columns = [_swept(metric, list(curves.values())) for metric in ("dice", "sensitivity", "precision")]
    return legend + laid_out(left, columns, width)


def _signed(shift: float) -> str:
    return f"{shift:+g}" if shift else "0"


def _swept(metric: str, curves: "Sequence[Curve]") -> Column:
    """Of each class the value as predicted, the value at the best shift, and the lowest and highest mean."""
    header, *values = column(metric, [getattr(point, metric) for curve in curves for point in (curve.written, curve.best)])
    means = [[mean for point in curve.points if (mean := getattr(point, metric).mean) is not None] for curve in curves]
    return [header, *_threefold(values, [f"{min(known):.3f} to {max(known):.3f}" if known else "n/a" for known in means])]


def _threefold(points: Sequence[str], spans: Sequence[str]) -> Iterator[str]:
    """Two cells of points, then one of their span, class by class."""
    for first, second, span in zip(points[::2], points[1::2], spans, strict=True):
        yield from (first, second, span)


def column(metric: str, entries: "Sequence[Summary]") -> Column:
    """`0.336±0.096 (4)`: mean, sample standard deviation, and the cases in them where not all are; room for the latter in every cell."""
    counts = [f" ({entry.cases})" if entry.left_out and entry.cases else "" for entry in entries]
    room = max(map(len, counts))
    header = f"{SHORT.get(metric, metric)} {entries[0].unit}".rstrip()
    return [header + " " * room, *(_value(entry) + count.ljust(room) for entry, count in zip(entries, counts, strict=True))]


def _value(entry: "Summary") -> str:
    if entry.mean is None:
        return "n/a"
    digits = 1 if entry.unit == "mm" else 3
    return f"{entry.mean:.{digits}f}" + ("" if entry.std is None else f"±{entry.std:.{digits}f}")
