"""Cross-entropy: its value by hand, torch's as an oracle, and what its denominator means."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy, one_hot

from segkit.config.errors import InputError
from segkit.losses.cross_entropy import CrossEntropy


def batch(classes, seed=0, dtype=torch.float32):
    """Logits and one-hot target [2, C, 3, 4, 5], the labels, and no rare class."""
    rng = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, classes, 3, 4, 5, generator=rng, dtype=dtype)
    labels = torch.randint(classes, (2, 3, 4, 5), generator=rng)
    return logits, one_hot(labels, classes).movedim(-1, 1).to(dtype), labels, torch.zeros(classes, dtype=torch.bool)


def test_value_by_hand():
    # p = (1/4, 3/4) at two voxels, the first background, the second lesion
    logits = torch.tensor([0.0, math.log(3)]).view(1, 2, 1, 1, 1).expand(1, 2, 2, 1, 1)
    target = torch.eye(2).view(1, 2, 2, 1, 1)
    loss = CrossEntropy()(logits, target, torch.tensor([False, True]))
    assert loss.item() == pytest.approx((math.log(4) + math.log(4 / 3)) / 2)


@pytest.mark.parametrize("classes", [2, 4])
def test_it_is_torchs_without_weights(classes):
    logits, target, labels, rare = batch(classes)
    torch.testing.assert_close(CrossEntropy()(logits, target, rare), cross_entropy(logits, labels))


def test_soft_targets_are_torchs_too():
    logits, target, _, rare = batch(3)
    mixed = 0.7 * target + 0.3 * target.flip(0)
    torch.testing.assert_close(CrossEntropy()(logits, mixed, rare), cross_entropy(logits, mixed))


def test_weights_multiply_and_do_not_normalize():
    logits, target, labels, rare = batch(4)
    weights = (0.5, 1.0, 2.0, 7.0)
    ours = CrossEntropy(class_weights=weights)(logits, target, rare)
    weight_of_voxel = torch.tensor(weights)[labels]
    torchs = cross_entropy(logits, labels, weight=torch.tensor(weights))
    torch.testing.assert_close(ours, torchs * weight_of_voxel.sum() / labels.numel())
    torch.testing.assert_close(ours, cross_entropy(logits, labels, weight=torch.tensor(weights), reduction="sum") / labels.numel())


def test_weights_of_one_change_nothing():
    logits, target, _, rare = batch(3)
    assert torch.equal(CrossEntropy(class_weights=(1.0, 1.0, 1.0))(logits, target, rare), CrossEntropy()(logits, target, rare))


def test_ignored_voxels_stay_in_the_denominator():
    logits, target, labels, rare = batch(3)
    labels[:, 0], target[:, :, 0] = 255, 0  # a third of the voxels
    torch.testing.assert_close(CrossEntropy()(logits, target, rare), cross_entropy(logits, labels, ignore_index=255) * 2 / 3)


def test_ignored_voxels_have_no_gradient():
    logits, target, _, rare = batch(3)
    target[:, :, 0] = 0
    logits.requires_grad_()
    CrossEntropy(class_weights=(1.0, 2.0, 3.0))(logits, target, rare).backward()
    assert logits.grad[:, :, 0].abs().max() == 0
    assert (logits.grad[:, :, 1:] != 0).all()


def test_the_gradient_is_probability_minus_target():
    logits, target, labels, rare = batch(4, dtype=torch.float64)
    logits.requires_grad_()
    CrossEntropy()(logits, target, rare).backward()
    torch.testing.assert_close(logits.grad, (logits.detach().softmax(1) - target) / labels.numel())


@pytest.mark.parametrize("weights", [None, (0.5, 1.0, 4.0)])
def test_gradcheck(weights):
    logits, target, _, rare = batch(3, dtype=torch.float64)
    logits, target = logits[:, :, :2, :1, :2].clone().requires_grad_(), target[:, :, :2, :1, :2]
    assert torch.autograd.gradcheck(lambda x: CrossEntropy(class_weights=weights)(x, target, rare), logits)


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("autocast", [True, False])
def test_certain_voxels_are_finite(right, autocast):
    target = torch.eye(2).view(1, 2, 2, 1, 1)
    logits = (2e4 * target - 1e4) * (1 if right else -1)
    logits.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = CrossEntropy()(logits, target, torch.tensor([False, True]))
    loss.backward()
    assert loss.item() == (0 if right else 2e4)
    assert logits.grad.isfinite().all()


def test_half_logits_are_computed_in_float32():
    logits, target, labels, rare = batch(4)
    half = logits.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        loss = CrossEntropy()(half, target, rare)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, cross_entropy(half.float(), labels), rtol=1e-6, atol=0)


def test_too_few_weights_are_refused():
    logits, target, _, rare = batch(3)
    with pytest.raises(InputError) as error:
        CrossEntropy(class_weights=(1.0, 2.0))(logits, target, rare)
    assert str(error.value) == (
        "SK-L001: cross_entropy: class weights do not match the classes\n"
        "  where:    losses.cross_entropy.class_weights\n"
        "  expected: 3 weights, the background first\n"
        "  got:      2: [1.0, 2.0]\n"
        "  remedy:   give one weight a class, in the order of dataset.classes, with the background's before them"
    )
