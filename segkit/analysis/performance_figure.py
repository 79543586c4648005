"""Scores on training and on test cases over the number of training cases, as a figure."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from segkit.analysis.observe import SPLITS, Split
from segkit.analysis.performance import Performance
from segkit.config.atomic import atomic

Axes = Any  # matplotlib's, which is imported where something is drawn
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # told apart by the color-blind
LINES: dict[Split, Literal["--", "-"]] = {"training": "--", "test": "-"}
MARKERS = "os^Dv"  # of classes, in turn; with 7 colors 35 of them differ
DECADE = 10.0  # from the smallest to the largest amount: then the axis is logarithmic


def draw_performance(path: Path, entries: Sequence[Performance], structures: Sequence[str], note: str = "") -> None:
    """A PNG file: a panel a metric, two lines a class or region. entries: of several runs; a dot is one, a line goes through their means.

    note: stands under the title.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    metrics = list(dict.fromkeys(entry.metric for entry in entries))
    figure = Figure(figsize=(3.6 * len(metrics) + 1.8, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(metrics), squeeze=False, sharey=True)[0]
    looks = {name: (COLORS[at % len(COLORS)], MARKERS[at % len(MARKERS)]) for at, name in enumerate(structures)}
    for axes, metric in zip(panels, metrics, strict=True):
        prepare_axes(axes, metric, sorted({entry.training_cases for entry in entries}))
        for name, (color, marker) in looks.items():
            for split in SPLITS:
                own = [entry for entry in entries if (entry.metric, entry.structure, entry.split) == (metric, name, split)]
                draw_line(axes, own, color, marker, LINES[split], filled=split == "test")
    handles = [Line2D([], [], color=color, marker=marker, linestyle="", label=name) for name, (color, marker) in looks.items()]
    handles += [
        Line2D([], [], color="0.3", marker="o", linestyle=LINES[split], markerfacecolor="0.3" if split == "test" else "white", label=split)
        for split in SPLITS
    ]
    for text in figure.legend(handles=handles, loc="outside right upper", fontsize=8).get_texts():
        text.set_parse_math(False)
    figure.suptitle(title(entries) + (f"\n{note}" if note else ""), fontsize=9, parse_math=False)
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=150)


def prepare_axes(axes: Axes, metric: str, amounts: Sequence[int]) -> None:
    """A tick at each amount of training data."""
    if amounts[-1] >= DECADE * amounts[0]:
        axes.set_xscale("log")
    axes.set_xticks(amounts, labels=[str(amount) for amount in amounts], minor=False)
    axes.set_xticks([], minor=True)
    axes.set(xlabel="training cases", ylabel=f"mean {metric}", ylim=(-0.02, 1.02))
    axes.tick_params(labelleft=True, labelsize=8)
    axes.grid(axis="y", color="0.9", linewidth=0.8)


def draw_line(axes: Axes, entries: Sequence[Performance], color: str, marker: str, line: str, filled: bool) -> None:
    """A dot a run, and a line through the means of runs with the same amount of training data."""
    values: dict[int, list[float]] = {}
    for entry in sorted(entries, key=lambda entry: entry.training_cases):
        if entry.mean is not None:
            values.setdefault(entry.training_cases, []).append(entry.mean)
    if values:
        axes.plot(list(values), [np.mean(group) for group in values.values()], color=color, linestyle=line, linewidth=1.5)
        dots = [(amount, value) for amount, group in values.items() for value in group]
        axes.plot(
            *zip(*dots, strict=True), linestyle="", marker=marker, markersize=5, color=color, markerfacecolor=color if filled else "white"
        )


def title(entries: Sequence[Performance]) -> str:
    """How many runs and test cases are behind it."""
    runs = {
        amount: len({entry.run for entry in entries if entry.training_cases == amount})
        for amount in sorted({e.training_cases for e in entries})
    }
    tested = sorted({entry.cases + entry.left_out for entry in entries if entry.split == "test"})
    counts = ", ".join(f"{count} with {amount}" for amount, count in runs.items())
    return f"runs: {counts} training cases; test cases: {' or '.join(map(str, tested)) or 'none'}"
