"""Schedules: values by hand, and where they begin and end."""

import pytest

from segkit.schedules.base import schedules
from segkit.schedules.constant import Constant
from segkit.schedules.cosine import Cosine
from segkit.schedules.poly import Poly
from segkit.schedules.steps import Steps


@pytest.mark.parametrize(
    ("schedule", "done", "factor"),
    [
        (Constant(), 0.99, 1.0),
        (Steps(halve_at=(0.5, 0.75)), 0.49, 1.0),
        (Steps(halve_at=(0.5, 0.75)), 0.5, 0.5),
        (Steps(halve_at=(0.5, 0.75)), 0.9, 0.25),
        (Poly(power=1.0), 0.25, 0.75),
        (Poly(power=2.0), 0.5, 0.25),
        (Cosine(), 0.5, 0.5),
        (Cosine(floor=0.2), 0.5, 0.6),
        (Cosine(warmup=0.2), 0.1, 0.5),
        (Cosine(warmup=0.2), 0.6, 0.5),
    ],
)
def test_value_by_hand(schedule, done, factor):
    assert schedule.factor(done) == pytest.approx(factor)


@pytest.mark.parametrize("name", list(schedules))
def test_without_warm_up_training_starts_at_the_full_rate(name):
    assert schedules.build(name).factor(0.0) == 1.0


@pytest.mark.parametrize("name", list(schedules))
def test_the_rate_never_rises_without_a_warm_up(name):
    factors = [schedules.build(name).factor(step / 100) for step in range(100)]
    assert factors == sorted(factors, reverse=True)
