"""What changes while training: everything a checkpoint holds."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from segkit.config.errors import InputError, WorkError
from segkit.config.parse import dump, parse
from segkit.config.yaml import load, loads
from segkit.engine import checkpoint
from segkit.engine.batchwide import batchwide
from segkit.engine.console import Console
from segkit.engine.device import choose_precision, placed
from segkit.engine.monitor import RunningMonitor
from segkit.engine.objective import Objective, rare_mask
from segkit.engine.processes import ALONE, Processes
from segkit.engine.run import Run
from segkit.engine.weights import save_weights
from segkit.models.base import Network
from segkit.recipe import Recipe

MOVABLE = ("dataset.root", "dataset.split.file", "preprocess.store", "sampling.residence")  # places, which change no number


@dataclass
class Progress:
    """Network, objective, optimizer, the running mean of the weights, the monitor's sums, and how far they are.

    sampled: int64 [2, C], centers and labelled voxels per class since the last validation.
    pinned: what was chosen when the run began and must stay when it is resumed on another machine.
    processes: who trains it, each with the same weights. They are no part of a checkpoint.
    """

    network: Network
    objective: Objective
    optimizer: torch.optim.Optimizer
    average: Network | None
    sampled: Tensor
    step: int = 0
    updates: int = 0
    best: float | None = None
    pinned: dict[str, Any] = field(default_factory=dict)
    monitor: RunningMonitor | None = None
    processes: Processes = ALONE

    @classmethod
    def begin(cls, recipe: Recipe, device: torch.device, processes: Processes = ALONE) -> "Progress":
        """Fresh weights, drawn from the recipe's seed."""
        torch.manual_seed(recipe.train.seed)
        network = recipe.model.build(len(recipe.dataset.channel_names), len(recipe.class_names()))
        processes.spread(network.state_dict().values())  # a plug-in may draw its weights elsewhere
        network = placed(batchwide(network, processes, device), device)
        average = deepcopy(network).requires_grad_(False) if recipe.train.average else None
        pinned = {
            "precision": choose_precision(recipe.train.precision, device),
            "threads": torch.get_num_threads(),
            "processes": processes.count,
        }
        sampled = torch.zeros((2, len(recipe.class_names())), dtype=torch.int64)
        check_classifier(network)
        rare = rare_mask(recipe.class_names(), recipe.dataset.rare_classes, device)
        features = network.classifier.in_channels
        objective = Objective(recipe.losses, recipe.regularizers, rare, features, recipe.train.steps).to(device)
        optimizer = recipe.train.optimizer.build(network.parameters())
        watched = recipe.train.monitor
        monitor = RunningMonitor(watched, recipe.class_names(), recipe.dataset.rare_classes).to(device) if watched else None
        return cls(network, objective, optimizer, average, sampled, pinned=pinned, monitor=monitor, processes=processes)

    @property
    def kept(self) -> Network:
        """The network that is validated and saved: the running mean where there is one."""
        return self.average or self.network

    def state(self) -> checkpoint.State:
        """Tensors and plain values."""
        return {
            "network": self.network.state_dict(),
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict() if self.average else None,
            "sampled": self.sampled,
            "step": self.step,
            "updates": self.updates,
            "best": self.best,
            "pinned": self.pinned,
            "monitor": self.monitor.state_dict() if self.monitor else None,
        }

    def restore(self, state: checkpoint.State) -> None:
        """The inverse of `state`."""
        self.network.load_state_dict(state["network"])
        self.objective.load_state_dict(state["objective"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        if self.monitor is not None:
            self.monitor.load_state_dict(state["monitor"])
            if not self.processes.first:  # which has the sums of all
                self.monitor.forget()
        self.sampled.copy_(state["sampled"])
        self.step, self.updates, self.best, self.pinned = state["step"], state["updates"], state["best"], state["pinned"]

    def collect(self) -> None:
        """Before a checkpoint, in every process: the monitor's sums of all slices come together in the first."""
        if self.monitor is not None:
            self.processes.collect(self.monitor.buffers())

    def check_finite(self, run: Run) -> None:
        """Raises WorkError (SK-T051) where a weight or statistic is not finite, so that no such network is ever written."""
        networks = [network for network in (self.network, self.average) if network is not None]
        broken = [name for network in networks for name, value in network.state_dict().items() if not torch.isfinite(value).all()]
        if broken:
            raise WorkError(
                "SK-T051",
                f"the weights of step {self.step} are not finite, and were not written",
                where=run.path,
                got=", ".join(broken[:3]),
                remedy="start a run with a lower learning rate or train.clip_gradient",
            )


def check_classifier(network: Network) -> None:
    """Raises InputError (SK-T052) where the network does not end in what techniques between features and classifier rely on."""
    head = getattr(network, "classifier", None)
    if not isinstance(head, nn.Conv3d) or head.kernel_size != (1, 1, 1) or head.stride != (1, 1, 1):
        raise InputError(
            "SK-T052",
            "the network has no 1x1x1 classifier",
            where="model",
            expected="an attribute `classifier`, a Conv3d with a kernel and a stride of 1",
            got=str(head),
            remedy="add a 1x1x1 convolution as the network's last layer; `features` returns what it reads",
        )


def save(progress: Progress, run: Run, keep_these: bool) -> None:
    """The last checkpoint; and before it the weights for prediction, where the last are the ones to keep.

    In this order a kill in between is made good: the run goes on from the checkpoint before and writes the same weights again.
    """
    progress.check_finite(run)
    progress.collect()
    if progress.processes.first:
        if keep_these:
            save_weights(run, progress.kept, progress.step)
        checkpoint.save(run.checkpoints / "last.pt", progress.state())
    progress.processes.meet()  # nobody ends before it is written


def resume(progress: Progress, run: Run, recipe: Recipe, device: torch.device, console: Console) -> None:
    """Back to the run's last checkpoint, with the log cut there; to the beginning where the run ended before its first checkpoint.

    Raises InputError where there is no run, or its recipe was another.
    """
    if not run.exists():
        raise InputError(
            "SK-T011", "nothing to resume here", where=run.path, expected="a run's folder", got="no run", remedy="train without --resume"
        )
    # both typed by this version: a key that it knows, and that the run's version did not, is no change
    before, now = (loads(dump(each), "the recipe").value for each in (parse(Recipe, load(run.recipe)), recipe))
    changes = dict(differences(before, now))
    moved = [changes.pop(key) for key in MOVABLE if key in changes]
    if moved:
        console.say("not as when the run began: " + "; ".join(moved))
    if changes:
        raise InputError(
            "SK-T012",
            "the recipe is not the one this run was started with",
            where=run.recipe,
            got="; ".join(list(changes.values())[:8]) + "; ..." * (len(changes) > 8),
            remedy="resume with the run's own recipe.yaml, or start another run",
        )
    chosen, last = dict(progress.pinned), run.checkpoints / "last.pt"
    if last.exists():
        progress.restore(checkpoint.load(last, device))
    before = progress.pinned.get("processes", 1)
    if before != progress.processes.count:  # sums are shared out anew in any case
        console.say(f"processes: {progress.processes.count}, before {before}: what follows is the same up to rounding only")
        progress.pinned |= {what: chosen[what] for what in ("processes", "threads")}
    for what, today in chosen.items():
        if progress.pinned.get(what, today) != today:
            console.say(f"{what}: {progress.pinned[what]}, as when the run began (now it would be {today})")
    torch.set_num_threads(progress.pinned["threads"])  # sums depend on how they are shared out
    if not progress.processes.first:
        return
    for leftover in run.path.rglob(".tmp-*"):  # of a write that was killed
        leftover.unlink()
    dropped = run.cut_log(progress.step)
    console.say(f"resumed at step {progress.step}" + (f", {dropped} later log lines cut" if dropped else ""))


def differences(before: Any, after: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Where two plain documents differ: key path and text, `train.steps: 3 -> 9`. The order of classes is a difference too."""
    if isinstance(before, dict) and isinstance(after, dict):
        if list(before) != list(after) and set(before) == set(after):
            yield key, f"{key}: {list(before)} -> {list(after)}"
        for name in dict.fromkeys([*before, *after]):
            yield from differences(before.get(name, "nothing"), after.get(name, "nothing"), f"{key}.{name}".lstrip("."))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from differences(old, new, f"{key}[{index}]")
    elif before != after:
        yield key, f"{key}: {before} -> {after}"
