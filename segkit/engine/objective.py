"""What one batch is trained on: its views, and the loss of a view."""

from collections.abc import Iterator, Sequence

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import interpolate

from segkit.engine.monitor import RunningMonitor
from segkit.losses.base import Loss, RunningLoss
from segkit.models.base import Network
from segkit.regularizers.base import Regularizer, RunningRegularizer
from segkit.volume.labels import IGNORED

Image = tuple[Tensor, ...]


def target_of(label: Tensor, classes: int) -> Tensor:
    """One-hot float target [B, C, X, Y, Z] of class indices uint8 [B, X, Y, Z]; all zero where IGNORED."""
    indices = torch.arange(classes, device=label.device, dtype=label.dtype).view(1, -1, 1, 1, 1)
    assert classes <= IGNORED
    return (label.unsqueeze(1) == indices).float()


class Objective(nn.Module):
    """Losses and regularizers of a recipe, started for one training. Its state is what they remember from step to step.

    rare: bool [C]. features: channels that the classifier reads. steps: length of the training.
    """

    rare: Tensor

    def __init__(self, losses: Sequence[Loss], regularizers: Sequence[Regularizer], rare: Tensor, features: int, steps: int) -> None:
        super().__init__()
        self.register_buffer("rare", rare, persistent=False)
        self.losses = [(loss, loss.start(steps)) for loss in losses]
        self.regularizers = [(regularizer.name, regularizer.start(len(rare), features, steps)) for regularizer in regularizers]
        self.running = nn.ModuleDict(
            {f"losses {loss.name}": part for loss, part in self.losses if isinstance(part, RunningLoss)}
            | {f"regularizers {name}": part for name, part in self.regularizers if isinstance(part, RunningRegularizer)}
        )

    def rehearse(self) -> None:
        """The losses on one voxel, so that settings that do not fit the number of classes are refused before anything begins."""
        target = torch.zeros((1, len(self.rare), 1, 1, 1), device=self.rare.device)
        target[:, 0] = 1
        self._terms((torch.zeros_like(target), target), (torch.zeros_like(target), target))

    def set_step(self, step: int) -> None:
        """Steps done so far."""
        for part in self._parts():
            part.set_step(step)

    def see(self, target: Tensor) -> None:
        """The clean target of a step, before anything is made of it."""
        for part in self._parts():
            if isinstance(part, RunningRegularizer):
                part.see(target)

    def views(self, network: Network, image: Image, target: Tensor, rng: Generator) -> Iterator[tuple[str, Image, Tensor]]:
        """The batch itself, then one more per regularizer that makes one; each from the clean batch."""
        yield "clean", image, target
        for name, regularizer in self.regularizers:
            view = regularizer.view(network, image, target, self.rare, rng)
            if view is not None:
                yield name, *view

    def loss(
        self, network: Network, image: Image, target: Tensor, rng: Generator, *, clean: bool, monitor: RunningMonitor | None = None
    ) -> dict[str, Tensor]:
        """Scalars by name for the log; `total` is the one to differentiate. clean: the batch itself, not a view of it.

        monitor: watches the clean batch, and changes nothing.

        features -> blend -> classifier -> adjust -> losses. Only the clean batch is blended, and losses by region never see it: a ratio of
        sums over voxels that were moved towards others would no longer be an overlap. Auxiliary logits of deep supervision get `adjust`
        and the losses too, at nearest-downsampled targets, with weights 1, 1/2, 1/4, ... (the full-size logits first) that sum to 1.
        """
        features, auxiliary = network.features_and_auxiliary(image)
        if clean and monitor is not None:
            monitor.watch(features, network.classifier, target)
        blended, shared = features, target
        if clean:
            for _, regularizer in self.regularizers:
                blended, shared = regularizer.blend(blended, shared, self.rare, rng)
        seen = network.classifier(blended), shared
        apart = (blended is not features or shared is not target) and any(loss.by_region for loss, _ in self.losses)
        levels = [(seen, (network.classifier(features), target) if apart else seen)]
        for logits in auxiliary:
            small = logits, interpolate(target, logits.shape[2:], mode="nearest")
            levels.append((small, small))
        weights = [0.5**level for level in range(len(levels))]
        terms: dict[str, Tensor] = {}
        for weight, (by_voxel, by_region) in zip(weights, levels, strict=True):
            for name, term in self._terms(by_voxel, by_region).items():
                terms[name] = terms.get(name, 0) + weight / sum(weights) * term
        total = torch.stack([loss.weight * terms[loss.name] for loss, _ in self.losses]).sum()
        return terms | {"total": total}

    def _parts(self) -> Iterator[RunningLoss | RunningRegularizer]:
        for part in self.running.values():
            assert isinstance(part, RunningLoss | RunningRegularizer)
            yield part

    def _terms(self, by_voxel: tuple[Tensor, Tensor], by_region: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """Each loss on the (logits, target) of its kind."""
        voxel = self._adjusted(*by_voxel)
        region = voxel if by_region is by_voxel else self._adjusted(*by_region)
        return {loss.name: part(*(region if loss.by_region else voxel), self.rare) for loss, part in self.losses}

    def _adjusted(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        for _, regularizer in self.regularizers:
            logits = regularizer.adjust(logits, target, self.rare)
        return logits, target


def rare_mask(names: Sequence[str], rare: Sequence[str], device: torch.device) -> Tensor:
    """bool [C]: which class indices are rare."""
    return torch.tensor([name in rare for name in names], device=device)
