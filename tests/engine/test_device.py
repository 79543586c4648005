"""Devices and precision: what is chosen, and what is refused."""

import pytest
import torch

from segkit.config.errors import InputError
from segkit.engine.device import autocast, choose_device, choose_precision, laid_out, placed
from segkit.models.unet3d import UNet3D

CPU = torch.device("cpu")


@pytest.mark.parametrize("wish", ["gpu", "cuda:x", "cpu:1", ""])
def test_unknown_devices_are_refused(wish):
    with pytest.raises(InputError, match="SK-T001: no such device"):
        choose_device(wish)


def test_a_cuda_device_that_is_not_here_is_refused():
    with pytest.raises(InputError, match="SK-T002: this CUDA device is not here"):
        choose_device(f"cuda:{torch.cuda.device_count()}")


def test_auto_precision_is_bf16_exactly_where_the_cpu_multiplies_it():
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    assert choose_precision("auto", CPU) == ("bf16" if native else "fp32")
    assert choose_precision("bf16", CPU) == "bf16"


def test_autocast_multiplies_in_the_precision_asked_for():
    conv, x = torch.nn.Conv3d(1, 1, 1), torch.ones(1, 1, 2, 2, 2)
    with autocast(CPU, "bf16"):
        assert conv(x).dtype == torch.bfloat16
    with autocast(CPU, "fp32"):
        assert conv(x).dtype == torch.float32


def test_a_network_and_its_input_are_laid_out_alike_and_compute_the_same():
    torch.manual_seed(0)
    network, image = UNet3D(widths=(4, 8)).build(1, 2), (torch.randn(2, 1, 8, 8, 8),)
    plain = network(image)
    laid = laid_out(image, network)
    assert laid[0].is_contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(placed(network, CPU)(laid), plain, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(("kernel", "extent"), [(3, 1), (3, 2), (5, 1), (5, 3), (5, 4)])
@pytest.mark.parametrize("stride", [1, 2])
def test_the_gradient_of_a_convolution_longer_than_its_image_is_that_of_float32(kernel, extent, stride, axis):
    torch.manual_seed(0)
    conv = torch.nn.Conv3d(8, 8, kernel, stride, kernel // 2).to(memory_format=torch.channels_last_3d)
    shape = [6, 6, 6]
    shape[axis] = extent
    x = torch.randn(2, 8, *shape).contiguous(memory_format=torch.channels_last_3d)
    conv(x).sum().backward()
    expected = conv.weight.grad
    for _ in range(5):
        del_me = [torch.full((size,), 3e37) for size in (10**3, 10**4, 10**5)]
        del del_me  # what unwritten memory would hold
        conv.weight.grad = None
        with autocast(CPU, "bf16"):
            out = conv(x)
        assert out.dtype == torch.float32
        out.float().sum().backward()
        torch.testing.assert_close(conv.weight.grad, expected)


@pytest.mark.parametrize(("kernel", "padding", "extent"), [((3, 3, 3), 1, 3), ((1, 3, 3), (0, 1, 1), 1), (3, 0, 3), ((5, 5, 5), 2, 5)])
def test_other_convolutions_are_computed_in_bf16(kernel, padding, extent):
    conv, x = torch.nn.Conv3d(2, 2, kernel, padding=padding), torch.randn(1, 2, extent, 6, 6)
    with autocast(CPU, "bf16"):
        assert conv(x).dtype == torch.bfloat16


def test_a_network_whose_coarsest_level_is_two_voxels_wide_has_the_same_gradient_in_every_pass():
    torch.manual_seed(0)
    network = placed(UNet3D(widths=(8, 16, 32)).build(1, 2), CPU).train()
    image = laid_out((torch.randn(2, 1, 8, 8, 8),), network)
    seen = []
    for _ in range(5):
        network.zero_grad(set_to_none=True)
        with autocast(CPU, "bf16"):
            logits = network(image)
        logits.float().logsumexp(1).mean().backward()
        seen.append(torch.cat([parameter.grad.flatten() for parameter in network.parameters()]))
    assert torch.isfinite(seen[0]).all()
    assert all(torch.equal(gradient, seen[0]) for gradient in seen)
