"""The objective: order of events, deep supervision, targets."""

import pytest
import torch
from torch import nn

from segkit.engine.objective import Objective, rare_mask, target_of
from segkit.losses.base import Loss
from segkit.losses.cross_entropy import CrossEntropy
from segkit.losses.dice import Dice
from segkit.models.base import Lattice, Network
from segkit.regularizers.base import Regularizer
from segkit.regularizers.large_margin import LargeMargin
from segkit.volume.labels import IGNORED

RARE = torch.tensor([False, True])


class OneByOne(Network):
    """The smallest network: no features of its own, a 1x1x1 classifier, and what it is told as auxiliary logits."""

    def __init__(self, *auxiliary: torch.Tensor) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.classifier, self.auxiliary = nn.Conv3d(1, 2, 1), list(auxiliary)

    def lattices(self, output_shape):
        return (Lattice(1, output_shape, (0, 0, 0)),)

    def features(self, image):
        return image[0]

    def features_and_auxiliary(self, image):
        return image[0], self.auxiliary


class Negative(Regularizer):
    """A view of the negative image, with the classes exchanged."""

    def view(self, network, image, target, rare, rng):
        return tuple(-x for x in image), target.flip(1)


class Doubled(Regularizer):
    """Features twice as large, with the target turned into background."""

    def blend(self, features, target, rare, rng):
        background = torch.zeros_like(target)
        background[:, 0] = 1
        return 2 * features, background


class Handicap(Regularizer):
    """One logit less for the true class."""

    def adjust(self, logits, target, rare):
        return logits - target


for name, plugin in (("negative", Negative), ("doubled", Doubled), ("handicap", Handicap)):
    plugin.name = name


PLAIN = (CrossEntropy(),)


def objective(*regularizers: Regularizer, losses=PLAIN) -> Objective:
    return Objective(losses, regularizers, RARE, features=1, steps=1)


def loss(objective: Objective, network: Network, image, target, *, clean: bool = True) -> dict[str, torch.Tensor]:
    return objective.loss(network, image, target, torch.Generator(), clean=clean)


def batch() -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
    torch.manual_seed(1)
    return (torch.randn(2, 1, 4, 4, 4),), target_of(torch.randint(2, (2, 4, 4, 4), dtype=torch.uint8), 2)


def cross_entropy(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(logits, target.argmax(1))


def test_targets_are_one_hot_and_ignored_voxels_are_all_zero():
    label = torch.tensor([0, 2, IGNORED], dtype=torch.uint8).view(1, 3, 1, 1)
    assert target_of(label, 3)[0, :, :, 0, 0].T.tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]


def test_rare_classes_are_found_by_name():
    assert rare_mask(("background", "organ", "lesion"), ("lesion",), torch.device("cpu")).tolist() == [False, False, True]


def test_without_regularizers_the_total_is_the_weighted_sum_of_losses():
    network, (image, target) = OneByOne(), batch()
    terms = loss(objective(losses=(CrossEntropy(weight=2.0), Dice(weight=0.5))), network, image, target)
    assert terms["total"].item() == pytest.approx(2 * terms["cross_entropy"].item() + 0.5 * terms["dice"].item())
    torch.testing.assert_close(terms["cross_entropy"], cross_entropy(network(image), target))


def test_the_clean_view_comes_first_and_views_do_not_stack():
    image, target = batch()
    views = list(objective(Negative(), Handicap(), Negative()).views(OneByOne(), image, target, torch.Generator()))
    assert [name for name, _, _ in views] == ["clean", "negative", "negative"]
    assert torch.equal(views[0][2], target)
    for _, seen, goal in views[1:]:
        assert torch.equal(seen[0], -image[0])
        assert torch.equal(goal, 1 - target)


def test_every_place_of_a_step_is_told_the_rare_classes_as_they_are():
    told = []

    class Listener(Regularizer):
        def view(self, network, image, target, rare, rng):
            told.append(("view", rare.tolist()))

        def blend(self, features, target, rare, rng):
            told.append(("blend", rare.tolist()))
            return features, target

        def adjust(self, logits, target, rare):
            told.append(("adjust", rare.tolist()))
            return logits

    class Heard(Loss):
        def __call__(self, logits, target, rare):
            told.append(("loss", rare.tolist()))
            return logits.sum()

    Listener.name, Heard.name = "listener", "heard"
    image, target = batch()
    ours = objective(Listener(), losses=(Heard(),))
    assert len(list(ours.views(OneByOne(), image, target, torch.Generator()))) == 1
    loss(ours, OneByOne(), image, target)
    assert told == [(place, [False, True]) for place in ("view", "blend", "adjust", "loss")]


