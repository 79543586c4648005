"""Which device computes, and in which precision."""

from contextlib import AbstractContextManager
from typing import Literal

import torch
from torch import Tensor

from segkit.config.errors import InputError
from segkit.models.base import Network

Precision = Literal["fp32", "bf16"]


def choose_device(wish: str) -> torch.device:
    """`auto` is the first CUDA device where there is one. Raises InputError for a device this machine does not have."""
    if wish == "auto":
        return _plain(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    kind, _, index = wish.partition(":")
    known = kind in ("cpu", "cuda") and (not index or index.isdigit())
    if not known or (kind == "cpu" and index):
        raise InputError("SK-T001", "no such device", where="--device", expected="auto, cpu, cuda or cuda:N", got=wish)
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise InputError(
            "SK-T002",
            "this CUDA device is not here",
            where="--device",
            expected=f"one of {torch.cuda.device_count()} CUDA devices, or cpu",
            got=wish,
            remedy="use --device cpu, or install a PyTorch build with CUDA and check the driver",
        )
    return _plain(torch.device(wish))


def _plain(device: torch.device) -> torch.device:
    """fp32 shall mean fp32: convolutions on CUDA would round their inputs to TF32 by default. bf16 is not touched by this."""
    torch.backends.cudnn.allow_tf32 = False
    return device


def choose_precision(wish: Literal["auto", "fp32", "bf16"], device: torch.device) -> Precision:
    """`auto` is bf16 where the hardware multiplies bf16 natively: CUDA from compute capability 8, CPUs with AVX512_BF16 or AMX."""
    if wish != "auto":
        return wish
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp32"
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16" if native else "fp32"


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager:
    """Autocast to bf16, or a context that changes nothing."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def placed(network: Network, device: torch.device) -> Network:
    """The network on the device, its kernels in the memory layout it is faster in."""
    layout = torch.channels_last_3d if network.channels_last else torch.contiguous_format
    return network.to(device=device, memory_format=layout)  # type: ignore[call-overload]


def laid_out(image: tuple[Tensor, ...], network: Network) -> tuple[Tensor, ...]:
    """A network's input in its memory layout."""
    return tuple(x.contiguous(memory_format=torch.channels_last_3d) for x in image) if network.channels_last else image


def describe_device(device: torch.device) -> str:
    """For people: the card's name, or the CPU and its threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"
