"""The networks of segkit in the form in which one writes them in PyTorch: its own layers, every voxel computed where it is, no trick.

They hold copies of a network's weights and compute the same function, up to rounding.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from copy import deepcopy
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from segkit.engine.device import Precision
from segkit.models.base import Network
from segkit.models.blocks import PreActivationConv, add_residual
from segkit.models.deepmedic import DeepMedicNetwork
from segkit.models.instance_norm import InstanceNorm

LAYOUTS = {"": torch.contiguous_format, ", channels last": torch.channels_last_3d}  # how a way's name ends


class PlainDeepMedic(nn.Module):
    """The pathways' maps repeated to voxels, side by side, and plain convolutions over all of them."""

    def __init__(self, network: DeepMedicNetwork) -> None:
        super().__init__()
        self.strides, self.halo, self.residual_after = network.strides, network.halo, network.settings.hidden_residual_after
        self.pathways, self.hidden = deepcopy(network.pathways), deepcopy(network.hidden)
        self.head = nn.Sequential(deepcopy(network.before_classifier), deepcopy(network.classifier))

    def forward(self, image: tuple[Tensor, ...]) -> Tensor:
        local, *context = (pathway(samples) for pathway, samples in zip(self.pathways, image, strict=True))
        x, y, z = local.shape[2:]
        voxels = [interpolate(maps, scale_factor=stride)[..., :x, :y, :z] for maps, stride in zip(context, self.strides[1:], strict=True)]
        now = before_last = torch.cat((local, *voxels), dim=1)
        for number, layer in enumerate(cast(Iterable[PreActivationConv], self.hidden), start=1):
            activated = layer.before(now)
            if number == 1 and self.halo:
                activated = pad(activated, (1,) * 6, mode="replicate")
            out = layer.conv(activated)
            if number in self.residual_after:
                out = add_residual(out, before_last)
            before_last, now = now, out
        return self.head(now)


def plain(network: Network, layout: torch.memory_format = torch.contiguous_format) -> nn.Module:
    """A network's plain form, its kernels laid out so; images come in the same layout: see `laid`."""
    if isinstance(network, DeepMedicNetwork):
        return PlainDeepMedic(network).to(memory_format=layout)
    copy = deepcopy(network)
    for module in copy.modules():
        if isinstance(module, InstanceNorm):
            module.__class__ = nn.InstanceNorm3d  # whose forward it is but for channels-last tensors
    return copy.to(memory_format=layout)


def laid(image: Iterable[Tensor], layout: torch.memory_format) -> tuple[Tensor, ...]:
    """An image in a memory layout."""
    return tuple(view.contiguous(memory_format=layout) for view in image)


def mixed(precision: Precision) -> AbstractContextManager[object]:
    """torch's own autocast."""
    return torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")


def with_layouts(name: str, way: Callable[[torch.memory_format], Callable[[], object]]) -> dict[str, Callable[[], object]]:
    """A peer's way in each memory layout, since who tunes tries both."""
    return {name + ending: way(layout) for ending, layout in LAYOUTS.items()}
