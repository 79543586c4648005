"""Workers that are processes of this machine, one a task."""

import os
import signal
import sys
import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

import torch

from segkit.config.signals import interruptions
from segkit.launch.event import Event, Lost, Said, Work
from segkit.launch.parcel import Parcel


@dataclass(frozen=True, eq=False)
class _Running:
    task: Any
    process: SpawnProcess
    receiver: Connection

    def heard(self) -> Event | None:
        """What the process says next, or that it ended too early; None: it is done."""
        try:
            return Said(self.task, self.receiver.recv())
        except (EOFError, OSError):  # the latter within a message
            self.receiver.close()
            self.process.join()
            return Lost(self.task, f"exit status {self.process.exitcode}") if self.process.exitcode else None


def launch(work: Work, tasks: Sequence[Any], workers: int) -> Generator[Event, None, None]:
    """A `Launch` on this machine. The processes at a time divide the threads: all with all of them would wait for one another.

    Closing the generator early ends them, after a checkpoint where they train.
    """
    threads = max(1, torch.get_num_threads() // workers)
    waiting = list(reversed(tasks))
    running: list[_Running] = []
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                task = waiting.pop()
                running.append(_start(task, Parcel.of(work, task, threads)))
            ready = connection.wait([each.receiver for each in running])
            for each in [each for each in running if each.receiver in ready]:
                event = each.heard()
                if not isinstance(event, Said):
                    running.remove(each)
                if event is not None:
                    yield event
    finally:
        with interruptions():  # a signal that comes twice must leave no process unstopped
            for left in running:
                left.process.terminate()
            for left in running:
                left.process.join()
                left.receiver.close()


def _start(task: Any, parcel: Parcel) -> _Running:
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(parcel, sender))
    process.start()
    sender.close()
    return _Running(task, process, receiver)


def _child(parcel: Parcel, sender: Connection) -> None:
    os.setpgid(0, 0)  # Ctrl-C on a terminal reaches every process of a group; the parent passes it on, once
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        for message in parcel.messages():
            sender.send(message)
    except KeyboardInterrupt:  # the second signal, which stops at once
        sys.exit(130)


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)  # a training ends after a checkpoint
