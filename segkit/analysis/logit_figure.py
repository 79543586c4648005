"""The logits of a class against those of the background, on training and on test cases, as a figure."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segkit.analysis.density import density, levels
from segkit.analysis.logits import LogitSample
from segkit.analysis.observe import SPLITS, Split
from segkit.analysis.shift import Shift
from segkit.config.atomic import atomic
from segkit.statistics.bootstrap import ENOUGH, FEW

Axes = Any  # matplotlib's, which is imported where something is drawn
Artist = Any
COLORS: dict[Split, str] = {"training": "#0072B2", "test": "#D55E00"}  # told apart by the color-blind
WRONG = "0.93"  # light gray
SHARES = (0.9, 0.5)  # of the voxels inside the outer and the inner contour
CELLS = 160  # of the density along each axis
OUTERMOST = (0.005, 0.995)  # quantiles of a cloud that the axes reach
INCHES = 3.4  # a panel
COLUMNS = 4  # classes side by side
NARROWEST = 5.4  # a figure, in inches: its legend needs them
SHORTEST = 4  # points of an arrow that can still be seen
SYMBOLS = {"logit": "logit", "log_probability": "log probability"}


@dataclass(frozen=True, eq=False)
class View:
    """One model's part of the figure."""

    name: str
    sample: LogitSample
    shifts: Sequence[Shift]

    def shift(self, structure: str, quantity: str, of: str | None = None) -> Shift:
        """One of the shifts."""
        return next(each for each in self.shifts if (each.structure, each.quantity, each.of) == (structure, quantity, of))


@dataclass(frozen=True, eq=False)
class Panel:
    """Voxels of the true class `structure`, in the plane of the logits of the background and of the class `rival`."""

    view: View
    rival: str
    structure: str

    def points(self, split: Split) -> list[np.ndarray]:
        """Of each case [n, 2]."""
        names = self.view.sample.classes
        return [logits[:, [0, names.index(self.rival)]] for logits in self.view.sample.of(split, names.index(self.structure))]

    def mean(self, split: Split) -> tuple[float, float] | None:
        """Over cases; None without one."""
        scale = self.view.sample.scale
        x, y = (getattr(self.view.shift(self.structure, scale, of), split).mean for of in ("background", self.rival))
        return None if x is None or y is None else (x, y)

    def caption(self) -> str:
        """Whose voxels these are, how many, and what of them does not depend on the plane."""
        margin, right = (self.view.shift(self.structure, quantity) for quantity in ("margin", "over_boundary"))
        lines = [f"voxels of {self.structure}"]
        lines += [
            f"{split}: {each.cases} case{'s' * (each.cases != 1)}, {each.voxels:,} voxels"
            for split, each in zip(SPLITS, (margin.training, margin.test), strict=True)
        ]
        lines += [f"over the boundary {arrow(right, 3)}", f"margin {arrow(margin, 2)}", f"shift of the margin {shift_text(margin)}"]
        return "\n".join(lines)


def arrow(shift: Shift, digits: int) -> str:
    """`5.10 → 4.02`: on training and on test cases."""
    return " → ".join(number(group.mean, digits) for group in (shift.training, shift.test))


def shift_text(shift: Shift) -> str:
    """`-1.08 (95 %: -1.50 to -0.70)`, as far as it is known; of few cases `-1.08 (95 %: -1.50 to -0.70) (few cases: less than 95 %)`."""
    if shift.difference is None:
        return "n/a"
    bounds = "no interval of one case" if shift.interval is None else f"95 %: {shift.interval.low:+.2f} to {shift.interval.high:+.2f}"
    few = shift.interval is not None and min(shift.training.cases, shift.test.cases) < ENOUGH
    return f"{shift.difference:+.2f} ({bounds})" + f"\n({FEW})" * few


def number(value: float | None, digits: int) -> str:
    """Rounded; `n/a` where there is none."""
    return "n/a" if value is None else f"{value:.{digits}f}"


