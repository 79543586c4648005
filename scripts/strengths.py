"""Scores each technique of a study over its strength, on validation cases: a table, and the curve of sensitivity over precision.

python scripts/strengths.py configs/hippocampus/few dataset.root=DIR 'dataset.split={file: DIR/split.json, validation: 30}' --seeds 0

The strength with the highest mean Dice is marked. Runs are kept as those of study.py are. With --thresholds a grey line shows what plain
cross-entropy reaches by another decision threshold alone: a technique whose dots lie on it has only moved the threshold.
"""

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from results import QUIET  # beside this file, as study is
from study import METRICS, Means, commits, folder_of, mean_over_classes, measure, run_in

from segkit.config.atomic import atomic
from segkit.engine.curves import Sweep
from segkit.engine.device import choose_device
from segkit.engine.infer import Predictor, predict_all
from segkit.engine.sweep import sweep_run
from segkit.recipe import Recipe, read

# From 0.2, 2, 10 and 0.2 to 2, 6, 10 and 1 in the papers. Smaller gammas and other magnitudes are ours, since imbalance and patches differ.
# Their gamma of 6 is left out: Dice falls from 0.5 to 4 already (docs/results.md), and all runs of that table are to be of one commit.
LADDERS: dict[str, tuple[str, str, tuple[float, ...]]] = {
    "large_margin": ("regularizers", "margin", (0.2, 0.5, 1.0, 2.0)),
    "focal": ("losses", "gamma", (0.5, 1.0, 2.0, 4.0)),
    "adversarial": ("regularizers", "magnitude", (3.0, 10.0, 30.0)),
    "mixup": ("regularizers", "alpha", (0.2, 1.0)),
}
ROWS = [name + tail for name in LADDERS for tail in ("", "_asymmetric")]
SHOWN = (-1.0, -0.5, 0.5, 1.0, 2.0)  # shifts of cross-entropy's logits that have a row of the table
Point = dict[str, float | None]  # metric -> mean over classes and seeds


def with_strength(recipe: Recipe, technique: str, strength: float) -> Recipe:
    """The recipe with its one plug-in of this name at this strength."""
    section, field, _ = LADDERS[technique]
    plugins = [plugin.model_copy(update={field: strength}) if plugin.name == technique else plugin for plugin in getattr(recipe, section)]
    return recipe.model_copy(update={section: tuple(plugins)})


def point(runs: Sequence[dict[str, dict[str, float | None]]]) -> Point:
    """Mean over classes, then over seeds; None where a value is missing."""
    values = {metric: [mean_over_classes(means, metric) for means in runs] for metric in METRICS}
    known = {metric: [value for value in each if value is not None] for metric, each in values.items()}
    return {metric: statistics.mean(each) if len(each) == len(runs) else None for metric, each in known.items()}


def by_shift(sweep: Sweep) -> dict[float, Means]:
    """The means over cases at every shift of the rare classes' logits."""
    found: dict[float, Means] = {}
    for structure, curve in sweep.curves().items():
        for each in curve.points:
            found.setdefault(each.shift, {})[structure] = {metric: getattr(each, metric).mean for metric in METRICS}
    return found


def swept(recipe: Recipe, name: str, output: Path, split: str) -> dict[float, Means]:
    """The same of a run that is measured. What is missing of its probabilities is predicted, into the run."""
    run = run_in(folder_of(recipe, name, output))
    predictor = Predictor.load([run.path], choose_device("auto"))
    for outcome in predict_all(predictor, getattr(recipe.dataset.splits(), split), run.predictions, with_probabilities=True):
        if outcome.error is not None:
            raise outcome.error
    sweep = sweep_run(run, recipe, split, QUIET)
    if sweep.failed:
        raise sweep.failed[0][1]
    return by_shift(sweep)


def places(curve: dict[float, Point]) -> dict[float, tuple[float, float]]:
    """(precision, sensitivity) by strength or shift, where both have a value."""
    found = {key: (each["precision"], each["sensitivity"]) for key, each in curve.items()}
    return {key: (x, y) for key, (x, y) in found.items() if x is not None and y is not None}


