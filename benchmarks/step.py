"""A training step: segkit's engine, and the same network and objective written plainly with torch and MONAI.

    python benchmarks/step.py [--data FOLDER] [--repeats 5] [--only deepmedic unet] [--steps 5]
    python benchmarks/step.py --repeats 1 --steps 1 --shape 32 32 32 \
        --deepmedic model.hidden=[8,8] train.batch_size=2 sampling.patch_shape=[9,9,9] \
        --unet model.widths=[4,8] sampling.patch_shape=[16,16,16]     a try

deepmedic: configs/brats/2015.yaml, cross-entropy. unet: the network, patch, augmentation, losses and optimizer of configs/btcv/unet3d.yaml,
without deep supervision, on the same scans; its peer's loss is MONAI's DiceCELoss. On BRATS 2015 (--data), or phantoms of the same size.

First the step alone, on one batch that is ready: views, forward pass, losses, gradients, update. The peer is the usual loop: torch's own
layers and autocast, the loss, `backward`, the same optimizer. Both start from the same weights; without dropout, the losses of two
steps have to be the same. Voxels outside the scan are background in this batch, since DiceCELoss ignores none.

Then training, in the precision that segkit chooses here: the same batch again and again, batches made one after the other with the
steps, and batches made meanwhile, as segkit trains. Freed memory is kept, as segkit trains; its peer has the benefit too.

--deepmedic, --unet: changes of the recipes.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import count, islice, repeat

import torch
from brats import add_options, recipe_of, scratch_of
from measure import OURS, Work, compare, installed, options, quartiles, say, table
from plain import laid, mixed, plain, with_layouts
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from segkit.config.heap import freed_memory
from segkit.engine.cohort import gather, make_loader
from segkit.engine.console import Console
from segkit.engine.device import Precision, choose_precision
from segkit.engine.progress import Progress
from segkit.engine.step import add_penalty, step
from segkit.models.base import Network
from segkit.recipe import Recipe
from segkit.sampling.counter import Purpose, fast, fast_seed
from segkit.sampling.loader import Batch, Loader
from segkit.volume.labels import IGNORED

PACKAGES = ("segkit", "torch", "numpy", "monai")
PRECISIONS: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}
CPU = torch.device("cpu")
PLAIN = "plain"
TOLERANCE = {"fp32": 1e-3, "bf16": 5e-2}  # of a loss
UNET = (
    "model={name: unet3d, widths: [32, 64, 128, 256, 320]}",
    "sampling={patch_shape: [96, 96, 96], offset: 24, keep_inside: true, augment: {rotation: 15, scale: 0.15, "
    "intensity: {shift: 0.05, scale: 0.05, gamma: 0.2, noise: 0.03}}}",
    "losses=[cross_entropy, dice]",
    "train={steps: 50000, batch_size: 2, optimizer: {name: sgd, learning_rate: 1e-2}, schedule: {name: poly}, clip_gradient: 12}",
)
PARTS: dict[str, tuple[str, ...]] = {"deepmedic": (), "unet": UNET}
Step = Callable[[Batch], Tensor]  # one update; returns the loss


def ours(recipe: Recipe, progress: Progress) -> Step:
    """As `segkit.engine.train` does it."""
    settings = recipe.train

    def once(batch: Batch) -> Tensor:
        torch.manual_seed(fast_seed(settings.seed, progress.step, 0, Purpose.STEP))
        terms = step(progress, settings, batch, fast(settings.seed, progress.step, 1, Purpose.STEP, CPU))
        progress.step += 1
        return terms["loss"]

    return once


def theirs(recipe: Recipe, network: Network, precision: Precision, layout: torch.memory_format) -> Step:
    """The same network in plain form, in the loop that one writes."""
    settings, model = recipe.train, plain(network, layout).train()
    optimizer, criterion = settings.optimizer.build(model.parameters()), loss_of(recipe)

    def once(batch: Batch) -> Tensor:
        with mixed(precision):
            logits = model(laid(batch.image, layout))
        loss = criterion(logits.float(), batch.label[:, None].long())
        loss.backward()
        add_penalty(model, settings.regularization)
        if settings.clip_gradient is not None:
            nn.utils.clip_grad_norm_(model.parameters(), settings.clip_gradient)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    return once


def loss_of(recipe: Recipe) -> Callable[[Tensor, Tensor], Tensor]:
    """The recipe's losses as torch and MONAI have them, of logits [B, C, X, Y, Z] and indices [B, 1, X, Y, Z]."""
    if [loss.name for loss in recipe.losses] == ["cross_entropy"]:
        return lambda logits, label: nn.functional.cross_entropy(logits, label[:, 0])
    from monai.losses import DiceCELoss

    return DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)


def begun(recipe: Recipe, precision: Precision, **model: float) -> tuple[Recipe, Progress]:
    """A training in this precision that has not done anything yet, with other settings of the model."""
    changes = {"train": recipe.train.model_copy(update={"precision": precision}), "model": recipe.model.model_copy(update=model)}
    recipe = recipe.model_copy(update=changes)
    return recipe, Progress.begin(recipe, CPU)


