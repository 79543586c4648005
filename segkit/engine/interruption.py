"""Stopping a run from outside: Ctrl-C and SIGTERM end it after a checkpoint."""

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from segkit.config.errors import SegkitError
from segkit.engine.run import Run


class Interrupted(SegkitError):
    """Ctrl-C or SIGTERM: a checkpoint was written and the run can be resumed. Exit status 130 or 143."""

    def __init__(self, signal_number: int, run: Run, done: int) -> None:
        remedy = "go on with the same command and --resume"
        super().__init__("SK-T040", f"stopped after step {done}; a checkpoint was written", where=run.path, remedy=remedy)
        self.exit_status = 128 + signal_number


@contextmanager
def interruptions() -> Iterator[Sequence[int]]:
    """A list that gets the signal's number on the first Ctrl-C or SIGTERM; a second one stops at once."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)
        os.write(2, b"\nstopping after this step, with a checkpoint; once more stops at once\n")  # print is not safe in here

    try:
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # signals reach the main thread only, and this is another
        before = {}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
