"""Scores each technique of a study over its strength, on validation cases: a table, and the curve of sensitivity over precision.

python scripts/strengths.py configs/hippocampus/few dataset.root=DIR 'dataset.split={file: DIR/split.json, validation: 30}' --seeds 0

The strength with the highest mean Dice is marked. Runs are kept as those of study.py are.
"""

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from study import METRICS, mean_over_classes, measure  # beside this file

from segkit.config.atomic import atomic
from segkit.recipe import Recipe, read

# From 0.2, 2, 10 and 0.2 to 2, 4, 10 and 1 in the papers; smaller gammas and other magnitudes are ours, since imbalance and patches differ.
LADDERS: dict[str, tuple[str, str, tuple[float, ...]]] = {
    "large_margin": ("regularizers", "margin", (0.2, 0.5, 1.0, 2.0)),
    "focal": ("losses", "gamma", (0.5, 1.0, 2.0, 4.0)),
    "adversarial": ("regularizers", "magnitude", (3.0, 10.0, 30.0)),
    "mixup": ("regularizers", "alpha", (0.2, 1.0)),
}
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


def picture(curves: dict[str, dict[float, Point]], plain: Point, file: Path) -> None:
    """One panel a technique: precision to the right, sensitivity upward, a dot a strength; the cross is plain cross-entropy."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    techniques = [name for name in LADDERS if name in curves or f"{name}_asymmetric" in curves]
    figure, axes = pyplot.subplots(1, len(techniques), figsize=(3.4 * len(techniques), 3.4), sharex=True, sharey=True, squeeze=False)
    for axis, technique in zip(axes[0], techniques, strict=True):
        for name, color in ((technique, "tab:blue"), (f"{technique}_asymmetric", "tab:orange")):
            known = [(strength, each) for strength, each in curves.get(name, {}).items() if None not in each.values()]
            if not known:
                continue
            label = "rare classes only" if name.endswith("_asymmetric") else "all classes"
            places = [(each["precision"], each["sensitivity"]) for _, each in known]
            axis.plot(*zip(*places, strict=True), "o-", color=color, label=label)
            for (strength, _), place in zip(known, places, strict=True):
                axis.annotate(f"{strength:g}", place, textcoords="offset points", xytext=(4, 4), color=color)
        axis.plot(plain["precision"], plain["sensitivity"], "kx", label="cross-entropy")
        axis.set(title=f"{technique.replace('_', ' ')}: {LADDERS[technique][1]}", xlabel="precision")
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("sensitivity")
    axes[0][0].legend()
    figure.tight_layout()
    with atomic(file) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of recipes, one of them cross_entropy")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--rows", nargs="+", metavar="NAME", help="these recipes only")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--split", choices=["validation", "test"], default="validation")
    parser.add_argument("--output", type=Path, default=Path("runs/study"))
    parser.add_argument("--picture", type=Path, metavar="PNG")
    asked = parser.parse_intermixed_args()

    def recipes(name: str) -> list[Recipe]:
        return [read(asked.folder / f"{name}.yaml", (*asked.overrides, f"train.seed={seed}")) for seed in asked.seeds]

    def row(label: str, strength: Any, each: Point, best: bool = False) -> None:
        cells = ["n/a" if value is None else f"{100 * value:.1f}" for value in each.values()]
        print(f"| {label} | {f'**{strength}**' if best else strength} | {' | '.join(cells)} |", flush=True)

    print(f"| recipe | strength | {' | '.join(METRICS)} |\n|---|---|{'---|' * len(METRICS)}", flush=True)
    plain = point([measure(recipe, "cross_entropy", asked.output, asked.split) for recipe in recipes("cross_entropy")])
    row("cross_entropy", "", plain)
    curves: dict[str, dict[float, Point]] = {}
    for name in asked.rows or [name + tail for name in LADDERS for tail in ("", "_asymmetric")]:
        technique = name.removesuffix("_asymmetric")
        curve = curves[name] = {}
        for strength in LADDERS[technique][2]:
            runs = [measure(with_strength(recipe, technique, strength), name, asked.output, asked.split) for recipe in recipes(name)]
            curve[strength] = point(runs)
        best = max(curve, key=lambda strength: curve[strength]["dice"] or 0.0)
        for strength, each in curve.items():
            row(name, f"{LADDERS[technique][1]} {strength:g}", each, strength == best)
    if asked.picture:
        picture(curves, plain, asked.picture)


if __name__ == "__main__":
    main()
