"""Tversky: its value by hand, MONAI's as an oracle, and the overlaps it contains."""

import pytest
import torch
from monai.losses import TverskyLoss
from pydantic import ValidationError

from segkit.losses import losses
from segkit.losses.dice import Dice
from segkit.losses.iou import IoU
from segkit.losses.tversky import Tversky

CLASSES = pytest.mark.parametrize("classes", [2, 4])
OVER_BATCH = pytest.mark.parametrize("over_batch", [True, False])
BACKGROUND = pytest.mark.parametrize("background", [True, False])


def test_value_by_hand(quarters):
    # lesion: TP = 3/4, FP = 3/4, FN = 1/4
    loss = Tversky(alpha=0.2, beta=0.8, smooth=0.5)
    assert loss(*quarters).item() == pytest.approx(1 - (0.75 + 0.5) / (0.75 + 0.2 * 0.75 + 0.8 * 0.25 + 0.5))


@CLASSES
@OVER_BATCH
@BACKGROUND
def test_monai_agrees(classes, over_batch, background, draw):
    logits, target, rare = draw(classes)
    monai = TverskyLoss(include_background=background, softmax=True, alpha=0.3, beta=0.9, batch=over_batch, smooth_nr=0.1, smooth_dr=0.1)
    ours = Tversky(alpha=0.3, beta=0.9, batch=over_batch, background=background, smooth=0.1)
    torch.testing.assert_close(ours(logits, target, rare), monai(logits, target))


@CLASSES
@OVER_BATCH
@BACKGROUND
def test_alpha_and_beta_of_a_half_are_dice_at_twice_the_smoothing(classes, over_batch, background, draw):
    batch = draw(classes)
    half = Tversky(alpha=0.5, beta=0.5, batch=over_batch, background=background, smooth=0.1)
    torch.testing.assert_close(half(*batch), Dice(batch=over_batch, background=background, smooth=0.2)(*batch))


@CLASSES
@OVER_BATCH
@BACKGROUND
def test_alpha_and_beta_of_one_are_iou(classes, over_batch, background, draw):
    batch = draw(classes)
    one = Tversky(alpha=1.0, beta=1.0, batch=over_batch, background=background, smooth=0.1)
    torch.testing.assert_close(one(*batch), IoU(batch=over_batch, background=background, smooth=0.1)(*batch))


@pytest.mark.parametrize(("alpha", "beta", "ratio"), [(1.0, 0.0, 0.75 / 1.5), (0.0, 1.0, 0.75 / 1.0)])
def test_alpha_alone_is_precision_and_beta_alone_sensitivity(alpha, beta, ratio, quarters):
    assert Tversky(alpha=alpha, beta=beta, smooth=1e-9)(*quarters).item() == pytest.approx(1 - ratio)


@pytest.mark.parametrize(("alpha", "adds"), [(0.3, 1.0), (0.0, 0.0)])
def test_an_absent_class_adds_its_share_unless_false_voxels_are_free(alpha, adds, draw):
    logits, target, rare = draw(3)
    target[:, 0] += target[:, 2]
    target[:, 2] = 0
    p, y = logits.softmax(1)[:, 1], target[:, 1]
    overlap = (p * y).sum()
    of_1 = overlap / (overlap + alpha * (p * (1 - y)).sum() + 0.7 * ((1 - p) * y).sum())
    torch.testing.assert_close(Tversky(alpha=alpha, beta=0.7)(logits, target, rare), (1 - of_1 + adds) / 2)


def test_prices_of_zero_are_refused():
    with pytest.raises(ValidationError) as error:
        losses.build({"name": "tversky", "alpha": 0.0, "beta": 0.0})
    assert "alpha: expected alpha or beta > 0, since the loss is 0 for any prediction otherwise, got 0 for both" in str(error.value)
