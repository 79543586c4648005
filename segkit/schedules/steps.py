"""Steps: the learning rate is halved at given points, as DeepMedic's predefined schedule does."""

from typing import Annotated

from pydantic import Field

from segkit.schedules.base import Schedule, schedules

Share = Annotated[float, Field(gt=0, lt=1)]


@schedules.register("steps")
class Steps(Schedule):
    """factor = 2^-k, with k the number of points passed. The default points are epochs 17, 22, 27, 30 and 33 of DeepMedic's 35."""

    halve_at: tuple[Share, ...] = Field((0.486, 0.629, 0.771, 0.857, 0.943), description="shares of the training")

    def factor(self, done: float) -> float:
        return 0.5 ** sum(done >= point for point in self.halve_at)
