"""Training: one loop, top to bottom."""

import time
from contextlib import nullcontext

import torch

from segkit.config.heap import freed_memory, give_back
from segkit.config.parse import dump
from segkit.config.signals import interruptions
from segkit.engine import checkpoint
from segkit.engine.cohort import Cohort, gather, make_loader
from segkit.engine.compile import choose_compiled
from segkit.engine.console import Console
from segkit.engine.device import describe_device
from segkit.engine.infer import tile_for
from segkit.engine.interruption import Interrupted, heeding
from segkit.engine.processes import ALONE, Processes
from segkit.engine.progress import Progress, resume, save
from segkit.engine.recorder import Recorder
from segkit.engine.run import Run, provenance
from segkit.engine.step import step
from segkit.engine.validate import validate
from segkit.engine.weights import describe_model, save_weights
from segkit.recipe import Recipe
from segkit.sampling.counter import Purpose, fast, fast_seed


def train(
    recipe: Recipe,
    run: Run,
    *,
    resumed: bool = False,
    device_name: str = "auto",
    console: Console | None = None,
    processes: Processes = ALONE,
) -> Run:
    """Train by a resolved recipe into `run`. With `resumed`, go on from the last checkpoint, exactly.

    processes: those that train together, as `joined` gives them; each of them calls this with the same recipe and run.
    Raises InputError for what the user can mend, WorkError for a loss that is not finite, Interrupted on Ctrl-C and SIGTERM.
    """
    console, settings = (console or Console()) if processes.first else Console("quiet"), recipe.train
    device = processes.device(device_name)
    if processes.count > 1:
        console.say(f"{processes.count} processes, {len(processes.slice_of(settings.batch_size))} samples each")
    torch.use_deterministic_algorithms(settings.deterministic)
    progress = Progress.begin(recipe, device, processes)
    for shape in (recipe.sampling.patch_shape, tile_for(progress.network, recipe)):
        progress.network.lattices(shape)  # refuses what does not suit the network
    progress.objective.rehearse()
    if resumed:
        resume(progress, run, recipe, device, console)
        if progress.step >= settings.steps:
            console.say(f"this run has its {settings.steps} steps already")
            if processes.first:
                run.end(progress.step)
            return run
    elif run.exists():
        raise run.in_use()
    cohort = gather(recipe, progress.network, console, processes)
    loader = make_loader(cohort, recipe, progress.network, device, console, processes)
    if processes.first:
        if not resumed:  # only now: what the data or the recipe lack is found without a trace
            run.create(dump(recipe))
        note_origin(run, recipe, cohort, device, processes, console)
    introduce(recipe, progress, cohort, device, console)
    choose_compiled(progress, recipe, device, console)
    keep_last = keeps_last(recipe, cohort)
    with (
        freed_memory(kept=True) if device.type == "cpu" else nullcontext(),
        interruptions(heard=processes.first) as stopped,
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
            # signals and clocks are those of one process, what follows from them is done by all
            signal, flush, save_now = processes.most(stopped[0] if stopped else 0, recorder.flush_is_due(), recorder.checkpoint_is_due())
            if signal and not stopped:
                stopped.append(signal)
            if flush:
                recorder.flush()
            tracker.advance(recorder.note)

            last = progress.step == settings.steps
            if progress.monitor is not None and (last or progress.step % progress.monitor.every == 0):
                progress.collect()
                window = progress.monitor.window(progress.step)
                if processes.first:
                    run.note_window(window)
            if cohort.validation and (last or (settings.validate_every and progress.step % settings.validate_every == 0)):
                judge(progress, cohort, recipe, run, recorder, device)
            if last or signal or save_now:
                recorder.checkpoint()
                save(progress, run, keep_last or progress.best is None)
                recorder.restart_clock()
            if signal and not last:
                raise Interrupted(signal, run, progress.step)
        recorder.finish()
    if stopped:  # in the last step: whoever called this must not go on as if nothing had come
        raise Interrupted(stopped[0], run, progress.step, complete=True)
    return run


def note_origin(run: Run, recipe: Recipe, cohort: Cohort, device: torch.device, processes: Processes, console: Console) -> None:
    """Write down what the model is and what it is made from; say so where a resumed run's data are others now."""
    describe_model(run, recipe)
    origin = provenance(describe_device(device), cohort.data_hash, cohort.ids) | {"processes": processes.count}
    if not run.note_origin(origin):
        console.say("the data or their preprocessing have changed since this run began: its losses will not be those of an undisturbed run")


def introduce(recipe: Recipe, progress: Progress, cohort: Cohort, device: torch.device, console: Console) -> None:
    """Say what is about to be trained, where, on how many cases, and what the regularizers have to say of these classes."""
    parameters = sum(p.numel() for p in progress.network.parameters())
    console.say(
        f"{recipe.model.name}: {parameters:,} parameters; {describe_device(device)}, {progress.pinned['precision']}; "
        f"{len(cohort.training)} training and {len(cohort.validation)} validation cases"
    )
    for notice in [regularizer.notice(len(recipe.class_names())) for regularizer in recipe.regularizers]:
        if notice:
            console.say(f"notice: {notice}")


def judge(progress: Progress, cohort: Cohort, recipe: Recipe, run: Run, recorder: Recorder, device: torch.device) -> None:
    """Validate; where the score is the best so far, keep a checkpoint, and the weights unless the last ones are asked for."""
    recorder.flush()
    began = time.perf_counter()
    scores = validate(progress.kept, recipe, cohort.validation, cohort.store, device, progress.pinned["precision"], progress.processes)
    recorder.validation(scores, time.perf_counter() - began)
    if scores.mean is not None and (progress.best is None or scores.mean > progress.best):
        progress.best = scores.mean
        progress.check_finite(run)
        progress.collect()
        if progress.processes.first:
            if not keeps_last(recipe, cohort):
                save_weights(run, progress.kept, progress.step)
            checkpoint.save(run.checkpoints / "best.pt", progress.state())
    give_back()  # volumes have other sizes than batches
    recorder.restart_clock()


def keeps_last(recipe: Recipe, cohort: Cohort) -> bool:
    """Whether the last weights are the ones that prediction loads, not the best."""
    return recipe.train.keep == "last" or not cohort.validation
