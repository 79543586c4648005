"""MONAI's networks: the same logits as MONAI's own class with the same weights, and plain words for wrong arguments."""

import copy
import importlib.util

import pytest
import torch
from monai.networks import nets
from pydantic import ValidationError
from torch import nn

from segkit.config.errors import InputError
from segkit.models import MonaiNet
from segkit.models.monai_net import NETWORKS, _as_convolution

ARGUMENTS = {
    "AttentionUnet": {"channels": (4, 6, 8), "strides": (2, 2)},
    "BasicUNet": {"features": (4, 4, 5, 5, 6, 4), "norm": ("group", {"num_groups": 1})},
    "DynUNet": {
        "kernel_size": (3, (3, 3, 1), 3),
        "strides": (1, (2, 2, 1), 2),
        "upsample_kernel_size": ((2, 2, 1), 2),
        "filters": (4, 5, 6),
        "dropout": 0.1,
    },
    "MedNeXt": {"init_filters": 4, "blocks_down": (1, 1), "blocks_up": (1, 1), "blocks_bottleneck": 1},
    "SegResNet": {"init_filters": 8, "blocks_down": (1, 2), "blocks_up": (1,)},
    "SwinUNETR": {"feature_size": 12, "depths": (1, 1, 1, 1)},
}
TABLE = "expected one of MONAI's networks whose last layer is 1x1x1: AttentionUnet, BasicUNet, DynUNet, MedNeXt, SegResNet, SwinUNETR"
MULTIPLES = {
    "AttentionUnet": (4, 4, 4),
    "BasicUNet": (16, 16, 16),
    "DynUNet": (4, 4, 2),
    "MedNeXt": (4, 4, 4),
    "SegResNet": (2, 2, 2),
    "SwinUNETR": (32, 32, 32),
}
without_einops = importlib.util.find_spec("einops") is None
NAMES = [
    pytest.param(name, marks=pytest.mark.skipif(name == "SwinUNETR" and without_einops, reason="SwinUNETR needs einops"))
    for name in ARGUMENTS
]


def built(name, channels=2, classes=3):
    torch.manual_seed(7)
    return MonaiNet(network=name, arguments=ARGUMENTS[name]).build(channels, classes)


def test_every_network_of_the_table_is_tested():
    assert set(ARGUMENTS) == set(NETWORKS)


@pytest.mark.parametrize("name", NAMES)
def test_the_logits_are_those_of_monai_with_the_same_weights(name):
    network = built(name).eval()
    torch.manual_seed(7)
    oracle = getattr(nets, name)(spatial_dims=3, in_channels=2, out_channels=3, **copy.deepcopy(ARGUMENTS[name])).eval()
    shape = tuple(factor * times for factor, times in zip(network.multiple, (2, 1, 1), strict=True))
    image = torch.randn(1, 2, *shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = network((image,))
        torch.testing.assert_close(logits, oracle(image))
        torch.testing.assert_close(logits, network.classifier(network.features((image,))))
    assert logits.shape == (1, 3, *shape)
    assert isinstance(network.classifier, nn.Conv3d)
    assert network.classifier.kernel_size == (1, 1, 1)
    assert sum(p.numel() for p in network.parameters()) == sum(p.numel() for p in oracle.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_the_image_must_be_a_multiple_of_the_strides(name):
    network = built(name)
    assert network.multiple == MULTIPLES[name]
    x, y, z = network.multiple
    assert network.lattices((2 * x, y, z))[0].shape == (2 * x, y, z)
    with pytest.raises(InputError, match="SK-M001"):
        network.lattices((2 * x, y, z + 1))
    with pytest.raises(InputError, match="SK-M002"):
        network.lattices((x, y, z))


@pytest.mark.parametrize("name", NAMES)
def test_the_classifier_and_the_body_learn(name):
    network = built(name)
    x, y, z = network.multiple
    network((torch.randn(1, 2, 2 * x, y, z),)).square().sum().backward()
    assert network.classifier.weight.grad.abs().max() > 0
    assert next(network.body.parameters()).grad.abs().max() > 0


@pytest.mark.skipif(not without_einops, reason="einops is installed")
def test_a_network_that_lacks_its_package_says_so():
    with pytest.raises(InputError, match=r"SK-M005: SwinUNETR needs a package that is not installed(.|\n)*einops"):
        built("SwinUNETR")


def test_the_constructor_does_not_write_into_the_settings():
    settings = MonaiNet(network="SegResNet", arguments={"norm": ["group", {"num_groups": 4}]})
    before = copy.deepcopy(settings.arguments)
    settings.build(1, 2)
    assert settings.arguments == before


def test_a_transposed_convolution_of_one_voxel_is_a_convolution():
    transposed = nn.ConvTranspose3d(4, 3, 1)
    x = torch.randn(1, 4, 2, 3, 4)
    torch.testing.assert_close(_as_convolution(transposed)(x), transposed(x))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("SegResNett", f"{TABLE}, got 'SegResNett'; did you mean 'SegResNet'?"),
        ("os.system", f"{TABLE}, got 'os.system'"),
    ],
)
def test_an_unknown_network_is_refused(network, message):
    with pytest.raises(ValidationError) as error:
        MonaiNet(network=network)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("name", "arguments", "got"),
    [
        ("BasicUNet", {"width": 4}, "unknown: width"),
        ("BasicUNet", {"in_channels": 4}, "unknown: in_channels"),
        ("DynUNet", {"deep_supervision": True}, "unknown: deep_supervision; missing: kernel_size, strides, upsample_kernel_size"),
        ("AttentionUnet", {"strides": (2,)}, "missing: channels"),
    ],
)
def test_arguments_are_held_against_the_constructor(name, arguments, got):
    with pytest.raises(InputError) as error:
        MonaiNet(network=name, arguments=arguments).build(1, 2)
    assert f"SK-M003: the arguments of MONAI's {name} do not fit\n  where:    model.arguments" in str(error.value)
    assert f"got:      {got}" in str(error.value)


@pytest.mark.parametrize(
    ("name", "arguments"), [("SegResNet", {"blocks_down": 3}), ("SegResNet", {"norm": "no_such_norm"}), ("BasicUNet", {"features": (4, 4)})]
)
def test_a_value_that_monai_refuses_is_an_input_error(name, arguments):
    with pytest.raises(InputError, match=f"SK-M004: MONAI refuses these arguments of {name}"):
        MonaiNet(network=name, arguments=arguments).build(1, 2)
