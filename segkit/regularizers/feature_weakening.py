"""Feature weakening: features of frequent classes mixed with others before the classifier, so that they are not learned first."""

from typing import Annotated, Literal, NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Generator, Tensor, nn
from torch import distributed as dist
from torch.nn.functional import pad

from segkit.config.errors import InputError
from segkit.regularizers.base import Regularizer, RunningRegularizer, full_precision, regularizers
from segkit.regularizers.beta import beta_draws
from segkit.regularizers.slices import of_all_slices, own_draws, rank_and_count
from segkit.regularizers.strength import GAMMA, Law, strengths
from segkit.regularizers.voxels import Voxels, by_class, chosen_voxels, drawn_classes, nth_of_class, places

Share = Annotated[float, Field(ge=0, le=1)]
Shape = Annotated[float, Field(ge=1e-3, le=1e4)]
Label = Literal["soft", "keep"]
Partner = Literal["uniform", "class_balanced", "other_class"]
Flow = Literal["detach", "flow"]

BANK = 4096  # features a class where none is given


class Rule(NamedTuple):
    """What a preset chooses."""

    label: Label
    partner: Partner
    partner_gradient: Flow


PRESETS = {"seg": Rule("soft", "class_balanced", "detach"), "literal": Rule("keep", "uniform", "flow")}


@regularizers.register("feature_weakening")
class FeatureWeakening(Regularizer):
    """Feature weakening: of a frequent class's voxel v the classifier sees l h_v + (1 - l) h_q, with a partner q and l = 1 - rho s u.

    h: the features of a voxel. u ~ Beta(a, b), another for each voxel, (a, b) = `beta`. s, 0 to 1: the strength of the voxel's class, by
    the labeled voxels n that training has met of each class, as sampled and since the beginning, this batch included:

        log     s_c = ln(n_c / n_min) / ln(n_max / n_min)
        power   s_c = 1 - (n_min / n_c)^gamma
        step    s_c = 1 for classes that are not rare, 0 for rare ones

    By any law s = 0, and so l = 1, for the smallest class; for all where all are equally large. A class not met yet is not the smallest.

        label     soft: the target is l y_v + (1 - l) y_q; keep: it is y_v
        partner   uniform: any labeled voxel of the batch; class_balanced: a class, each as likely, then a voxel of it;
                  other_class: the same among the classes that v is not of
        gradient  of the partner's feature; detach: there is none; flow: as through any sum

    Preset `seg` is soft, class_balanced, detach; `literal` is keep, uniform, flow. A field that is given overrides its preset.
    A class that the batch lacks is drawn from a bank of its last features, as they were when they were met; only partners drawn by class
    come from it, and only detached ones, since its features have no graph. A voxel that draws itself, or finds nobody, stays as it is.
    So does an ignored voxel, which is nobody's partner either.

    With a kept label, features moved towards the rare class are still trained as the frequent one, which pushes the boundary towards the
    rare class; where there is one foreground class, uniform partners are nearly all background, and weaken nothing. Soft labels move the
    boundary the other way, at the price of precision, and perhaps of the ranking of voxels: compare at equal precision.
    Source: after Ye, Zhan, Chao, ICCV 2021, "Procrustean Training for Imbalanced Deep Learning", from where the idea is to mix features of
    large classes with others of the batch. Laws, labels, partners and the bank are choices of our own.
    """

    preset: Literal["seg", "literal"] = Field("seg", description="what label, partner and partner_gradient are unless given")
    label: Label | None = Field(None, description="target of a mixed voxel; null: soft in seg, keep in literal")
    partner: Partner | None = Field(None, description="how a partner is drawn; null: class_balanced in seg, uniform in literal")
    partner_gradient: Flow | None = Field(None, description="whether partners' features are trained; null: detach in seg, flow in literal")
    strength: Law = Field("log", description="how much more a class is weakened the larger it is")
    gamma: float | None = Field(None, gt=0, description=f"exponent of the law power, which alone has one; null: {GAMMA:g}")
    rho: float = Field(0.5, ge=0, le=0.5, description="largest share of the partner; 0 leaves the features as they are")
    beta: tuple[Shape, Shape] = Field((1.0, 1.0), description="a and b of the law of u; two ones are uniform")
    bank: int | None = Field(
        None,
        ge=0,
        description=f"features a class kept for batches that lack it; null: {BANK} where partners are drawn by class and detached",
    )
    max_voxels: int = Field(200_000, gt=0, description="voxels of a batch that are mixed at most, drawn among those of s > 0")
    anneal: tuple[Share, Share] | None = Field(None, description="shares of the training between which rho goes to 0; null: it stays")
    allow_combination: bool = Field(False, description="a recipe may name it beside mixup")

    @property
    def rule(self) -> Rule:
        """The preset with what overrides it."""
        preset = PRESETS[self.preset]
        return Rule(self.label or preset.label, self.partner or preset.partner, self.partner_gradient or preset.partner_gradient)

    @property
    def bank_size(self) -> int:
        """Features a class; 0 where nothing would be taken from a bank."""
        if self.rule.partner == "uniform" or self.rule.partner_gradient == "flow":
            return 0
        return BANK if self.bank is None else self.bank

    @property
    def asymmetric(self) -> bool:
        """Whether it has to be told which classes are rare."""
        return self.strength == "step"

    @model_validator(mode="after")
    def _every_field_has_its_effect(self) -> Self:
        if self.gamma is not None and self.strength != "power":
            raise ValueError(f"gamma: expected none, since strength {self.strength} has no exponent, got {self.gamma:g}")
        if self.bank and not self.bank_size:
            what = "uniform partners" if self.rule.partner == "uniform" else "partners that gradients flow to"
            raise ValueError(f"bank: expected none, since {what} come from the batch alone, got {self.bank}")
        if self.anneal is not None and self.anneal[0] > self.anneal[1]:
            raise ValueError(f"anneal: expected the first share <= the last, got {list(self.anneal)}")
        return self

    def blend(self, features: Tensor, target: Tensor, rare: Tensor, rng: Generator) -> tuple[Tensor, Tensor]:
        """Raises InputError (SK-N003): settings have met no voxels, and know no large class."""
        raise InputError(
            "SK-N003",
            "feature_weakening: the voxels of each class are counted while training, and settings count nothing",
            where="regularizers.feature_weakening",
            expected="the running part that `start` makes",
            got="the settings themselves",
            remedy="call start(classes, features, steps) once, then in each step see(target) and blend(...) of what it returned",
        )

    def notice(self, classes: int) -> str | None:
        if classes > 2:
            return None
        return "with two classes feature_weakening may raise sensitivity and still rank voxels worse: compare at equal precision"

    def start(self, classes: int, features: int, steps: int) -> "RunningFeatureWeakening":
        return RunningFeatureWeakening(self, classes, features, steps)


