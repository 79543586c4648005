"""Focal loss: cross-entropy that discounts what is right already; in its asymmetric form never in a rare class."""

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from segkit.losses.base import Loss, full_precision, losses, voxel_mean

LEAST = 1e-6  # of 1 - p


@losses.register("focal")
class Focal(Loss):
    """-(1/N) sum over voxels, sum over classes j, of [r_j + (1 - r_j) (1 - p_j)^gamma] y_j log p_j.

    p = softmax(logits), y the target (soft ones too), N = B X Y Z; r_j = 1 if class j is rare, 0 if not, and always 0 where not
    `asymmetric`. A rare voxel keeps the whole pull of cross-entropy even if it is right; all others are let go as they become
    right. The discount is differentiated along with the rest.
    gamma 0, or all classes rare, is `cross_entropy`; no class rare is the symmetric form. There is no factor alpha.
    Source: Li, Kamnitsas, Glocker, IEEE TMI 2020, "Analyzing Overfitting under Class Imbalance in Neural Networks for Image
    Segmentation"; the symmetric form Lin et al., ICCV 2017, "Focal Loss for Dense Object Detection".
    """

    gamma: float = Field(2.0, ge=0, le=20, description="0: no discount; 20: a voxel with p = 1/2 counts a millionth")
    asymmetric: bool = Field(True, description="rare classes are not discounted")

    def __call__(self, logits: Tensor, target: Tensor, rare: Tensor) -> Tensor:
        """In nats."""
        logp = full_precision(logits).log_softmax(dim=1)
        return -voxel_mean(_Terms.apply(logp, target, self.gamma, rare if self.asymmetric else None))


class _Terms(torch.autograd.Function):
    """y l f(l) of log-probabilities l, f = `discount`: its slope is computed with it, in half the time of autograd's way through it.

    Slope: y f (1 - gamma p l / (1 - p)), p = e^l; y f for the classes spared and where 1 - p is held. In place, and with products where
    masks would do: on a CPU fresh memory and masks cost more than the arithmetic.
    """

    @staticmethod
    def forward(ctx: Any, logp: Tensor, target: Tensor, gamma: float, spared: Tensor | None) -> Tensor:
        ctx.gamma, ctx.spared = gamma, spared
        p = logp.exp()
        wrong = (1 - p).clamp_(min=LEAST)
        pull = _power(wrong, gamma, spared).mul_(target)
        bend = p.mul_(logp).mul_((wrong - LEAST).sign_()).mul_(pull)
        if spared is not None:
            bend.mul_((~spared).to(bend.dtype).view(1, -1, 1, 1, 1))
        ctx.save_for_backward(logp, target, torch.addcdiv(pull, bend, wrong, value=-gamma))
        return pull.mul_(logp)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        logp, target, slope = ctx.saved_tensors
        if torch.is_grad_enabled() and ctx.needs_input_grad[0]:  # the slope is to be differentiated once more
            slope = _slope(logp, target, ctx.gamma, ctx.spared)
        of_target = gradient * logp * discount(logp, ctx.gamma, ctx.spared) if ctx.needs_input_grad[1] else None
        return gradient * slope if ctx.needs_input_grad[0] else None, of_target, None, None


def _slope(logp: Tensor, target: Tensor, gamma: float, spared: Tensor | None) -> Tensor:
    """Autograd's: a tensor that can be differentiated by both."""
    terms = target * logp * discount(logp, gamma, spared)
    return torch.autograd.grad(terms.sum(), logp, create_graph=True)[0]


def discount(logp: Tensor, gamma: float, spared: Tensor | None) -> Tensor:
    """(1 - p)^gamma of log-probabilities [B, C, X, Y, Z], and 1 for the classes `spared` (bool [C]).

    1 - p is kept >= LEAST: for gamma < 1 the slope of the power is infinite at 0.
    """
    return _power((-logp.expm1()).clamp(min=LEAST), gamma, spared)


def _power(wrong: Tensor, gamma: float, spared: Tensor | None) -> Tensor:
    factor = wrong**gamma
    if spared is None:
        return factor
    one = spared.to(factor.dtype).view(1, -1, 1, 1, 1)
    return factor * (1 - one) + one
