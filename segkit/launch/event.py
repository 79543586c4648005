"""What a launcher yields: what a worker says of its task, or that the worker was lost."""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Work = Callable[[Any], Iterator[Any]]
"""What is done with a task: a function of a module, so that a worker finds it by name. It yields messages. It may be interrupted at any
moment, and doing it again goes on from there."""


@dataclass(frozen=True, eq=False)
class Said:
    """A message of a worker about its task. A SegkitError is the last one."""

    task: Any
    message: Any


@dataclass(frozen=True, eq=False)
class Lost:
    """A worker ended before its task was done. got: how, as far as that is known."""

    task: Any
    got: str


Event = Said | Lost
Launch = Callable[[Work, Sequence[Any]], Generator[Event, None, None]]
"""Does the work with every task, some of them at a time. A worker that is lost costs its own task. Closing it ends the workers."""
