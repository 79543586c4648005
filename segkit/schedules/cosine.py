"""Cosine: a linear warm-up, then half a cosine down."""

import math

from pydantic import Field

from segkit.schedules.base import Schedule, schedules


@schedules.register("cosine")
class Cosine(Schedule):
    """factor = done / warmup while done < warmup, then floor + (1 - floor) (1 + cos(pi u)) / 2, u = (done - warmup) / (1 - warmup).

    Source: Loshchilov and Hutter, 2017 (without restarts).
    """

    warmup: float = Field(0.0, ge=0, lt=1, description="share of the training that ramps up from zero")
    floor: float = Field(0.0, ge=0, le=1, description="the factor at the end")

    def factor(self, done: float) -> float:
        if done < self.warmup:
            return done / self.warmup
        along = (done - self.warmup) / (1.0 - self.warmup)
        return self.floor + (1.0 - self.floor) * 0.5 * (1.0 + math.cos(math.pi * along))
