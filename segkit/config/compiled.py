"""Loops over voxels as machine code, for what no array operation says."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

Result = TypeVar("Result")
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


def across_threads(work: Callable[[int, int], Result], length: int, threads: int) -> list[Result]:
    """What `work(first, last)` gives for parts of 0 .. length - 1 that are about as long as one another, in their order, a thread each."""
    count = max(1, min(threads, length))
    bounds = [part * length // count for part in range(count + 1)]
    if count == 1:
        return [work(0, length)]
    with ThreadPoolExecutor(count - 1) as pool:
        others = pool.map(work, bounds[1:-1], bounds[2:])
        return [work(*bounds[:2]), *others]
