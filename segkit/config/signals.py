"""Ctrl-C and SIGTERM, noted instead of obeyed at once."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from types import FrameType

SAME_SECONDS = 1.0
MESSAGE = b"\nstopping after this step, with a checkpoint; once more, after a second, stops at once\n"


@contextmanager
def interruptions(heard: bool = True) -> Iterator[list[int]]:
    """A list that gets the signal's number on the first Ctrl-C or SIGTERM; one more, SAME_SECONDS later or more, stops at once.

    Sooner it is the same one: a terminal signals a whole process group, and a launcher in it may pass the signal on.
    heard: say so when it comes; of several processes that get it one does.
    """
    received: list[int] = []
    first = 0.0

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal first
        now = monotonic()
        if not received:
            first = now
            received.append(number)
            if heard:
                os.write(2, MESSAGE)  # print is not safe in here
        elif now - first >= SAME_SECONDS:
            raise KeyboardInterrupt

    try:
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # signals reach the main thread only, and this is another
        before = {}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
