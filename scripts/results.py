"""Measures the numbers of docs/results.md: trains, predicts, scores, and prints one line of the table a run.

python scripts/results.py hippocampus --data DIR --steps 600 --seeds 0 1 2
python scripts/results.py brats2015 --data DIR [KEY=VALUE ...]
python scripts/results.py deepmedic --data DIR
python scripts/results.py tiles --data DIR
python scripts/results.py trained-tiles --data DIR --run RUN
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from segkit.engine.cohort import preparer
from segkit.engine.console import Console
from segkit.engine.device import choose_device
from segkit.engine.evaluate import Row
from segkit.engine.folders import score_recipe
from segkit.engine.infer import Predictor, predict_all, predict_case
from segkit.engine.run import Run
from segkit.engine.slabs import View, probabilities
from segkit.engine.train import train
from segkit.models.base import Model, Shape
from segkit.models.deepmedic import DeepMedic, DeepMedicTiny
from segkit.models.unet3d import UNet3D
from segkit.recipe import Recipe, read
from segkit.volume import nifti

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
QUIET = Console("quiet")


def run_once(recipe: Recipe, folder: Path, split: str = "test") -> tuple[Run, list[Row]]:
    """Train into the folder (or go on there), predict the cases of a split, score them on their native grids."""
    cases = getattr(recipe.dataset.splits(), split)
    assert cases, f"the recipe has no {split} cases"
    run = Run(folder / "run")
    train(recipe, run, resumed=run.exists(), console=QUIET)
    predictor = Predictor.load([run.path], choose_device("auto"))
    predictions = folder / split
    for outcome in predict_all(predictor, cases, predictions):
        if outcome.error is not None:
            raise outcome.error
    rows, failed = score_recipe(predictions, recipe, split)
    if failed:
        raise failed[0][1]
    return run, rows


def seconds_of(run: Run) -> float:
    """The sum of step seconds."""
    return sum(record["seconds"] for record in run.records() if record["event"] == "step")


def dice(rows: list[Row], structure: str) -> float:
    """Mean Dice over cases."""
    return statistics.mean(row.value for row in rows if row.metric == "dice" and row.structure == structure and row.value is not None)


def hippocampus(data: Path, output: Path, steps: int, seeds: list[int]) -> None:
    """The shipped recipe on the split file's 150 training and 45 test cases, last weights."""
    means = []
    for seed in seeds:
        overrides = (
            f"dataset.root={data}",
            f"dataset.split={{file: {data / 'split.json'}, validation: 0}}",
            f"preprocess.store={output / 'store'}",
            f"train.steps={steps}",
            f"train.seed={seed}",
        )
        recipe = read(CONFIGS / "hippocampus" / "unet3d.yaml", overrides)
        run, rows = run_once(recipe, output / f"hippocampus_{steps}_{seed}")
        anterior, posterior = dice(rows, "Anterior"), dice(rows, "Posterior")
        means.append((anterior + posterior) / 2)
        print(f"| {steps} | {seed} | {seconds_of(run):.0f} | {anterior:.4f} | {posterior:.4f} | {means[-1]:.4f} |", flush=True)
    print(f"mean of {len(means)} seeds: {statistics.mean(means):.4f}")


def brats2015(data: Path, output: Path, changes: list[str]) -> None:
    """Leave one patient out, four times, with the 3,291-parameter network. changes: overrides of its recipe."""
    whole = []
    for fold in range(4):
        overrides = (f"dataset.root={data}", f"dataset.split.fold={fold}", f"preprocess.store={output / 'store'}", *changes)
        run, rows = run_once(read(CONFIGS / "brats" / "2015_tiny.yaml", overrides), output / f"brats2015_{fold}")
        whole.append(dice(rows, "whole_tumor"))
        print(f"| {fold} | {rows[0].case} | {seconds_of(run):.0f} | {whole[-1]:.3f} | {dice(rows, 'tumor_core'):.3f} |", flush=True)
    print(f"mean over 4 folds: {statistics.mean(whole):.3f}")


