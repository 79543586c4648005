"""The bricks of networks: pre-activation layers, valid pathways, cropping, repeating."""

import math
from collections.abc import Collection, Iterator, Sequence
from itertools import product
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import conv3d, pad

from segkit.models.base import Shape
from segkit.models.dropout import Dropout

Activation = Literal["prelu", "relu"]
Kind = tuple[int, ...]  # FIRST, MIDDLE or LAST voxel of a cell, along x, y, z
Slices = tuple[slice, ...]
Faces = tuple[bool, bool, bool, bool, bool, bool]  # x low, x high, y low, y high, z low, z high

FIRST, MIDDLE, LAST = range(3)
KINDS: tuple[Kind, ...] = tuple(product((FIRST, MIDDLE, LAST), repeat=3))

NORMALIZATION_MOMENTUM = 1 / 60  # nearest exponential mean to a plain mean over the last 60 batches


class InputBias(nn.Module):
    """x + b, one learned value per channel: all that is done to raw intensities before their first convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias.view(1, -1, 1, 1, 1)


class PreActivation(nn.Sequential):
    """What a layer does to its input before it convolves: batch normalization, activation, dropout."""

    def __init__(self, channels: int, activation: Activation, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm = nn.BatchNorm3d(channels, eps=1e-5, momentum=NORMALIZATION_MOMENTUM)
        self.activation = nn.PReLU(channels, init=0.01) if activation == "prelu" else nn.ReLU()
        if dropout > 0:
            self.dropout = Dropout(dropout)


class PreActivationConv(nn.Module):
    """A layer: `before` (bias, or normalization and activation), then an unpadded convolution without a bias."""

    def __init__(self, before: nn.Module, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        self.before = before
        self.conv = nn.Conv3d(in_channels, out_channels, kernel, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.before(x))


class ValidPathway(nn.Module):
    """A chain of unpadded 3x3x3 layers with residual connections; each layer shortens every axis by 2.

    A residual after layer L (from 1) adds the input of layer L - 1, taken before its normalization, to the output of layer L.
    """

    def __init__(self, in_channels: int, widths: tuple[int, ...], residual_after: Collection[int], activation: Activation) -> None:
        super().__init__()
        self.residual_after = frozenset(residual_after)
        self.layers = nn.ModuleList()
        for index, width in enumerate(widths):
            before = PreActivation(in_channels, activation) if index else InputBias(in_channels)
            self.layers.append(PreActivationConv(before, in_channels, width, kernel=3))
            in_channels = width

    def forward(self, x: Tensor) -> Tensor:
        before_last = x
        for number, layer in enumerate(self.layers, start=1):
            out = layer(x)
            if number in self.residual_after:
                out = add_residual(out, before_last)
            before_last, x = x, out
        return x


def add_residual(out: Tensor, skip: Tensor) -> Tensor:
    """out + skip, where skip [B, C', x', y', z'] is cropped to the middle of out [B, C, x, y, z].

    Channels that only one of them has are left as out has them: zeros are added at the end, or the end of skip is cut.
    """
    channels = min(out.shape[1], skip.shape[1])
    skip = crop_center(skip[:, :channels], (out.shape[2], out.shape[3], out.shape[4]))
    if channels == out.shape[1]:
        return out + skip
    return torch.cat((out[:, :channels] + skip, out[:, channels:]), dim=1)


def crop_center(x: Tensor, shape: Shape) -> Tensor:
    """The middle of x [..., X, Y, Z]; where the surplus is odd, the half voxel goes as DeepMedic has it: (n - 1) // 2 - (m - 1) // 2."""
    for axis, size in enumerate(shape, start=-3):
        x = x.narrow(axis, (x.shape[axis] - 1) // 2 - (size - 1) // 2, size)
    return x


def crop_faces(x: Tensor, faces: Faces, voxels: int) -> Tensor:
    """x [..., X, Y, Z] without its outer `voxels` layers at the faces that are False."""
    for axis, (low, high) in enumerate(zip(faces[::2], faces[1::2], strict=True), start=-3):
        start = 0 if low else voxels
        x = x.narrow(axis, start, x.shape[axis] - start - (0 if high else voxels))
    return x


def pad_faces(x: Tensor, faces: Faces, voxels: int) -> Tensor:
    """x [B, C, X, Y, Z] with its border value repeated `voxels` times beyond the faces that are True."""
    x_low, x_high, y_low, y_high, z_low, z_high = (voxels * face for face in faces)
    return pad(x, (z_low, z_high, y_low, y_high, x_low, x_high), mode="replicate")


def repeat_cells(cells: Tensor, stride: int, start: Shape, shape: Shape) -> Tensor:
    """Voxels out of cells [B, C, x, y, z]: voxel i of an axis of the result is cell (start + i) // stride.

    start: position of the first voxel wanted, counted from the first voxel of the first cell. The surplus is cut at the far end.
    """
    for axis, (first, size) in enumerate(zip(start, shape, strict=True), start=2):
        cells = cells.repeat_interleave(stride, dim=axis).narrow(axis, first, size)
    return cells


def cells_of(voxels: Tensor, stride: int, start: Shape) -> Tensor:
    """The way back from `repeat_cells(cells, stride, start, shape)`, start < stride: one voxel of each cell that is met."""
    for axis, first in enumerate(start, start=2):
        part = voxels.narrow(axis, 0, 1 if first else 0)
        whole = voxels[(slice(None),) * axis + (slice(-first % stride, None, stride),)]
        voxels = torch.cat((part, whole), dim=axis) if first else whole
    return voxels


def add_convolved_cells(out: Tensor, cells: Tensor, weight: Tensor, stride: int, start: Shape) -> Tensor:
    """out + a 3x3x3 convolution of repeated cells, computed at the cells. May write into out [B, D, X, Y, Z].

    What is added is `conv3d(repeat_cells(cells, stride, start + stride - 1, shape of out + 2), weight)`, start counted from the first
    voxel of cell 1: cell 0 and the last one are neighbors only. Stride >= 3.

    Along an axis the kernel lies in one cell, which is multiplied by the sum of its weights, but at a cell's first and last voxel, where it
    reaches into a neighbor. These three kinds of voxels read 2, 1 and 2 cells, so the s^3 voxels of a cell take 5^3 products with the
    weights instead of 27 s^3: about a sixth at stride 3, a twenty-seventh at stride 5.
    """
    kinds: dict[Kind, Tensor] = {}
    for edges in product((True, False), repeat=3):  # at an edge of its cell along x, y, z: first and last share a kernel's shape
        seen = cells
        for axis, edge in enumerate(edges, start=2):
            seen = seen if edge else seen.narrow(axis, 1, seen.shape[axis] - 2)
        weights = _merged(weight, edges)
        maps = conv3d(seen, torch.cat(tuple(weights.values()))).chunk(len(weights), dim=1)
        for kind, voxels in zip(weights, maps, strict=True):
            for axis, at in enumerate(kind, start=2):
                voxels = voxels.narrow(axis, int(at == LAST), cells.shape[axis] - 2)
            kinds[kind] = voxels
    return _Scattered.apply(out, stride, start, *(kinds[kind] for kind in KINDS))


class _Scattered(torch.autograd.Function):
    """out plus, at every voxel, the map of its kind at its cell: each map is read and each voxel written once."""

    @staticmethod
    def forward(ctx: Any, out: Tensor, stride: int, start: Shape, *maps: Tensor) -> Tensor:
        ctx.stride, ctx.start, ctx.shapes = stride, start, [voxels.shape for voxels in maps]
        ctx.mark_dirty(out)
        scatter_(out, maps, stride, start)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        sizes = [size for shape in ctx.shapes for size in shape[2:]]
        return gradient, None, None, *collect(gradient, sizes, ctx.stride, ctx.start)


# Operators of their own, for compilers: they take minutes over some hundred slices, and find nothing to gain.
@torch.library.custom_op("segkit::scatter_", mutates_args=("out",))
def scatter_(out: Tensor, maps: Sequence[Tensor], stride: int, start: Sequence[int]) -> None:
    """Add to every voxel of out [B, D, X, Y, Z], in place, the map [B, D, x, y, z] of its kind at its cell; in the order of KINDS."""
    for kind, voxels in zip(KINDS, maps, strict=True):
        for mine, theirs in _meetings(kind, stride, start, out.shape, voxels.shape):
            out[mine] += voxels[theirs]


@scatter_.register_fake
def _(out: Tensor, maps: Sequence[Tensor], stride: int, start: Sequence[int]) -> None:
    """What tensors without values need: nothing."""


@torch.library.custom_op("segkit::collect", mutates_args=())
def collect(gradient: Tensor, sizes: Sequence[int], stride: int, start: Sequence[int]) -> list[Tensor]:
    """The transpose of `scatter_`: sums over the voxels of each cell. sizes: x, y, z of the map of each kind, one after the other."""
    totals = _maps(gradient, sizes)
    for kind, total in zip(KINDS, totals, strict=True):
        for mine, theirs in _meetings(kind, stride, start, gradient.shape, total.shape):
            total[theirs] += gradient[mine]
    return totals


@collect.register_fake
def _(gradient: Tensor, sizes: Sequence[int], stride: int, start: Sequence[int]) -> list[Tensor]:
    return _maps(gradient, sizes)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    gradient, _, ctx.stride, ctx.start = inputs
    ctx.shape = gradient.shape


def _back(ctx: Any, maps: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
    out = maps[0].new_zeros(ctx.shape)
    scatter_(out, maps, ctx.stride, ctx.start)
    return out, None, None, None


collect.register_autograd(_back, setup_context=_keep)


def _maps(like: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    return [like.new_zeros((*like.shape[:2], *sizes[first : first + 3])) for first in range(0, len(sizes), 3)]


def _meetings(
    kind: Kind, stride: int, start: Sequence[int], voxels: Sequence[int], cells: Sequence[int]
) -> Iterator[tuple[Slices, Slices]]:
    """Where voxels of this kind lie in [B, D, X, Y, Z] and their cells in [B, D, x, y, z], once for every place in a cell."""
    places = {FIRST: range(1), MIDDLE: range(1, stride - 1), LAST: range(stride - 1, stride)}
    for place in product(*(places[at] for at in kind)):
        mine: list[slice] = [slice(None)] * 2
        theirs: list[slice] = [slice(None)] * 2
        for at, first, size, held in zip(place, start, voxels[2:], cells[2:], strict=True):
            cell = max(0, -((at - first) // stride))  # the first whose voxel at this place is not before `start`
            stop = max(cell, min(held, -((at - first - size) // stride)))  # one after the last that lies in `shape`
            mine.append(slice(cell * stride + at - first, stop * stride + at - first, stride))
            theirs.append(slice(cell, stop))
        yield tuple(mine), tuple(theirs)


def _merged(weight: Tensor, edges: tuple[bool, ...]) -> dict[Kind, Tensor]:
    """Kernels over cells instead of voxels, [D, C, 1 or 2, ...], of the kinds of voxels that lie at an edge of their cell or not."""
    kernels: dict[Kind, Tensor] = {(): weight}
    for axis, edge in enumerate(edges, start=2):
        merged = {}
        for kind, kernel in kernels.items():
            before, here, after = kernel.split(1, dim=axis)
            if edge:
                merged[*kind, FIRST] = torch.cat((before, here + after), dim=axis)
                merged[*kind, LAST] = torch.cat((before + here, after), dim=axis)
            else:
                merged[*kind, MIDDLE] = before + here + after
        kernels = merged
    return kernels


def normal_fan_in(conv: nn.Conv3d | nn.ConvTranspose3d, gain: float) -> None:
    """Weights from N(0, gain / sqrt(fan-in)) and bias 0. A transposed convolution must not overlap: its fan-in is its input channels."""
    fan_in = conv.in_channels * (math.prod(conv.kernel_size) if isinstance(conv, nn.Conv3d) else 1)
    nn.init.normal_(conv.weight, std=gain / math.sqrt(fan_in))
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
