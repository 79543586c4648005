"""What a person sees while work goes on: a bar on a terminal, timed lines elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, TextIO

from rich.console import Console as Rich
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

Verbosity = Literal["quiet", "normal", "verbose"]
LINE_SECONDS = 10.0  # between two lines of one piece of work where there is no terminal


class Rate(ProgressColumn):
    """Finished items a second, or seconds an item where it takes longer."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        return Text(f"{speed:.1f}/s" if speed >= 1 else f"{1 / speed:.1f} s each")


@dataclass
class Console:
    """Messages of one command. quiet: errors only; verbose: details too."""

    verbosity: Verbosity = "normal"
    file: TextIO | None = None
    _rich: Rich = field(init=False)
    _began: float = field(init=False, default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._rich = Rich(file=self.file, highlight=False, soft_wrap=True)

    def say(self, message: str) -> None:
        """A line for everybody but the quiet."""
        if self.verbosity != "quiet":
            self._rich.print(message, markup=False)

    def detail(self, message: str) -> None:
        """A line for the verbose."""
        if self.verbosity == "verbose":
            self._rich.print(message, markup=False)

    @contextmanager
    def track(self, what: str, total: int, done: int = 0) -> Iterator["Tracker"]:
        """Progress of `total` items, `done` of them already: a bar with rate and time left, or a line every 10 s."""
        if self.verbosity == "quiet":
            yield Tracker(None, None)
        elif self._rich.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                Rate(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
            )
            # errors printed meanwhile go above the bar, unless they are sent elsewhere
            with Progress(*columns, console=self._rich, redirect_stderr=sys.stderr.isatty()) as bar:
                yield Tracker(bar, bar.add_task(what, total=total, completed=done, note=""))
        else:
            yield Lines(self._rich, what, total, done)


@dataclass
class Tracker:
    """Moves a bar on a terminal; does nothing without one."""

    bar: Progress | None
    task: object

    def advance(self, note: str = "") -> None:
        """One more item is done; the note stands behind the bar."""
        if self.bar is not None:
            self.bar.update(self.task, advance=1, note=note)  # type: ignore[arg-type]


class Lines(Tracker):
    """The same as timed lines, for logs of batch systems."""

    def __init__(self, rich: Rich, what: str, total: int, done: int) -> None:
        super().__init__(None, None)
        self._rich, self._what, self._total, self._done, self._first = rich, what, total, done, done
        self._began = self._said = time.monotonic()

    def advance(self, note: str = "") -> None:
        self._done += 1
        now = time.monotonic()
        if now - self._said < LINE_SECONDS and self._done < self._total:
            return
        self._said = now
        rate = (self._done - self._first) / max(now - self._began, 1e-9)
        left = (self._total - self._done) / rate
        self._rich.print(
            f"{now - self._began:7.0f} s  {self._what} {self._done}/{self._total}  {rate:.2f}/s  {left:.0f} s left  {note}".rstrip(),
            markup=False,
        )
