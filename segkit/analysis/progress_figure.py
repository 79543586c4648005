"""Curves over the steps of a training: panels below one another, a line a class, those of minor classes thick."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

Dashes = Literal["-", "--", ":", "-."]

COLORS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")  # Okabe and Ito's, told apart by color-blind eyes
DASHES: tuple[Dashes, ...] = ("-", "--", ":", "-.")
MARKED = 40  # points of a line up to which each is a dot

Values = Sequence[float | None]  # one a window; the line goes straight past a window that has none


@dataclass(frozen=True)
class Look:
    """How a line is drawn."""

    color: str
    dashes: Dashes
    width: float


@dataclass(frozen=True)
class Panel:
    """A set of axes. label: of its y axis. log: a logarithmic one, which leaves out zeros; else it is a share, 0 to 1."""

    label: str
    lines: Sequence[tuple[Look, Values]]
    log: bool = False


def looks(names: Sequence[str], minor: Collection[str]) -> dict[str, Look]:
    """Of each class; minor ones take the first colors and a thick line. Colors are used again with other dashes, 28 looks in all."""
    ordered = sorted(names, key=lambda name: name not in minor)  # stable: else in the order of the classes
    styles = [(color, dashes) for dashes in DASHES for color in COLORS]
    found = {name: Look(*styles[index % len(styles)], 2.4 if name in minor else 1.1) for index, name in enumerate(ordered)}
    return {name: found[name] for name in names}


def draw(path: Path, title: str, steps: Sequence[int], panels: Sequence[Panel], legend: Mapping[str, Look]) -> None:
    """A PNG file. legend: what its lines are called."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    figure = Figure(figsize=(9, 1 + 2.6 * len(panels)), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize="medium")
    all_axes = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
    for axes, panel in zip(all_axes, panels, strict=True):
        for look, values in panel.lines:
            points = [
                (step, value) for step, value in zip(steps, values, strict=True) if value is not None and (value > 0 or not panel.log)
            ]
            x, y = np.array(points, dtype=np.float64).reshape(-1, 2).T
            marker = "." if len(points) <= MARKED else ""
            axes.plot(x, y, look.dashes, color=look.color, linewidth=look.width, marker=marker, zorder=2 + look.width)
        if panel.log:
            axes.set_yscale("log")
            low, high = axes.get_ylim()
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter("{x:g}" if high < 10 * low else "")  # within a decade there may be no power of 10 to read
        else:
            axes.set_ylim(-0.03, 1.03)
        axes.set_ylabel(panel.label)
        axes.grid(alpha=0.3)
    all_axes[-1].set_xlabel("step")
    handles = [Line2D([], [], color=look.color, linestyle=look.dashes, linewidth=look.width) for look in legend.values()]
    labels = figure.legend(handles, list(legend), title="n: labeled voxels seen", loc="outside right center", fontsize="small").get_texts()
    for text in labels:
        text.set_parse_math(False)  # a class name may hold a dollar sign
    figure.savefig(path, dpi=150)
