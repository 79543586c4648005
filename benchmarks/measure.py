"""What benchmarks share: rates measured in turn, this machine's limits, and the table."""

import importlib.metadata
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch

Stream = Callable[[], Iterator[int]]  # starts work that yields the number of things done, again and again


def rates(streams: Mapping[str, Stream], repeats: int, seconds: float = 2.0, warm_up: int = 4) -> dict[str, list[float]]:
    """Things a second of each stream, `repeats` times, in turn: none always meets the machine as the same other left it.

    A stream is started anew each time. Its first `warm_up` yields are not counted, so that what workers made beforehand is used up.
    """
    found: dict[str, list[float]] = {name: [] for name in streams}
    for repeat in range(repeats):
        order = list(streams) if repeat % 2 == 0 else list(reversed(streams))
        for name in order:
            work = streams[name]()
            for _ in range(warm_up):
                next(work)
            done, began = 0, time.perf_counter()
            while (passed := time.perf_counter() - began) < seconds:
                done += next(work)
            found[name].append(done / passed)
            del work  # ends its workers
    return found


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def best(work: Callable[[], object], repeats: int = 10) -> float:
    """Seconds that the fastest of several calls took."""
    took = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return min(took)


def copy_speed(threads: int) -> float:
    """Bytes a second that a copy of 256 MB in memory reads and writes."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    source = torch.ones(2**26)
    target = torch.zeros_like(source)
    seconds = best(lambda: target.copy_(source))
    torch.set_num_threads(before)
    return 2 * source.nbytes / seconds


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine(packages: Sequence[str]) -> str:
    """Processor, cores and versions, in a line; a package that is not installed is named as such."""
    return f"{processor()}, {os.cpu_count()} cores; Python {platform.python_version()}; {', '.join(map(version, packages))}"


def processor() -> str:
    """Its name, where the system tells, and the vector instructions that torch uses."""
    listed = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", listed.read_text()) if listed.exists() else []
    return f"{(*names, platform.machine())[0]} ({torch.backends.cpu.get_cpu_capability()})"


def version(package: str) -> str:
    """`name 1.2.3`, or `name: not installed`."""
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return f"{package}: not installed"
