"""Tensors on the CPU as compiled loops see them: float32, or bfloat16, which numba does not know."""

from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from torch import Tensor

STORED = (torch.float32, torch.bfloat16)
SMALL = 2**20  # values that one thread is done with before another has begun
BITS = ir.IntType(32)


def rows_of(x: Tensor) -> np.ndarray:
    """[B, voxels, C] in the same memory, of x [B, C, X, Y, Z] in channels last; bfloat16 as uint16."""
    return _as_numpy(x.permute(0, 2, 3, 4, 1).flatten(1, 3))


def memory_of(x: Tensor) -> np.ndarray:
    """All values in the order in which they lie, of a tensor that is contiguous or channels last."""
    return _as_numpy(x.view(-1)) if x.is_contiguous() else rows_of(x).reshape(-1)


def _as_numpy(x: Tensor) -> np.ndarray:
    return x.view(torch.uint16).numpy() if x.dtype == torch.bfloat16 else x.numpy()


def threads_for(x: Tensor) -> int:
    """Of torch's threads, as many as are worth to be started."""
    return torch.get_num_threads() if x.numel() > SMALL else 1


@intrinsic
def read(typing_context: Any, value: Any) -> Any:
    """A stored value as float32. bfloat16, which numba does not know, is the upper half of one."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (stored,) = arguments
        if value == types.float32:
            return stored
        return builder.bitcast(builder.shl(builder.zext(stored, BITS), BITS(16)), ir.FloatType())

    return types.float32(value), generate


@intrinsic
def stored(typing_context: Any, value: Any, like: Any) -> Any:
    """A float32 as it is stored where `like` is: rounded to the nearest bfloat16, of two the even one."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        exact, _ = arguments
        if like == types.float32:
            return exact
        bits = builder.bitcast(exact, BITS)
        odd = builder.and_(builder.lshr(bits, BITS(16)), BITS(1))
        rounded = builder.lshr(builder.add(builder.add(bits, BITS(0x7FFF)), odd), BITS(16))
        number = builder.fcmp_ordered("ord", exact, exact)
        return builder.trunc(builder.select(number, rounded, BITS(0x7FC0)), ir.IntType(16))

    return like(types.float32, like), generate
