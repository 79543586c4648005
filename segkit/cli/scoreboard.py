"""The table of scores as text: aligned columns, never a wrapped line."""

import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from segkit.engine.evaluate import Summary

SHORT = {"sensitivity": "sens", "precision": "prec"}
LEGEND = [
    "mean±standard deviation over n cases; (k): over the k cases that have a value",
    "m/s/a: cases in which the class is missed, spurious or absent",
]
GAP = "  "
Column = list[str]  # the header, then a cell a class


def show(summary: "Sequence[Summary]") -> None:
    """Print the table; on a terminal narrower than it is, in parts of as many metrics as fit."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in lines(summary, width):
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
    return LEGEND + [line for part in _parts(columns, left, width) for line in ("", *_aligned([*left, *part]))]


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


def _parts(columns: list[Column], beside: list[Column], width: int | None) -> list[list[Column]]:
    """Columns in groups which, together with those `beside` them, are no wider than `width`; at least one a group."""
    parts: list[list[Column]] = [[]]
    for column in columns:
        if parts[-1] and width is not None and max(map(len, _aligned([*beside, *parts[-1], column]))) > width:
            parts.append([])
        parts[-1].append(column)
    return parts


def _aligned(columns: list[Column]) -> list[str]:
    """Rows of text: the first column to the left, the others to the right; a rule under the header."""
    widths = [max(map(len, column)) for column in columns]
    rows = [
        GAP.join(
            text.ljust(width) if i == 0 else text.rjust(width) for i, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in zip(*columns, strict=True)
    ]
    return [rows[0], "-" * max(map(len, rows)), *rows[1:]]
