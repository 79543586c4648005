"""Compares the recipes of a folder: trains each with several seeds, scores each, and prints mean and spread over the seeds.

python scripts/study.py configs/hippocampus/few dataset.root=DIR 'dataset.split={file: DIR/split.json}' --seeds 0 1 2

A run lies in a folder named after what its recipe resolves to. A complete one is not trained again, so the command goes on where it was
stopped, and a changed recipe is another run.
"""

import argparse
import hashlib
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

from results import run_once  # beside this file

from segkit.config.atomic import atomic
from segkit.config.parse import dump
from segkit.engine.evaluate import summarize
from segkit.recipe import Recipe, read

METRICS = ("dice", "sensitivity", "precision")
Means = dict[str, dict[str, float | None]]  # class -> metric -> mean over cases, None where no case has a value


def measure(recipe: Recipe, name: str, output: Path, split: str) -> Means:
    """Train, predict and score one recipe, as far as that is not done yet."""
    folder = output / f"{name}_{recipe.train.seed}_{hashlib.sha256(dump(recipe).encode()).hexdigest()[:8]}"
    result = folder / f"{split}.json"
    if result.exists():
        return json.loads(result.read_text(encoding="utf-8"))
    means: Means = {}
    for entry in summarize(run_once(recipe, folder, split)[1]):
        if entry.metric in METRICS:
            means.setdefault(entry.structure, {})[entry.metric] = entry.mean
    with atomic(result) as temporary:
        temporary.write_text(json.dumps(means) + "\n", encoding="utf-8")
    return means


def mean_over_classes(means: Means, metric: str) -> float | None:
    """None where a class has no value."""
    return mean_of([values[metric] for values in means.values()])


def line(name: str, seeds: Sequence[Means]) -> str:
    """One row of the table, in percent: for each class and then for their mean every metric, `mean±standard deviation` over the seeds.

    `n/a (k)`: k of the seeds have no value, since nothing of the class was predicted.
    """
    structures = list(seeds[0])
    cells = []
    for structure in [*structures, None]:
        for metric in METRICS:
            values = [means[structure][metric] if structure else mean_over_classes(means, metric) for means in seeds]
            known = [100 * value for value in values if value is not None]
            if len(known) < len(values):
                cells.append(f"n/a ({len(values) - len(known)})")
            else:
                cells.append(f"{statistics.mean(known):.1f}" + (f"±{statistics.stdev(known):.1f}" if len(known) > 1 else ""))
    return f"| {name} | " + " | ".join(cells) + " |"


def mean_of(values: Sequence[float | None]) -> float | None:
    """None where one is missing: a mean over other classes is another quantity."""
    known = [value for value in values if value is not None]
    return statistics.mean(known) if len(known) == len(values) else None


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of recipes; those that begin with _ are left out")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--rows", nargs="+", metavar="NAME", help="these recipes only")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--split", choices=["validation", "test"], default="test")
    parser.add_argument("--output", type=Path, default=Path("runs/study"))
    asked = parser.parse_intermixed_args()
    names = asked.rows or sorted(path.stem for path in asked.folder.glob("[!_]*.yaml"))
    for name in names:
        recipes = [read(asked.folder / f"{name}.yaml", (*asked.overrides, f"train.seed={seed}")) for seed in asked.seeds]
        seeds = [measure(recipe, name, asked.output, asked.split) for recipe in recipes]
        if name == names[0]:
            columns = [f"{structure} {metric}" for structure in [*seeds[0], "mean"] for metric in METRICS]
            print(f"| recipe | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}", flush=True)
        print(line(name, seeds), flush=True)


if __name__ == "__main__":
    main()
