"""DeepMedic: valid pathways at several resolutions, read together by fully connected layers.

Source: Kamnitsas et al., Medical Image Analysis 2017; residual connections: Kamnitsas et al., BrainLes 2016. The shipped `deepMedic` model.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Self, cast

import torch
from pydantic import Field, PositiveInt, field_validator, model_validator
from torch import Tensor, nn
from torch.nn.functional import conv3d, pad

from segkit.models.base import Lattice, Model, Network, Shape, models
from segkit.models.blocks import (
    Activation,
    Faces,
    PreActivation,
    PreActivationConv,
    ValidPathway,
    add_convolved_cells,
    add_residual,
    cells_of,
    crop_faces,
    normal_fan_in,
    pad_faces,
    repeat_cells,
)

WHOLE: Faces = (True,) * 6  # every face is a border: there is nothing real beyond

Layers = tuple[Annotated[int, Field(ge=2)], ...]


@models.register("deepmedic")
class DeepMedic(Model):
    """The standard network: 8 layers at strides 1, 3 and 5, then 250 and 250 fully connected feature maps (2,008,901 parameters)."""

    widths: tuple[PositiveInt, ...] = Field(
        (30, 30, 40, 40, 40, 40, 50, 50), min_length=1, description="feature maps of a pathway's layers, 3x3x3 each"
    )
    context_strides: tuple[Annotated[int, Field(ge=3, le=15)], ...] = Field((3, 5), description="a low-resolution pathway for each; odd")
    residual_after: Layers = Field((4, 6, 8), description="layers of a pathway, from 1, whose output gets the input of the layer before")
    hidden: tuple[PositiveInt, ...] = Field(
        (250, 250), description="feature maps of the fully connected layers; () reads the pathways directly"
    )
    hidden_kernel: Literal[1, 3] = Field(
        3, description="voxels along an axis that the first fully connected layer reads; the others read 1"
    )
    hidden_residual_after: Layers = Field((2,), description="the same as residual_after, for the fully connected layers")
    dropout: float = Field(
        0.5, ge=0, lt=1, description="share of the inputs of every fully connected layer that are dropped; the first hidden one keeps all"
    )
    activation: Activation = "prelu"
    legacy_alignment: bool = Field(
        False, description="context centered on the first voxel of each cell, as DeepMedic 0.8 has it, not on the middle one"
    )

    @field_validator("context_strides")
    @classmethod
    def _odd(cls, strides: tuple[int, ...]) -> tuple[int, ...]:
        if any(stride % 2 == 0 for stride in strides):
            raise ValueError(f"expected odd strides (an even cell has no middle voxel), got {strides}")
        return strides

    @model_validator(mode="after")
    def _residuals_exist(self) -> Self:
        for name, after, layers in (
            ("residual_after", self.residual_after, self.widths),
            ("hidden_residual_after", self.hidden_residual_after, self.hidden),
        ):
            if any(layer > len(layers) for layer in after):
                raise ValueError(f"{name}: expected layers from 2 to {len(layers)}, got {after}")
        return self

    def build(self, in_channels: int, classes: int) -> "DeepMedicNetwork":
        return DeepMedicNetwork(self, in_channels, classes)


@models.register("deepmedic_basic")
class DeepMedicBasic(DeepMedic):
    """The standard widths with ReLU, no residual connections and no dropout: the baseline of the papers on class imbalance."""

    residual_after: Layers = ()
    hidden_residual_after: Layers = ()
    dropout: float = Field(0.0, ge=0, lt=1)
    activation: Activation = "relu"


@models.register("deepmedic_wide")
class DeepMedicWide(DeepMedic):
    """30 to 100 feature maps and 300 fully connected ones (5,141,051 parameters)."""

    widths: tuple[PositiveInt, ...] = Field((30, 40, 50, 60, 70, 80, 90, 100), min_length=1)
    hidden: tuple[PositiveInt, ...] = (300, 300)


@models.register("deepmedic_tiny")
class DeepMedicTiny(DeepMedic):
    """Three layers at strides 1 and 3, no hidden layers (3,291 parameters): for tests and first looks."""

    widths: tuple[PositiveInt, ...] = Field((4, 5, 6), min_length=1)
    context_strides: tuple[Annotated[int, Field(ge=3, le=15)], ...] = (3,)
    residual_after: Layers = ()
    hidden: tuple[PositiveInt, ...] = ()
    hidden_residual_after: Layers = ()


class DeepMedicNetwork(Network):
    """image: the patch at stride 1 with `border` voxels around it, then one tensor of cells for each context stride.

    A cell of stride s stands for s x s x s voxels. In a whole volume, cell k of an axis is centered on voxels ks .. ks + s - 1, voxel 0
    being the first of the volume; a pathway is a plain valid convolution, so its cells can be computed once, block by block, on that grid.
    Tiles then read them anywhere; `shape` is the tile and `halo` more voxels at inner faces:

        context = [Cells(path_map(i, samples_i), start_i) for each context stride]
        logits = classifier(tile_features(path_map(0, patch), context, faces))

    border: samples around the output that a pathway uses up. halo: voxels that the fully connected layers read beyond the tile.
    strides: of the pathways, 1 first.
    """

    exact = True
    channels_last = True

    def __init__(self, settings: DeepMedic, in_channels: int, classes: int) -> None:
        super().__init__()
        self.settings = settings
        self.border = len(settings.widths)
        self.halo = settings.hidden_kernel // 2 if settings.hidden else 0
        self.strides = (1, *settings.context_strides)
        self.pathways = nn.ModuleList(
            ValidPathway(in_channels, settings.widths, settings.residual_after, settings.activation) for _ in self.strides
        )
        width = settings.widths[-1] * len(self.strides)
        self.hidden = nn.ModuleList()
        for index, hidden_width in enumerate(settings.hidden):
            before = PreActivation(width, settings.activation, settings.dropout if index else 0.0)
            self.hidden.append(PreActivationConv(before, width, hidden_width, 1 if index else settings.hidden_kernel))
            width = hidden_width
        self.before_classifier = PreActivation(width, settings.activation, settings.dropout)
        self.classifier = nn.Conv3d(width, classes, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                normal_fan_in(module, gain=math.sqrt(2))

    def lattices(self, output_shape: Shape) -> tuple[Lattice, ...]:
        """Stride 1: the output and its border. Stride s: ceil(output / s) cells and as large a border.

        Sample j lies at s (j - border) + (s - 1) / 2, so that a cell is centered on the voxels it is repeated onto.
        """
        return tuple(self._lattice(stride, output_shape) for stride in self.strides)

    def _lattice(self, stride: int, output_shape: Shape) -> Lattice:
        x, y, z = (-(-size // stride) + 2 * self.border for size in output_shape)
        offset = -stride * self.border + (0 if self.settings.legacy_alignment else (stride - 1) // 2)
        return Lattice(stride, (x, y, z), (offset, offset, offset))

    def features(self, image: tuple[Tensor, ...]) -> Tensor:
        """Of a patch that knows no neighbors: its border voxels are repeated where the fully connected layers look beyond."""
        local, *context = (self.path_map(index, samples) for index, samples in enumerate(image))
        return self.tile_features(local, [Cells(maps, (0, 0, 0)) for maps in context], WHOLE)

    def path_map(self, index: int, samples: Tensor) -> Tensor:
        """Output of pathway `index` (0 is stride 1) on samples [B, M, x, y, z] of any size: [B, D, x - 2 border, ...]."""
        return self.pathways[index](samples)

    def tile_features(self, local: Tensor, context: Sequence["Cells"], faces: Faces) -> Tensor:
        """Features [B, D, X, Y, Z] of a tile from the maps of all pathways.

        local: at stride 1 [B, D, ...], the tile and `halo` more voxels at every face that is False (x low, x high, y low, y high, z low,
        z high); context: the cells of those voxels, for each context stride.
        Where a face is True the volume ends and its border voxel is repeated, after the activation, so that no statistics see it.
        """
        shape = (local.shape[2], local.shape[3], local.shape[4])
        low = (repeat_cells(cells.maps, stride, cells.start, shape) for cells, stride in zip(context, self.strides[1:], strict=True))
        x = before_last = torch.cat((local, *low), dim=1)
        for number, layer in enumerate(cast(Iterable[PreActivationConv], self.hidden), start=1):
            out = layer.before(x)
            if number == 1 and self.halo:
                out, x = self._first_hidden(out, [cells.start for cells in context], faces), crop_faces(x, faces, self.halo)
            else:
                out = layer.conv(out)
            if number in self.settings.hidden_residual_after:
                out = add_residual(out, before_last)
            before_last, x = x, out
        return self.before_classifier(x)

    def _first_hidden(self, activated: Tensor, starts: Sequence[Shape], faces: Faces) -> Tensor:
        """The 3x3x3 convolution of the maps of all pathways, those of a low-resolution pathway at its cells."""
        weight = cast(PreActivationConv, self.hidden[0]).conv.weight
        width = self.settings.widths[-1]
        (local, *context), (local_weight, *weights) = activated.split(width, dim=1), weight.split(width, dim=1)
        out = conv3d(pad_faces(local, faces, 1), local_weight)
        for voxels, part, stride, start in zip(context, weights, self.strides[1:], starts, strict=True):
            cells = pad(cells_of(voxels, stride, start), (1,) * 6, mode="replicate")
            x, y, z = (first + (not face) for first, face in zip(start, faces[::2], strict=True))
            out = add_convolved_cells(out, cells, part, stride, (x, y, z))
        return out


@dataclass(frozen=True)
class Cells:
    """What a low-resolution pathway says of a tile: maps [B, D, x, y, z], and how many voxels of the first cell lie before the tile."""

    maps: Tensor
    start: Shape
