"""Loops over voxels as machine code, for what no array operation says."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function, *, fused: bool = False) -> Function:
    """The function translated by numba when it is first called with arguments of these types; other threads run meanwhile.

    The code is kept beside the source or in the user's cache for later processes. Floats are rounded as numpy rounds them: nothing is
    reordered. fused: a product and the sum it goes into are rounded once, which is faster and differs in the last bit.
    """
    from numba import njit

    may: set[str] | bool = {"contract"} if fused else False
    try:
        return cast(Function, njit(nogil=True, fastmath=may, cache=True)(function))
    except RuntimeError:  # no folder can be written: every process translates anew
        return cast(Function, njit(nogil=True, fastmath=may)(function))
