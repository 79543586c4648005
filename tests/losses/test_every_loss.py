"""What every loss of the shelf promises about certainty, half logits, soft targets, ignored voxels, and the order of classes."""

import pytest
import torch
from torch.nn.functional import conv3d

from segkit.losses import CrossEntropy, Dice, FBeta, Focal, FocalDice, GeneralizedDice, IoU, TopK, Tversky, losses
from segkit.losses.base import Loss, RegionLoss

GAMMAS = (0.0, 0.5, 1.0, 2.0)
FOCAL = [loss(gamma=gamma, asymmetric=asymmetric) for loss in (Focal, FocalDice) for gamma in GAMMAS for asymmetric in (True, False)]
MEANS = [CrossEntropy(), CrossEntropy(class_weights="inverse_frequency"), *(loss for loss in FOCAL if not loss.by_region)]
BY_REGION = [
    Dice(),
    Dice(batch=False, background=True),
    IoU(),
    IoU(batch=False, background=True),
    Tversky(),
    Tversky(batch=False, background=True, alpha=0.0, beta=1.0),
    FBeta(),
    FBeta(batch=False, background=True, beta=0.5),
    GeneralizedDice(),
    GeneralizedDice(batch=False, background=False),
    FocalDice(batch=False, background=True),
    *(loss for loss in FOCAL if loss.by_region),
]
EVERY = [*MEANS, TopK(share=0.3), *BY_REGION]


def said(loss: Loss) -> str:
    """The name and what is not as by default."""
    return "-".join([loss.name, *(f"{key}={value}" for key, value in loss.model_dump(exclude_defaults=True).items())])


every_loss = pytest.mark.parametrize("loss", EVERY, ids=said)
loss_by_mean = pytest.mark.parametrize("loss", MEANS, ids=said)
loss_by_region = pytest.mark.parametrize("loss", BY_REGION, ids=said)
number_of_classes = pytest.mark.parametrize("classes", [2, 4])


def voxels_of_all_classes(classes: int) -> torch.Tensor:
    """One-hot target [1, C, C, 1, 1]: a voxel of each class."""
    return torch.eye(classes).view(1, classes, classes, 1, 1)


def with_ignored(logits: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Twice as long in X, the new half ignored, with logits of its own."""
    return torch.cat([logits, 3 * logits.flip(2, 3)], dim=2), torch.cat([target, torch.zeros_like(target)], dim=2)


def test_this_file_tests_the_whole_shelf():
    ours = {name for name in losses if losses[name].__module__.startswith("segkit.losses.")}
    assert {loss.name for loss in EVERY} == ours


def test_a_loss_says_whether_it_is_one_by_region():
    assert [loss for loss in EVERY if loss.by_region] == BY_REGION


@every_loss
def test_only_annealed_weights_change_on_the_way(loss):
    assert loss.start(100) is loss


@every_loss
@number_of_classes
@pytest.mark.parametrize("certainty", [1e4, 0.0, -1e4], ids=["right", "even", "wrong"])
def test_certain_voxels_are_finite(loss, classes, certainty):
    target = voxels_of_all_classes(classes)
    logits = (certainty * (2 * target - 1)).requires_grad_()
    value = loss(logits, target, torch.arange(classes) == classes - 1)
    value.backward()
    assert value.isfinite()
    assert value >= 0
    assert logits.grad.isfinite().all()


@every_loss
@number_of_classes
@pytest.mark.parametrize("certainty", [1e4, 0.0, -1e4], ids=["right", "even", "wrong"])
def test_certain_voxels_are_finite_where_autocast_makes_bfloat16_logits(loss, classes, certainty):
    target = voxels_of_all_classes(classes)
    features = (2 * target - 1).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        logits = conv3d(features, certainty * torch.eye(classes).view(classes, classes, 1, 1, 1))
        value = loss(logits, target, torch.arange(classes) == classes - 1)
    assert logits.dtype == torch.bfloat16
    assert value.dtype == torch.float32
    value.backward()
    assert value.isfinite()
    assert value >= 0
    assert features.grad.isfinite().all()


@every_loss
@number_of_classes
def test_half_logits_are_computed_in_float32(loss, classes, draw):
    logits, target, rare = draw(classes)
    half = logits.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(half, target, rare)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(half.float(), target, rare), rtol=1e-6, atol=0)


@every_loss
@number_of_classes
def test_gradcheck_with_soft_targets_and_ignored_voxels(loss, classes, draw):
    logits, target, rare = draw(classes, dtype=torch.float64)
    logits, target = logits[:, :, :, :2, :1].clone().requires_grad_(), target[:, :, :, :2, :1]
    target = 0.7 * target + 0.3 * target.flip(0)
    target[0, :, 0, 0, 0] = 0
    assert torch.autograd.gradcheck(lambda x: loss(x, target, rare), logits)


@pytest.mark.parametrize("loss", [*MEANS, *BY_REGION], ids=said)  # which voxels are the hardest is not linear in the target
@number_of_classes
def test_a_soft_target_counts_as_the_hard_ones_it_is_mixed_of(loss, classes, draw):
    logits, target, rare = draw(classes)
    other = target.flip(2, 3, 4)
    twice_as_smooth = loss.model_copy(update={"smooth": 2 * loss.smooth}) if isinstance(loss, RegionLoss) else loss  # as all sums double
    apart = twice_as_smooth(torch.cat([logits, logits], dim=2), torch.cat([target, other], dim=2), rare)
    torch.testing.assert_close(loss(logits, (target + other) / 2, rare), apart)


@every_loss
def test_the_order_of_the_foreground_classes_does_not_matter(loss, draw):
    logits, target, rare = draw(4)
    order = [0, 3, 1, 2]
    torch.testing.assert_close(loss(logits[:, order], target[:, order], rare[order]), loss(logits, target, rare))


@every_loss
@number_of_classes
def test_ignored_voxels_have_no_gradient(loss, classes, draw):
    logits, target, rare = draw(classes)
    logits, target = with_ignored(logits, target)
    logits.requires_grad_()
    loss(logits, target, rare).backward()
    assert logits.grad[:, :, 3:].abs().max() == 0
    assert logits.grad[:, :, :3].abs().max() > 0


@loss_by_region
@number_of_classes
def test_ignored_voxels_are_as_if_they_were_cut_off(loss, classes, draw):
    logits, target, rare = draw(classes)
    torch.testing.assert_close(loss(*with_ignored(logits, target), rare), loss(logits, target, rare))


@loss_by_mean
@number_of_classes
def test_ignored_voxels_change_nothing_but_the_denominator(loss, classes, draw):
    logits, target, rare = draw(classes)
    torch.testing.assert_close(2 * loss(*with_ignored(logits, target), rare), loss(logits, target, rare))


@every_loss
@number_of_classes
def test_a_batch_of_ignored_voxels_pulls_on_nothing(loss, classes, draw):
    logits, target, rare = draw(classes)
    logits.requires_grad_()
    value = loss(logits, torch.zeros_like(target), rare)
    value.backward()
    assert value.isfinite()
    assert logits.grad.abs().max() == 0
