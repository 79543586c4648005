"""One training step: views, losses, gradients, update."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Generator, Tensor, nn
from torch.profiler import record_function

from segkit.engine.device import autocast, laid_out
from segkit.engine.objective import target_of
from segkit.engine.progress import Progress
from segkit.models.base import Network
from segkit.recipe import Penalty, Train
from segkit.regularizers.statistics import running_statistics_kept
from segkit.sampling.loader import Batch

Phase = Callable[[str], AbstractContextManager[object]]


def step(progress: Progress, settings: Train, batch: Batch, rng: Generator, phase: Phase = record_function) -> dict[str, Tensor]:
    """The clean batch and its views; one update for all (`joint`) or one each, clean first (`sequential`).

    All views are made from the clean batch and the parameters before any update, and normalize by statistics of their own that leave
    the running ones alone. Returns detached scalars for the log.

    phase: a context around each of `views`, `forward`, `backward` and `update`; by default a profiler's label.
    """
    network, objective = progress.network.train(), progress.objective
    target = target_of(batch.label, len(objective.rare))
    objective.set_step(progress.step)
    objective.see(target)
    device, precision = batch.label.device, progress.pinned["precision"]
    with phase("views"), running_statistics_kept(network), autocast(device, precision):
        views = list(objective.views(network, laid_out(batch.image, network), target, rng))
    terms: dict[str, Tensor] = {}
    totals = []
    for view, image, goal in views:
        with (
            phase("forward"),
            nullcontext() if view == "clean" else running_statistics_kept(network),
            autocast(device, precision),
        ):
            parts = objective.loss(network, image, goal, rng, clean=view == "clean", monitor=progress.monitor)
        with phase("backward"):
            parts["total"].backward()
        totals.append(parts.pop("total").detach())
        terms |= {name if view == "clean" else f"{view}/{name}": value.detach() for name, value in parts.items()}
        if settings.update == "sequential":
            with phase("update"):
                terms |= update(progress, settings)
    if settings.update == "joint":
        with phase("update"):
            terms |= update(progress, settings)
    if progress.average is not None and settings.average is not None:
        follow(progress.average, network, settings.average, progress.step)
    return {"loss": torch.stack(totals).sum()} | terms


def update(progress: Progress, settings: Train) -> dict[str, Tensor]:
    """One optimizer update from the gradients there are, which it uses up. Returns the gradient's norm where it is clipped.

    Each process has the gradient of its slice of the batch. Their mean is that of the whole batch, so all make the same update.
    """
    facts = {}
    progress.processes.average([parameter.grad for parameter in progress.network.parameters() if parameter.grad is not None])
    add_penalty(progress.network, settings.regularization)
    if settings.clip_gradient is not None:
        facts["gradient_norm"] = nn.utils.clip_grad_norm_(progress.network.parameters(), settings.clip_gradient)
    progress.optimizer.step()
    progress.optimizer.zero_grad(set_to_none=True)
    progress.updates += 1
    return facts


def add_penalty(network: nn.Module, penalty: Penalty) -> None:
    """Add the gradient of l1 sum |w| + l2 sum w^2 over convolution kernels: l1 sign(w) + 2 l2 w."""
    if not (penalty.l1 or penalty.l2):
        return
    for kernel in kernels(network):
        if kernel.grad is not None:
            kernel.grad.add_(kernel.detach().sign(), alpha=penalty.l1).add_(kernel.detach(), alpha=2 * penalty.l2)


def kernels(network: nn.Module) -> Iterator[nn.Parameter]:
    """Weights of the convolutions, transposed ones too."""
    for module in network.modules():
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d) and isinstance(module.weight, nn.Parameter):
            yield module.weight


@torch.no_grad()
def follow(average: Network, network: Network, decay: float, done: int) -> None:
    """mean <- d mean + (1 - d) weights, d = min(decay, (1 + done) / (10 + done)): the start is soon forgotten. Buffers are copied."""
    kept = min(decay, (1 + done) / (10 + done))
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - kept)
    for mean, live in zip(average.buffers(), network.buffers(), strict=True):
        mean.copy_(live)