def test_the_margin_sees_the_blended_target():
    network, (image, target) = OneByOne(), batch()
    total = loss(objective(Doubled(), Handicap()), network, image, target)["total"]
    background = torch.zeros_like(target)
    background[:, 0] = 1
    torch.testing.assert_close(total, cross_entropy(network.classifier(2 * image[0]) - background, background))


def test_a_view_is_not_blended():
    network, (image, target) = OneByOne(), batch()
    total = loss(objective(Doubled()), network, image, target, clean=False)["total"]
    torch.testing.assert_close(total, cross_entropy(network(image), target))


def test_losses_by_region_see_features_and_target_unblended():
    network, (image, target) = OneByOne(), batch()
    terms = loss(objective(Doubled(), losses=(CrossEntropy(), Dice())), network, image, target)
    background = torch.zeros_like(target)
    background[:, 0] = 1
    torch.testing.assert_close(terms["cross_entropy"], cross_entropy(network.classifier(2 * image[0]), background))
    torch.testing.assert_close(terms["dice"], Dice()(network(image), target, RARE))


def test_losses_by_region_see_the_adjusted_logits():
    network, (image, target) = OneByOne(), batch()
    for techniques in ((Handicap(),), (Doubled(), Handicap())):
        terms = loss(objective(*techniques, losses=(CrossEntropy(), Dice())), network, image, target)
        torch.testing.assert_close(terms["dice"], Dice()(network(image) - target, target, RARE))


def test_a_blend_of_the_target_alone_is_no_business_of_losses_by_region():
    class Smoothed(Regularizer):
        def blend(self, features, target, rare, rng):
            return features, 0.9 * target + 0.05

    Smoothed.name = "smoothed"
    network, (image, target) = OneByOne(), batch()
    terms = loss(objective(Smoothed(), losses=(CrossEntropy(), Dice())), network, image, target)
    torch.testing.assert_close(terms["dice"], Dice()(network(image), target, RARE))
    torch.testing.assert_close(terms["cross_entropy"], CrossEntropy()(network(image), 0.9 * target + 0.05, RARE))


def test_weights_of_classes_do_not_scale_the_margin():
    network, (image, target) = OneByOne(), batch()
    term = loss(objective(LargeMargin(margin=0.5), losses=(CrossEntropy(class_weights=(1.0, 7.0)),)), network, image, target)["total"]
    shifted = network(image) - 0.5 * target * torch.tensor([0.0, 1.0]).view(1, 2, 1, 1, 1)
    by_class = -(target * shifted.log_softmax(1)).sum((0, 2, 3, 4)) / target[:, 0].numel()
    torch.testing.assert_close(term, by_class[0] + 7 * by_class[1])


def test_auxiliary_logits_count_half_and_a_quarter_and_the_weights_sum_to_one():
    image, target = batch()
    halves, quarter = torch.randn(2, 2, 2, 2, 2), torch.randn(2, 2, 1, 1, 1)
    network = OneByOne(halves, quarter)
    total = loss(objective(), network, image, target)["total"]
    parts = [
        cross_entropy(network(image), target),
        cross_entropy(halves, target[..., ::2, ::2, ::2]),
        cross_entropy(quarter, target[..., ::4, ::4, ::4]),
    ]
    torch.testing.assert_close(total, (4 * parts[0] + 2 * parts[1] + parts[2]) / 7)


def test_auxiliary_logits_are_adjusted_but_not_blended():
    image, target = batch()
    halves = torch.randn(2, 2, 2, 2, 2)
    total = loss(objective(Doubled(), Handicap()), OneByOne(halves), image, target)["total"]
    whole = loss(objective(Doubled(), Handicap()), OneByOne(), image, target)["total"]
    small = target[..., ::2, ::2, ::2]
    torch.testing.assert_close(total, (2 * whole + cross_entropy(halves - small, small)) / 3)