def draw_logits(path: Path, views: Sequence[View], classes: Sequence[str]) -> None:
    """A PNG file. One model: a column a class, up to four; several, of the same classes: a column a model, two rows a class.

    The upper panel of a pair shows voxels of the class, the lower one voxels of the background. Contours hold 50 and 90 % of the voxels,
    each case counting the same; a dot is the mean over cases, the arrow goes from training to test. All panels have the same axes, in
    which a step along the boundary changes no probability of the two.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    grid = arranged(views, classes)
    x, y = edges([panel for row in grid for panel in row])
    width = max(INCHES, NARROWEST / len(grid[0]))
    height = width * float(np.clip(np.ptp(y) / np.ptp(x), 0.6, 1.6))
    figure = Figure(figsize=(width * len(grid[0]), (height + 0.8) * len(grid) + 0.8), layout="compressed")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(grid), len(grid[0]), squeeze=False, sharex=True, sharey=True)
    for at_row, row in enumerate(grid):
        for empty in panels[at_row, len(row) :]:
            empty.remove()
        for at, panel in enumerate(row):
            axes = panels[at_row, at]
            draw_panel(axes, panel, x, y)
            head = f"{panel.view.name}\n\n" if len(views) > 1 and at_row == 0 else ""
            axes.set_title(head + panel.caption(), fontsize=8, loc="left", parse_math=False)
            axes.tick_params(labelbottom=True, labelleft=True, labelsize=8)
    figure.legend(handles=legend(), loc="outside lower center", ncols=2 if len(grid[0]) < 3 else 3, fontsize=8)
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=150, bbox_inches="tight")


def arranged(views: Sequence[View], classes: Sequence[str]) -> list[list[Panel]]:
    """Rows of panels; the last two may be shorter."""
    if len(views) > 1:
        return [[Panel(view, name, true) for view in views] for name in classes for true in (name, "background")]
    parts = [classes[first : first + COLUMNS] for first in range(0, len(classes), COLUMNS)]
    return [
        row
        for part in parts
        for row in ([Panel(views[0], name, name) for name in part], [Panel(views[0], name, "background") for name in part])
    ]


def edges(panels: Sequence[Panel]) -> tuple[np.ndarray, np.ndarray]:
    """Of the cells along both axes: all but the outermost 0.5 % of each cloud, and a margin."""
    clouds = [np.concatenate(points) for panel in panels for split in SPLITS if (points := panel.points(split))]
    ends = np.array([np.quantile(cloud, OUTERMOST, axis=0) for cloud in clouds] or [((-1.0, -1.0), (1.0, 1.0))])
    low, high = ends[:, 0].min(axis=0), ends[:, 1].max(axis=0)
    room = np.maximum(0.08 * (high - low), 0.5)
    x, y = (np.linspace(first, last, CELLS + 1) for first, last in zip(low - room, high + room, strict=True))
    return x, y


def draw_panel(axes: Axes, panel: Panel, x: np.ndarray, y: np.ndarray) -> None:
    """Contours, boundary, means and arrow."""
    symbol = SYMBOLS[panel.view.sample.scale]
    axes.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]), aspect="equal")
    axes.set_xlabel(f"{symbol} of background", fontsize=8)
    axes.set_ylabel(f"{symbol} of {panel.rival}", fontsize=8, parse_math=False)
    line = np.array([min(x[0], y[0]), max(x[-1], y[-1])])
    axes.fill_between(line, line, line[1] if panel.structure == "background" else line[0], color=WRONG, linewidth=0, zorder=0)
    axes.plot(line, line, color="0.35", linestyle="--", linewidth=1)
    for split in SPLITS:
        points = panel.points(split)
        field = density(points, x, y) if points else np.zeros((CELLS, CELLS))
        if field.any():
            draw_contours(axes, field, (x[:-1] + x[1:]) / 2, (y[:-1] + y[1:]) / 2, COLORS[split], filled=split == "training")
    known, unknown = (panel.mean(split) for split in SPLITS)
    for split, mean in zip(SPLITS, (known, unknown), strict=True):
        if mean is not None:
            axes.plot(*mean, marker="o", markersize=5, color=COLORS[split], markeredgecolor="white", markeredgewidth=0.7, zorder=4)
    if known is not None and unknown is not None:
        # a head longer than the arrow would point anywhere
        points = float(np.hypot(*np.subtract(unknown, known))) / (x[-1] - x[0]) * INCHES * 72
        if points > SHORTEST:
            style = {
                "arrowstyle": "-|>",
                "color": "black",
                "linewidth": 1.2,
                "shrinkA": 0,
                "shrinkB": 0,
                "mutation_scale": min(9.0, points),
            }
            axes.annotate("", xy=unknown, xytext=known, arrowprops=style, zorder=5)


def draw_contours(axes: Axes, field: np.ndarray, x: np.ndarray, y: np.ndarray, color: str, filled: bool) -> None:
    """The smallest regions that hold 90 and 50 % of a density."""
    outer, inner = levels(field, SHARES)
    if filled:
        axes.contourf(x, y, field.T, levels=[outer, field.max() * 2], colors=[color], alpha=0.12)
    bounds = sorted({outer, inner})  # of a single cell they are one
    axes.contour(x, y, field.T, levels=bounds, colors=color, linewidths=[0.9, 1.6][-len(bounds) :])


def legend() -> list[Artist]:
    """What the signs mean, once for all panels."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    contours = [Line2D([], [], color=COLORS[split], label=f"{split}: 50 and 90 % of the voxels, mean") for split in SPLITS]
    for line in contours:
        line.set(marker="o", markersize=5, markeredgecolor="white")
    boundary = Line2D([], [], color="0.35", linestyle="--", linewidth=1, label="decision boundary between the two classes")
    return [*contours, boundary, Patch(color=WRONG, label="the wrong side of it; black arrow: shift of the mean")]
