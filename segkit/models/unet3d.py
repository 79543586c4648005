"""U-Net: padded convolutions on several levels, each level's maps handed over to the way back up.

Sources: Çiçek et al., MICCAI 2016 (3D U-Net); Isensee et al., Nature Methods 2021 (its normalization, activation and strided convolutions).
"""

import math
from itertools import pairwise
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn

from segkit.models.base import Lattice, Model, Network, Shape, models
from segkit.models.blocks import normal_fan_in
from segkit.models.instance_norm import InstanceNorm

SLOPE = 0.01  # of the leaky ReLU

Stride = Annotated[int, Field(ge=1, le=4)]
Kernel = Literal[1, 3, 5]
Norm = Literal["instance", "batch", "group"]


@models.register("unet3d")
class UNet3D(Model):
    """Convolution - normalization - leaky ReLU; down by strided convolutions, up by transposed ones, skips concatenated."""

    widths: tuple[PositiveInt, ...] = Field((16, 32, 64, 128), min_length=1, description="feature maps of each level, finest first")
    blocks: PositiveInt | tuple[PositiveInt, ...] = Field(2, description="convolutions of each level, on the way down and up")
    residual: bool = Field(False, description="a level's input is added to its output before the last activation")
    norm: Norm = "instance"
    strides: tuple[Stride | tuple[Stride, Stride, Stride], ...] | None = Field(
        None, description="from each level to the next, one number or (X, Y, Z); default 2. (2, 2, 1) leaves thick slices alone"
    )
    kernels: tuple[Kernel | tuple[Kernel, Kernel, Kernel], ...] | None = Field(
        None, description="of each level, one odd number or (X, Y, Z); default 3. (3, 3, 1) does not mix thick slices"
    )
    deep_supervision: int = Field(0, ge=0, description="levels below the finest that are trained on logits of their own")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of the feature maps dropped after each convolution")

    @model_validator(mode="after")
    def _one_per_level(self) -> Self:
        levels = len(self.widths)
        expected = {"blocks": levels, "strides": levels - 1, "kernels": levels}
        for name, count in expected.items():
            value = getattr(self, name)
            if isinstance(value, tuple) and len(value) != count:
                raise ValueError(f"{name}: expected {count} values for {levels} levels, got {len(value)}")
        if self.deep_supervision > max(0, levels - 2):
            raise ValueError(f"deep_supervision: expected at most {max(0, levels - 2)} for {levels} levels, got {self.deep_supervision}")
        return self

    def build(self, in_channels: int, classes: int) -> "UNet3DNetwork":
        return UNet3DNetwork(self, in_channels, classes)


class UNet3DNetwork(Network):
    """image: one tensor of the output's shape, which `multiple` (the product of all strides) divides."""

    channels_last = True

    def __init__(self, settings: UNet3D, in_channels: int, classes: int) -> None:
        super().__init__()
        self.settings = settings
        widths, levels = settings.widths, len(settings.widths)
        blocks = settings.blocks if isinstance(settings.blocks, tuple) else (settings.blocks,) * levels
        kernels = _triples(settings.kernels or (3,) * levels)
        strides = _triples(settings.strides or (2,) * (levels - 1))
        x, y, z = (math.prod(axis) for axis in zip((1, 1, 1), *strides, strict=True))
        self.multiple = (x, y, z)

        inputs = (in_channels, *widths)
        self.down = nn.ModuleList(
            _Level(settings, inputs[level], widths[level], blocks[level], kernels[level], stride)
            for level, stride in enumerate(((1, 1, 1), *strides))
        )
        self.up = nn.ModuleList(
            nn.ConvTranspose3d(coarse, fine, stride, stride, bias=False)
            for (fine, coarse), stride in zip(pairwise(widths), strides, strict=True)
        )
        self.merge = nn.ModuleList(
            _Level(settings, 2 * widths[level], widths[level], blocks[level], kernels[level], (1, 1, 1)) for level in range(levels - 1)
        )
        self.auxiliary = nn.ModuleList(nn.Conv3d(widths[level], classes, 1) for level in range(1, settings.deep_supervision + 1))
        self.classifier = nn.Conv3d(widths[0], classes, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                normal_fan_in(module, gain=nn.init.calculate_gain("leaky_relu", SLOPE))
            elif isinstance(module, nn.ConvTranspose3d):
                normal_fan_in(module, gain=1.0)

    def lattices(self, output_shape: Shape) -> tuple[Lattice, ...]:
        self.check_multiple(output_shape)
        if self.settings.norm != "group":
            self.check_coarsest(output_shape)
        return (Lattice(1, output_shape, (0, 0, 0)),)

    def features(self, image: tuple[Tensor, ...]) -> Tensor:
        return self._decoded(image)[0]

    def features_and_auxiliary(self, image: tuple[Tensor, ...]) -> tuple[Tensor, list[Tensor]]:
        """While training, logits of the next coarser levels too, finest first."""
        features, *coarser = self._decoded(image)
        if not self.training:
            return features, []
        return features, [head(maps) for head, maps in zip(self.auxiliary, coarser, strict=False)]

    def _decoded(self, image: tuple[Tensor, ...]) -> list[Tensor]:
        """Maps of every level on the way up, finest first."""
        (x,) = image
        skips = []
        for level in self.down:
            x = level(x)
            skips.append(x)
        decoded = [skips.pop()]
        for up, merge, skip in zip(reversed(self.up), reversed(self.merge), reversed(skips), strict=True):
            decoded.append(merge(torch.cat((skip, up(decoded[-1])), dim=1)))
        return decoded[::-1]


class _Level(nn.Module):
    """Convolutions at one resolution; the first one takes the stride."""

    def __init__(self, settings: UNet3D, in_channels: int, width: int, blocks: int, kernel: Shape, stride: Shape) -> None:
        super().__init__()
        self.convs = nn.ModuleList()
        for index in range(blocks):
            conv = nn.Conv3d(width if index else in_channels, width, kernel, 1 if index else stride, _half(kernel), bias=False)
            dropout = [nn.Dropout3d(settings.dropout)] if settings.dropout > 0 else []
            self.convs.append(nn.Sequential(conv, *dropout, _norm(settings.norm, width)))
        self.activation = nn.LeakyReLU(SLOPE, inplace=True)
        self.shortcut = _shortcut(settings.norm, in_channels, width, stride) if settings.residual else None

    def forward(self, x: Tensor) -> Tensor:
        entered = x
        for conv in self.convs[:-1]:
            x = self.activation(conv(x))
        x = self.convs[-1](x)
        return self.activation(x if self.shortcut is None else x + self.shortcut(entered))


def _shortcut(norm: Norm, in_channels: int, width: int, stride: Shape) -> nn.Module:
    """The identity where shapes allow, else mean pooling and a 1x1x1 projection."""
    if in_channels == width and stride == (1, 1, 1):
        return nn.Identity()
    pool = [nn.AvgPool3d(stride)] if stride != (1, 1, 1) else []
    return nn.Sequential(*pool, nn.Conv3d(in_channels, width, 1, bias=False), _norm(norm, width))


def _norm(norm: Norm, width: int) -> nn.Module:
    if norm == "instance":
        return InstanceNorm(width)
    if norm == "batch":
        return nn.BatchNorm3d(width)
    return nn.GroupNorm(math.gcd(8, width), width)


def _triples(values: tuple[int | Shape, ...]) -> tuple[Shape, ...]:
    return tuple((value, value, value) if isinstance(value, int) else value for value in values)


def _half(kernel: Shape) -> Shape:
    x, y, z = kernel
    return x // 2, y // 2, z // 2
