"""Soft IoU: its value by hand, MONAI's as an oracle, and its relation to Dice."""

import pytest
import torch
from monai.losses import DiceLoss

from segkit.losses.dice import Dice
from segkit.losses.iou import IoU


@pytest.mark.parametrize(
    ("background", "iou"),
    [(False, 0.75 / 1.75), (True, (0.25 / 1.25 + 0.75 / 1.75) / 2)],
)
def test_value_by_hand(background, iou, quarters):
    # lesion: TP = 3/4, FP = 3/4, FN = 1/4; background: TP = 1/4, FP = 1/4, FN = 3/4
    assert IoU(background=background, smooth=1e-9)(*quarters).item() == pytest.approx(1 - iou)


def test_smoothing_by_hand(quarters):
    assert IoU(smooth=0.5)(*quarters).item() == pytest.approx(1 - (0.75 + 0.5) / (1.75 + 0.5))


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("over_batch", [True, False])
@pytest.mark.parametrize("background", [True, False])
def test_it_is_monais_jaccard_whose_smoothing_is_on_twice_the_counts(classes, over_batch, background, draw):
    logits, target, rare = draw(classes)
    monai = DiceLoss(include_background=background, softmax=True, jaccard=True, batch=over_batch, smooth_nr=0.2, smooth_dr=0.2)
    torch.testing.assert_close(IoU(batch=over_batch, background=background, smooth=0.1)(logits, target, rare), monai(logits, target))


def test_of_one_class_it_follows_from_dice(draw):
    batch = draw(2)
    dice = 1 - Dice(smooth=0.2)(*batch)
    torch.testing.assert_close(1 - IoU(smooth=0.1)(*batch), dice / (2 - dice))


def test_an_absent_class_adds_its_share(draw):
    logits, target, rare = draw(3)
    target[:, 0] += target[:, 2]
    target[:, 2] = 0
    p, y = logits.softmax(1)[:, 1], target[:, 1]
    of_1 = (p * y).sum() / (p + y - p * y).sum()
    torch.testing.assert_close(IoU()(logits, target, rare), 1 - of_1 / 2)
