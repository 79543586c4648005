"""F-beta: its value by hand, Dice and Tversky as the things it equals, and which mistake it minds more."""

import pytest
import torch

from segkit.losses.dice import Dice
from segkit.losses.f_beta import FBeta
from segkit.losses.tversky import Tversky

CLASSES = pytest.mark.parametrize("classes", [2, 4])
OVER_BATCH = pytest.mark.parametrize("over_batch", [True, False])
BACKGROUND = pytest.mark.parametrize("background", [True, False])


def test_value_by_hand(quarters):
    # lesion: TP = 3/4, FP = 3/4, FN = 1/4; b^2 = 4
    expected = 1 - (5 * 0.75 + 0.5) / (5 * 0.75 + 4 * 0.25 + 0.75 + 0.5)
    assert FBeta(beta=2.0, smooth=0.5)(*quarters).item() == pytest.approx(expected)


def test_it_is_the_weighted_harmonic_mean_of_precision_and_sensitivity(quarters):
    precision, sensitivity = 0.75 / 1.5, 0.75 / 1.0
    expected = 1 - (1 + 4) / (1 / precision + 4 / sensitivity)
    assert FBeta(beta=2.0, smooth=1e-9)(*quarters).item() == pytest.approx(expected)


@CLASSES
@OVER_BATCH
@BACKGROUND
def test_beta_one_is_dice(classes, over_batch, background, draw):
    batch = draw(classes)
    dice = Dice(batch=over_batch, background=background, smooth=0.1)(*batch)
    assert torch.equal(FBeta(beta=1.0, batch=over_batch, background=background, smooth=0.1)(*batch), dice)


@CLASSES
@OVER_BATCH
@BACKGROUND
@pytest.mark.parametrize("beta", [0.5, 2.0])
def test_it_is_a_tversky(classes, over_batch, background, beta, draw):
    batch, whole = draw(classes), 1 + beta**2
    tversky = Tversky(alpha=1 / whole, beta=beta**2 / whole, batch=over_batch, background=background, smooth=0.1 / whole)
    ours = FBeta(beta=beta, batch=over_batch, background=background, smooth=0.1)
    torch.testing.assert_close(ours(*batch), tversky(*batch))


@pytest.mark.parametrize(("beta", "missing_is_worse"), [(0.5, False), (2.0, True)])
def test_beta_says_which_mistake_is_worse(beta, missing_is_worse):
    # four voxels, the two in the middle of class 1; one too few, and one too many
    target = torch.tensor([[1.0, 0, 0, 1], [0, 1, 1, 0]]).view(1, 2, 4, 1, 1)
    one_missed = 1e4 * torch.tensor([[1.0, 0, 1, 1], [0, 1, 0, 0]]).view(1, 2, 4, 1, 1)
    one_false = 1e4 * torch.tensor([[0.0, 0, 0, 1], [1, 1, 1, 0]]).view(1, 2, 4, 1, 1)
    loss, rare = FBeta(beta=beta), torch.tensor([False, False])
    assert (loss(one_missed, target, rare) > loss(one_false, target, rare)).item() is missing_is_worse