def deepmedic(data: Path, output: Path) -> None:
    """The standard network: 20 steps, then a whole brain, in the input's geometry and with the source label values."""
    overrides = (f"dataset.root={data}", "dataset.split={fold: 0, of: 4}", f"preprocess.store={output / 'store'}", "train.steps=20")
    recipe = read(CONFIGS / "brats" / "2015.yaml", (*overrides, "train.validate_every=null"))
    run = train(recipe, Run(output / "deepmedic" / "run"), console=QUIET)
    predictor = Predictor.load([run.path], choose_device("auto"))
    (files,) = recipe.dataset.splits().test
    began = time.perf_counter()
    written = predictor.written(files, predictor.predict(predictor.read(files)))
    seconds = time.perf_counter() - began
    like = nifti.read(next(iter(files.channels.values())).path)
    assert written.array.shape == like.array.shape
    assert (written.affine == like.affine).all()
    print(
        f"20 steps: {seconds_of(run):.1f} s; {files.id} {written.array.shape}: {seconds:.1f} s, values {np.unique(written.array).tolist()}"
    )


def trained_tiles(data: Path, run: Path, shapes: list[tuple[int, int, int]], cases: int = 10) -> None:
    """Differences of the probabilities of test cases between tile shapes, with the weights of a run."""
    predictor = Predictor.load([run], choose_device("auto"))
    (member,) = predictor.members
    dataset = predictor.recipe.dataset.model_copy(update={"root": data})
    worst, total, changed, voxels = 0.0, 0.0, 0, 0
    for files in dataset.splits().test[:cases]:
        case = preparer(predictor.recipe, 0)(files)
        results = []
        for shape in shapes:
            view = View(member.network, shape, member.recipe.infer.overlap)
            results.append(predict_case([view], member.recipe, case, predictor.device, "fp32", with_probabilities=True))
        for other in results[1:]:
            difference = np.abs(results[0].probabilities - other.probabilities)
            worst, total = max(worst, float(difference.max())), total + float(difference.mean()) * other.indices.size
            changed, voxels = changed + int((results[0].indices != other.indices).sum()), voxels + other.indices.size
    print(f"| {', '.join('x'.join(map(str, shape)) for shape in shapes)} | {worst:.2g} | {total / voxels:.2g} | {changed / voxels:.2%} |")


def tiles(data: Path) -> None:
    """Largest difference of the probabilities of one real brain between tile sizes, untrained weights."""
    recipe = read(CONFIGS / "brats" / "2015_tiny.yaml", (f"dataset.root={data}",))
    case = preparer(recipe, 42)(recipe.dataset.find()[0])
    image, roi = torch.from_numpy(np.array(case.image)).float(), np.asarray(case.roi)
    box = (slice(60, 124), slice(60, 124), slice(40, 90))
    image, roi = image[:, *box], roi[box]
    networks: dict[str, tuple[Model, list[Shape]]] = {"deepmedic_tiny": (DeepMedicTiny(), [(45, 45, 45), (30, 37, 23), (64, 64, 50)])}
    networks["deepmedic"] = (DeepMedic(), [(45, 45, 45), (30, 37, 23), (64, 64, 50)])
    networks["unet3d"] = (UNet3D(), [(64, 64, 48), (48, 48, 48), (32, 32, 32)])
    for name, (settings, shapes) in networks.items():
        torch.manual_seed(0)
        network = settings.build(2, 5)
        results = [probabilities([View(network, shape, 0.5)], image, roi, "fp32") for shape in shapes]
        worst = max(float((a - b).abs().max()) for a in results for b in results)
        print(f"| {name} | {', '.join('x'.join(map(str, shape)) for shape in shapes)} | {worst:.1e} |", flush=True)


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["hippocampus", "brats2015", "deepmedic", "tiles", "trained-tiles"])
    parser.add_argument("changes", nargs="*", metavar="KEY=VALUE", help="of brats2015")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=Path("runs/results"))
    parser.add_argument("--run", type=Path, help="of trained-tiles")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    asked = parser.parse_intermixed_args()
    if asked.what == "hippocampus":
        hippocampus(asked.data.resolve(), asked.output.resolve(), asked.steps, asked.seeds)
    elif asked.what == "brats2015":
        brats2015(asked.data.resolve(), asked.output.resolve(), asked.changes)
    elif asked.what == "deepmedic":
        deepmedic(asked.data.resolve(), asked.output.resolve())
    elif asked.what == "trained-tiles":
        trained_tiles(asked.data.resolve(), asked.run, [(40, 56, 40), (32, 40, 32), (24, 32, 24)])
    else:
        tiles(asked.data.resolve())


if __name__ == "__main__":
    main()
