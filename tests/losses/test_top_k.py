"""Top-k cross-entropy: its value by hand, cross-entropy as what it becomes, and who is among the hardest."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch.nn.functional import cross_entropy

from segkit.losses.cross_entropy import CrossEntropy
from segkit.losses.top_k import TopK

CLASSES = pytest.mark.parametrize("classes", [2, 4])


def row(*probabilities):
    """A row of lesion voxels with p(lesion) as given; nothing is rare."""
    p = torch.tensor(probabilities)
    logits = torch.stack([1 - p, p]).log().view(1, 2, -1, 1, 1)
    target = torch.zeros_like(logits)
    target[:, 1] = 1
    return logits, target, torch.tensor([False, False])


@pytest.mark.parametrize(
    ("share", "hardest"),
    [(0.25, [0.1]), (0.5, [0.1, 0.2]), (0.51, [0.1, 0.2, 0.4]), (0.01, [0.1]), (1.0, [0.1, 0.2, 0.4, 0.8])],
)
def test_value_by_hand_with_k_rounded_up(share, hardest):
    expected = -sum(math.log(p) for p in hardest) / len(hardest)
    assert TopK(share=share)(*row(0.8, 0.1, 0.4, 0.2)).item() == pytest.approx(expected)


@CLASSES
@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("seed", range(5))  # to the last bit: another order of summation gives another sum in about half of the draws
def test_a_share_of_one_is_cross_entropy(classes, ignored, seed, draw):
    logits, target, rare = draw(classes, seed)
    if ignored:
        target[:, :, 0] = 0
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    values = TopK(share=1.0)(ours, target, rare), CrossEntropy()(theirs, target, rare)
    for value in values:
        value.backward()
    assert torch.equal(*values)
    assert torch.equal(ours.grad, theirs.grad)


@CLASSES
@pytest.mark.parametrize("share", [0.05, 0.3, 0.999])
def test_it_is_the_mean_of_the_largest_of_torchs_cross_entropies(classes, share, draw):
    logits, target, rare = draw(classes)
    each = cross_entropy(logits, target.argmax(1), reduction="none").flatten().sort(descending=True).values
    torch.testing.assert_close(TopK(share=share)(logits, target, rare), each[: math.ceil(share * 120)].mean())


def test_soft_targets_are_torchs_too(draw):
    logits, target, rare = draw(3)
    mixed = 0.7 * target + 0.3 * target.flip(0)
    each = cross_entropy(logits, mixed, reduction="none").flatten().sort(descending=True).values
    torch.testing.assert_close(TopK(share=0.25)(logits, mixed, rare), each[:30].mean())


@CLASSES
def test_only_the_hardest_pull_and_they_pull_as_in_cross_entropy_over_k(classes, draw):
    logits, target, rare = draw(classes)
    logits.requires_grad_()
    TopK(share=0.25)(logits, target, rare).backward()
    gradient = logits.grad.abs().sum(1)
    each = cross_entropy(logits.detach(), target.argmax(1), reduction="none")
    hardest = each >= each.flatten().sort(descending=True).values[29]
    assert torch.equal(gradient > 0, hardest)
    expected = (logits.detach().softmax(1) - target) * hardest.unsqueeze(1) / 30
    torch.testing.assert_close(logits.grad, expected)


def test_ignored_voxels_count_in_k_and_take_no_place():
    logits, target, rare = row(0.8, 0.1, 0.4, 0.2)
    target[:, :, 1] = 0  # the hardest is ignored
    assert TopK(share=0.5)(logits, target, rare).item() == pytest.approx(-(math.log(0.2) + math.log(0.4)) / 2)


def test_where_less_than_k_voxels_are_left_they_are_averaged_over_k():
    logits, target, rare = row(0.8, 0.1, 0.4, 0.2)
    target[:, :, 1:] = 0
    assert TopK(share=0.5)(logits, target, rare).item() == pytest.approx(-math.log(0.8) / 2)


@pytest.mark.parametrize("share", [0.0, 1.1])
def test_a_share_is_above_0_and_at_most_1(share):
    with pytest.raises(ValidationError, match="share"):
        TopK(share=share)
