"""Constant: the learning rate stays."""

from segkit.schedules.base import Schedule, schedules


@schedules.register("constant")
class Constant(Schedule):
    """factor = 1."""

    def factor(self, done: float) -> float:
        return 1.0
