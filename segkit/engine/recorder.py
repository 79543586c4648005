"""What training writes down while it runs: log.jsonl, TensorBoard, and the clock of the steps."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from segkit.config.errors import WorkError
from segkit.engine.console import Console
from segkit.engine.evaluate import DiceMeans
from segkit.engine.log import Log
from segkit.engine.progress import Progress
from segkit.engine.run import Run
from segkit.recipe import Train
from segkit.sampling.loader import Batch

FLUSH_STEPS, FLUSH_SECONDS = 20, 2.0  # losses stay on the device that long before the host waits for them


class Recorder:
    """Keeps the losses of the last steps on the device, and writes them in groups.

    `seconds` of a step is wall time since the end of the step before: waiting for data, computing and logging; validation and
    checkpoints are left out. Of several processes each keeps what it has of a step, the first writes what all have together; they flush
    at the same steps.
    """

    def __init__(self, run: Run, settings: Train, names: tuple[str, ...], progress: Progress, console: Console) -> None:
        self._run, self._settings, self._names, self._progress, self._console = run, settings, names, progress, console
        writes = progress.processes.first
        self._log = Log(run.log) if writes else Unheard()
        self._board = SummaryWriter(str(run.tensorboard), purge_step=progress.step + 1) if writes else Unheard()
        self._pending: list[_Pending] = []
        self._mark = self._flushed = self._saved = time.perf_counter()
        self.note = ""
        self._log.write("begin", step=progress.step, steps=settings.steps)

    def step_ends(self, batch: Batch, terms: dict[str, Tensor], learning_rate: float) -> None:
        """After a step. terms: scalars on the device, `loss` among them."""
        now = time.perf_counter()
        facts = {"updates": self._progress.updates, "learning_rate": learning_rate, "seconds": now - self._mark}
        voxels = batch.class_voxels(len(self._names))
        self._pending.append(_Pending(self._progress.step, terms, facts, batch.cases, batch.classes, voxels))
        self._mark = now

    def flush_is_due(self) -> bool:
        """By steps or by seconds, after a step."""
        return len(self._pending) >= FLUSH_STEPS or self._mark - self._flushed > FLUSH_SECONDS

    def flush(self) -> None:
        """Write what is pending. Raises WorkError (SK-T050) at the first value that is not finite, naming the batch's cases."""
        pending, self._pending = self._pending, []
        self._flushed = time.perf_counter()
        if not pending:
            return
        found = torch.stack([value.float() for done in pending for value in done.terms.values()])
        self._progress.processes.average([found])
        values = found.tolist()
        self._progress.sampled += self._progress.processes.total(torch.stack([self._sampled(done) for done in pending]).sum(0))
        for done in pending:
            scalars = {name: values.pop(0) for name in done.terms}
            self._log.write("step", step=done.step, **scalars, **done.facts)
            if not all(math.isfinite(value) for value in scalars.values()):
                self._log.flush()
                raise _not_finite(self._run, done.step, scalars, self._progress.processes.gather(done.cases))
            self._board.add_scalar("train/loss", scalars["loss"], done.step)
            self._board.add_scalar("train/learning_rate", done.facts["learning_rate"], done.step)
            self.note = f"loss {scalars['loss']:.4f}"
        self._log.flush()

    def _sampled(self, done: "_Pending") -> Tensor:
        """What a step adds to `Progress.sampled`."""
        return torch.stack((torch.bincount(torch.tensor(done.classes), minlength=len(self._names)), done.voxels.cpu()))

    def sampled(self) -> dict[str, dict[str, float]]:
        """Realised shares since the last call, per class: of the centers drawn and of the labelled voxels in their patches."""
        counts = self._progress.sampled
        shares = (counts / counts.sum(1, keepdim=True).clamp(min=1)).tolist()
        counts.zero_()
        return {what: dict(zip(self._names, row, strict=True)) for what, row in zip(("centers", "voxels"), shares, strict=True)}

    def validation(self, scores: DiceMeans, seconds: float) -> None:
        """Scores of whole validation volumes, with the realised sampling until now."""
        step = self._progress.step
        self._log.write(
            "validate", step=step, seconds=seconds, mean=scores.mean, dice=scores.means, cases=scores.counts, sampled=self.sampled()
        )
        self._log.flush()
        for name, value in scores.means.items():
            if value is not None:
                self._board.add_scalar(f"validation/dice/{name}", value, step)
        shown = "  ".join(f"{name} {'n/a' if value is None else f'{value:.3f}'}" for name, value in scores.means.items())
        self._console.say(f"step {step}: validation Dice {shown}  ({seconds:.1f} s, {max(scores.counts.values(), default=0)} cases)")

    def checkpoint_is_due(self) -> bool:
        """By steps or by minutes, as the recipe says."""
        every, minutes = self._settings.checkpoint_every, self._settings.checkpoint_minutes
        by_steps = every is not None and self._progress.step % every == 0
        return by_steps or (minutes is not None and time.perf_counter() - self._saved > 60 * minutes)

    def checkpoint(self) -> None:
        """Before a checkpoint is written: the log must hold every step the checkpoint has done."""
        self.flush()
        self._log.write("checkpoint", step=self._progress.step)
        self._log.sync()
        self._saved = time.perf_counter()

    def restart_clock(self) -> None:
        """What came since the last step is not part of the next one."""
        self._mark = time.perf_counter()

    def finish(self) -> None:
        """After the last step."""
        self._log.write("end", step=self._progress.step, sampled=self.sampled())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._log.close()
        self._board.close()


class Unheard:
    """Log and TensorBoard of a process that writes nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


@dataclass(frozen=True)
class _Pending:
    """A step that is not written yet. terms, voxels: still on the device."""

    step: int
    terms: dict[str, Tensor]
    facts: dict[str, Any]
    cases: tuple[str, ...]
    classes: tuple[int, ...]
    voxels: Tensor


def _not_finite(run: Run, step: int, scalars: dict[str, float], cases: Sequence[Sequence[str]]) -> WorkError:
    """cases: of each slice of the batch."""
    broken = ", ".join(f"{name} {value}" for name, value in scalars.items() if not math.isfinite(value))
    return WorkError(
        "SK-T050",
        f"step {step} is not finite",
        where=run.path,
        expected="finite losses and gradients",
        got=f"{broken} on a batch of cases {', '.join(sorted(set().union(*cases)))}",
        remedy="the last checkpoint is intact; `segkit check` these cases, or start again with a lower learning rate or clipping",
    )
