"""What benchmarks share: times and rates measured in turn, memory of a process of its own, this machine's limits, and the table."""

import argparse
import ctypes
import importlib.metadata
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

OURS = "segkit"

Stream = Callable[[], Iterator[int]]  # starts work that yields the number of things done, again and again


@dataclass(frozen=True)
class Work:
    """The same work done in several ways, ours first.

    moved: bytes that have to be read and written at least. operations: on floating-point numbers, likewise, as ours makes them, a
    multiply-add as two. precision: of what is multiplied.
    """

    name: str
    ways: Mapping[str, Callable[[], Any]]
    moved: float
    operations: float = 0.0
    precision: torch.dtype = torch.float32


def times(ways: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each way, `repeats` times after one that does not count.

    In turn, forwards and backwards: none always meets the machine as the same other left it.
    """
    found: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats + 1):
        for name in ways if repeat % 2 == 0 else reversed(ways):
            began = time.perf_counter()
            ways[name]()
            if repeat:
                found[name].append(time.perf_counter() - began)
    return found


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


def added_mib(way: Callable[[], object]) -> float:
    """MiB that this process holds more at the highest moment of a call than before it. On Linux.

    Measured at a second call, when libraries are loaded; what the first one left to be used again is given back.
    """
    way()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the highest mark falls to what is held now
    before = _held("VmRSS")
    way()
    return (_held("VmHWM") - before) / 1024


def _held(field: str) -> int:
    (kib,) = re.findall(rf"^{field}:\s*(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(kib)


def options(description: str | None) -> argparse.ArgumentParser:
    """What every comparison takes."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory-of", nargs=2, metavar=("WORK", "WAY"), help=argparse.SUPPRESS)  # what a process of its own measures
    return parser


def compare(works: Sequence[Work], arguments: argparse.Namespace, again: Sequence[str], packages: Sequence[str]) -> None:
    """Prints times and memory of all ways. again: arguments that make the same works in another process."""
    if arguments.memory_of:
        name, way = arguments.memory_of
        print(added_mib(next(work for work in works if work.name == name).ways[way]))
        return
    copied = copy_speed(torch.get_num_threads())
    multiplied = {precision: multiply_speed(precision) for precision in dict.fromkeys(work.precision for work in works)}
    seconds, memory = [], []
    ways = list(dict.fromkeys(way for work in works for way in work.ways))
    for work in works:
        say(f"{work.name}: {', '.join(work.ways)}")
        found = {way: quartiles(values) for way, values in times(work.ways, arguments.repeats).items()}
        median = found[OURS][1]
        limit = max(work.moved / copied, work.operations / multiplied[work.precision])
        rate = f" ({work.operations / median / 1e9:,.0f} GFLOP/s)" if work.operations else ""
        seconds.append([work.name, *(_against(found, way) for way in ways), f"{100 * limit / median:.0f} %{rate}"])
        held = {way: _in_a_process(again, work.name, way) for way in work.ways}
        memory.append([work.name, *(f"{held[way]:,.0f}" if way in held else "" for way in ways)])
    print(f"Seconds: median (quartiles) of n = {arguments.repeats} in turn, and how many times segkit's.\n")
    print(table(["work", *ways, "share of the limit"], seconds))
    print("\nMemory: MiB added at the highest moment, of one call in a process of its own.\n")
    print(table(["work", *ways], memory))
    speeds = ", ".join(f"{speed / 1e9:.0f} GFLOP/s in {str(precision).removeprefix('torch.')}" for precision, speed in multiplied.items())
    print(f"\nLimit: memory copy {copied / 1e9:.1f} GB/s or matrix multiply {speeds}, whichever takes longer.")
    print(f"{machine(packages)}; {torch.get_num_threads()} threads")


def say(line: str) -> None:
    """How far it is, apart from the page that is written."""
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def _against(found: Mapping[str, tuple[float, float, float]], way: str) -> str:
    if way not in found:
        return ""
    low, middle, high = found[way]
    times_ours = "" if way == OURS else f", {middle / found[OURS][1]:.1f}x"
    return f"{middle:.3g} ({low:.3g} to {high:.3g}){times_ours}"


def _in_a_process(again: Sequence[str], work: str, way: str) -> float:
    done = subprocess.run([sys.executable, *again, "--memory-of", work, way], check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout.split()[-1])


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile."""
    if len(values) == 1:  # a first try
        return values[0], values[0], values[0]
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


def multiply_speed(precision: torch.dtype = torch.float32) -> float:
    """Operations a second of a matrix multiplication."""
    size = 2048
    one = torch.ones(size, size, dtype=precision)
    return 2 * size**3 / best(lambda: one @ one)


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


def installed(package: str) -> bool:
    """Whether a distribution is there, so that its way can be measured."""
    return "not installed" not in version(package)
