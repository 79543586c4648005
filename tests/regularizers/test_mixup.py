"""Mixup: the law of its weight, who meets whom, and which class a mixed voxel is."""

import math
from itertools import product

import pytest
import torch
from pydantic import ValidationError
from scipy.stats import beta, kstest
from torch import nn
from torch.nn.functional import one_hot

from segkit.config.errors import InputError
from segkit.regularizers.base import regularizers
from segkit.regularizers.mixup import Mixup, hard_target, mixed, soft_target

NETWORK = nn.Identity()  # mixup never asks it
BACKGROUND, ORGAN, LESION, TUMOR = range(4)
RARE = torch.tensor([False, False, True, True])
SWAPPED = 1  # place further on: of two samples, each meets the other


def seeded(seed=0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(count=4, classes=4, seed=0):
    """Two lattices of two channels, and a target of which one class in `classes + 1` is ignored."""
    rng = seeded(seed)
    image = (torch.randn(count, 2, 6, 5, 4, generator=rng), torch.randn(count, 2, 3, 3, 3, generator=rng))
    labels = torch.randint(classes + 1, (count, 4, 3, 2), generator=rng)
    return image, one_hot(labels, classes + 1)[..., :classes].movedim(-1, 1).float()


def pair(own, other, classes=4):
    """Target [2, C, 1, 1, 1] of two samples of one voxel; None is ignored."""
    target = torch.zeros(2, classes, 1, 1, 1)
    for sample, label in enumerate((own, other)):
        if label is not None:
            target[sample, label] = 1
    return target


def weights_drawn(settings, count):
    """Weights of as many views: one sample is 0 and the other 1, so the other becomes its own weight."""
    image, target = (torch.tensor([0.0, 1.0], dtype=torch.float64).view(2, 1, 1, 1, 1),), pair(0, 2)
    return torch.stack([settings.view(NETWORK, image, target, RARE, seeded(step))[0][0][1].squeeze() for step in range(count)])


def partners_of(count, rng):
    """Each sample's partner, told by channels: sample i is 1 in channel i and 0 elsewhere."""
    image, target = torch.eye(count).view(count, count, 1, 1, 1), torch.zeros(count, 4, 1, 1, 1)
    (view,), _ = Mixup().view(NETWORK, (image,), target, RARE, rng)
    shares = view.view(count, count)
    torch.testing.assert_close(shares.sum(1), torch.ones(count))
    assert ((shares > 0).sum(1) == 2).all()
    return (shares - shares.diag().diag()).argmax(1).tolist()


def test_by_default_it_is_asymmetric_and_a_fifth_wins():
    assert regularizers.build("mixup") == Mixup(alpha=1.0, margin=None, asymmetric=True)
    view, expected = (mixup.view(NETWORK, *batch(), RARE, seeded()) for mixup in (Mixup(), Mixup(margin=0.2)))
    assert torch.equal(view[0][0], expected[0][0])
    assert torch.equal(view[1], expected[1])


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
@pytest.mark.parametrize(
    ("settings", "most"),
    [({"asymmetric": False}, 1.0), ({}, 0.8), ({"margin": 0.5}, 0.5), ({"margin": 0.0}, 1.0)],
)
def test_the_weight_is_beta_scaled_to_leave_the_margin(alpha, settings, most):
    drawn = weights_drawn(Mixup(alpha=alpha, **settings), 2000)
    assert drawn.min() >= 0
    assert drawn.max() <= most
    assert drawn.mean().item() == pytest.approx(most / 2, abs=4 * most * beta(alpha, alpha).std() / math.sqrt(2000))
    assert kstest(drawn.numpy() / most, beta(alpha, alpha).cdf).pvalue > 1e-3


@pytest.mark.parametrize("count", [2, 3, 5])
def test_everybody_is_a_partner_once_and_nobody_his_own(count):
    met = torch.zeros(count, count)
    draws = 600
    for step in range(draws):
        partners = partners_of(count, seeded(step))
        assert sorted(partners) == list(range(count))
        for own, other in enumerate(partners):
            met[own, other] += 1
    assert (met.diag() == 0).all()
    others = met[~torch.eye(count, dtype=torch.bool)] / draws
    share = 1 / (count - 1)
    torch.testing.assert_close(others, torch.full_like(others, share), atol=4 * math.sqrt(share * (1 - share) / draws), rtol=0)


def test_two_samples_are_each_others_partner():
    image, target = batch(2)
    (view, _), _ = Mixup().view(NETWORK, image, target, RARE, seeded())
    torch.testing.assert_close(view[0] + view[1], image[0][0] + image[0][1])
    assert not torch.equal(view[0], image[0][0])


@pytest.mark.parametrize("asymmetric", [True, False])
def test_all_lattices_share_weight_and_partners(asymmetric):
    image = tuple(torch.eye(5).view(5, 5, 1, 1, 1).expand(5, 5, *shape) for shape in ((4, 3, 2), (2, 2, 2), (1, 1, 1)))
    views, _ = Mixup(asymmetric=asymmetric).view(NETWORK, image, torch.zeros(5, 4, 4, 3, 2), RARE, seeded())
    for view in views:
        torch.testing.assert_close(view, views[2].expand_as(view))


def test_a_seed_makes_one_view_whatever_was_drawn_before_and_another_seed_another():
    image, target = batch()
    used = seeded(3)
    torch.rand(7, generator=used)
    first, same, other = (Mixup().view(NETWORK, image, target, RARE, rng) for rng in (seeded(3), used, seeded(4)))
    assert torch.equal(first[0][0], same[0][0])
    assert torch.equal(first[1], same[1])
    assert not torch.equal(first[0][0], other[0][0])


@pytest.mark.parametrize("asymmetric", [True, False])
def test_the_clean_batch_is_left_as_it_is(asymmetric):
    image, target = batch()
    before = [x.clone() for x in (*image, target)]
    Mixup(asymmetric=asymmetric).view(NETWORK, image, target, RARE, seeded())
    assert all(torch.equal(x, old) for x, old in zip((*image, target), before, strict=True))


def test_channels_last_stays_channels_last():
    image = batch()[0][0].contiguous(memory_format=torch.channels_last_3d)
    (view,), _ = Mixup().view(NETWORK, (image,), batch()[1], RARE, seeded())
    assert view.is_contiguous(memory_format=torch.channels_last_3d)
    assert torch.equal(view, Mixup().view(NETWORK, (image.contiguous(),), batch()[1], RARE, seeded())[0][0])


def test_a_mixture_by_hand():
    x = torch.tensor([8.0, 4.0]).view(2, 1, 1, 1, 1)
    assert mixed(x, SWAPPED, 0.75).flatten().tolist() == [7.0, 5.0]


def test_at_weight_one_the_image_is_the_clean_one():
    image, _ = batch(2)
    assert torch.equal(mixed(image[0], SWAPPED, 1.0), image[0])


def test_at_weight_one_soft_targets_are_the_clean_ones():
    _, target = batch(2)
    target[:, BACKGROUND] += 1 - target.sum(1)  # nothing ignored
    assert torch.equal(soft_target(target, SWAPPED, 1.0), target)


@pytest.mark.parametrize(
    ("own", "other", "expected"),
    [
        (BACKGROUND, BACKGROUND, [1, 0, 0, 0]),
        (BACKGROUND, LESION, [0.75, 0, 0.25, 0]),
        (LESION, BACKGROUND, [0.25, 0, 0.75, 0]),
        (TUMOR, LESION, [0, 0, 0.25, 0.75]),
        (BACKGROUND, None, [0, 0, 0, 0]),
        (None, LESION, [0, 0, 0, 0]),
        (None, None, [0, 0, 0, 0]),
    ],
)
def test_soft_targets_by_hand(own, other, expected):
    assert soft_target(pair(own, other), SWAPPED, 0.75)[0].flatten().tolist() == expected


@pytest.mark.parametrize(
    ("own", "other", "weight", "winner"),
    [
        # one class
        (BACKGROUND, BACKGROUND, 0.5, BACKGROUND),
        (ORGAN, ORGAN, 0.1, ORGAN),
        (LESION, LESION, 0.1, LESION),
        (TUMOR, TUMOR, 0.9, TUMOR),
        # rare meets common: the sample's own voxel is the rare one
        (LESION, BACKGROUND, 0.3, LESION),
        (LESION, ORGAN, 0.21, LESION),
        (TUMOR, ORGAN, 1.0, TUMOR),
        (LESION, BACKGROUND, 0.2, None),
        (LESION, ORGAN, 0.1, None),
        # the partner's is
        (BACKGROUND, LESION, 0.7, LESION),
        (ORGAN, TUMOR, 0.79, TUMOR),
        (ORGAN, TUMOR, 0.0, TUMOR),
        (BACKGROUND, LESION, 0.8, None),
        (ORGAN, LESION, 0.9, None),
        # two rare ones, two common ones
        (LESION, TUMOR, 0.5, None),
        (TUMOR, LESION, 0.9, None),
        (BACKGROUND, ORGAN, 0.5, None),
        (ORGAN, BACKGROUND, 0.1, None),
        # ignored
        (None, None, 0.5, None),
        (LESION, None, 0.9, None),
        (None, LESION, 0.1, None),
        (BACKGROUND, None, 0.9, None),
        (None, BACKGROUND, 0.1, None),
    ],
)
def test_hard_targets_by_hand(own, other, weight, winner):
    target = hard_target(pair(own, other), SWAPPED, weight, RARE, margin=0.2)
    assert torch.equal(target[:1], pair(winner, None)[:1])


def rounded_down(own, other, weight, rare, margin):
    """The rule another way: a class beside a rare one is renamed to it where the rare one's weight permits, and whole voxels stay."""
    if own is None or other is None:
        return None
    if rare[own] and not rare[other] and 1 - weight < 1 - margin:
        other = own
    elif rare[other] and not rare[own] and weight < 1 - margin:
        own = other
    shares = [weight * (j == own) + (1 - weight) * (j == other) for j in range(len(rare))]
    whole = [j for j, share in enumerate(shares) if math.floor(share + 1e-9)]
    return whole[0] if whole else None


@pytest.mark.parametrize("rare", list(product([False, True], repeat=3)))
@pytest.mark.parametrize("margin", [0.0, 0.25, 0.5])
def test_hard_targets_are_those_of_rounding_soft_ones_down(rare, margin):
    labels = (None, 0, 1, 2)
    for own, other, weight in product(labels, labels, (0.0625, 0.25, 0.375, 0.5, 0.75, 0.9375)):
        target = hard_target(pair(own, other, 3), SWAPPED, weight, torch.tensor(rare), margin)
        assert torch.equal(target[:1], pair(rounded_down(own, other, weight, rare, margin), None, 3)[:1]), (own, other, weight)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("asymmetric", [True, False])
def test_a_voxel_of_the_view_has_one_whole_target_or_none(classes, asymmetric):
    image, target = batch(5, classes)
    _, mixed_target = Mixup(asymmetric=asymmetric).view(NETWORK, image, target, torch.arange(classes) == classes - 1, seeded())
    sums = mixed_target.sum(1)
    assert (((sums - 1).abs() < 1e-6) | (sums == 0)).all()
    assert 0 < (sums == 0).sum() < sums.numel()
    assert bool(((mixed_target == 0) | (mixed_target == 1)).all()) is asymmetric
    assert mixed_target.dtype == target.dtype


def test_without_a_rare_class_only_voxels_of_one_class_are_left():
    image, target = batch(2)
    _, hard = Mixup().view(NETWORK, image, target, torch.zeros(4, dtype=torch.bool), seeded())
    assert torch.equal(hard, target * target.flip(0))


def test_the_view_carries_the_target_of_its_own_weight_and_partners():
    image, target = batch(2)
    weight = weights_drawn(Mixup(), 1)[0].item()  # the same seed
    (view, _), hard = Mixup().view(NETWORK, image, target, RARE, seeded())
    torch.testing.assert_close(view, mixed(image[0], SWAPPED, weight))
    assert torch.equal(hard, hard_target(target, SWAPPED, weight, RARE, 0.2))


def test_the_flag_alone_makes_it_symmetric():
    image, target = batch()
    views = [Mixup(asymmetric=False).view(NETWORK, image, target, torch.full((4,), rare), seeded()) for rare in (True, False)]
    assert torch.equal(views[0][1], views[1][1])
    assert torch.equal(views[0][0][0], views[1][0][0])


def test_a_margin_of_symmetric_mixup_is_refused():
    with pytest.raises(ValidationError, match=r"margin: expected none, since symmetric mixup has soft labels and no winner, got 0\.2"):
        Mixup(margin=0.2, asymmetric=False)
    assert Mixup(margin=0.0, asymmetric=False).margin == 0


@pytest.mark.parametrize("fields", [{"alpha": 0.0}, {"alpha": -1.0}, {"margin": 1.0}, {"margin": -0.1}])
def test_settings_that_make_no_sense_are_refused(fields):
    with pytest.raises(ValidationError):
        Mixup(**fields)


def test_a_batch_of_one_is_refused():
    image, target = batch(1)
    with pytest.raises(InputError) as error:
        Mixup().view(NETWORK, image, target, RARE, seeded())
    assert str(error.value) == (
        "SK-N001: mixup: a batch of one sample has nothing to mix\n"
        "  where:    regularizers.mixup\n"
        "  expected: at least 2 samples in a batch\n"
        "  got:      1\n"
        "  remedy:   raise train.batch_size to 2 or more, or leave mixup out"
    )
