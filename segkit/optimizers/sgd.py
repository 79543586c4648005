"""Stochastic gradient descent with Nesterov momentum."""

from collections.abc import Iterable

import torch
from pydantic import Field
from torch import nn

from segkit.optimizers.base import Optimizer, optimizers


@optimizers.register("sgd")
class SGD(Optimizer):
    """v <- momentum v + g;  w <- w - lr (g + momentum v), with g including weight_decay * w. momentum 0 is plain descent."""

    learning_rate: float = Field(1e-2, gt=0, description="at the start; the schedule multiplies it")
    momentum: float = Field(0.99, ge=0, lt=1)
    weight_decay: float = Field(3e-5, ge=0)

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.SGD(
            parameters,
            lr=self.learning_rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            nesterov=self.momentum > 0,
            fused=True,
        )
