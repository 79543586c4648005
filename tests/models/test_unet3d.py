"""U-Net: shapes for isotropic and flat voxels, deep supervision, what it refuses, and its normalization."""

import pytest
import torch
from pydantic import ValidationError

from segkit.config.errors import InputError
from segkit.models import UNet3D

FLAT = {"widths": (4, 6, 8), "strides": ((2, 2, 1), 2), "kernels": ((3, 3, 1), 3, 3)}
VARIANTS = [
    {"widths": (4, 6)},
    {"widths": (5,), "strides": ()},
    {"widths": (4, 6, 8), "residual": True},
    {"widths": (4, 6), "blocks": (1, 3), "norm": "batch"},
    {"widths": (4, 6), "norm": "group", "strides": (3,)},
    {"widths": (4, 4), "strides": (1,), "residual": True},
    FLAT,
    FLAT | {"residual": True, "dropout": 0.2},
]


def image(shape, channels=2, batch=2):
    return (torch.randn(batch, channels, *shape, generator=torch.Generator().manual_seed(0)),)


def test_the_default_network_has_these_parameters():
    # 3x3x3 convolutions, two for each level and direction; a scale and a shift for each map; 2x2x2 up; classifier with bias
    widths, pairs = (16, 32, 64, 128), ((16, 32), (32, 64), (64, 128))
    convs = 27 * (
        1 * 16 + 16 * 16 + sum(fine * coarse + coarse**2 for fine, coarse in pairs) + sum(2 * fine**2 + fine**2 for fine, _ in pairs)
    )
    norms = 2 * 2 * (sum(widths) + sum(widths[:-1]))
    up = sum(8 * fine * coarse for fine, coarse in pairs)
    network = UNet3D().build(1, 3)
    assert sum(parameter.numel() for parameter in network.parameters()) == convs + norms + up + 16 * 3 + 3 == 1_401_187


@pytest.mark.parametrize("fields", VARIANTS)
def test_the_logits_have_the_shape_of_the_image(fields):
    network = UNet3D(**fields).build(2, 3)
    shape = tuple(size * factor for size, factor in zip((2, 1, 3), network.multiple, strict=True))
    (lattice,) = network.lattices(shape)
    assert (lattice.stride, lattice.shape, lattice.offset) == (1, shape, (0, 0, 0))
    assert network(image(shape)).shape == (2, 3, *shape)


@pytest.mark.parametrize("fields", VARIANTS)
def test_the_logits_are_the_classifier_of_the_features(fields):
    network = UNet3D(**fields).build(2, 3).eval()
    x = image(tuple(2 * factor for factor in network.multiple))
    features = network.features(x)
    assert features.shape[1] == network.classifier.in_channels == network.settings.widths[0]
    torch.testing.assert_close(network(x), network.classifier(features))


@pytest.mark.parametrize("fields", [*VARIANTS, {"widths": (4, 4, 4, 4), "deep_supervision": 2}])
def test_every_parameter_learns(fields):
    torch.manual_seed(0)
    network = UNet3D(**fields).build(2, 3)
    features, auxiliary = network.features_and_auxiliary(image(tuple(3 * factor for factor in network.multiple)))
    sum(logits.square().sum() for logits in (network.classifier(features), *auxiliary)).backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None or parameter.grad.abs().max() == 0] == []


def test_flat_voxels_are_halved_in_the_plane_first():
    network = UNet3D(**FLAT).build(1, 2)
    assert network.multiple == (4, 4, 2)
    assert network.down[0].convs[0][0].kernel_size == (3, 3, 1)
    assert network.down[1].convs[0][0].stride == (2, 2, 1)


def test_a_kernel_of_one_slice_does_not_mix_slices():
    network = UNet3D(widths=(4, 6), strides=((2, 2, 1),), kernels=((3, 3, 1), (3, 3, 1)), norm="batch").build(1, 2).eval()
    x = image((4, 4, 3), channels=1)[0].requires_grad_()
    network((x,))[..., 1].sum().backward()
    assert x.grad[..., 1].abs().max() > 0
    assert x.grad[..., [0, 2]].abs().max() == 0


def test_deep_supervision_gives_logits_at_a_half_and_a_quarter_while_training():
    network = UNet3D(widths=(2, 3, 4, 5), deep_supervision=2).build(1, 3)
    features, auxiliary = network.features_and_auxiliary(image((16, 8, 8), channels=1))
    assert features.shape == (2, 2, 16, 8, 8)
    assert [tuple(logits.shape) for logits in auxiliary] == [(2, 3, 8, 4, 4), (2, 3, 4, 2, 2)]
    assert network.eval().features_and_auxiliary(image((16, 8, 8), channels=1))[1] == []


def test_a_fresh_network_keeps_the_scale_of_its_input():
    torch.manual_seed(0)
    with torch.no_grad():
        logits = UNet3D(widths=(8, 16)).build(2, 4)(image((8, 8, 8)))
    assert 0.1 < logits.std() < 10


@pytest.mark.parametrize("norm", ["instance", "batch", "group"])
def test_both_memory_layouts_give_the_same_logits(norm):
    torch.manual_seed(0)
    network = UNet3D(widths=(4, 6), norm=norm).build(2, 3)
    (x,) = image((8, 6, 4))
    contiguous = network((x,))
    network.to(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(network((x.contiguous(memory_format=torch.channels_last_3d),)), contiguous, atol=1e-4, rtol=1e-4)


def test_a_shape_that_the_strides_do_not_divide_is_refused():
    with pytest.raises(InputError) as error:
        UNet3D(**FLAT).build(1, 2).lattices((8, 6, 4))
    assert str(error.value) == (
        "SK-M001: the network cannot make a patch of this shape\n"
        "  expected: multiples of (4, 4, 2) voxels (X, Y, Z)\n"
        "  got:      (8, 6, 4)\n"
        "  remedy:   change sampling.patch_shape or infer.tile_shape"
    )


def test_a_single_voxel_at_the_coarsest_level_is_refused_unless_groups_are_normalized():
    with pytest.raises(InputError) as error:
        UNet3D(**FLAT).build(1, 2).lattices((4, 4, 2))
    assert str(error.value) == (
        "SK-M002: the coarsest level has a single voxel, which cannot be normalized\n"
        "  expected: an axis of the patch at least twice as long as in (4, 4, 2)\n"
        "  got:      (4, 4, 2)\n"
        "  remedy:   a larger patch, or fewer levels"
    )
    network = UNet3D(**FLAT | {"norm": "group"}).build(2, 2)
    network.lattices((4, 4, 2))
    assert network(image((4, 4, 2))).isfinite().all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"strides": (2, 2)}, "strides: expected 3 values for 4 levels, got 2"),
        ({"kernels": (3,)}, "kernels: expected 4 values for 4 levels, got 1"),
        ({"blocks": (2, 2)}, "blocks: expected 4 values for 4 levels, got 2"),
        ({"deep_supervision": 3}, "deep_supervision: expected at most 2 for 4 levels, got 3"),
        ({"kernels": (2, 3, 3, 3)}, "Input should be 1, 3 or 5"),
    ],
)
def test_impossible_settings_are_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        UNet3D(**fields)
