"""Where a regularizer may touch a training step: another view, the features, the logits.

Shapes: B batch, C classes (0 the background), D features, X Y Z output voxels. An image is a tuple with one tensor [B, M, x, y, z] per
lattice of the network. A voxel whose target is 0 for all classes is ignored. rare: bool [C]. rng: all randomness comes from it.
"""

from typing import ClassVar

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
        """Between features [B, D, X, Y, Z] and classifier: what the classifier sees, and the target that belongs to it."""
        return features, target

    def adjust(self, logits: Tensor, target: Tensor, rare: Tensor) -> Tensor:
        """Between classifier and losses: the logits [B, C, X, Y, Z] that the losses see. In training only."""
        return logits


regularizers: Registry[Regularizer] = Registry("regularizer", "segkit.regularizers")
