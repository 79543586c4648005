"""The table of logit shifts as text: a line a class."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from segkit.analysis.logit_figure import View
    from segkit.analysis.shift import Shift


def show(views: "Sequence[View]") -> None:
    """Print a table for each model, then what its columns are."""
    for view in views:
        typer.echo(f"\nlogit shift of {view.name}")
        for line in table(view.shifts):
            typer.echo(line)
    for line in ["", *notes([shift for view in views for shift in view.shifts], views[0].sample.voxels)]:
        typer.echo(line)


def table(shifts: "Sequence[Shift]") -> list[str]:
    """On a terminal narrower than it is, in parts of as many columns as fit."""
    from segkit.cli.columns import laid_out, terminal_width

    margins, rights = ([shift for shift in shifts if shift.quantity == quantity] for quantity in ("margin", "over_boundary"))
    names = ["class", *(margin.structure for margin in margins)]
    header = ("n training", "n test", "margin training", "margin test", "shift [low, high]", "over training", "over test")
    rows = [
        (
            str(margin.training.cases),
            str(margin.test.cases),
            number(margin.training.mean, 2),
            number(margin.test.mean, 2),
            difference(margin),
            number(right.training.mean, 3),
            number(right.test.mean, 3),
        )
        for margin, right in zip(margins, rights, strict=True)
    ]
    columns = [list(column) for column in zip(header, *rows, strict=True)]
    return laid_out([names], columns, terminal_width())


def number(value: float | None, digits: int) -> str:
    """Rounded; `n/a` where there is none."""
    return "n/a" if value is None else f"{value:.{digits}f}"


def difference(shift: "Shift") -> str:
    """`-1.08 [-1.50, -0.70]`, as far as it is known."""
    if shift.difference is None:
        return "n/a"
    bounds = "[no interval]" if shift.interval is None else f"[{shift.interval.low:+z.2f}, {shift.interval.high:+z.2f}]"
    return f"{shift.difference:+z.2f} {bounds}"


def notes(shifts: "Sequence[Shift]", voxels: int) -> list[str]:
    """What the columns are, as far as they occur. voxels: most of a case and class in the sample."""
    from segkit.statistics.bootstrap import CONFIDENCE, DRAWS, ENOUGH

    margins = [shift for shift in shifts if shift.quantity == "margin"]
    fewest = [min(margin.training.cases, margin.test.cases) for margin in margins]
    known = [margin for margin in margins if margin.interval is not None]
    said = [
        "margin: logit of the true class less the highest other one; over: share of voxels over the boundary, with a margin above 0",
        f"n: cases that hold the class, each counted once, by the mean of its voxels (up to {voxels:,} of a class, at random)",
        "shift: margin on test cases less that on training cases; below 0 the class is less certain where it was not trained on",
    ]
    if known:
        said.append(f"[low, high]: {100 * CONFIDENCE:g} % interval of the shift, from {DRAWS:,} resamples of training and of test cases")
    if any(margin.interval and count < ENOUGH for margin, count in zip(margins, fewest, strict=True)):
        said.append(f"  of fewer than {ENOUGH} cases on a side it says less than that")
    if any(margin.difference is not None and margin.interval is None for margin in margins):
        said.append("  no interval: a class in a single case of a side says nothing of other cases")
    return said
