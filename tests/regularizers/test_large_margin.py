"""Large margin: which logits it lowers and by how much, what it leaves alone, and what it costs."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch.nn.functional import one_hot

from segkit.losses.cross_entropy import CrossEntropy
from segkit.regularizers.base import regularizers
from segkit.regularizers.large_margin import LargeMargin

LESION = torch.tensor([False, True])


def batch(classes, seed=0, dtype=torch.float32):
    """Logits and one-hot target [2, C, 3, 4, 5]."""
    rng = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, classes, 3, 4, 5, generator=rng, dtype=dtype)
    labels = torch.randint(classes, (2, 3, 4, 5), generator=rng)
    return logits, one_hot(labels, classes).movedim(-1, 1).to(dtype)


def last_is_rare(classes):
    return torch.arange(classes) == classes - 1


def test_by_default_rare_voxels_have_to_win_by_one_logit():
    assert regularizers.build("large_margin") == LargeMargin(margin=1.0, asymmetric=True)


@pytest.mark.parametrize(
    ("asymmetric", "lowered"),
    [(True, [[2.0, 3.0, 4.0], [5.0, 5.5, 7.0]]), (False, [[1.5, 3.0, 4.0], [5.0, 5.5, 7.0]])],
)
def test_values_by_hand(asymmetric, lowered):
    # three voxels: background, lesion, ignored
    logits = torch.tensor([[2.0, 3.0, 4.0], [5.0, 6.0, 7.0]]).view(1, 2, 3, 1, 1)
    target = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]).view(1, 2, 3, 1, 1)
    shifted = LargeMargin(margin=0.5, asymmetric=asymmetric).adjust(logits, target, LESION)
    assert shifted.view(2, 3).tolist() == lowered


@pytest.mark.parametrize(("asymmetric", "lowered"), [(True, [1.0, -1.5]), (False, [0.5, -1.5])])
def test_a_soft_target_shifts_by_its_share(asymmetric, lowered):
    logits, target = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1, 1), torch.tensor([0.25, 0.75]).view(1, 2, 1, 1, 1)
    shifted = LargeMargin(margin=2.0, asymmetric=asymmetric).adjust(logits, target, LESION)
    assert shifted.flatten().tolist() == lowered


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("asymmetric", [True, False])
def test_margin_zero_leaves_the_logits_as_they_are(classes, asymmetric):
    logits, target = batch(classes)
    assert torch.equal(LargeMargin(margin=0.0, asymmetric=asymmetric).adjust(logits, target, last_is_rare(classes)), logits)


@pytest.mark.parametrize("classes", [2, 4])
def test_without_a_rare_class_the_asymmetric_margin_leaves_the_logits_as_they_are(classes):
    logits, target = batch(classes)
    assert torch.equal(LargeMargin().adjust(logits, target, torch.zeros(classes, dtype=torch.bool)), logits)


@pytest.mark.parametrize("classes", [2, 4])
def test_with_all_classes_rare_the_asymmetric_margin_is_the_symmetric_one(classes):
    logits, target = batch(classes)
    soft, rare = 0.7 * target + 0.3 * target.flip(0), torch.ones(classes, dtype=torch.bool)
    for goal in (target, soft):
        symmetric = LargeMargin(margin=0.3, asymmetric=False).adjust(logits, goal, rare)
        assert torch.equal(LargeMargin(margin=0.3).adjust(logits, goal, rare), symmetric)
        assert not torch.equal(symmetric, logits)


@pytest.mark.parametrize("classes", [2, 4])
def test_the_flag_alone_makes_it_symmetric(classes):
    logits, target = batch(classes)
    plain = LargeMargin(asymmetric=False)
    shifted = [plain.adjust(logits, target, torch.full((classes,), rare)) for rare in (True, False)]
    assert torch.equal(shifted[0], shifted[1])
    assert torch.equal(shifted[0], plain.adjust(logits, target, last_is_rare(classes)))


@pytest.mark.parametrize("asymmetric", [True, False])
def test_only_the_true_class_of_a_voxel_is_lowered(asymmetric):
    logits, target = batch(4)
    shifted = LargeMargin(asymmetric=asymmetric).adjust(logits, target, last_is_rare(4))
    assert torch.equal(shifted[target == 0], logits[target == 0])


def test_the_cost_of_a_margin_by_hand():
    # logits (0, ln 3) and a margin of ln 3: the lesion's probability falls from 3/4 to 1/2, the background's stays 1/4
    logits = torch.tensor([0.0, math.log(3)]).view(1, 2, 1, 1, 1).expand(1, 2, 2, 1, 1)
    target = torch.eye(2).view(1, 2, 2, 1, 1)
    shifted = LargeMargin(margin=math.log(3)).adjust(logits, target, LESION)
    assert CrossEntropy()(shifted, target, LESION).item() == pytest.approx((math.log(4) + math.log(2)) / 2)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("asymmetric", [True, False])
def test_the_gradient_is_that_of_cross_entropy_at_the_shifted_logits(classes, asymmetric):
    logits, target = batch(classes, dtype=torch.float64)
    rare, margin = last_is_rare(classes), LargeMargin(margin=0.5, asymmetric=asymmetric)
    shifted = margin.adjust(logits.requires_grad_(), target, rare)
    CrossEntropy()(shifted, target, rare).backward()
    torch.testing.assert_close(logits.grad, (shifted.detach().softmax(1) - target) / target[:, 0].numel())


@pytest.mark.parametrize("asymmetric", [True, False])
def test_gradcheck_with_cross_entropy(asymmetric):
    logits, target = batch(3, dtype=torch.float64)
    logits, target = logits[:, :, :2, :1, :2].clone().requires_grad_(), target[:, :, :2, :1, :2]
    margin, rare = LargeMargin(margin=0.7, asymmetric=asymmetric), last_is_rare(3)
    assert torch.autograd.gradcheck(lambda x: CrossEntropy()(margin.adjust(x, target, rare), target, rare), logits)


@pytest.mark.parametrize("given", [torch.float16, torch.bfloat16])
def test_half_logits_do_not_swallow_the_margin(given):
    # at 100 neighbors are half a logit apart in bf16, and 1/16 in fp16
    logits, target = torch.full((1, 2, 1, 1, 1), 100.0, dtype=given), torch.tensor([0.0, 1.0]).view(1, 2, 1, 1, 1)
    for goal in (target, target.to(given)):
        shifted = LargeMargin(margin=0.01).adjust(logits, goal, LESION)
        assert shifted.dtype == torch.float32
        torch.testing.assert_close(shifted.flatten(), torch.tensor([100.0, 99.99]), rtol=0, atol=1e-4)


def test_a_margin_in_double_precision_stays_there():
    logits, target = batch(2, dtype=torch.float64)
    shifted = LargeMargin(margin=0.1).adjust(logits, target, LESION)
    assert shifted.dtype == torch.float64
    torch.testing.assert_close(logits - shifted, 0.1 * target * torch.tensor([0.0, 1.0]).view(1, 2, 1, 1, 1), rtol=0, atol=1e-14)


def test_certain_voxels_stay_finite():
    target = torch.eye(2).view(1, 2, 2, 1, 1)
    for sign in (1, -1):
        logits = (sign * (2e4 * target - 1e4)).requires_grad_()
        loss = CrossEntropy()(LargeMargin(margin=2.0).adjust(logits, target, LESION), target, LESION)
        loss.backward()
        assert loss.isfinite()
        assert logits.grad.isfinite().all()


@pytest.mark.parametrize("margin", [-0.1, math.inf, math.nan])
def test_a_margin_below_zero_or_not_finite_is_refused(margin):
    with pytest.raises(ValidationError):
        LargeMargin(margin=margin)
