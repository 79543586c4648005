"""Mixup: the batch blended with itself, and the asymmetric form, in which a rare class keeps its hard label."""

from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Generator, Tensor, nn

from segkit.config.errors import InputError
from segkit.regularizers.base import Regularizer, host_draws, regularizers
from segkit.regularizers.slices import rank_and_count, samples_further_on

MARGIN = 0.2  # of asymmetric mixup where none is given


@regularizers.register("mixup")
class Mixup(Regularizer):
    """Mixup: a view w x_i + (1 - w) x_k of each sample i and a partner k != i, with hard labels in which rare classes win over others.

    Symmetric: w ~ Beta(alpha, alpha), and the target is w y_i + (1 - w) y_k.
    Asymmetric: w ~ (1 - m) Beta(alpha, alpha), m = the margin, and a voxel's target is a class or none. Where i is of class a and k of b:

        a = b                                         a
        one of them rare, with a weight above m       the rare one
        one of them rare, with a weight of m or less  none: the voxel is ignored
        different, and both rare or neither           none

    A voxel that is ignored in i or k is ignored. One w and one pairing serve the whole batch and all lattices; both are drawn on the
    host, so they do not depend on the device. Partners are the batch turned by a random number of places, 1 .. B - 1: nobody meets
    himself, everybody is a partner once, and each of the others as likely as any. Of several processes each gets the partners that
    another one's slice of the batch holds.
    Sources: Zhang, Cisse, Dauphin, Lopez-Paz, ICLR 2018, "mixup"; Li, Kamnitsas, Glocker, IEEE TMI 2020, for the asymmetric form.
    """

    alpha: float = Field(1.0, gt=0, description="of Beta(alpha, alpha): 1 is uniform, small values mostly leave one of the two as it is")
    margin: float | None = Field(
        None, ge=0, lt=1, description=f"weight above which a rare class wins a voxel; null: {MARGIN:g} where asymmetric, else there is none"
    )
    asymmetric: bool = Field(True, description="rare classes win over others; false: soft labels")

    @model_validator(mode="after")
    def _soft_labels_have_no_margin(self) -> Self:
        if self.margin and not self.asymmetric:
            raise ValueError(f"margin: expected none, since symmetric mixup has soft labels and no winner, got {self.margin:g}")
        return self

    def view(
        self, network: nn.Module, image: tuple[Tensor, ...], target: Tensor, rare: Tensor, rng: Generator
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """The mixed batch. Raises InputError (SK-N001) for a batch of one sample."""
        samples = len(target) * rank_and_count()[1]
        if samples < 2:
            raise InputError(
                "SK-N001",
                "mixup: a batch of one sample has nothing to mix",
                where="regularizers.mixup",
                expected="at least 2 samples in a batch",
                got=str(samples),
                remedy="raise train.batch_size to 2 or more, or leave mixup out",
            )
        draws = host_draws(rng)
        weight = float(draws.beta(self.alpha, self.alpha))
        places = int(draws.integers(1, samples))
        if not self.asymmetric:
            return tuple(mixed(x, places, weight) for x in image), soft_target(target, places, weight)
        margin = MARGIN if self.margin is None else self.margin
        weight *= 1 - margin
        return tuple(mixed(x, places, weight) for x in image), hard_target(target, places, weight, rare, margin)


def mixed(x: Tensor, places: int, weight: float) -> Tensor:
    """weight x_i + (1 - weight) x_k with k = i + places, exact where the two agree and at weight 1. Memory layout as of x."""
    return torch.lerp(x, samples_further_on(x, places), 1 - weight)


def soft_target(target: Tensor, places: int, weight: float) -> Tensor:
    """Targets mixed as the images are; zero where the voxel is ignored in one of the two."""
    partner = samples_further_on(target, places)
    known, partner_known = (y.sum(dim=1, keepdim=True) > 0 for y in (target, partner))
    return torch.lerp(target, partner, 1 - weight) * (known & partner_known)


def hard_target(target: Tensor, places: int, weight: float, rare: Tensor, margin: float) -> Tensor:
    """The rule of asymmetric mixup: target [B, C, X, Y, Z], one-hot or zero in every voxel, as it was; rare: bool [C]."""
    own, other = target > 0, samples_further_on(target, places) > 0
    rare = rare.view(1, -1, 1, 1, 1)
    own_is_common, other_is_common = ((y & ~rare).any(dim=1, keepdim=True) for y in (own, other))
    own_wins = own & rare & other_is_common & (weight > margin)
    other_wins = other & rare & own_is_common & (1 - weight > margin)
    return ((own & other) | own_wins | other_wins).to(target)
