"""Where a step's time goes, and what the objective costs beside plain cross-entropy."""

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from segkit.engine.cohort import gather, make_loader
from segkit.engine.compile import choose_compiled
from segkit.engine.console import Console
from segkit.engine.device import choose_device, describe_device
from segkit.engine.objective import Objective
from segkit.engine.progress import Progress
from segkit.engine.step import step
from segkit.losses.cross_entropy import CrossEntropy
from segkit.recipe import Recipe
from segkit.sampling.counter import Purpose, fast
from segkit.sampling.loader import Batch

WARM_UP = 3  # steps that choose kernels and grow memory pools
MATMUL = {"cpu": 2048, "cuda": 8192}  # rows of the square matrices whose product measures the peak


@dataclass(frozen=True)
class Bench:
    """Medians over the measured steps, in seconds, and rates.

    step, plain: a step of the recipe, and one of plain cross-entropy on the same batch. cost: the first over the second, the median of the
    ratios of neighboring steps; spread: their lower and upper quartile. data: a batch made alone. phases: parts of a step of the recipe.
    trained: a step of training itself, in which the next batch is made meanwhile. flops: of one step. peak: of a matrix product in the
    same precision, per second. memory: the most that steps have taken on the device, in bytes; None on a CPU.
    """

    device: str
    precision: str
    batch_size: int
    step: float
    plain: float
    cost: float
    spread: tuple[float, float]
    data: float
    phases: dict[str, float]
    trained: float
    flops: int
    peak: float
    memory: int | None

    @property
    def patches_per_second(self) -> float:
        """Of training."""
        return self.batch_size / self.trained

    @property
    def share_of_peak(self) -> float:
        """Floating-point operations of a step per second, over the peak."""
        return self.flops / self.step / self.peak


class Stopwatch:
    """Seconds by phase, each begun and ended when the device is done with what came before."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.seconds = device, dict[str, float]()

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        finish(self.device)
        began = time.perf_counter()
        yield
        finish(self.device)
        self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - began


def bench(recipe: Recipe, device_name: str, steps: int, console: Console) -> Bench:
    """Measure `steps` steps of a resolved recipe, each beside one of plain cross-entropy. Nothing is written but the store."""
    device = choose_device(device_name)
    ours = Progress.begin(recipe, device)
    ours.objective.rehearse()
    cohort = gather(recipe, ours.network, console)
    loader = make_loader(cohort, recipe, ours.network, device, console)
    choose_compiled(ours, recipe, device, console)
    theirs = with_plain_objective(ours, recipe)

    def run(state: Progress, batch: Batch, **options: Any) -> None:
        step(state, recipe.train, batch, fast(recipe.train.seed, state.step, 1, Purpose.STEP, device), **options)

    for number in range(WARM_UP):
        batch = loader.batch(number)
        for state in (ours, theirs):
            run(state, batch)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    making: list[float] = []
    seconds: dict[int, list[float]] = {id(ours): [], id(theirs): []}
    # in turn, so that neither always meets the caches as the other left them
    for number, pair in zip(range(steps), cycle(((ours, theirs), (theirs, ours))), strict=False):
        with timed(device, making):
            batch = loader.batch(WARM_UP + number)
        for state in pair:
            with timed(device, seconds[id(state)]):
                run(state, batch)
    memory = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None

    watch, whole = Stopwatch(device), list[float]()
    for _ in range(steps):
        run(ours, batch, phase=watch)
    with timed(device, whole):
        for batch in loader.batches(0, steps):
            run(ours, batch)
    with Operations() as operations:
        run(ours, batch)
    ratios = [a / b for a, b in zip(seconds[id(ours)], seconds[id(theirs)], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return Bench(
        device=describe_device(device),
        precision=ours.pinned["precision"],
        batch_size=recipe.train.batch_size,
        step=statistics.median(seconds[id(ours)]),
        plain=statistics.median(seconds[id(theirs)]),
        cost=middle,
        spread=(low, high),
        data=statistics.median(making),
        phases={phase: total / steps for phase, total in watch.seconds.items()},
        trained=whole[0] / steps,
        flops=operations.count,
        peak=peak(device, torch.bfloat16 if ours.pinned["precision"] == "bf16" else torch.float32),
        memory=memory,
    )


def with_plain_objective(progress: Progress, recipe: Recipe) -> Progress:
    """The same network and optimizer, trained on cross-entropy alone."""
    features = progress.network.classifier.in_channels
    return replace(progress, objective=Objective((CrossEntropy(),), (), progress.objective.rare, features, recipe.train.steps))


class Operations(TorchDispatchMode):
    """Counts the floating-point operations of the convolutions and matrix products made inside, a multiply-add as two.

    torch's FlopCounterMode hooks modules' inputs as well, and fails where a gradient is taken with respect to one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        out = func(*args, **(kwargs or {}))
        law = flop_registry.get(func._overloadpacket)
        if law is not None:
            self.count += law(*args, **(kwargs or {}), out_val=out)
        return out


def peak(device: torch.device, dtype: torch.dtype, repeats: int = 10) -> float:
    """Floating-point operations per second of a large matrix product, the best of several: what this machine can do."""
    n = MATMUL[device.type]
    a, b = torch.randn(2, n, n, device=device).to(dtype)
    took: list[float] = []
    for _ in range(repeats):
        with timed(device, took):
            a @ b
    return 2 * n**3 / min(took)


@contextmanager
def timed(device: torch.device, seconds: list[float]) -> Iterator[None]:
    """Add the seconds that the block took, until the device was done with it."""
    finish(device)
    began = time.perf_counter()
    yield
    finish(device)
    seconds.append(time.perf_counter() - began)


def finish(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def table(result: Bench) -> Sequence[tuple[str, str]]:
    """The lines of the report: what, how much."""
    inside = sum(result.phases.values())
    lines = [
        ("device", f"{result.device}, {result.precision}"),
        ("step", f"{1e3 * result.step:.1f} ms"),
        *((f"  {phase}", f"{100 * seconds / inside:.0f} %") for phase, seconds in result.phases.items()),
        ("data", f"{1e3 * result.data:.1f} ms a batch, made alone"),
        ("training", f"{1e3 * result.trained:.1f} ms a step, the next batch made meanwhile: {result.patches_per_second:.1f} patches/s"),
        ("plain cross-entropy", f"{1e3 * result.plain:.1f} ms a step"),
        ("cost", f"{result.cost:.3f} plain steps (quartiles {result.spread[0]:.3f} to {result.spread[1]:.3f})"),
        ("operations", f"{result.flops / 1e9:.2f} GFLOP a step"),
        ("share of peak", f"{100 * result.share_of_peak:.1f} % of {result.peak / 1e9:.0f} GFLOP/s, a matrix product's"),
    ]
    return lines if result.memory is None else [*lines, ("memory", f"{result.memory / 2**20:.0f} MiB, steps alone")]
