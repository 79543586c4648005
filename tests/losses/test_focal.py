"""Focal loss: its value by hand, MONAI's as an oracle, what it reduces to, and what it does not discount."""

import math

import pytest
import torch
from monai.losses import FocalLoss
from pydantic import ValidationError

from segkit.losses.cross_entropy import CrossEntropy
from segkit.losses.focal import Focal, _Terms

GAMMAS = pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 4.0])
CLASSES = pytest.mark.parametrize("classes", [2, 4])


def value_and_gradient(loss, logits, target, rare):
    logits = logits.clone().requires_grad_()
    value = loss(logits, target, rare)
    return value.detach(), torch.autograd.grad(value, logits)[0]


def assert_the_same(one, other):
    """To the last bit."""
    assert torch.equal(one[0], other[0])
    assert torch.equal(one[1], other[1])


def test_the_symmetric_value_by_hand(quarters):
    background, lesion = 0.75**2 * math.log(4), 0.25**2 * math.log(4 / 3)
    assert Focal(gamma=2.0, asymmetric=False)(*quarters).item() == pytest.approx((background + lesion) / 2)


def test_the_asymmetric_value_by_hand(quarters):
    logits, target, _ = quarters
    background, lesion = 0.75**2 * math.log(4), math.log(4 / 3)
    assert Focal(gamma=2.0)(logits, target, torch.tensor([False, True])).item() == pytest.approx((background + lesion) / 2)


@CLASSES
@GAMMAS
def test_the_symmetric_form_is_monais_which_divides_by_the_classes_too(classes, gamma, draw):
    logits, target, rare = draw(classes)
    monai = FocalLoss(gamma=gamma, use_softmax=True)(logits, target)
    torch.testing.assert_close(Focal(gamma=gamma, asymmetric=False)(logits, target, rare), classes * monai)


@CLASSES
@pytest.mark.parametrize("asymmetric", [True, False])
def test_gamma_zero_is_cross_entropy(classes, asymmetric, draw):
    batch = draw(classes)
    assert_the_same(value_and_gradient(Focal(gamma=0.0, asymmetric=asymmetric), *batch), value_and_gradient(CrossEntropy(), *batch))


@CLASSES
@GAMMAS
def test_all_classes_rare_is_cross_entropy(classes, gamma, draw):
    logits, target, rare = draw(classes)
    batch = logits, target, torch.ones_like(rare)
    assert_the_same(value_and_gradient(Focal(gamma=gamma), *batch), value_and_gradient(CrossEntropy(), *batch))


@CLASSES
@GAMMAS
def test_no_class_rare_is_symmetric(classes, gamma, draw):
    logits, target, rare = draw(classes)
    batch = logits, target, torch.zeros_like(rare)
    assert_the_same(value_and_gradient(Focal(gamma=gamma), *batch), value_and_gradient(Focal(gamma=gamma, asymmetric=False), *batch))


@CLASSES
def test_the_symmetric_form_does_not_look_at_rare_classes(classes, draw):
    logits, target, rare = draw(classes)
    loss = Focal(asymmetric=False)
    assert torch.equal(loss(logits, target, rare), loss(logits, target, ~rare))


@CLASSES
@GAMMAS
def test_it_is_cross_entropy_of_the_rare_plus_symmetric_focal_of_the_others(classes, gamma, draw):
    logits, target, rare = draw(classes)
    of_rare = target * rare.view(1, -1, 1, 1, 1)
    parts = CrossEntropy()(logits, of_rare, rare) + Focal(gamma=gamma, asymmetric=False)(logits, target - of_rare, rare)
    torch.testing.assert_close(Focal(gamma=gamma)(logits, target, rare), parts)


@CLASSES
def test_a_rare_voxel_keeps_the_gradient_of_cross_entropy_and_the_others_do_not(classes, draw):
    logits, target, rare = draw(classes)
    is_rare = (target * rare.view(1, -1, 1, 1, 1)).sum(1, keepdim=True).expand_as(logits) > 0
    _, focal = value_and_gradient(Focal(gamma=2.0), logits, target, rare)
    _, plain = value_and_gradient(CrossEntropy(), logits, target, rare)
    torch.testing.assert_close(focal[is_rare], plain[is_rare], rtol=0, atol=0)
    assert (focal[~is_rare] != plain[~is_rare]).all()