def drawing(curves: dict[str, dict[float, Point]], plain: Point, thresholds: dict[float, Point], title: str) -> Figure:
    """One panel a technique: precision to the right, sensitivity upward, a dot a strength; the cross is plain cross-entropy.

    thresholds: what cross-entropy reaches at other decision thresholds, by shift, or nothing. The line runs out of the panel, since the
    dots say how far it reaches.
    """
    techniques = [name for name in LADDERS if name in curves or f"{name}_asymmetric" in curves]
    figure = Figure(figsize=(3.4 * len(techniques), 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    (axes,) = figure.subplots(1, len(techniques), sharex=True, sharey=True, squeeze=False)
    for axis, technique in zip(axes, techniques, strict=True):
        for name, color, below in ((technique, "tab:blue", 16), (f"{technique}_asymmetric", "tab:orange", 0)):
            dots = places(curves.get(name, {}))
            if not dots:
                continue
            label = "rare classes only" if name.endswith("_asymmetric") else "all classes"
            axis.plot(*zip(*dots.values(), strict=True), "o-", color=color, label=label)
            for strength, place in dots.items():
                axis.annotate(f"{strength:g}", place, textcoords="offset points", xytext=(4, 4 - below), color=color)
        axis.plot(plain["precision"], plain["sensitivity"], "kx", label="cross-entropy")
        axis.set(title=f"{technique.replace('_', ' ')}: {LADDERS[technique][1]}", xlabel="precision")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("sensitivity")
    x, y = axes[0].get_xlim(), axes[0].get_ylim()
    if thresholds:
        for axis in axes:
            axis.plot(*zip(*places(thresholds).values(), strict=True), color="grey", zorder=1, label="cross-entropy, other thresholds")
        axes[0].set(xlim=x, ylim=y)
    by_label = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(by_label.values(), by_label, loc="outside lower center", ncols=len(by_label))
    figure.suptitle(title, fontsize="medium")
    return figure


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of recipes, one of them cross_entropy")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument(
        "--rows", nargs="*", choices=ROWS, default=ROWS, metavar="NAME", help="these of the recipes only, beside cross_entropy"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--split", choices=["validation", "test"], default="validation")
    parser.add_argument("--output", type=Path, default=Path("runs/study"))
    parser.add_argument("--thresholds", action="store_true", help="cross-entropy at other decision thresholds, too")
    parser.add_argument("--picture", type=Path, metavar="PNG")
    asked = parser.parse_intermixed_args()

    def recipes(name: str) -> list[Recipe]:
        return [read(asked.folder / f"{name}.yaml", (*asked.overrides, f"train.seed={seed}")) for seed in asked.seeds]

    def row(label: str, strength: Any, each: Point, best: bool = False) -> None:
        cells = ["n/a" if value is None else f"{100 * value:.1f}" for value in each.values()]
        print(f"| {label} | {f'**{strength}**' if best else strength} | {' | '.join(cells)} |", flush=True)

    print(f"| recipe | strength | {' | '.join(METRICS)} |\n|---|---|{'---|' * len(METRICS)}", flush=True)
    baselines = recipes("cross_entropy")
    folders = [folder_of(recipe, "cross_entropy", asked.output) for recipe in baselines]
    plain = point([measure(recipe, "cross_entropy", asked.output, asked.split) for recipe in baselines])
    row("cross_entropy", "", plain)
    thresholds: dict[float, Point] = {}
    if asked.thresholds:
        seeds = [swept(recipe, "cross_entropy", asked.output, asked.split) for recipe in baselines]
        thresholds = {shift: point([means[shift] for means in seeds]) for shift in seeds[0]}
        for shift in SHOWN:
            row("cross_entropy", f"shift {shift:+g}", thresholds[shift])
    curves: dict[str, dict[float, Point]] = {}
    for name in asked.rows:
        technique = name.removesuffix("_asymmetric")
        curve = curves[name] = {}
        for strength in LADDERS[technique][2]:
            stronger = [with_strength(recipe, technique, strength) for recipe in recipes(name)]
            folders += [folder_of(recipe, name, asked.output) for recipe in stronger]
            curve[strength] = point([measure(recipe, name, asked.output, asked.split) for recipe in stronger])
        best = max(curve, key=lambda strength: curve[strength]["dice"] or 0.0)
        for strength, each in curve.items():
            row(name, f"{LADDERS[technique][1]} {strength:g}", each, strength == best)
    print(f"\n{commits(folders)}")
    if asked.picture:
        cases = len(getattr(baselines[0].dataset.splits(), asked.split))
        title = f"{cases} {asked.split} cases; means over classes and {len(asked.seeds)} seed{'s' * (len(asked.seeds) > 1)}"
        with atomic(asked.picture) as temporary:
            drawing(curves, plain, thresholds, title).savefig(temporary, format="png", dpi=120)


if __name__ == "__main__":
    main()
