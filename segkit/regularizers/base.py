"""Where a regularizer may touch a training step: another view, the features, the logits.

Shapes: B batch, C classes (0 the background), D features, X Y Z output voxels. An image is a tuple with one tensor [B, M, x, y, z] per
lattice of the network. A voxel whose target is 0 for all classes is ignored. rare: bool [C].
rng: all randomness comes from it; it is new in each step, on the device of the batch, and the same in all processes that train together.
Each of them holds a slice of the batch: see `slices` for what lies beyond it.
"""

from typing import ClassVar

import numpy as np
import torch
from torch import Generator, Tensor, nn

from segkit.config.registry import Registry
from segkit.config.settings import Settings


class Regularizer(Settings):
    """A plug-in of the shelf. Override the one method your technique is about; the others leave the step as it is.

    Order on each view: features -> blend -> classifier -> adjust -> losses. A step trains on the clean batch and on every view made of
    it; views never stack.
    """

    name: ClassVar[str]

    def view(
        self, network: nn.Module, image: tuple[Tensor, ...], target: Tensor, rare: Tensor, rng: Generator
    ) -> tuple[tuple[Tensor, ...], Tensor] | None:
        """Another look at the clean batch, trained on with the same losses: (image, target [B, C, X, Y, Z]), or None."""
        return None

    def blend(self, features: Tensor, target: Tensor, rare: Tensor, rng: Generator) -> tuple[Tensor, Tensor]:
        """Between features [B, D, X, Y, Z] and classifier: what the classifier sees, and the target that belongs to it.

        On the clean batch only. Losses by region see the features and the target as they were.
        """
        return features, target

    def adjust(self, logits: Tensor, target: Tensor, rare: Tensor) -> Tensor:
        """Between classifier and losses: the logits [B, C, X, Y, Z] that the losses see. In training only."""
        return logits

    def notice(self, classes: int) -> str | None:
        """What somebody who trains so many classes with it should know beforehand, in a line."""
        return None

    def start(self, classes: int, features: int, steps: int) -> "Regularizer | RunningRegularizer":
        """What a training of so many steps calls: the regularizer itself, unless it remembers something from step to step."""
        return self


class RunningRegularizer(nn.Module):
    """The part of a regularizer that changes while training: the same methods, and buffers that are saved in checkpoints."""

    def set_step(self, step: int) -> None:
        """Steps done so far; called before each step, also after resuming."""

    def see(self, target: Tensor) -> None:
        """The clean batch's target [B, C, X, Y, Z]; called once a step, after `set_step` and before any other method."""

    def view(
        self, network: nn.Module, image: tuple[Tensor, ...], target: Tensor, rare: Tensor, rng: Generator
    ) -> tuple[tuple[Tensor, ...], Tensor] | None:
        """As `Regularizer.view`."""
        return None

    def blend(self, features: Tensor, target: Tensor, rare: Tensor, rng: Generator) -> tuple[Tensor, Tensor]:
        """As `Regularizer.blend`."""
        return features, target

    def adjust(self, logits: Tensor, target: Tensor, rare: Tensor) -> Tensor:
        """As `Regularizer.adjust`."""
        return logits


regularizers: Registry[Regularizer] = Registry("regularizer", "segkit.regularizers")


def host_draws(rng: Generator) -> np.random.Generator:
    """A Philox stream from the generator's seed, for the few numbers of a step that are to be the same on every device."""
    return np.random.Generator(np.random.Philox(rng.initial_seed()))


def full_precision(logits: Tensor) -> Tensor:
    """float16 and bfloat16 become float32, in which a shift of a tenth of a logit is not rounded away; float32 and float64 stay."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
