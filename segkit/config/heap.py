"""What becomes of memory that was freed: kept for what comes next, or given back to the system at once. Where glibc allocates."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4  # of glibc's malloc.h
NEVER = -1  # as a threshold
USUAL = {M_MMAP_MAX: 2**16, M_MMAP_THRESHOLD: 2**25, M_TRIM_THRESHOLD: 2**26}  # what glibc itself comes to with blocks of many sizes
KEPT = {M_MMAP_MAX: 0, M_MMAP_THRESHOLD: 2**25, M_TRIM_THRESHOLD: NEVER}
FREED = {M_MMAP_MAX: 2**16, M_MMAP_THRESHOLD: 2**20, M_TRIM_THRESHOLD: 2**20}

_inside: list[bool] = []  # the wishes of all who are inside
_lock = Lock()


@contextmanager
def freed_memory(*, kept: bool) -> Iterator[None]:
    """Inside, freed blocks stay in the heap for the next ones, or, not kept, go back to the system where they have a MiB or more.

    glibc gives blocks of more than 32 MiB back whatever happens. A network asks for them again with every layer, and the system clears
    page after page: kept, training and inference on a CPU take 10 to 25 % less time. But tensors of many sizes leave holes that no other
    one fits: the same prediction took between 340 and 510 MB where 230 were needed. Given back, it takes 230 each time, more slowly.
    It is so for the whole process: of several who are inside, one who keeps nothing decides. Other allocators are left as they are.
    """
    with _lock:
        _inside.append(kept)
        _apply()
    try:
        yield
    finally:
        with _lock:
            _inside.remove(kept)
            _apply()
        give_back()


def give_back() -> None:
    """To the system, what is kept and not used."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


def _apply() -> None:
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        for option, value in (USUAL if not _inside else KEPT if all(_inside) else FREED).items():
            libc.mallopt(option, value)
