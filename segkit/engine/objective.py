"""What one batch is trained on: its views, and the loss of a view."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn.functional import interpolate

from segkit.losses.base import Loss
from segkit.models.base import Network
from segkit.regularizers.base import Regularizer
from segkit.volume.labels import IGNORED

Image = tuple[Tensor, ...]


def target_of(label: Tensor, classes: int) -> Tensor:
    """One-hot float target [B, C, X, Y, Z] of class indices uint8 [B, X, Y, Z]; all zero where IGNORED."""
    indices = torch.arange(classes, device=label.device, dtype=label.dtype).view(1, -1, 1, 1, 1)
    assert classes <= IGNORED
    return (label.unsqueeze(1) == indices).float()


@dataclass(frozen=True)
class Objective:
    """Losses and regularizers of a recipe, and which classes are rare (bool [C])."""

    losses: tuple[Loss, ...]
    regularizers: tuple[Regularizer, ...]
    rare: Tensor

    def rehearse(self) -> None:
        """The losses on one voxel, so that settings that do not fit the number of classes are refused before anything begins."""
        target = torch.zeros((1, len(self.rare), 1, 1, 1), device=self.rare.device)
        target[:, 0] = 1
        self._terms(torch.zeros_like(target), target)

    def views(self, network: Network, image: Image, target: Tensor, rng: Generator) -> Iterator[tuple[str, Image, Tensor]]:
        """The batch itself, then one more per regularizer that makes one; each from the clean batch."""
        yield "clean", image, target
        for regularizer in self.regularizers:
            view = regularizer.view(network, image, target, self.rare, rng)
            if view is not None:
                yield regularizer.name, *view

    def loss(self, network: Network, image: Image, target: Tensor, rng: Generator) -> dict[str, Tensor]:
        """Scalars by name for the log; `total` is the one to differentiate.

        features -> blend -> classifier -> adjust -> losses. Auxiliary logits of deep supervision get `adjust` and the losses too, at
        nearest-downsampled targets, with weights 1, 1/2, 1/4, ... (the full-size logits first) that sum to 1.
        """
        features, auxiliary = network.features_and_auxiliary(image)
        blended, shared = features, target
        for regularizer in self.regularizers:
            blended, shared = regularizer.blend(blended, shared, self.rare, rng)
        levels = [(network.classifier(blended), shared)]
        levels += [(logits, interpolate(target, logits.shape[2:], mode="nearest")) for logits in auxiliary]
        weights = [0.5**level for level in range(len(levels))]
        terms: dict[str, Tensor] = {}
        for weight, (logits, goal) in zip(weights, levels, strict=True):
            for name, term in self._terms(logits, goal).items():
                terms[name] = terms.get(name, 0) + weight / sum(weights) * term
        total = torch.stack([loss.weight * terms[loss.name] for loss in self.losses]).sum()
        return terms | {"total": total}

    def _terms(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        for regularizer in self.regularizers:
            logits = regularizer.adjust(logits, target, self.rare)
        return {loss.name: loss(logits, target, self.rare) for loss in self.losses}


def rare_mask(names: Sequence[str], rare: Sequence[str], device: torch.device) -> Tensor:
    """bool [C]: which class indices are rare."""
    return torch.tensor([name in rare for name in names], device=device)
