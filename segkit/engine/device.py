"""Which device computes, and in which precision."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from segkit.config.errors import InputError
from segkit.models.base import Network

Precision = Literal["fp32", "bf16"]


def choose_device(wish: str) -> torch.device:
    """`auto` is the first CUDA device where there is one. Raises InputError for a device this machine does not have."""
    kind, index = device_named(wish)
    if kind == "auto":
        return _plain(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
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


def device_named(wish: str) -> tuple[str, str]:
    """Kind and number of a device as a user names it. Raises InputError where no machine has it."""
    kind, _, index = wish.partition(":")
    known = kind in ("auto", "cpu", "cuda") and (not index or index.isdigit())
    if not known or (kind != "cuda" and index):
        raise InputError("SK-T001", "no such device", where="--device", expected="auto, cpu, cuda or cuda:N", got=wish)
    return kind, index


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


@contextmanager
def autocast(device: torch.device, precision: Precision) -> Iterator[None]:
    """Autocast to bf16, or a context that changes nothing."""
    if precision == "fp32":
        yield
    elif device.type == "cpu":
        with torch.autocast("cpu", torch.bfloat16), ShortConvolutionsInFloat32():
            yield
    else:
        with torch.autocast(device.type, torch.bfloat16):
            yield


class ShortConvolutionsInFloat32(TorchFunctionMode):
    """Computes a padded 3D convolution in float32 where the image is shorter than the kernel along an axis.

    Of such a convolution oneDNN, which computes bfloat16 on CPUs, gets the weights' gradient wrong (seen with PyTorch 2.13 on
    AVX512_BF16): it reads memory that nobody wrote, so the gradient differs from call to call, is infinite at times, or the process dies.
    They stand at the coarsest levels of networks with small patches, and are cheap.
    """

    def __torch_function__(self, func: Callable, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        if func is torch.conv3d and _is_short(*args, **(kwargs or {})):
            with torch.autocast("cpu", enabled=False):
                args = tuple(arg.float() if isinstance(arg, Tensor) else arg for arg in args)
                kwargs = {name: arg.float() if isinstance(arg, Tensor) else arg for name, arg in (kwargs or {}).items()}
                return func(*args, **kwargs)
        return func(*args, **(kwargs or {}))


def _is_short(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, ...] = 1,
    padding: int | str | tuple[int, ...] = 0,
    dilation: int | tuple[int, ...] = 1,
    groups: int = 1,
) -> bool:
    """Whether a call of torch.conv3d with these arguments has an axis that is padded and shorter than the kernel, dilated, there."""
    if isinstance(padding, str):
        padding = 0 if padding == "valid" else 1
    pads, dilations = (value if isinstance(value, tuple | list) else (value,) * 3 for value in (padding, dilation))
    axes = zip(input.shape[-3:], weight.shape[-3:], pads, dilations, strict=True)
    return any(pad and size < (length - 1) * apart + 1 for size, length, pad, apart in axes)


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
