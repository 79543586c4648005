"""What becomes of memory that was freed: kept for what comes next, or given back to the system at once. Where glibc allocates."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4  # of glibc's malloc.h
LARGE = 2**20  # bytes of a block that is given back at once
NEVER = -1  # as a threshold
USUAL = {M_MMAP_MAX: 2**16, M_MMAP_THRESHOLD: 2**25, M_TRIM_THRESHOLD: 2**26}  # what glibc itself comes to with blocks of many sizes


@contextmanager
def freed_memory(*, kept: bool) -> Iterator[None]:
    """Inside, freed blocks stay in the heap for the next ones, or, not kept, go back to the system where they have LARGE or more.

    glibc gives blocks of more than 32 MiB back whatever happens. A network asks for them again with every layer, and the system clears
    page after page: kept, training and inference on a CPU take 10 to 25 % less time. But tensors of many sizes leave holes that no other
    one fits: the same prediction took between 340 and 510 MB where 230 were needed. Given back, it takes 230 each time, more slowly.
    Other allocators are left as they are.
    """
    if not hasattr(ctypes.CDLL(None), "mallopt"):
        yield
        return
    _set({M_MMAP_MAX: 0, M_TRIM_THRESHOLD: NEVER} if kept else {M_MMAP_THRESHOLD: LARGE})
    try:
        yield
    finally:
        _set(USUAL)
        if kept:
            ctypes.CDLL(None).malloc_trim(0)


def _set(values: dict[int, int]) -> None:
    for option, value in values.items():
        ctypes.CDLL(None).mallopt(option, value)
