"""What training writes down while it runs: log.jsonl, TensorBoard, and the clock of the steps."""

import time
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from segkit.config.errors import WorkError
from segkit.engine.console import Console
from segkit.engine.evaluate import DiceMeans
from segkit.engine.run import Log, Run
from segkit.recipe import Train
from segkit.sampling.loader import Batch

FLUSH_STEPS, FLUSH_SECONDS = 20, 2.0  # losses stay on the device that long before the host waits for them


class Recorder:
    """Keeps the losses of the last steps on the device, and writes them in groups.

    `seconds` of a step is wall time since the end of the step before: waiting for data, computing and logging; validation and
    checkpoints are left out.
    """

    def __init__(self, run: Run, settings: Train, names: tuple[str, ...], first_step: int, console: Console) -> None:
        self._run, self._settings, self._names, self._console = run, settings, names, console
        self._log = Log(run)
        self._board = SummaryWriter(str(run.tensorboard), purge_step=first_step + 1 if first_step else None)
        self._pending: list[tuple[int, dict[str, Tensor], dict[str, Any], Batch]] = []
        self._centers, self._voxels = np.zeros(len(names), dtype=np.int64), np.zeros(len(names), dtype=np.int64)
        self._mark = self._flushed = self._saved = time.perf_counter()
        self.note = ""
        self._log.write("begin", step=first_step, steps=settings.steps)

    def step_ends(self, step: int, updates: int, batch: Batch, terms: dict[str, Tensor], learning_rate: float) -> None:
        """After step number `step` (from 1). terms: scalars on the device, `loss` among them."""
        now = time.perf_counter()
        self._pending.append((step, terms, {"updates": updates, "learning_rate": learning_rate, "seconds": now - self._mark}, batch))
        self._mark = now
        if len(self._pending) >= FLUSH_STEPS or now - self._flushed > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what is pending. Raises WorkError (SK-T050) at the first value that is not finite, naming the batch's cases."""
        pending, self._pending = self._pending, []
        self._flushed = time.perf_counter()
        if not pending:
            return
        values = torch.stack([value.float() for _, terms, _, _ in pending for value in terms.values()]).tolist()
        for step, terms, facts, batch in pending:
            scalars = {name: values.pop(0) for name in terms}
            self._log.write("step", step=step, **scalars, **facts)
            self._voxels += batch.class_voxels(len(self._names))
            self._centers += np.bincount(batch.classes, minlength=len(self._names))
            if not np.isfinite(list(scalars.values())).all():
                self._log.flush()
                raise _not_finite(self._run, step, scalars, batch)
            self._board.add_scalar("train/loss", scalars["loss"], step)
            self._board.add_scalar("train/learning_rate", facts["learning_rate"], step)
            self.note = f"loss {scalars['loss']:.4f}"
        self._log.flush()

    def sampled(self) -> dict[str, dict[str, float]]:
        """Realised shares since the last call, per class: of the centers drawn and of the labelled voxels in their patches."""
        shares = {
            "centers": dict(zip(self._names, (self._centers / max(1, self._centers.sum())).tolist(), strict=True)),
            "voxels": dict(zip(self._names, (self._voxels / max(1, self._voxels.sum())).tolist(), strict=True)),
        }
        self._centers[:], self._voxels[:] = 0, 0
        return shares

    def validation(self, step: int, scores: DiceMeans, seconds: float) -> None:
        """Scores of whole validation volumes after `step`, with the realised sampling until then."""
        self._log.write(
            "validate", step=step, seconds=seconds, mean=scores.mean, dice=scores.means, cases=scores.counts, sampled=self.sampled()
        )
        self._log.flush()
        for name, value in scores.means.items():
            if value is not None:
                self._board.add_scalar(f"validation/dice/{name}", value, step)
        shown = "  ".join(f"{name} {'n/a' if value is None else f'{value:.3f}'}" for name, value in scores.means.items())
        self._console.say(f"step {step}: validation Dice {shown}  ({seconds:.1f} s, {max(scores.counts.values(), default=0)} cases)")

    def checkpoint_is_due(self, step: int) -> bool:
        """By steps or by minutes, as the recipe says."""
        every, minutes = self._settings.checkpoint_every, self._settings.checkpoint_minutes
        by_steps = every is not None and step % every == 0
        return by_steps or (minutes is not None and time.perf_counter() - self._saved > 60 * minutes)

    def checkpoint(self, step: int) -> None:
        """Before the checkpoint of `step` is written: the log must hold every step the checkpoint has done."""
        self._log.write("checkpoint", step=step)
        self._log.sync()
        self._saved = time.perf_counter()

    def restart_clock(self) -> None:
        """What came since the last step is not part of the next one."""
        self._mark = time.perf_counter()

    def finish(self, step: int) -> None:
        """After the last step."""
        self._log.write("end", step=step, sampled=self.sampled())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._log.close()
        self._board.close()


def _not_finite(run: Run, step: int, scalars: dict[str, float], batch: Batch) -> WorkError:
    broken = ", ".join(f"{name} {value}" for name, value in scalars.items() if not np.isfinite(value))
    return WorkError(
        "SK-T050",
        f"step {step} is not finite",
        where=run.path,
        expected="finite losses and gradients",
        got=f"{broken} on a batch of cases {', '.join(sorted(set(batch.cases)))}",
        remedy="the last checkpoint is intact: `segkit check` these cases, or lower the learning rate, or set train.clip_gradient",
    )
