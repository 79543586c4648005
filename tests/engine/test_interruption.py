"""Which signals stop a training after a checkpoint, which at once, and what prevails where something fails meanwhile."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from segkit.config import signals
from segkit.config.errors import WorkError
from segkit.config.signals import interruptions
from segkit.engine.interruption import Interrupted, heeding
from segkit.engine.progress import Progress
from segkit.engine.run import Run


@pytest.fixture
def clock(monkeypatch):
    """Sets the times, in seconds, at which signals arrive."""

    def set_to(*seconds: float) -> None:
        monkeypatch.setattr(signals, "monotonic", iter(seconds).__next__)

    return set_to


def test_signals_within_a_second_are_one_and_the_first_one_counts(clock, capfd):
    clock(100.0, 100.005, 100.999)
    with interruptions() as stopped:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
    assert stopped == [signal.SIGTERM]
    assert capfd.readouterr().err == "\nstopping after this step, with a checkpoint; once more, after a second, stops at once\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_a_second_after_the_first_stops_at_once(clock, number):
    clock(100.0, 100.5, 101.0)
    with interruptions() as stopped:
        signal.raise_signal(number)
        signal.raise_signal(number)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert stopped == [number]


def test_afterwards_signals_do_what_they_did_before(clock):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with interruptions():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@pytest.fixture
def progress(tiny) -> Progress:
    """Of a training that has done no step."""
    return Progress.begin(tiny(), torch.device("cpu"))


FULL = WorkError("SK-R090", "cannot write", where="last.pt", got="No space left on device")


def test_what_fails_after_a_signal_ends_as_an_interruption_that_says_why(progress, tmp_path):
    with pytest.raises(Interrupted) as stop, heeding([signal.SIGTERM], Run(tmp_path), progress):
        raise FULL
    assert stop.value.exit_status == 143
    assert stop.value.what == "stopped after step 0; no checkpoint could be written"
    assert stop.value.got == "SK-R090: cannot write: last.pt: No space left on device"


def test_what_fails_without_a_signal_is_what_it_is(progress, tmp_path):
    with pytest.raises(WorkError, match="SK-R090"), heeding([], Run(tmp_path), progress):
        raise FULL


def test_a_bug_after_a_signal_keeps_its_traceback(progress, tmp_path):
    with pytest.raises(ZeroDivisionError), heeding([signal.SIGINT], Run(tmp_path), progress):
        raise ZeroDivisionError


@contextmanager
def log_of_a_full_disk() -> Iterator[None]:
    """What a file does that still has to write when it is closed."""
    try:
        yield
    finally:
        raise OSError(28, "No space left on device")


def test_a_log_that_cannot_be_closed_after_the_checkpoint_takes_nothing_back(progress, tmp_path):
    run = Run(tmp_path)
    with pytest.raises(Interrupted) as stop, heeding([signal.SIGINT], run, progress), log_of_a_full_disk():
        raise Interrupted(signal.SIGINT, run, 3)
    assert stop.value.what == "stopped after step 3; a checkpoint was written"
