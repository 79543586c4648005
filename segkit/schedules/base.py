"""A schedule of the shelf: a pure function of the share of training done."""

from typing import ClassVar

from segkit.config.registry import Registry
from segkit.config.settings import Settings


class Schedule(Settings):
    """`factor(done)` multiplies the optimizer's learning rate; done is in [0, 1), 0 at the first step."""

    name: ClassVar[str]

    def factor(self, done: float) -> float:
        """The learning rate at `done` as a fraction of its start."""
        raise NotImplementedError


schedules: Registry[Schedule] = Registry("schedule", "segkit.schedules")
