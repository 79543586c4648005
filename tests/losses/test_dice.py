"""Soft Dice: its value by hand, MONAI's as an oracle, and what it leaves out."""

import math

import pytest
import torch
from monai.losses import DiceLoss
from torch.nn.functional import one_hot

from segkit.losses.dice import Dice


def batch(classes, seed=0, dtype=torch.float32):
    """Logits and one-hot target [2, C, 3, 4, 5], and no rare class."""
    rng = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, classes, 3, 4, 5, generator=rng, dtype=dtype)
    labels = torch.randint(classes, (2, 3, 4, 5), generator=rng)
    return logits, one_hot(labels, classes).movedim(-1, 1).to(dtype), torch.zeros(classes, dtype=torch.bool)


def quarters():
    """Two voxels with p = (1/4, 3/4), the first background, the second lesion."""
    logits = torch.tensor([0.0, math.log(3)]).view(1, 2, 1, 1, 1).expand(1, 2, 2, 1, 1)
    return logits, torch.eye(2).view(1, 2, 2, 1, 1), torch.tensor([False, True])


@pytest.mark.parametrize(
    ("background", "dice"),
    [(False, 2 * 0.75 / (1.5 + 1)), (True, (2 * 0.25 / (0.5 + 1) + 2 * 0.75 / (1.5 + 1)) / 2)],
)
def test_value_by_hand(background, dice):
    assert Dice(background=background, smooth=1e-9)(*quarters()).item() == pytest.approx(1 - dice)


def test_smoothing_by_hand():
    assert Dice(smooth=0.5)(*quarters()).item() == pytest.approx(1 - (1.5 + 0.5) / (2.5 + 0.5))


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("over_batch", [True, False])
@pytest.mark.parametrize("background", [True, False])
def test_monai_agrees(classes, over_batch, background):
    logits, target, rare = batch(classes)
    monai = DiceLoss(include_background=background, softmax=True, batch=over_batch, smooth_nr=0.1, smooth_dr=0.1)
    torch.testing.assert_close(Dice(batch=over_batch, background=background, smooth=0.1)(logits, target, rare), monai(logits, target))


def test_soft_targets_enter_as_fractions():
    logits, target, rare = batch(3)
    mixed = 0.7 * target + 0.3 * target.flip(0)
    p = logits.softmax(1)
    dice = 2 * (p * mixed).sum((0, 2, 3, 4)) / (p + mixed).sum((0, 2, 3, 4))
    torch.testing.assert_close(Dice(background=True, smooth=1e-9)(logits, mixed, rare), 1 - dice.mean())


@pytest.mark.parametrize("over_batch", [True, False])
def test_ignored_voxels_are_as_if_they_were_cut_off(over_batch):
    logits, target, rare = batch(3)
    target[:, :, 0] = 0
    loss = Dice(batch=over_batch)
    torch.testing.assert_close(loss(logits, target, rare), loss(logits[:, :, 1:], target[:, :, 1:], rare))


def test_ignored_voxels_have_no_gradient():
    logits, target, rare = batch(3)
    target[:, :, 0] = 0
    logits.requires_grad_()
    Dice()(logits, target, rare).backward()
    assert logits.grad[:, :, 0].abs().max() == 0
    assert (logits.grad[:, :, 1:] != 0).all()


def test_a_batch_of_ignored_voxels_pulls_on_nothing():
    logits, target, rare = batch(3)
    logits.requires_grad_()
    loss = Dice()(logits, torch.zeros_like(target), rare)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.abs().max() == 0


def test_an_absent_class_adds_its_share_and_next_to_no_gradient():
    logits, target, rare = batch(3)
    target = torch.stack([target[:, 0] + target[:, 2], target[:, 1], torch.zeros_like(target[:, 2])], dim=1)  # class 2 is gone
    logits.requires_grad_()
    p = logits.softmax(1)
    dice_of_1 = (2 * (p * target).sum((0, 2, 3, 4)) / (p + target).sum((0, 2, 3, 4)))[1]
    loss = Dice()(logits, target, rare)
    torch.testing.assert_close(loss, 1 - dice_of_1 / 2)
    (ours,), (of_1,) = (torch.autograd.grad(value, logits, retain_graph=True) for value in (loss, 1 - dice_of_1 / 2))
    torch.testing.assert_close(ours, of_1, atol=1e-7, rtol=0)
    assert of_1.abs().max() > 1e-4


@pytest.mark.parametrize("over_batch", [True, False])
@pytest.mark.parametrize("background", [True, False])
def test_gradcheck(over_batch, background):
    logits, target, rare = batch(3, dtype=torch.float64)
    logits, target = logits[:, :, :2, :1, :2].clone().requires_grad_(), target[:, :, :2, :1, :2].clone()
    target[0, :, 0, 0, 0] = 0  # one ignored voxel
    loss = Dice(batch=over_batch, background=background, smooth=0.1)
    assert torch.autograd.gradcheck(lambda x: loss(x, target, rare), logits)


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("autocast", [True, False])
def test_certain_voxels_are_finite(right, autocast):
    target = torch.eye(2).view(1, 2, 2, 1, 1)
    logits = (2e4 * target - 1e4) * (1 if right else -1)
    logits.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = Dice(background=True)(logits, target, torch.tensor([False, True]))
    loss.backward()
    assert loss.item() == pytest.approx(0 if right else 1, abs=1e-5)
    assert logits.grad.isfinite().all()


def test_half_logits_are_computed_in_float32():
    logits, target, rare = batch(4)
    half = logits.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        loss = Dice()(half, target, rare)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, Dice()(half.float(), target, rare), rtol=1e-6, atol=0)


def test_every_class_counts_the_same_however_few_its_voxels():
    target = one_hot(torch.tensor([0] * 90 + [1] * 9 + [2]), 3).T.float().view(1, 3, 100, 1, 1)
    only_large_wrong = 1e4 * torch.stack([target[:, 0] + target[:, 1], torch.zeros(1, 100, 1, 1), target[:, 2]], dim=1)
    only_small_wrong = 1e4 * torch.stack([target[:, 0] + target[:, 2], target[:, 1], torch.zeros(1, 100, 1, 1)], dim=1)
    rare = torch.zeros(3, dtype=torch.bool)
    for logits in (only_large_wrong, only_small_wrong):
        assert Dice()(logits, target, rare).item() == pytest.approx(1 / 2, abs=1e-4)