@GAMMAS
def test_the_discount_is_differentiated(gamma, draw):
    # d/dz of -(1 - p)^g log p, with dp/dz = p (1 - p) for the logit z of the voxel's own class
    logits, target, rare = draw(4, dtype=torch.float64)
    _, gradient = value_and_gradient(Focal(gamma=gamma, asymmetric=False), logits, target, rare)
    p = logits.softmax(1)
    by_hand = gamma * p * (1 - p) ** gamma * p.log() - (1 - p) ** (gamma + 1)
    torch.testing.assert_close(gradient[target == 1], by_hand[target == 1] / 120)


@CLASSES
@pytest.mark.parametrize("gamma", [0.5, 2.0])
@pytest.mark.parametrize("asymmetric", [True, False])
def test_first_and_second_derivatives_are_those_of_the_value_for_logits_and_target(classes, gamma, asymmetric, draw):
    logits, target, rare = draw(classes, dtype=torch.float64)
    logits = logits[:, :, :2, :1, :1].clone().requires_grad_()
    target = (0.8 * target + 0.1)[:, :, :2, :1, :1].clone().requires_grad_()

    def loss(logits, target):
        return Focal(gamma=gamma, asymmetric=asymmetric)(logits, target, rare)

    assert torch.autograd.gradcheck(loss, (logits, target))
    assert torch.autograd.gradgradcheck(loss, (logits, target))


@pytest.mark.parametrize(
    ("wrong", "spared", "factor", "bend"),
    [
        (1e-3, False, 1e-3**0.5, 1 - 0.5 * (1 - 1e-3) * math.log1p(-1e-3) / 1e-3),
        (1e-3, True, 1.0, 1.0),
        (1e-7, False, 1e-6**0.5, 1.0),  # 1 - p is held at 1e-6, so the discount no longer changes
    ],
)
def test_the_discount_and_the_slope_by_hand_for_a_share_of_1_minus_p(wrong, spared, factor, bend):
    logp = torch.full((1, 1, 1, 1, 1), math.log1p(-wrong), dtype=torch.float64, requires_grad=True)
    term = _Terms.apply(logp, torch.full_like(logp, 0.25), 0.5, torch.tensor([spared]))
    (slope,) = torch.autograd.grad(term, logp, retain_graph=True)
    (by_autograd,) = torch.autograd.grad(term, logp, create_graph=True)
    assert term.item() == pytest.approx(0.25 * factor * math.log1p(-wrong), rel=1e-6)
    assert slope.item() == pytest.approx(0.25 * factor * bend, rel=1e-6)
    assert by_autograd.item() == pytest.approx(0.25 * factor * bend, rel=1e-6)


def test_the_target_alone_can_be_differentiated(draw):
    logits, target, rare = draw(3, dtype=torch.float64)
    target = target.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(Focal()(logits, target, rare), target, create_graph=True)
    shares = logits.softmax(1)
    factor = torch.where(rare.view(1, -1, 1, 1, 1), torch.ones_like(shares), (1 - shares) ** 2)
    torch.testing.assert_close(gradient, -factor * shares.log() / target[:, 0].numel())


def test_soft_targets_enter_as_fractions(draw):
    logits, target, rare = draw(3, dtype=torch.float64)
    other = target.flip(1)
    blended = Focal()(logits, 0.3 * target + 0.7 * other, rare)
    torch.testing.assert_close(blended, 0.3 * Focal()(logits, target, rare) + 0.7 * Focal()(logits, other, rare))


@pytest.mark.parametrize("loss", [CrossEntropy(), Focal(gamma=2.0), Focal(gamma=0.5, asymmetric=False)])
def test_a_hopeless_voxel_keeps_its_pull(loss):
    # p = e^-30, far below 1e-6: the logit of its class is pulled up with 1/N, here N = 2
    logits = torch.tensor([30.0, 0.0]).view(1, 2, 1, 1, 1).expand(1, 2, 2, 1, 1)
    target = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).view(1, 2, 2, 1, 1)
    value, gradient = value_and_gradient(loss, logits, target, torch.tensor([False, True]))
    assert value.item() == pytest.approx(30 / 2)
    assert gradient[0, :, 0, 0, 0].tolist() == pytest.approx([1 / 2, -1 / 2])


@pytest.mark.parametrize("gamma", [-0.1, 20.1])
def test_gamma_is_from_0_to_20(gamma):
    with pytest.raises(ValidationError, match="gamma"):
        Focal(gamma=gamma)
