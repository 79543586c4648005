"""Compares the recipes of a folder: trains each with several seeds, scores each, and prints mean and spread over the seeds.

python scripts/study.py configs/hippocampus/few dataset.root=DIR 'dataset.split={file: DIR/split.json}' --seeds 0 1 2

--folds K: leave one of K folds out at a time (`dataset.split={fold: k, of: K}`); a seed's value is the mean over its folds.

A run lies in a folder named after what its recipe resolves to. A complete one is not trained again, so the command goes on where it was
stopped, and a changed recipe is another run. Changed code is not: the last line says which commits trained the runs.
"""

import argparse
import hashlib
import json
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

from results import run_once  # beside this file

from segkit.config.atomic import atomic
from segkit.config.parse import dump
from segkit.engine.evaluate import summarize
from segkit.engine.run import Run
from segkit.recipe import Recipe, read

METRICS = ("dice", "sensitivity", "precision")
Means = dict[str, dict[str, float | None]]  # class -> metric -> mean over cases, None where no case has a value


def folder_of(recipe: Recipe, name: str, output: Path) -> Path:
    """Where the run of a resolved recipe lies, with its label maps and scores."""
    return output / f"{name}_{recipe.train.seed}_{hashlib.sha256(dump(recipe).encode()).hexdigest()[:8]}"


def run_in(folder: Path) -> Run:
    """The run itself."""
    return Run(folder / "run")


def measure(recipe: Recipe, name: str, output: Path, split: str) -> Means:
    """Train, predict and score one recipe, as far as that is not done yet."""
    folder = folder_of(recipe, name, output)
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


def commits(folders: Iterable[Path]) -> str:
    """`Trained by: 3569e3c (26 runs), b21e0f7+ (1 run)`: commits of the code by number of runs, with `+` where it was changed.

    A run that was resumed by another commit has both, in their order.
    """
    origins: Counter[str] = Counter()
    for folder in folders:
        facts = json.loads(run_in(folder).provenance.read_text(encoding="utf-8"))
        whole = [part["commit"] for part in (facts, *facts.get("resumed", []))]
        origins[" then ".join(commit[:7] + "+" * commit.endswith("+") if commit else "no commit" for commit, _ in groupby(whole))] += 1
    counts = [f"{origin} ({count} run{'s' * (count > 1)})" for origin, count in origins.most_common()]
    return f"Trained by: {', '.join(counts)}"


def over_folds(folds: Sequence[Means]) -> Means:
    """The mean over folds of every value; None where a fold has none."""
    structures = dict.fromkeys(structure for fold in folds for structure in fold)
    return {
        structure: {metric: mean_of([fold.get(structure, {}).get(metric) for fold in folds]) for metric in METRICS}
        for structure in structures
    }


def mean_over_classes(means: Means, metric: str) -> float | None:
    """None where a class has no value."""
    return mean_of([values[metric] for values in means.values()])


def line(name: str, seeds: Sequence[Means]) -> str:
    """One row of the table, in percent: for each class and then for their mean every metric, `mean±standard deviation` over the seeds.

    `n/a (k)`: k of the seeds have no value. A seed has none where one of its folds (or all its cases, where there are no folds) has no case
    with a value: of precision, where nothing of the class was predicted; of sensitivity, where nothing of it was there.
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
    parser.add_argument("--folds", type=int, metavar="K")
    parser.add_argument("--split", choices=["validation", "test"], default="test")
    parser.add_argument("--output", type=Path, default=Path("runs/study"))
    asked = parser.parse_intermixed_args()
    names = asked.rows or sorted(path.stem for path in asked.folder.glob("[!_]*.yaml"))
    splits = [(f"dataset.split={{fold: {fold}, of: {asked.folds}}}",) for fold in range(asked.folds)] if asked.folds else [()]
    folders: list[Path] = []
    for name in names:
        seeds = []
        for seed in asked.seeds:
            recipes = [read(asked.folder / f"{name}.yaml", (*asked.overrides, f"train.seed={seed}", *split)) for split in splits]
            folders += [folder_of(recipe, name, asked.output) for recipe in recipes]
            seeds.append(over_folds([measure(recipe, name, asked.output, asked.split) for recipe in recipes]))
        if name == names[0]:
            columns = [f"{structure} {metric}" for structure in [*seeds[0], "mean"] for metric in METRICS]
            print(f"| recipe | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}", flush=True)
        print(line(name, seeds), flush=True)
    print(f"\n{commits(folders)}")


if __name__ == "__main__":
    main()
