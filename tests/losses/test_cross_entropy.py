"""Cross-entropy: its value by hand, torch's as an oracle, what its denominator means, and where its weights come from and go to."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch.nn.functional import cross_entropy, one_hot

from segkit.config.errors import InputError
from segkit.losses import losses
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


def test_inverse_frequency_by_hand():
    # six voxels of class 0, two of class 1, none of class 2, four ignored: w = (8/3) / (6, 2, -)
    target = one_hot(torch.tensor([0] * 6 + [1] * 2 + [0] * 4), 3).T.float().view(1, 3, 12, 1, 1)
    target[:, :, 8:] = 0
    logits, rare = torch.zeros(1, 3, 12, 1, 1), torch.zeros(3, dtype=torch.bool)
    loss = CrossEntropy(class_weights="inverse_frequency")(logits, target, rare)
    assert loss.item() == pytest.approx((6 * (8 / 3) / 6 + 2 * (8 / 3) / 2) * math.log(3) / 12)


@pytest.mark.parametrize("classes", [2, 4])
def test_inverse_frequency_is_torchs_with_these_weights(classes):
    logits, target, labels, rare = batch(classes)
    weights = labels.numel() / classes / labels.flatten().bincount(minlength=classes)
    ours = CrossEntropy(class_weights="inverse_frequency")(logits, target, rare)
    torch.testing.assert_close(ours, cross_entropy(logits, labels, weight=weights, reduction="sum") / labels.numel())


@pytest.mark.parametrize("classes", [2, 4])
def test_by_inverse_frequency_an_even_guess_costs_as_much_as_without_weights(classes):
    # all classes weigh the same together, and N / C each
    logits, target, _, rare = batch(classes)
    even = torch.zeros_like(logits)
    torch.testing.assert_close(
        CrossEntropy(class_weights="inverse_frequency")(even, target, rare),
        CrossEntropy()(even, target, rare),
    )


def test_soft_targets_are_counted_as_fractions():
    # 0.7 + 0.3 of two voxels are one voxel of class 0, and one of class 1: the weights are 1
    target = torch.tensor([[0.7, 0.3], [0.3, 0.7]]).view(1, 2, 2, 1, 1)
    logits, rare = torch.tensor([[0.0, 1.0], [2.0, 0.5]]).view(1, 2, 2, 1, 1), torch.tensor([False, True])
    torch.testing.assert_close(CrossEntropy(class_weights="inverse_frequency")(logits, target, rare), CrossEntropy()(logits, target, rare))


def test_a_class_absent_from_the_batch_does_not_count():
    logits, target, _, rare = batch(3)
    target[:, 0] += target[:, 2]
    target[:, 2] = 0
    logits.requires_grad_()
    loss = CrossEntropy(class_weights="inverse_frequency")(logits, target, rare)
    weights = [40.0 / count for count in target.sum((0, 2, 3, 4))[:2].tolist()]
    given = CrossEntropy(class_weights=(*weights, 5.0))(logits, target, rare)
    torch.testing.assert_close(loss, given)
    (ours,), (theirs,) = (torch.autograd.grad(value, logits) for value in (loss, given))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("margin", [0.0, 1.0])
def test_weights_scale_the_terms_and_nothing_that_is_made_of_the_target(margin):
    # a margin on the logits of the true class is the same whatever the weights: the loss is linear in them
    logits, target, _, rare = batch(3)
    seen = logits - margin * target
    parts = [CrossEntropy()(seen, target * torch.eye(3)[j].view(1, 3, 1, 1, 1), rare) for j in range(3)]
    weighted = CrossEntropy(class_weights=(0.5, 2.0, 7.0))(seen, target, rare)
    torch.testing.assert_close(weighted, 0.5 * parts[0] + 2 * parts[1] + 7 * parts[2])


WEIGHTS = pytest.mark.parametrize("weights", [(0.3, 1.0, 4.0), "inverse_frequency"], ids=["given", "by frequency"])


@WEIGHTS
@pytest.mark.parametrize("step", [0, 10, 20])
def test_up_to_the_first_share_the_weights_are_as_given(weights, step):
    logits, target, _, rare = batch(3)
    loss = CrossEntropy(class_weights=weights, anneal=(0.2, 0.6))
    running = loss.start(100)
    running.set_step(step)
    assert torch.equal(running(logits, target, rare), CrossEntropy(class_weights=weights)(logits, target, rare))
    assert torch.equal(running(logits, target, rare), loss(logits, target, rare))


@WEIGHTS
@pytest.mark.parametrize("step", [60, 61, 99])
def test_from_the_last_share_on_the_weights_are_one(weights, step):
    logits, target, _, rare = batch(3)
    running = CrossEntropy(class_weights=weights, anneal=(0.2, 0.6)).start(100)
    running.set_step(step)
    assert torch.equal(running(logits, target, rare), CrossEntropy()(logits, target, rare))


@WEIGHTS
def test_in_between_the_weights_move_on_a_straight_line(weights):
    logits, target, _, rare = batch(3)
    running = CrossEntropy(class_weights=weights, anneal=(0.2, 0.6)).start(100)
    running.set_step(30)  # a quarter of the way
    before, after = CrossEntropy(class_weights=weights)(logits, target, rare), CrossEntropy()(logits, target, rare)
    torch.testing.assert_close(running(logits, target, rare), 0.75 * before + 0.25 * after)


@pytest.mark.parametrize(("step", "share"), [(49, 0.0), (50, 1.0)])
def test_an_annealing_without_length_is_a_switch(step, share):
    running = CrossEntropy(class_weights=(1.0, 3.0), anneal=(0.5, 0.5)).start(100)
    running.set_step(step)
    assert running.a.item() == share


def test_a_checkpoint_holds_how_far_the_annealing_is():
    loss = CrossEntropy(class_weights=(1.0, 3.0), anneal=(0.0, 1.0))
    running, resumed = loss.start(100), loss.start(100)
    running.set_step(40)
    resumed.load_state_dict(running.state_dict())
    assert resumed.a.item() == running.a.item() == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"anneal": [0.1, 0.5]}, "anneal: expected class_weights beside it, got none"),
        ({"anneal": [0.5, 0.1], "class_weights": "inverse_frequency"}, "anneal: expected the first share <= the last, got [0.5, 0.1]"),
        ({"class_weights": [0, 0]}, "class_weights: expected at least one weight > 0, got none: the loss would always be 0"),
    ],
)
def test_settings_that_lead_nowhere_are_refused(fields, message):
    with pytest.raises(ValidationError) as error:
        losses.build({"name": "cross_entropy", **fields})
    assert f"Value error, {message} [" in str(error.value)


@pytest.mark.parametrize("field", [{"anneal": [-0.1, 0.5]}, {"anneal": [0.5, 1.1]}, {"anneal": [0.5]}, {"class_weights": "frequency"}])
def test_what_is_no_share_and_no_weight_is_refused(field):
    with pytest.raises(ValidationError, match=next(iter(field))):
        losses.build({"name": "cross_entropy", "class_weights": [1.0, 2.0], **field})
