"""Poly: the learning rate falls to zero along a power of what is left."""

from pydantic import Field

from segkit.schedules.base import Schedule, schedules


@schedules.register("poly")
class Poly(Schedule):
    """factor = (1 - done)^power. power 1 is a straight line."""

    power: float = Field(0.9, gt=0)

    def factor(self, done: float) -> float:
        return (1.0 - done) ** self.power
