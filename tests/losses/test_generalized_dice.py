"""Generalized Dice: its value by hand, MONAI's as an oracle, and what it makes of absent classes."""

import pytest
import torch
from monai.losses import GeneralizedDiceLoss

from segkit.losses.dice import Dice
from segkit.losses.generalized_dice import GeneralizedDice


def three_to_one():
    """Four voxels with p = (3/4, 1/4), three of them background, the last lesion."""
    logits = torch.tensor([3.0, 1.0]).log().view(1, 2, 1, 1, 1).expand(1, 2, 4, 1, 1)
    target = torch.tensor([[1.0, 1, 1, 0], [0, 0, 0, 1]]).view(1, 2, 4, 1, 1)
    return logits, target, torch.tensor([False, True])


def test_value_by_hand():
    # background: TP = 9/4, P = 3, Y = 3, w = 1/9; lesion: TP = 1/4, P = 1, Y = 1, w = 1
    expected = 1 - 2 * (2.25 / 9 + 0.25) / (6 / 9 + 2)
    assert GeneralizedDice(smooth=1e-9)(*three_to_one()).item() == pytest.approx(expected)


def test_smoothing_counts_in_voxels_of_the_smallest_class():
    expected = 1 - (2 * (2.25 / 9 + 0.25) + 0.5) / (6 / 9 + 2 + 0.5)
    assert GeneralizedDice(smooth=0.5)(*three_to_one()).item() == pytest.approx(expected)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("over_batch", [True, False])
@pytest.mark.parametrize("background", [True, False])
def test_monai_agrees_where_all_classes_are_present(classes, over_batch, background, draw):
    logits, target, rare = draw(classes, dtype=torch.float64)
    monai = GeneralizedDiceLoss(include_background=background, softmax=True, batch=over_batch, smooth_nr=0, smooth_dr=0)
    ours = GeneralizedDice(batch=over_batch, background=background, smooth=1e-12)(logits, target, rare)
    torch.testing.assert_close(ours, monai(logits, target), rtol=1e-6, atol=0)  # its weights are float32


@pytest.mark.parametrize("over_batch", [True, False])
def test_of_one_class_it_is_dice(over_batch, draw):
    batch = draw(2)
    torch.testing.assert_close(GeneralizedDice(batch=over_batch, background=False)(*batch), Dice(batch=over_batch)(*batch))


@pytest.mark.parametrize("over_batch", [True, False])
def test_an_absent_class_has_no_weight(over_batch, draw):
    logits, target, rare = draw(4)
    target[:, 0] += target[:, 3]
    target[:, 3] = 0
    axes = (0, 2, 3, 4) if over_batch else (2, 3, 4)
    p, y = logits.softmax(1)[:, :3], target[:, :3]
    weights = y.sum(axes) ** -2
    expected = 1 - 2 * ((p * y).sum(axes) * weights).sum(-1) / ((p + y).sum(axes) * weights).sum(-1)
    torch.testing.assert_close(GeneralizedDice(batch=over_batch, smooth=1e-9)(logits, target, rare), expected.mean())


def test_a_class_absent_from_one_sample_counts_in_the_other(draw):
    logits, target, rare = draw(3)
    target[0, 0] += target[0, 2]
    target[0, 2] = 0
    loss = GeneralizedDice(batch=False)
    apart = [loss(logits[i : i + 1], target[i : i + 1], rare) for i in range(2)]
    torch.testing.assert_close(loss(logits, target, rare), torch.stack(apart).mean())


def test_where_all_classes_are_absent_it_is_zero(draw):
    logits, target, rare = draw(3)
    only_background = torch.zeros_like(target)
    only_background[:, 0] = 1
    logits.requires_grad_()
    value = GeneralizedDice(background=False)(logits, only_background, rare)
    value.backward()
    assert value.item() == 0
    assert logits.grad.abs().max() == 0


def test_a_target_of_next_to_nothing_has_a_finite_weight(draw):
    logits, target, rare = draw(3)
    target = target * torch.tensor([1.0, 1.0, 1e-30]).view(1, 3, 1, 1, 1)  # 1 / Y^2 would not fit into float32
    target[:, 0] += 1 - target.sum(1)
    logits.requires_grad_()
    value = GeneralizedDice()(logits, target, rare)
    value.backward()
    assert value.isfinite()
    assert logits.grad.isfinite().all()
