"""What a network must be able to say: which lattices it looks through, its features, its classifier."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from segkit.config.errors import InputError
from segkit.config.registry import Registry
from segkit.config.settings import Settings

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Lattice:
    """One grid of samples a network looks through, placed relative to its output.

    Sample j of an axis lies at output coordinate `offset + j * stride` (0 is the first output voxel), j = 0 .. shape - 1.
    """

    stride: int
    shape: Shape
    offset: Shape

    def __post_init__(self) -> None:
        if self.stride % 2 == 0:
            raise ValueError(f"a lattice needs an odd stride to be centered on voxels, got {self.stride}")


class Network(nn.Module):
    """Base of all networks. `forward` is `classifier(features(image))`, everywhere.

    image: one tensor [B, M, x, y, z] per lattice. features: [B, D, X, Y, Z]. logits: [B, C, X, Y, Z], class 0 the background.
    """

    multiple: Shape = (1, 1, 1)  # an output axis must be a multiple of this, axis by axis
    channels_last: bool = False  # the memory layout in which it is faster, as measured
    exact: bool = False  # offers what tile-independent inference needs: see DeepMedicNetwork
    classifier: nn.Conv3d  # 1x1x1

    def lattices(self, output_shape: Shape) -> tuple[Lattice, ...]:
        """The grids to sample for an output of this shape. InputError where the network cannot make that shape."""
        raise NotImplementedError

    def features(self, image: tuple[Tensor, ...]) -> Tensor:
        """What the classifier reads: [B, D, X, Y, Z]."""
        raise NotImplementedError

    def check_multiple(self, output_shape: Shape) -> None:
        """Refuse an output shape that the network's strides do not divide."""
        if any(size < 1 or size % factor for size, factor in zip(output_shape, self.multiple, strict=True)):
            raise InputError(
                "SK-M001",
                "the network cannot make a patch of this shape",
                expected=f"multiples of {self.multiple} voxels (X, Y, Z)",
                got=str(tuple(output_shape)),
                remedy="change sampling.patch_shape or infer.tile_shape",
            )

    def check_coarsest(self, output_shape: Shape) -> None:
        """Refuse an output shape of which one voxel is left at the coarsest level: normalized over space, it is always zero."""
        if all(size == factor for size, factor in zip(output_shape, self.multiple, strict=True)):
            raise InputError(
                "SK-M002",
                "the coarsest level has a single voxel, which cannot be normalized",
                expected=f"an axis of the patch at least twice as long as in {self.multiple}",
                got=str(tuple(output_shape)),
                remedy="a larger patch, or fewer levels",
            )

    def features_and_auxiliary(self, image: tuple[Tensor, ...]) -> tuple[Tensor, list[Tensor]]:
        """Features, and the logits of deep supervision, finest first (half the size, a quarter, ...); none by default."""
        return self.features(image), []

    def forward(self, image: tuple[Tensor, ...]) -> Tensor:
        return self.classifier(self.features(image))


class Model(Settings):
    """Settings of a network: a plug-in of the shelf. `build` makes the torch module."""

    name: ClassVar[str]

    def build(self, in_channels: int, classes: int) -> Network:
        """A network with fresh weights (torch's global generator). classes counts the background."""
        raise NotImplementedError


models: Registry[Model] = Registry("model", "segkit.models")