class RunningFeatureWeakening(RunningRegularizer):
    """Counts voxels of the clean batches, over all processes, and blends; the bank is common to them, partners are of the own slice.

    counts: float64 [C], the voxels of each class met so far. rho: float64 [], as it is at this step.
    """

    counts: Tensor
    rho: Tensor

    def __init__(self, settings: FeatureWeakening, classes: int, features: int, steps: int) -> None:
        super().__init__()
        self.settings, self.rule, self.steps = settings, settings.rule, steps
        self.register_buffer("counts", torch.zeros(classes, dtype=torch.float64))
        self.register_buffer("rho", torch.tensor(settings.rho, dtype=torch.float64))  # on the device, where the step reads it
        self.bank = Bank(classes, features, settings.bank_size) if settings.bank_size else None

    def set_step(self, step: int) -> None:
        """rho is as given up to the first share of the steps, 0 from the last on, and on a straight line in between."""
        if self.settings.anneal is not None:
            (first, last), done = self.settings.anneal, step / self.steps
            left = 0.0 if done >= last else 1.0 if done <= first else (last - done) / (last - first)
            self.rho.fill_(left * self.settings.rho)

    def see(self, target: Tensor) -> None:
        met = target.sum((0, 2, 3, 4), dtype=torch.float64)  # float32 counts no further than 2^24
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(met)
        self.counts += met

    def blend(self, features: Tensor, target: Tensor, rare: Tensor, rng: Generator) -> tuple[Tensor, Tensor]:
        """Mixed in float32 or better, then of the features' type again. What is given stays as it is; the host waits for no device."""
        rng, most = own_draws(rng), max(1, self.settings.max_voxels // rank_and_count()[1])
        by_voxel, goals = features.movedim(1, -1), target.movedim(1, -1)  # [B, X, Y, Z, D] and [B, X, Y, Z, C]
        voxels = by_class(target)
        strength = pad(strengths(self.settings.strength, self.settings.gamma or GAMMA, self.counts, rare), (0, 1))  # 0 where ignored
        chosen = chosen_voxels(voxels, strength > 0, most, rng)
        u = beta_draws(self.settings.beta, len(chosen), rng).to(strength.device)
        source = by_voxel if self.rule.partner_gradient == "flow" else by_voxel.detach()
        other, other_goal, found = self._partners(source, goals, voxels, chosen, rng)
        share = (self.rho * strength[voxels.label[chosen]] * u * found).unsqueeze(1)  # 1 - l
        at = places(chosen, by_voxel.shape[:-1])
        blended = by_voxel.index_put(at, mixed(full_precision(by_voxel[at]), other, share).to(features.dtype)).movedim(-1, 1)
        if self.rule.label == "keep":
            return blended, target
        return blended, goals.index_put(at, mixed(goals[at], other_goal, share)).movedim(-1, 1)

    def _partners(self, source: Tensor, goals: Tensor, voxels: Voxels, chosen: Tensor, rng: Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Feature [M, D] and target [M, C] of a partner of each of M voxels, and whether it is somebody else: bool [M]."""
        which, within = torch.rand((2, len(chosen)), generator=rng, device=rng.device, dtype=torch.float64).to(chosen.device)
        if self.rule.partner == "uniform":
            partner = voxels.order[(which * voxels.counts.sum()).long()]
            at = places(partner, goals.shape[:-1])
            return full_precision(source[at]), goals[at], partner != chosen
        present = voxels.counts > 0
        available = present if self.bank is None else present | (self.bank.filled > 0)
        drawn, found = drawn_classes(voxels.label[chosen], available, self.rule.partner == "other_class", which)
        partner = nth_of_class(voxels, drawn, (within * voxels.counts[drawn]).long())
        at = places(partner, goals.shape[:-1])
        other, other_goal, in_batch = full_precision(source[at]), goals[at], present[drawn]
        if self.bank is not None:
            classes = torch.eye(len(present), device=goals.device, dtype=goals.dtype)
            other = torch.where(in_batch.unsqueeze(1), other, self.bank.taken(drawn, within).to(other))
            other_goal = torch.where(in_batch.unsqueeze(1), other_goal, classes[drawn])
            self.bank.put(source, voxels, rng)
        return other, other_goal, found & ~(in_batch & (partner == chosen))


class Bank(nn.Module):
    """The last features met of each class, the oldest replaced first.

    A batch renews at most a sixteenth of a class, or one feature, so that the bank remembers more than the last batch that held it.
    features: float32 [C, size, D]. filled, head: int64 [C], how many of a class there are, and where its next one goes.
    """

    features: Tensor
    filled: Tensor
    head: Tensor

    def __init__(self, classes: int, features: int, size: int) -> None:
        super().__init__()
        self.register_buffer("features", torch.zeros(classes, size, features))
        self.register_buffer("filled", torch.zeros(classes, dtype=torch.int64))
        self.register_buffer("head", torch.zeros(classes, dtype=torch.int64))

    def taken(self, classes: Tensor, u: Tensor) -> Tensor:
        """One feature of each of M classes: [M, D]; u, 0 to 1, says which. Zeros where the bank has none."""
        return self.features[classes, (u * self.filled[classes]).long()]

    def put(self, by_voxel: Tensor, voxels: Voxels, rng: Generator) -> None:
        """Features [B, X, Y, Z, D] of some voxels of each class, from a random one on at equal distances in the batch."""
        (classes, size, _), device = self.features.shape, self.features.device
        most = max(1, size // 16 // rank_and_count()[1])
        count, turn = voxels.counts.unsqueeze(1), torch.arange(most, device=device)
        start = (torch.rand((classes, 1), generator=rng, device=rng.device, dtype=torch.float64).to(device) * count).long()
        nth = (start + turn * (count // most).clamp(min=1)) % count.clamp(min=1)  # [C, most]; no voxel twice among the first `count`
        row = torch.arange(classes, device=device).unsqueeze(1)
        new = by_voxel[places(nth_of_class(voxels, row, nth), by_voxel.shape[:-1])]  # [C, most, D]
        met = of_all_slices(turn < count)
        met_first = met.byte().sort(dim=1, descending=True, stable=True).indices[:, :size]
        new = of_all_slices(new.to(self.features))[row, met_first]
        added, turn = met.sum(dim=1).clamp(max=size), torch.arange(met_first.shape[1], device=device)
        slot = (self.head.unsqueeze(1) + turn) % size
        self.features[row, slot] = torch.where((turn < added.unsqueeze(1)).unsqueeze(2), new, self.features[row, slot])
        self.head.copy_((self.head + added) % size)
        self.filled.copy_((self.filled + added).clamp(max=size))


def mixed(own: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """(1 - share) own + share other, exactly own at share 0; share: [M, 1]."""
    return torch.lerp(own, other, share.to(own.dtype))