def works_of(part: str, recipe: Recipe, batch: Batch, measured: bool) -> list[Work]:
    """The step in both precisions. measured: by another process, which has checked it."""
    works = []
    for precision, dtype in PRECISIONS.items():
        operations = 0 if measured else check(recipe, batch, precision)
        chosen, progress = begun(recipe, precision)
        ways: dict[str, Callable[[], object]] = {OURS: partial(ours(chosen, progress), batch)}
        if installed("monai") or len(recipe.losses) == 1:
            ways |= with_layouts(
                PLAIN,
                lambda layout, chosen=chosen, progress=progress, precision=precision: partial(
                    theirs(chosen, progress.network, precision, layout), batch
                ),
            )
        shape = " x ".join(map(str, batch.label.shape))
        works.append(Work(f"{part}, {shape}, {precision}", ways, float(sum(view.nbytes for view in batch.image)), float(operations), dtype))
    return works


def check(recipe: Recipe, batch: Batch, precision: Precision) -> int:
    """Raises AssertionError unless two steps have the same losses, all from the same weights. Says and returns what ours computes."""
    recipe, progress = begun(recipe, precision, dropout=0.0)
    others = with_layouts(PLAIN, lambda layout: theirs(recipe, progress.network, precision, layout))
    mine = ours(recipe, progress)
    with FlopCounterMode(display=False) as counter:
        losses = [mine(batch)]
    operations = counter.get_total_flops()
    losses.append(mine(batch))
    for name, other in others.items():
        with FlopCounterMode(display=False) as counter:
            found = [other(batch)]
        found.append(other(batch))
        apart = max(abs(float(one / two) - 1) for one, two in zip(found, losses, strict=True))
        assert apart < TOLERANCE[precision], f"{name}, {precision}: losses {found} instead of {losses}"
    print(f"{precision}: {operations / 1e12:.3f} TFLOP a step, of the plain form {counter.get_total_flops() / 1e12:.3f}.")
    return operations


def trained(once: Step, batches: Iterator[Batch], steps: int) -> tuple[float, float]:
    """Steps a second after a first one, and the share of the time in which a batch is waited for."""
    once(next(batches))
    waited, began = 0.0, time.perf_counter()
    for _ in range(steps):
        asked = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - asked
        once(batch)
    passed = time.perf_counter() - began
    return steps / passed, waited / passed


def sampling(once: Step, loader: Loader, batch: Batch, arguments: argparse.Namespace) -> list[list[str]]:
    """Training with and without batches made meanwhile: what, steps a second, and the share of waiting."""
    steps, number = arguments.steps, count()
    sources: dict[str, Callable[[], Iterator[Batch]]] = {
        "one batch again and again": lambda: repeat(batch),
        "batches made one after the other with steps": lambda: (loader.batch(next(number)) for _ in count()),
        "batches made meanwhile": lambda: islice(loader.batches(next(number), 10**9), steps + 1),
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in sources}
    for turn in range(arguments.repeats):  # in turn, forwards and backwards
        for name in sources if turn % 2 == 0 else reversed(sources):
            batches = sources[name]()
            found[name].append(trained(once, batches, steps))
            del batches  # ends its thread
    rows = []
    for name, values in found.items():
        speed, waiting = (quartiles(column) for column in zip(*values, strict=True))
        shares = " to ".join(f"{100 * share:.2f}" for share in (waiting[0], waiting[2]))
        rows.append([name, f"{speed[1]:.3g} ({speed[0]:.3g} to {speed[2]:.3g})", f"{100 * waiting[1]:.2f} % ({shares})"])
    return rows


def asked(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The options; None: of the command line."""
    parser = options(__doc__)
    add_options(parser)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--steps", type=int, default=5, metavar="N", help="of training in a turn")
    for part in PARTS:
        parser.add_argument(f"--{part}", nargs="+", default=[], metavar="KEY=VALUE", help="changes of its recipe")
    return parser.parse_args(words)


def batches_of(part: str, arguments: argparse.Namespace) -> tuple[Recipe, Loader, Batch]:
    """The recipe of a part, what makes its batches, and one of them in memory of its own, without ignored voxels."""
    recipe = recipe_of(arguments, *PARTS[part], *getattr(arguments, part))
    network = recipe.model.build(len(recipe.dataset.channel_names), len(recipe.class_names()))
    loader = make_loader(gather(recipe, network, Console("quiet")), recipe, network, CPU, Console("quiet"))
    made = loader.batch(0)
    image, label = tuple(view.clone() for view in made.image), made.label.masked_fill(made.label == IGNORED, 0)
    return recipe, loader, replace(made, image=image, label=label)


def main() -> None:
    """Part by part: a batch, the step alone, training."""
    arguments = asked()
    with scratch_of(arguments) as scans, freed_memory(kept=True):
        for part in arguments.only:
            if not arguments.memory_of:
                print(f"### {part}\n")
            recipe, loader, batch = batches_of(part, arguments)
            changes = getattr(arguments, part)
            again = [__file__, "--only", part, *scans, *([f"--{part}", *changes] if changes else [])]
            works = works_of(part, recipe, batch, bool(arguments.memory_of))
            if not arguments.memory_of:
                print()
            compare(works, arguments, again, PACKAGES)
            if not arguments.memory_of:
                say(f"{part}: training")
                chosen, progress = begun(recipe, choose_precision("auto", CPU))
                rows = sampling(ours(chosen, progress), loader, batch, arguments)
                print(f"\nTraining in {progress.pinned['precision']}: {arguments.steps} steps, n = {arguments.repeats} turns.\n")
                print(table([f"{part}, segkit", "steps/s: median (quartiles)", "of the time, waits for a batch"], rows))
                print()


if __name__ == "__main__":
    main()
