"""Workers that are tasks of a Ray cluster: one on this machine, started for the while, or one that is there."""

import os
import socket
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from segkit.config.errors import InputError
from segkit.config.signals import interruptions
from segkit.launch.event import Event, Lost, Said, Work
from segkit.launch.extra import extra
from segkit.launch.parcel import Parcel

OBJECT_STORE_BYTES = 100 * 2**20  # only messages pass through it; by default it takes a third of the memory
CONNECT_SECONDS = 10.0
STOP_SECONDS = 30.0  # for a checkpoint: as long as SLURM waits before it kills


@dataclass(frozen=True, eq=False)
class _Running:
    task: Any
    stream: Any  # of references to messages
    ray: Any

    def heard(self) -> Event | None:
        """What the worker says next, or that it ended too early; None: it is done."""
        try:
            return Said(self.task, self.ray.get(next(self.stream)))
        except StopIteration:
            return None
        except self.ray.exceptions.RayTaskError as error:  # a bug, with its traceback
            print(error, file=sys.stderr)
            return Lost(self.task, f"{type(error.cause).__name__}: {error.cause}".splitlines()[0])
        except self.ray.exceptions.RayError as error:
            return Lost(self.task, f"{type(error).__name__}: {error}".splitlines()[0])


def launch(work: Work, tasks: Sequence[Any], workers: int, address: str | None = None, gpus: bool = True) -> Generator[Event, None, None]:
    """A `Launch` on a Ray cluster. At most `workers` at a time; each has a GPU where the cluster has any, unless `gpus` is False.

    CPUs are given so that as many workers as are asked for find room, and are as many threads. A lost worker is not tried again: whoever
    asks again goes on from what it left. address: `auto` or HOST:PORT; None starts a cluster on this machine. Closing the generator early
    interrupts the workers as Ctrl-C does, and waits up to 30 s for their checkpoints.
    """
    if not tasks:
        return
    ray = extra("ray", "ray")
    with _cluster(ray, address):
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        gpu = 1 if gpus and any(node.get("GPU", 0) for node in nodes) else 0
        cpus = cpus_each([int(node.get("CPU", 0)) for node in nodes if node.get("GPU", 0) >= gpu], workers)
        remote = ray.remote(num_returns="streaming", num_cpus=cpus, num_gpus=gpu, max_retries=0)(_messages)
        waiting = list(reversed(tasks))
        running: list[_Running] = []
        try:
            while waiting or running:
                while waiting and len(running) < workers:
                    task = waiting.pop()
                    running.append(_Running(task, remote.remote(Parcel.of(work, task, cpus)), ray))
                for each in _ready(ray, running, None):
                    event = each.heard()
                    if not isinstance(event, Said):
                        running.remove(each)
                    if event is not None:
                        yield event
        finally:
            with interruptions():  # a signal that comes twice must leave no worker unstopped
                _stop(ray, running)


def cpus_each(nodes: Sequence[int], workers: int) -> int:
    """The most CPUs a worker can have while so many find room on nodes with these CPUs; 1 where they do not.

    >>> cpus_each([8, 8], 3)
    4
    """
    return next((cpus for cpus in range(max(nodes, default=1), 1, -1) if sum(node // cpus for node in nodes) >= workers), 1)


def _messages(parcel: Parcel) -> Iterator[Any]:
    """In a worker. A stop with a checkpoint ends the task, not the worker, of which Ray would tell as of a crash."""
    try:
        for message in parcel.messages():  # noqa: UP028 - Ray sends into its generator, which a list's iterator would not take
            yield message
    except SystemExit as stop:
        raise KeyboardInterrupt from stop


def _ready(ray: Any, running: Sequence[_Running], seconds: float | None) -> list[_Running]:
    """Those that have something to say."""
    ready, _ = ray.wait([each.stream for each in running], timeout=seconds)
    return [each for each in running if each.stream in ready]


def _stop(ray: Any, running: list[_Running]) -> None:
    for each in running:
        ray.cancel(each.stream)
    end = time.monotonic() + STOP_SECONDS
    while running and (left := end - time.monotonic()) > 0:
        for each in _ready(ray, running, left):
            if not isinstance(each.heard(), Said):
                running.remove(each)


@contextmanager
def _cluster(ray: Any, address: str | None) -> Iterator[None]:
    """Connected to a cluster, quietly."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        settings |= {"address": "local", "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
    else:
        _reach(address)
        settings |= {"address": address}
    try:
        ray.init(**settings)
    except ConnectionError as error:
        raise _no_cluster(str(address), str(error).splitlines()[0]) from None
    try:
        yield
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """Raises InputError where nothing answers: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if address == "auto":
        return
    if not host or not port.isdigit():
        raise InputError("SK-C072", "not the address of a Ray cluster", where="--address", expected="auto or HOST:PORT", got=address)
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, str(error)) from None


def _no_cluster(address: str, got: str) -> InputError:
    remedy = "start one with `ray start --head`, or leave --address out for one on this machine"
    return InputError("SK-C073", "no Ray cluster answers", where=f"--address {address}", got=got, remedy=remedy)
