"""Which signals stop a training after a checkpoint, which at once, and what prevails where something fails meanwhile."""

import signal

import pytest

from segkit.engine import interruption
from segkit.engine.interruption import interruptions


@pytest.fixture
def clock(monkeypatch):
    """Sets the times, in seconds, at which signals arrive."""

    def set_to(*seconds: float) -> None:
        monkeypatch.setattr(interruption, "monotonic", iter(seconds).__next__)

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
