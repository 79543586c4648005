"""Networks of MONAI by name, from a fixed table; their last 1x1x1 convolution becomes our classifier.

A network stands in the table if its logits are such a convolution of its features and it takes images of any (divisible) size.
"""

import copy
import difflib
import importlib.util
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from segkit.config.errors import InputError
from segkit.models.base import Lattice, Model, Network, Shape, models

OURS = frozenset({"spatial_dims", "in_channels", "out_channels"})  # arguments that the data set decides


@dataclass(frozen=True)
class _Entry:
    """How one class of `monai.networks.nets` is taken apart.

    output: submodule that turns features into logits. head: the convolution in it.
    multiple: divisors of the image's axes, from the arguments. packages: what MONAI imports for it alone.
    withheld: arguments that would change the output's form, or take objects rather than values.
    """

    output: str
    head: str
    multiple: Callable[[Mapping[str, Any]], Shape]
    withheld: frozenset[str] = frozenset()
    packages: tuple[str, ...] = ()


def _cube(size: int) -> Shape:
    return size, size, size


def _product(strides: tuple[int | Shape, ...]) -> Shape:
    x, y, z = (math.prod(stride if isinstance(stride, int) else stride[axis] for stride in strides) for axis in range(3))
    return x, y, z


NETWORKS: dict[str, _Entry] = {
    "AttentionUnet": _Entry("model.2", "model.2.conv", lambda a: _product(a["strides"])),
    "BasicUNet": _Entry("final_conv", "final_conv", lambda a: _cube(16)),
    "DynUNet": _Entry(
        "output_block", "output_block.conv.conv", lambda a: _product(a["strides"]), frozenset({"deep_supervision", "deep_supr_num"})
    ),
    "MedNeXt": _Entry("out_0", "out_0.conv_out", lambda a: _cube(2 ** len(a["blocks_down"])), frozenset({"deep_supervision"})),
    "SegResNet": _Entry(
        "conv_final.2", "conv_final.2.conv", lambda a: _cube(2 ** (len(a["blocks_down"]) - 1)), frozenset({"use_conv_final"})
    ),
    "SwinUNETR": _Entry("out", "out.conv.conv", lambda a: _cube(a["patch_size"] ** 5), frozenset({"norm_layer"}), ("einops",)),
}


@models.register("monai")
class MonaiNet(Model):
    """A network of MONAI: AttentionUnet, BasicUNet, DynUNet, MedNeXt, SegResNet or SwinUNETR."""

    network: str = Field("SegResNet", description="class name in monai.networks.nets, one of those above")
    arguments: dict[str, Any] = Field(
        {}, description="its constructor's arguments; channels, classes and dimensions are given by the data set"
    )

    @field_validator("network")
    @classmethod
    def _in_the_table(cls, network: str) -> str:
        if network not in NETWORKS:
            near = difflib.get_close_matches(network, NETWORKS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"expected one of MONAI's networks whose last layer is 1x1x1: {', '.join(NETWORKS)}, got {network!r}{hint}")
        return network

    def build(self, in_channels: int, classes: int) -> "MonaiNetwork":
        """InputError where MONAI's constructor lacks an argument, does not know one, or refuses a value."""
        entry = NETWORKS[self.network]
        arguments = _defaults(self.network) | copy.deepcopy(self.arguments)  # MONAI writes into what it is given
        self._check(entry, arguments)
        absent = [package for package in entry.packages if importlib.util.find_spec(package) is None]
        if absent:
            raise InputError(
                "SK-M005",
                f"{self.network} needs a package that is not installed",
                where="model.network",
                remedy=f"pip install {' '.join(absent)}",
            )
        try:
            network = _class(self.network)(spatial_dims=3, in_channels=in_channels, out_channels=classes, **arguments)
            multiple = entry.multiple(arguments)
        except (TypeError, ValueError, KeyError, IndexError, AttributeError, AssertionError, ArithmeticError, RuntimeError) as refusal:
            raise InputError(
                "SK-M004",
                f"MONAI refuses these arguments of {self.network}",
                where="model.arguments",
                got=f"{self.arguments}: {refusal}",
                remedy=f"see the documentation of monai.networks.nets.{self.network}",
            ) from refusal
        return MonaiNetwork(network, entry, multiple)

    def _check(self, entry: _Entry, arguments: Mapping[str, Any]) -> None:
        allowed = [name for name in inspect.signature(_class(self.network)).parameters if name not in OURS | entry.withheld]
        unknown = [name for name in arguments if name not in allowed]
        missing = [name for name in allowed if name not in arguments]
        if unknown or missing:
            raise InputError(
                "SK-M003",
                f"the arguments of MONAI's {self.network} do not fit",
                where="model.arguments",
                expected=f"among {', '.join(allowed)}",
                got="; ".join(f"{what}: {', '.join(names)}" for what, names in (("unknown", unknown), ("missing", missing)) if names),
            )


def _class(name: str) -> type[nn.Module]:
    from monai.networks import nets  # slow to import, and only this model needs it

    return getattr(nets, name)


def _defaults(name: str) -> dict[str, Any]:
    """The constructor's own defaults, but for what the data set decides and what is withheld."""
    parameters = inspect.signature(_class(name)).parameters.values()
    skipped = OURS | NETWORKS[name].withheld
    return {p.name: p.default for p in parameters if p.default is not p.empty and p.name not in skipped}


class MonaiNetwork(Network):
    """A MONAI network without its last convolution, which is `classifier`. image: one tensor of the output's shape."""

    def __init__(self, network: nn.Module, entry: _Entry, multiple: Shape) -> None:
        super().__init__()
        self.multiple = multiple
        self.classifier = _as_convolution(network.get_submodule(entry.head))
        network.set_submodule(entry.output, nn.Identity())
        self.body = network

    def lattices(self, output_shape: Shape) -> tuple[Lattice, ...]:
        self.check_multiple(output_shape)
        self.check_coarsest(output_shape)
        return (Lattice(1, output_shape, (0, 0, 0)),)

    def features(self, image: tuple[Tensor, ...]) -> Tensor:
        return self.body(image[0])


def _as_convolution(head: nn.Module) -> nn.Conv3d:
    """The head itself, or the convolution equal to a transposed one of one voxel."""
    if isinstance(head, nn.Conv3d):
        return head
    if not isinstance(head, nn.ConvTranspose3d):
        raise TypeError(f"expected a convolution as the head of a MONAI network, got {type(head).__name__}")
    convolution = nn.Conv3d(head.in_channels, head.out_channels, 1, bias=head.bias is not None)
    with torch.no_grad():
        convolution.weight.copy_(head.weight.transpose(0, 1))
        if convolution.bias is not None and head.bias is not None:
            convolution.bias.copy_(head.bias)
    return convolution
