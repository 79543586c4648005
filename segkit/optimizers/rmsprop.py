"""RMSProp as DeepMedic trains with it: epsilon inside the root, Nesterov momentum that is not normalized.

torch's RMSprop adds epsilon outside the root and has no Nesterov form, so the two are different methods.
"""

from collections.abc import Iterable

import torch
from pydantic import Field
from torch import nn

from segkit.optimizers.base import Optimizer, optimizers


@optimizers.register("rmsprop")
class RMSProp(Optimizer):
    """s <- rho s + (1 - rho) g^2;  d = lr g / sqrt(s + eps);  v <- momentum v - d;  w <- w + momentum v - d.

    g gradient, s its mean square, v the velocity; momentum 0 is plain RMSProp.
    Source: DeepMedic 0.8 (Kamnitsas et al., Medical Image Analysis 2017).
    """

    rho: float = Field(0.9, ge=0, lt=1, description="memory of the mean square")
    eps: float = Field(1e-4, gt=0, description="added under the root")
    momentum: float = Field(0.6, ge=0, lt=1)

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return NesterovRMSProp(parameters, lr=self.learning_rate, rho=self.rho, eps=self.eps, momentum=self.momentum)


class NesterovRMSProp(torch.optim.Optimizer):
    """The running part of `rmsprop`: one mean square and one velocity a parameter."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, rho: float, eps: float, momentum: float) -> None:
        super().__init__(parameters, {"lr": lr, "rho": rho, "eps": eps, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            weights = [p for p in group["params"] if p.grad is not None]
            for p in weights:
                if not self.state[p]:
                    self.state[p] = {"mean_square": torch.zeros_like(p), "velocity": torch.zeros_like(p)}
            if not weights:
                continue
            gradients = [p.grad for p in weights]
            squares = [self.state[p]["mean_square"] for p in weights]
            velocities = [self.state[p]["velocity"] for p in weights]
            torch._foreach_mul_(squares, group["rho"])
            torch._foreach_addcmul_(squares, gradients, gradients, value=1 - group["rho"])
            roots = torch._foreach_add(squares, group["eps"])
            torch._foreach_sqrt_(roots)
            moves = torch._foreach_div(gradients, roots)
            torch._foreach_mul_(moves, group["lr"])
            torch._foreach_mul_(velocities, group["momentum"])
            torch._foreach_sub_(velocities, moves)
            torch._foreach_add_(weights, velocities, alpha=group["momentum"])
            torch._foreach_sub_(weights, moves)
