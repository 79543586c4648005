"""Five pictures of class embeddings, by centered weights."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from segkit.analysis.embedding_comparison import Comparison, Group, Match, Portrait
from segkit.analysis.observe import SPLITS, Split
from segkit.config.atomic import atomic
from segkit.statistics.bootstrap import ENOUGH, FEW

# matplotlib's, which is imported where something is drawn
Figure: TypeAlias = Any
Axes: TypeAlias = Any
Axis: TypeAlias = Any

COLORS: dict[Split, str] = {"training": "#0072B2", "test": "#D55E00"}  # apart for the color-blind
LIGHT, GRAY = "#56B4E9", "0.45"
CYCLE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
INTERVALS = "bars: 95 % CI by bootstrap over cases"
SURVIVORS = (
    "tp: voxels that were recognized, so of test cases those whose features carried over: r of tp may be near 1 where r of all is not"
)
RANGE = (
    "the share beyond the range grows as training cases get fewer, even where nothing is wrong: compare runs with the same numbers of cases"
)


def draw_all(folder: Path, comparison: Comparison, name: str) -> list[Path]:
    """`embeddings_*.png` into a folder, each at once. name: of the run. Returns their paths."""
    paths = []
    for stem, draw in FIGURES.items():
        paths.append(folder / f"embeddings_{stem}.png")
        figure = draw(comparison, name)
        with atomic(paths[-1]) as temporary:
            figure.savefig(temporary, dpi=150)
    return paths


def topk_magnitude(comparison: Comparison, name: str) -> Figure:
    """Which channels the logit of a class is made of: a bar a class, a segment a channel of T, its index inside."""
    figure = _figure(comparison, f"{name}: the channels of each class", 2 + 0.9 * len(comparison.classes), 5)
    axes = figure.add_subplot(ylim=(0, 1.08), ylabel="share of the positive part of the mean\nembedding (training, tp voxels)")
    for index in range(len(comparison.classes)):
        portrait, top, height = _portrait(comparison, "training", index), comparison.top["centered", index], 0.0
        positive = np.maximum(portrait.magnitude, 0)
        for rank, part in enumerate(positive[top] / (positive.sum() or np.nan)):
            axes.bar(index, part, bottom=height, color=LIGHT if rank % 2 else COLORS["training"], edgecolor="white")
            if part > 0.03:
                axes.text(
                    index, height + part / 2, str(top[rank]), ha="center", va="center", color="black" if rank % 2 else "white", size=8
                )
            height += np.nan_to_num(part)
        axes.text(index, height + 0.01, f"n = {portrait.voxels:,}", ha="center", va="bottom", size=8)
    _ticks(axes.xaxis, comparison.classes)
    return figure


def topk_frequency(comparison: Comparison, name: str) -> Figure:
    """How often the channels of a class lead in its own voxels, and how often in those of the other classes."""
    side = max(4.0, 0.5 * len(comparison.classes))
    figure = _figure(comparison, f"{name}: how often a class's channels lead (training)", 9 + side, side + 1)
    left, right = figure.subplots(1, 2, width_ratios=[5, side])
    for index, structure in enumerate(comparison.classes):
        portrait, top = _portrait(comparison, "training", index), comparison.top["centered", index]
        label = f"{_plain(structure)}, n = {portrait.voxels:,}"
        left.plot(range(1, len(top) + 1), portrait.frequency[top], linestyle="-", label=label, **_style(index))
    left.axhline(comparison.chance, color=GRAY, linewidth=0.8, label="chance, K / D")
    left.set(
        ylim=(-0.02, 1.02),
        xlabel="rank of the channel in its class",
        ylabel="share of the class's tp voxels\nin which the channel is among the K largest",
    )
    left.set_xticks(range(1, comparison.k + 1))
    response = comparison.response["centered"]
    image = right.imshow(response, vmin=0, vmax=1, cmap="cividis")
    for (row, column), value in np.ndenumerate(response):
        if math.isfinite(value):
            right.text(column, row, f"{value:.2f}", ha="center", va="center", size=7, color="black" if value > 0.5 else "white")
    right.set(xlabel="in all voxels of", ylabel="the channels of")
    _ticks(right.xaxis, comparison.classes)
    right.set_yticks(range(len(comparison.classes)), list(map(_plain, comparison.classes)), size=8)
    figure.colorbar(image, ax=right, label="lead so often, relative to\nvoxels of their own class", shrink=0.8)
    figure.legend(loc="outside right upper", fontsize=8)
    return figure


def train_test_magnitude(comparison: Comparison, name: str) -> Figure:
    """What each channel of a class adds to its logit in training and in test, and the difference."""
    height = 1.5 + 1.9 * len(comparison.classes)
    figure = _figure(comparison, f"{name}: embeddings in training and test", 11, height, INTERVALS, lines=(SURVIVORS,))
    rows = figure.subplots(len(comparison.classes), 2, squeeze=False)
    for index, (structure, (left, right)) in enumerate(zip(comparison.classes, rows, strict=True)):
        top, match = comparison.top["centered", index], comparison.matches["centered", "tp", index]
        everything = comparison.matches["centered", "all", index]
        places, training, test = np.arange(len(top)), *(_portrait(comparison, split, index) for split in SPLITS)
        for offset, split, portrait in zip((-0.2, 0.2), SPLITS, (training, test), strict=True):
            left.bar(places + offset, portrait.magnitude[top], 0.4, color=COLORS[split], label=f"{split}, tp")
        for offset, group, marker, change in ((-0.12, "tp", "o", match), (0.12, "all", "D", everything)):
            style = {"color": "black", "mfc": "white" if group == "tp" else "black", "markersize": 4}
            _dots(right, places + offset, change.shift[top], change.interval[top], fmt=marker, label=f"difference, {group}", **style)
        right.axhline(0, color=GRAY, linewidth=0.8)
        chance = f"J = {test.overlap:.2f} ({comparison.chance:.2f} by chance)"
        seen = [comparison.portraits["centered", split, "all", index].cases for split in SPLITS]
        few = f" ({FEW})" * _few(comparison, "all", index)
        ratios = f"r of all voxels = {_ratio(everything)}{few}, of tp {match.ratio:.2f}"
        left.set_title(f"{_plain(structure)}: {seen[0]} and {seen[1]} cases\n{ratios}\n{chance} for tp", size=8)
        right.set_title(f"{_plain(structure)}: test - training", size=8)
        left.set_ylabel("mean embedding", size=8)
        for axes in (left, right):
            axes.set_xticks(places, list(map(str, top)))
            axes.set_xlabel("channel", size=8)
            axes.tick_params(labelsize=8)
    named = {label: handle for axes in rows[0] for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(list(named.values()), list(named), loc="outside right upper", fontsize=8)
    return figure


def diversity(comparison: Comparison, name: str) -> Figure:
    """How many channels lead in the voxels of a class, and in how many directions its features vary."""
    classes = range(len(comparison.classes))
    figure = _figure(comparison, f"{name}: diversity of each class (tp voxels)", 7 + 0.8 * len(classes), 5)
    left, right = figure.subplots(1, 2)
    for offset, split, marker in zip((-0.12, 0.12), SPLITS, "os", strict=True):
        portraits = [_portrait(comparison, split, index) for index in classes]
        places, style = np.arange(len(classes)) + offset, {"marker": marker, "linestyle": "", "color": COLORS[split]}
        equal = max(one.equal for one in portraits)
        for axes, all_of_them, same in ((left, "diversity", "equal_diversity"), (right, "participation", "equal_participation")):
            axes.plot(places, [getattr(one, all_of_them) for one in portraits], label=f"{split}, all", **style)
            axes.plot(
                places, [getattr(one, same) for one in portraits], mfc="none", markersize=11, label=f"{split}, {equal:,} each", **style
            )
    for limit in (comparison.k, comparison.channels):
        left.axhline(limit, color=GRAY, linewidth=0.8)
    left.set(ylabel=f"exp(entropy) of the leading channels\n({comparison.k}: always the same, {comparison.channels}: all alike)")
    right.set(ylabel="participation ratio\nof the features' covariance")
    right.margins(y=0.1)
    right.set_ylim(bottom=0)
    counts = [" / ".join(f"{_portrait(comparison, split, index).voxels:,}" for split in SPLITS) for index in classes]
    _ticks(left.xaxis, [f"{structure}, n = {count}" for structure, count in zip(comparison.classes, counts, strict=True)])
    _ticks(right.xaxis, comparison.classes)
    figure.legend(*left.get_legend_handles_labels(), loc="outside right upper", fontsize=8, title="voxels")
    return figure


def gap_vs_recall(comparison: Comparison, name: str) -> Figure:
    """How well the embeddings of a class match, and how far its test features reach out, against the recall it loses. A dot a class.

    Filled: all voxels of the class. Hollow: those that were recognized (tp), which match better than the class does.
    """
    figure = _figure(comparison, f"{name}: match of test and training against lost recall", 11, 5.3, INTERVALS, lines=(SURVIVORS, RANGE))
    left, right = figure.subplots(1, 2)
    for index, structure in enumerate(comparison.classes):
        match, recognized = (comparison.matches["centered", group, index] for group in ("all", "tp"))
        lost = np.array([comparison.recall["training", index] - comparison.recall["test", index]])
        _dots(left, lost, np.array([match.ratio]), match.ratio_interval[None], label=_plain(structure), linestyle="", **_style(index))
        right.plot(lost, [match.range_gap], linestyle="", **_style(index))
        left.plot(lost, [recognized.ratio], linestyle="", mfc="none", markersize=9, **_style(index))
        right.plot(lost, [recognized.range_gap], linestyle="", mfc="none", markersize=9, **_style(index))
    left.axhline(1, color=GRAY, linewidth=0.8)
    left.set_ylabel("r: test / training magnitude of the class's channels\n(filled: all voxels; hollow: tp voxels)")
    equal = {
        group: max(
            comparison.portraits["centered", split, group, index].equal for split in SPLITS for index in range(len(comparison.classes))
        )
        for group in ("all", "tp")
    }
    counts = f"filled: {equal['all']:,} voxels each;", f"hollow: {equal['tp']:,} tp voxels each"
    right.set_ylabel(f"test features beyond the training range,\nas a share of it ({counts[0]}\n{counts[1]})")
    for axes in (left, right):
        axes.axvline(0, color=GRAY, linewidth=0.8)
        axes.set_xlabel("recall in training - recall in test")
        axes.margins(0.1)
    figure.legend(loc="outside right upper", fontsize=8)
    return figure


FIGURES: dict[str, Callable[[Comparison, str], Figure]] = {
    "topk_magnitude": topk_magnitude,
    "topk_frequency": topk_frequency,
    "train_test_magnitude": train_test_magnitude,
    "diversity": diversity,
    "gap_vs_recall": gap_vs_recall,
}


def _figure(comparison: Comparison, title: str, width: float, height: float, *notes: str, lines: Sequence[str] = ()) -> Figure:
    """An empty figure (size in inches) with a title, and what holds for all of them below, with notes and lines of its own."""
    import matplotlib.figure
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = matplotlib.figure.Figure(figsize=(max(width, 7), height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(_plain(title))
    few = any(_few(comparison, group, index) for group in ("tp", "all") for index in range(len(comparison.classes)))
    facts = (
        f"{comparison.cases['training']} training cases, {comparison.cases['test']} test cases",
        f"K = {comparison.k} of D = {comparison.channels} channels, chance level K / D = {comparison.chance:.2f}",
        *(f"{note} ({FEW})" if few and note == INTERVALS else note for note in notes),
    )
    background, others = comparison.most[0], comparison.most[-1]
    limits = f"at most {background:,} voxels of background and {others:,} of another class count in a case"
    caveat = "weights centered over classes; channel indices mean nothing in another network"
    figure.supxlabel("\n".join(["; ".join(facts), limits, caveat, *lines]), fontsize=8)
    return figure


def _few(comparison: Comparison, group: Group, index: int) -> bool:
    """Whether a class has intervals, but from so few cases that they are not of 95 %."""
    return 2 <= min(comparison.portraits["centered", split, group, index].cases for split in SPLITS) < ENOUGH


def _portrait(comparison: Comparison, split: Split, index: int) -> Portrait:
    return comparison.portraits["centered", split, "tp", index]


def _dots(axes: Axes, x: np.ndarray, y: np.ndarray, interval: np.ndarray, **style: Any) -> None:
    """Dots [n] with their intervals [n, 2]."""
    axes.errorbar(x, y, np.maximum(0, np.stack([y - interval[:, 0], interval[:, 1] - y])), **style)


def _ticks(axis: Axis, names: Sequence[str]) -> None:
    axis.set_ticks(range(len(names)), list(map(_plain, names)), rotation=45, ha="right", size=8)


def _style(index: int) -> dict[str, Any]:
    """Color and marker of a class."""
    return {"color": CYCLE[index % len(CYCLE)], "marker": "osD^vP*X"[index // len(CYCLE) % 8]}


def _ratio(match: Match) -> str:
    low, high = match.ratio_interval
    return f"{match.ratio:.2f} [{low:.2f}, {high:.2f}]" if math.isfinite(low) else f"{match.ratio:.2f}"


def _plain(text: str) -> str:
    """Text in which no dollar sign begins a formula."""
    return text.replace("$", r"\$")
