"""AdamW: Adam with weight decay apart from the gradient (Loshchilov and Hutter, 2019)."""

from collections.abc import Iterable

import torch
from pydantic import Field
from torch import nn

from segkit.optimizers.base import Optimizer, optimizers


@optimizers.register("adamw")
class AdamW(Optimizer):
    """Decay acts on matrices and kernels only: biases and the scales and shifts of normalizations keep their size."""

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = Field(1e-8, gt=0)
    weight_decay: float = Field(1e-2, ge=0)

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        parameters = list(parameters)
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": self.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=self.learning_rate, betas=self.betas, eps=self.eps, fused=True)
