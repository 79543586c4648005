"""Who works on the items of a table: this process, or several beside one another."""

import os
import pickle
import signal
import sys
import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

import torch

from segkit.config.errors import SegkitError, WorkError
from segkit.config.faults import readable
from segkit.config.plugins import FAULTS, PREFIX, load_plugin
from segkit.engine.interruption import Interrupted, interruptions
from segkit.table.item import Item
from segkit.table.work import work


@dataclass(frozen=True)
class Outcome:
    """What became of an item. error: what stopped it. busy: another process works on it."""

    item: Item
    error: SegkitError | None = None
    busy: bool = False


def local(items: Sequence[Item], workers: int) -> Generator[Outcome, None, None]:
    """Work on items on this machine; an outcome as each ends. One that fails costs the others nothing.

    workers: 1 is this process; more are that many processes at a time, one an item, among which the threads are divided: all with all
    of them would wait for one another. Closing the generator early ends them, after a checkpoint where they train.
    """
    threads = torch.get_num_threads()
    if workers > 1:
        yield from _processes(items, workers, max(1, threads // workers))
        return
    for item in items:
        torch.set_num_threads(threads)  # a resumed training takes those it began with
        yield attempt(item)


def attempt(item: Item) -> Outcome:
    """Work on an item; a failure that a user can act on is its outcome, a bug is raised."""
    try:
        return Outcome(item, busy=work(item) == "busy")
    except Interrupted as stop:
        stop.remedy = "go on with the same command"
        raise
    except (SegkitError, *FAULTS) as error:
        known = readable(error)
        if known is None:
            raise
        return Outcome(item, known)


@dataclass(frozen=True, eq=False)
class _Running:
    item: Item
    process: SpawnProcess
    receiver: Connection

    def outcome(self) -> Outcome:
        """Of a process that has sent one, or has ended without."""
        with self.receiver:
            try:
                error, busy = self.receiver.recv()  # before the process is waited for, which may be sending still
            except EOFError:
                self.process.join()
                what, got = "the process of an item ended before it was done", f"exit status {self.process.exitcode}"
                error = WorkError("SK-B021", what, where=self.item.folder, got=got, remedy="run the same command again")
                return Outcome(self.item, error)
        self.process.join()
        return Outcome(self.item, error, busy)


def _processes(items: Sequence[Item], workers: int, threads: int) -> Generator[Outcome, None, None]:
    waiting = list(reversed(items))
    running: list[_Running] = []
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                running.append(_start(waiting.pop(), threads))
            heard = connection.wait([each.receiver for each in running])
            for each in [each for each in running if each.receiver in heard]:
                outcome = each.outcome()
                running.remove(each)
                yield outcome
    finally:
        with interruptions():  # a signal that comes twice must leave no process unstopped
            for left in running:
                left.process.terminate()
            for left in running:
                left.process.join()


def _start(item: Item, threads: int) -> _Running:
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    plugins = [str(module.__file__) for name, module in list(sys.modules.items()) if name.startswith(PREFIX)]
    process = context.Process(target=_child, args=(pickle.dumps(item), plugins, threads, sender))
    process.start()
    sender.close()
    return _Running(item, process, receiver)


def _child(pickled: bytes, plugins: list[str], threads: int, sender: Connection) -> None:
    """One item in a process of its own. pickled: it may hold plug-ins, whose files have to be run first."""
    os.setpgid(0, 0)  # Ctrl-C on a terminal reaches every process of a group; the parent passes it on, once
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    try:
        for plugin in plugins:
            load_plugin(Path(plugin))
        outcome = attempt(pickle.loads(pickled))
    except Interrupted as stop:
        print(stop.block(), file=sys.stderr)
        sys.exit(stop.exit_status)
    except KeyboardInterrupt:  # the second signal, which stops at once
        sys.exit(130)
    except SegkitError as error:  # of a plug-in file that was changed meanwhile
        sender.send((error, False))
    else:
        sender.send((outcome.error, outcome.busy))


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)  # a training ends after a checkpoint
