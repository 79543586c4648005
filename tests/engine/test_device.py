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
