"""Training: one loop, top to bottom."""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import torch

from segkit.config.errors import SegkitError
from segkit.config.parse import dump
from segkit.engine import checkpoint
from segkit.engine.cohort import gather, make_loader
from segkit.engine.console import Console
from segkit.engine.device import choose_device, describe_device
from segkit.engine.objective import Objective, rare_mask
from segkit.engine.progress import Progress, resume, save
from segkit.engine.recorder import Recorder
from segkit.engine.run import Run, provenance
from segkit.engine.step import step
from segkit.engine.validate import validate
from segkit.engine.weights import describe_model, save_weights
from segkit.recipe import Recipe
from segkit.sampling.counter import Purpose, fast, fast_seed


class Interrupted(SegkitError):
    """Ctrl-C or SIGTERM: a checkpoint was written and the run can be resumed. Exit status 130 or 143."""

    def __init__(self, signal_number: int, run: Run, done: int) -> None:
        remedy = "go on with the same command and --resume"
        super().__init__("SK-T040", f"stopped after step {done}; a checkpoint was written", where=run.path, remedy=remedy)
        self.exit_status = 128 + signal_number


def train(recipe: Recipe, run: Run, *, resumed: bool = False, device_name: str = "auto", console: Console | None = None) -> Run:
    """Train by a resolved recipe into `run`. With `resumed`, go on from the last checkpoint, exactly.

    Raises InputError for what the user can mend, WorkError for a loss that is not finite, Interrupted on Ctrl-C and SIGTERM.
    """
    console, settings = console or Console(), recipe.train
    device = choose_device(device_name)
    torch.use_deterministic_algorithms(settings.deterministic)
    progress = Progress.begin(recipe, device)
    progress.network.lattices(recipe.sampling.patch_shape)  # refuses a patch that does not suit the network
    if resumed:
        resume(progress, run, recipe, device, console)
        if progress.step >= settings.steps:
            console.say(f"this run has its {settings.steps} steps already")
            return run
    elif run.exists():
        raise run.in_use()
    cohort = gather(recipe, progress.network, console)
    loader = make_loader(cohort, recipe, progress.network, device, console)
    if not resumed:  # only now: what the data or the recipe lack is found without a trace
        run.create(dump(recipe))
    describe_model(run, recipe)
    run.write_json(run.provenance, provenance(describe_device(device), cohort.data_hash))
    parameters = sum(p.numel() for p in progress.network.parameters())
    console.say(
        f"{recipe.model.name}: {parameters:,} parameters; {describe_device(device)}, {progress.pinned['precision']}; "
        f"{len(cohort.training)} training and {len(cohort.validation)} validation cases"
    )
    objective = Objective(recipe.losses, recipe.regularizers, rare_mask(recipe.class_names(), recipe.dataset.rare_classes, device))
    keep_last = settings.keep == "last" or not cohort.validation
    with (
        Recorder(run, settings, recipe.class_names(), progress.step, console) as recorder,
        interruptions() as stopped,
        console.track("train", settings.steps, progress.step) as tracker,
    ):
        for batch in loader.batches(progress.step, settings.steps):
            learning_rate = settings.optimizer.learning_rate * settings.schedule.factor(progress.step / settings.steps)
            for group in progress.optimizer.param_groups:
                group["lr"] = learning_rate
            torch.manual_seed(fast_seed(settings.seed, progress.step, 0, Purpose.STEP))  # dropout
            rng = fast(settings.seed, progress.step, 1, Purpose.STEP, device)  # what regularizers draw
            terms = step(progress, objective, settings, batch, rng)
            progress.step += 1
            recorder.step_ends(progress.step, progress.updates, batch, terms, learning_rate)
            tracker.advance(recorder.note)

            last = progress.step == settings.steps
            if cohort.validation and (last or (settings.validate_every and progress.step % settings.validate_every == 0)):
                recorder.flush()
                began = time.perf_counter()
                scores = validate(progress.kept, recipe, cohort.validation, cohort.store, device, progress.pinned["precision"])
                recorder.validation(progress.step, scores, time.perf_counter() - began)
                if scores.mean is not None and (progress.best is None or scores.mean > progress.best):
                    progress.best = scores.mean
                    checkpoint.save(run.checkpoints / "best.pt", progress.state())
                    if not keep_last:
                        save_weights(run, progress.kept, progress.step)
                recorder.restart_clock()
            if last or stopped or recorder.checkpoint_is_due(progress.step):
                recorder.flush()
                recorder.checkpoint(progress.step)
                save(progress, run, keep_last or progress.best is None)
                recorder.restart_clock()
            if stopped and not last:
                raise Interrupted(stopped[0], run, progress.step)
        recorder.finish(progress.step)
    return run


@contextmanager
def interruptions() -> Iterator[Sequence[int]]:
    """A list that gets the signal's number on the first Ctrl-C or SIGTERM; a second one stops at once."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)
        os.write(2, b"\nstopping after this step, with a checkpoint; once more stops at once\n")  # print is not safe in here

    try:
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # signals reach the main thread only, and this is another
        before = {}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
