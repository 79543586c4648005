"""Who works on the items of a table: this process, or workers of a launcher."""

import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import torch

from segkit.config.errors import SegkitError, WorkError
from segkit.config.faults import readable
from segkit.config.plugins import FAULTS
from segkit.engine.interruption import Interrupted
from segkit.launch.event import Launch, Lost
from segkit.table.item import Item
from segkit.table.work import work


@dataclass(frozen=True)
class Outcome:
    """What became of an item. error: what stopped it. busy: another process works on it."""

    item: Item
    error: SegkitError | None = None
    busy: bool = False


def outcomes(items: Sequence[Item], launch: Launch | None) -> Generator[Outcome, None, None]:
    """Work on items; an outcome as each ends. One that fails costs the others nothing. launch: None is one by one in this process.

    Closing the generator early ends the workers, after a checkpoint where they train.
    """
    if launch is not None:
        yield from _elsewhere(items, launch)
        return
    threads = torch.get_num_threads()
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


def _elsewhere(items: Sequence[Item], launch: Launch) -> Generator[Outcome, None, None]:
    with closing(launch(_attempt, items)) as events:
        for event in events:
            if isinstance(event, Lost):
                what = "the process of an item ended before it was done"
                error = WorkError("SK-B021", what, where=event.task.folder, got=event.got, remedy="run the same command again")
                yield Outcome(event.task, error)
            elif isinstance(event.message, SegkitError):  # of a plug-in file that was changed meanwhile
                yield Outcome(event.task, event.message)
            else:
                error, busy = event.message
                yield Outcome(event.task, error, busy)


def _attempt(item: Item) -> Iterator[tuple[Any, bool]]:
    """In a worker: the outcome without the item, which need not travel back."""
    try:
        outcome = attempt(item)
    except Interrupted as stop:
        print(stop.block(), file=sys.stderr)
        sys.exit(stop.exit_status)
    yield outcome.error, outcome.busy
