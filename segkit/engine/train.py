"""Training: one loop, top to bottom."""

import time

import torch

from segkit.config.parse import dump
from segkit.engine import checkpoint
from segkit.engine.cohort import Cohort, gather, make_loader
from segkit.engine.console import Console
from segkit.engine.device import choose_device, describe_device
from segkit.engine.infer import tile_for
from segkit.engine.interruption import Interrupted, heeding, interruptions
from segkit.engine.progress import Progress, resume, save
from segkit.engine.recorder import Recorder
from segkit.engine.run import Run, provenance
from segkit.engine.step import step
from segkit.engine.validate import validate
from segkit.engine.weights import describe_model, save_weights
from segkit.recipe import Recipe
from segkit.sampling.counter import Purpose, fast, fast_seed


def train(recipe: Recipe, run: Run, *, resumed: bool = False, device_name: str = "auto", console: Console | None = None) -> Run:
    """Train by a resolved recipe into `run`. With `resumed`, go on from the last checkpoint, exactly.

    Raises InputError for what the user can mend, WorkError for a loss that is not finite, Interrupted on Ctrl-C and SIGTERM.
    """
    console, settings = console or Console(), recipe.train
    device = choose_device(device_name)
    torch.use_deterministic_algorithms(settings.deterministic)
    progress = Progress.begin(recipe, device)
    for shape in (recipe.sampling.patch_shape, tile_for(progress.network, recipe)):
        progress.network.lattices(shape)  # refuses what does not suit the network
    progress.objective.rehearse()
    if resumed:
        resume(progress, run, recipe, device, console)
        if progress.step >= settings.steps:
            console.say(f"this run has its {settings.steps} steps already")
            run.end(progress.step)
            return run
    elif run.exists():
        raise run.in_use()
    cohort = gather(recipe, progress.network, console)
    loader = make_loader(cohort, recipe, progress.network, device, console)
    if not resumed:  # only now: what the data or the recipe lack is found without a trace
        run.create(dump(recipe))
    describe_model(run, recipe)
    if not run.note_origin(provenance(describe_device(device), cohort.data_hash, cohort.ids)):
        console.say("the data or their preprocessing have changed since this run began: its losses will not be those of an undisturbed run")
    parameters = sum(p.numel() for p in progress.network.parameters())
    console.say(
        f"{recipe.model.name}: {parameters:,} parameters; {describe_device(device)}, {progress.pinned['precision']}; "
        f"{len(cohort.training)} training and {len(cohort.validation)} validation cases"
    )
    for notice in [regularizer.notice(len(recipe.class_names())) for regularizer in recipe.regularizers]:
        if notice:
            console.say(f"notice: {notice}")
    keep_last = keeps_last(recipe, cohort)
    with (
        interruptions() as stopped,
        heeding(stopped, run, progress),
        Recorder(run, settings, recipe.class_names(), progress, console) as recorder,
        console.track("train", settings.steps, progress.step) as tracker,
    ):
        for batch in loader.batches(progress.step, settings.steps):
            learning_rate = settings.optimizer.learning_rate * settings.schedule.factor(progress.step / settings.steps)
            for group in progress.optimizer.param_groups:
                group["lr"] = learning_rate
            torch.manual_seed(fast_seed(settings.seed, progress.step, 0, Purpose.STEP))  # dropout
            rng = fast(settings.seed, progress.step, 1, Purpose.STEP, device)  # what regularizers draw
            terms = step(progress, settings, batch, rng)
            progress.step += 1
            recorder.step_ends(batch, terms, learning_rate)
            tracker.advance(recorder.note)

            last = progress.step == settings.steps
            if progress.monitor is not None and (last or progress.step % progress.monitor.every == 0):
                run.note_window(progress.monitor.window(progress.step))
            if cohort.validation and (last or (settings.validate_every and progress.step % settings.validate_every == 0)):
                judge(progress, cohort, recipe, run, recorder, device)
            if last or stopped or recorder.checkpoint_is_due():
                recorder.checkpoint()
                save(progress, run, keep_last or progress.best is None)
                recorder.restart_clock()
            if stopped and not last:
                raise Interrupted(stopped[0], run, progress.step)
        recorder.finish()
    if stopped:  # in the last step: whoever called this must not go on as if nothing had come
        raise Interrupted(stopped[0], run, progress.step, complete=True)
    return run


def judge(progress: Progress, cohort: Cohort, recipe: Recipe, run: Run, recorder: Recorder, device: torch.device) -> None:
    """Validate; where the score is the best so far, keep a checkpoint, and the weights unless the last ones are asked for."""
    recorder.flush()
    began = time.perf_counter()
    scores = validate(progress.kept, recipe, cohort.validation, cohort.store, device, progress.pinned["precision"])
    recorder.validation(scores, time.perf_counter() - began)
    if scores.mean is not None and (progress.best is None or scores.mean > progress.best):
        progress.best = scores.mean
        progress.check_finite(run)
        if not keeps_last(recipe, cohort):
            save_weights(run, progress.kept, progress.step)
        checkpoint.save(run.checkpoints / "best.pt", progress.state())
    recorder.restart_clock()


def keeps_last(recipe: Recipe, cohort: Cohort) -> bool:
    """Whether the last weights are the ones that prediction loads, not the best."""
    return recipe.train.keep == "last" or not cohort.validation
