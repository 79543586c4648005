"""Focal Dice: its value by hand, how it differs from Dice, and what it does not discount."""

import pytest
import torch
from pydantic import ValidationError

from segkit.losses.dice import Dice
from segkit.losses.focal_dice import FocalDice

CLASSES = pytest.mark.parametrize("classes", [2, 4])
OVER_BATCH = pytest.mark.parametrize("over_batch", [True, False])
BACKGROUND = pytest.mark.parametrize("background", [True, False])


def value_and_gradient(loss, logits, target, rare):
    logits = logits.clone().requires_grad_()
    value = loss(logits, target, rare)
    return value.detach(), torch.autograd.grad(value, logits)[0]


def assert_the_same(one, other):
    """To the last bit."""
    assert torch.equal(one[0], other[0])
    assert torch.equal(one[1], other[1])


@pytest.mark.parametrize(
    ("rare", "missed"),
    [([False, False], 0.25 * 0.25**2), ([False, True], 0.25)],
    ids=["common", "rare"],
)
def test_value_by_hand(rare, missed, quarters):
    # lesion: TP = 3/4, FP = 3/4, FN = 1/4
    logits, target, _ = quarters
    assert FocalDice(gamma=2.0, smooth=0.5)(logits, target, torch.tensor(rare)).item() == pytest.approx((0.75 + missed + 0.5) / (2.5 + 0.5))


def test_value_with_background_by_hand(quarters):
    # background: TP = 1/4, FP = 1/4, FN = 3/4
    lesion, background = (0.75 + 0.25 * 0.25) / 2.5, (0.25 + 0.75 * 0.75) / 1.5
    assert FocalDice(gamma=1.0, background=True, smooth=1e-9)(*quarters).item() == pytest.approx((lesion + background) / 2)


@CLASSES
@OVER_BATCH
@BACKGROUND
@pytest.mark.parametrize("asymmetric", [True, False])
def test_gamma_zero_is_dice_plus_the_smoothing_over_the_denominator(classes, over_batch, background, asymmetric, draw):
    logits, target, rare = draw(classes)
    axes = (0, 2, 3, 4) if over_batch else (2, 3, 4)
    smoothed = 0.1 / ((logits.softmax(1) + target).sum(axes) + 0.1)
    surplus = (smoothed if background else smoothed[..., 1:]).mean()
    focal = FocalDice(gamma=0.0, asymmetric=asymmetric, batch=over_batch, background=background, smooth=0.1)
    dice = Dice(batch=over_batch, background=background, smooth=0.1)
    torch.testing.assert_close(focal(logits, target, rare), dice(logits, target, rare) + surplus)


@CLASSES
@OVER_BATCH
def test_all_classes_rare_is_gamma_zero(classes, over_batch, draw):
    logits, target, rare = draw(classes)
    batch = logits, target, torch.ones_like(rare)
    assert_the_same(
        value_and_gradient(FocalDice(gamma=2.0, batch=over_batch), *batch),
        value_and_gradient(FocalDice(gamma=0.0, batch=over_batch), *batch),
    )


@CLASSES
@OVER_BATCH
def test_no_class_rare_is_symmetric(classes, over_batch, draw):
    logits, target, rare = draw(classes)
    batch = logits, target, torch.zeros_like(rare)
    assert_the_same(
        value_and_gradient(FocalDice(batch=over_batch), *batch),
        value_and_gradient(FocalDice(batch=over_batch, asymmetric=False), *batch),
    )


@CLASSES
def test_the_symmetric_form_does_not_look_at_rare_classes(classes, draw):
    logits, target, rare = draw(classes)
    loss = FocalDice(asymmetric=False)
    assert torch.equal(loss(logits, target, rare), loss(logits, target, ~rare))


def test_false_voxels_are_never_discounted():
    # class 1 is found wherever it is, for sure, and falsely with p = 1/2 at the other voxel
    logits = torch.tensor([[0.0, -1e4], [0.0, 0.0]]).view(1, 2, 2, 1, 1)
    target = torch.eye(2).view(1, 2, 2, 1, 1)
    for gamma in (0.0, 1.0, 4.0):
        assert FocalDice(gamma=gamma, smooth=1e-9)(logits, target, torch.tensor([False, False])).item() == pytest.approx(0.5 / 2.5)


def test_missed_voxels_that_are_wrong_are_hardly_discounted():
    # p = (1 - e, e) with e = 1/11 at the only voxel, of class 1: FN = 10/11
    logits = torch.tensor([10.0, 1.0]).log().view(1, 2, 1, 1, 1)
    target = torch.tensor([0.0, 1.0]).view(1, 2, 1, 1, 1)
    value = FocalDice(gamma=2.0, smooth=1e-9)(logits, target, torch.tensor([False, False]))
    assert value.item() == pytest.approx((10 / 11) ** 3 / (1 / 11 + 1))


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_an_absent_class_adds_its_full_share_and_no_gradient(gamma, draw):
    logits, target, rare = draw(3, dtype=torch.float64)
    target[:, 0] += target[:, 2]
    target[:, 2] = 0
    value, gradient = value_and_gradient(FocalDice(gamma=gamma, smooth=0.1), logits, target, rare)
    leaf = logits.clone().requires_grad_()
    p, y = leaf.softmax(1)[:, 1], target[:, 1]
    of_1 = ((p * (1 - y)).sum() + ((1 - p) ** (1 + gamma) * y).sum() + 0.1) / (p.sum() + y.sum() + 0.1)
    torch.testing.assert_close(value, (of_1.detach() + 1) / 2)
    torch.testing.assert_close(gradient, torch.autograd.grad(of_1 / 2, leaf)[0])


@pytest.mark.parametrize("gamma", [-0.1, 20.1])
def test_gamma_is_from_0_to_20(gamma):
    with pytest.raises(ValidationError, match="gamma"):
        FocalDice(gamma=gamma)
