"""Feature weakening: its laws by hand, who is mixed with whom, gradients in closed form, what a checkpoint holds, and what it is for."""

import math
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import beta, kstest
from torch import distributed as dist
from torch import multiprocessing, nn
from torch.nn.functional import one_hot

from segkit.config.errors import InputError
from segkit.losses.cross_entropy import CrossEntropy
from segkit.regularizers.base import regularizers
from segkit.regularizers.feature_weakening import Bank, FeatureWeakening, RunningFeatureWeakening
from segkit.regularizers.strength import strengths
from segkit.regularizers.voxels import by_class

LABELS, PARTNERS, GRADIENTS = ("soft", "keep"), ("uniform", "class_balanced", "other_class"), ("detach", "flow")
RULES = [{"label": a, "partner": b, "partner_gradient": c} for a, b, c in product(LABELS, PARTNERS, GRADIENTS)]
every_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: "-".join(rule.values()))
every_label_and_partner = pytest.mark.parametrize(("label", "partner"), list(product(LABELS, PARTNERS)))


def seeded(seed=0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def voxels(*labels, classes=2):
    """One-hot target [1, C, N, 1, 1] of N voxels in a row; -1 is ignored."""
    flat = torch.tensor(labels)
    hot = one_hot(flat.clamp(min=0), classes).double() * (flat >= 0).unsqueeze(1)
    return hot.T.reshape(1, classes, -1, 1, 1)


def started(target, features=1, steps=10, **fields) -> RunningFeatureWeakening:
    """In a training that has met this target."""
    running = FeatureWeakening(**fields).start(target.shape[1], features, steps)
    running.see(target)
    return running


def nobody(target):
    return torch.zeros(target.shape[1], dtype=torch.bool)


def blended(running, features, target, seed=0):
    return running.blend(features, target, nobody(target), seeded(seed))


def rows(of_voxels):
    """[B, D, X, Y, Z] as [N, D]."""
    return of_voxels.movedim(1, -1).flatten(0, -2)


def like(values, target):
    """[N, D] as features of the voxels of a target."""
    batch, _, *shape = target.shape
    return values.view(batch, *shape, -1).movedim(-1, 1)


def mixture(target, seed=0, **fields):
    """A [N, N] of what `blend` draws: each voxel's feature becomes the sum over voxels w of A[v, w] h_w.

    Told by features that name their voxel; what is drawn does not depend on features.
    """
    count = target[:, 0].numel()
    running = started(target, features=count, **{"bank": None if takes_from_the_bank(fields) else 0, **fields})
    names, _ = blended(running, like(torch.eye(count, dtype=torch.float64), target), target, seed)
    return rows(names)


def takes_from_the_bank(fields):
    return fields.get("partner") != "uniform" and fields.get("partner_gradient") != "flow"


def scattered(*counts, ignored=0, seed=0, shape=None):
    """A target with so many voxels of each class, float64, in an order that has nothing to do with what `blend` draws."""
    labels = torch.cat([torch.full((count,), label) for label, count in zip((*range(len(counts)), -1), (*counts, ignored), strict=True)])
    target = voxels(*labels[torch.randperm(len(labels), generator=seeded(10**6 + seed))].tolist(), classes=len(counts))
    return target if shape is None else target.view(len(counts), shape[0], *shape[1:]).movedim(1, 0).contiguous()


# What the settings say


def test_the_presets_are_named_and_can_be_overridden():
    assert regularizers.build("feature_weakening") == FeatureWeakening(preset="seg", strength="log", rho=0.5, beta=(1.0, 1.0))
    assert FeatureWeakening().rule == ("soft", "class_balanced", "detach")
    assert FeatureWeakening(preset="literal").rule == ("keep", "uniform", "flow")
    assert FeatureWeakening(partner="other_class").rule == ("soft", "other_class", "detach")
    assert FeatureWeakening(preset="literal", label="soft", partner_gradient="detach").rule == ("soft", "uniform", "detach")


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({}, 4096),
        ({"bank": 7}, 7),
        ({"bank": 0}, 0),
        ({"preset": "literal"}, 0),
        ({"partner": "uniform"}, 0),
        ({"partner_gradient": "flow"}, 0),
        ({"preset": "literal", "partner": "other_class", "partner_gradient": "detach"}, 4096),
    ],
)
def test_there_is_a_bank_where_something_is_taken_from_it(fields, size):
    assert FeatureWeakening(**fields).bank_size == size
    bank = FeatureWeakening(**fields).start(3, 5, 10).bank
    assert (0 if bank is None else bank.features.shape[1]) == size


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"gamma": 0.5}, "gamma: expected none, since strength log has no exponent, got 0.5"),
        ({"gamma": 2.0, "strength": "step"}, "gamma: expected none, since strength step has no exponent, got 2"),
        ({"bank": 9, "partner": "uniform"}, "bank: expected none, since uniform partners come from the batch alone, got 9"),
        (
            {"bank": 9, "partner_gradient": "flow"},
            "bank: expected none, since partners that gradients flow to come from the batch alone, got 9",
        ),
        ({"anneal": (0.5, 0.1)}, "anneal: expected the first share <= the last, got [0.5, 0.1]"),
    ],
)
def test_a_field_without_effect_is_refused(fields, message):
    with pytest.raises(ValidationError) as error:
        FeatureWeakening(**fields)
    assert f"Value error, {message} [" in str(error.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"rho": -0.1},
        {"rho": 0.6},
        {"beta": (0.0, 1.0)},
        {"beta": (1.0, 1e5)},
        {"bank": -1},
        {"max_voxels": 0},
        {"anneal": (0.5, 1.1)},
        {"strength": "power", "gamma": 0.0},
        {"preset": "custom"},
    ],
)
def test_settings_that_make_no_sense_are_refused(fields):
    with pytest.raises(ValidationError):
        FeatureWeakening(**fields)


def test_only_the_law_of_steps_asks_which_classes_are_rare():
    assert [FeatureWeakening(strength=law).asymmetric for law in ("log", "power", "step")] == [False, False, True]


def test_settings_that_were_not_started_are_refused():
    target = voxels(0, 1)
    with pytest.raises(InputError) as error:
        FeatureWeakening().blend(torch.zeros(1, 3, 2, 1, 1), target, nobody(target), seeded())
    assert str(error.value) == (
        "SK-N003: feature_weakening: the voxels of each class are counted while training, and settings count nothing\n"
        "  where:    regularizers.feature_weakening\n"
        "  expected: the running part that `start` makes\n"
        "  got:      the settings themselves\n"
        "  remedy:   call start(classes, features, steps) once, then in each step see(target) and blend(...) of what it returned"
    )


# How strongly


@pytest.mark.parametrize(
    ("law", "rare", "expected"),
    [
        ("log", [False, False, False], [1, 1 / 3, 0]),  # ln 1000, ln 10, ln 1 over ln 1000
        ("power", [False, False, False], [0.968377, 0.683772, 0]),  # 1 - 1/sqrt(1000), 1 - 1/sqrt(10)
        ("step", [False, False, True], [1, 1, 0]),
        ("step", [False, True, True], [1, 0, 0]),
        ("step", [False, False, False], [1, 1, 0]),  # the smallest class is left alone all the same
        ("step", [True, True, True], [0, 0, 0]),
    ],
)
def test_strengths_by_hand(law, rare, expected):
    found = strengths(law, 0.5, torch.tensor([1e6, 1e4, 1e3], dtype=torch.float64), torch.tensor(rare))
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), atol=1e-6, rtol=0)
    assert found[2] == 0


@pytest.mark.parametrize("law", ["log", "power", "step"])
@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([7.0, 7.0, 7.0], [0, 0, 0]),
        ([0.0, 0.0, 0.0], [0, 0, 0]),
        ([5.0, 0.0, 0.0], [0, 0, 0]),
        ([9.0, 0.0, 9.0], [0, 0, 0]),
    ],
)
def test_classes_equally_large_and_classes_not_met_have_no_strength(law, counts, expected):
    assert strengths(law, 0.5, torch.tensor(counts, dtype=torch.float64), torch.zeros(3, dtype=torch.bool)).tolist() == expected


def test_a_class_not_met_yet_is_not_the_smallest():
    found = strengths("log", 0.5, torch.tensor([100.0, 0.0, 10.0], dtype=torch.float64), torch.zeros(3, dtype=torch.bool))
    assert found.tolist() == [1, 0, 0]


@pytest.mark.parametrize("law", ["log", "power"])
@given(counts=st.lists(st.integers(0, 10**9), min_size=2, max_size=6))
@settings(deadline=None, max_examples=50)
def test_the_larger_a_class_the_stronger(law, counts):
    found = strengths(law, 0.5, torch.tensor(counts, dtype=torch.float64), torch.zeros(len(counts), dtype=torch.bool))
    assert ((found >= 0) & (found <= 1)).all()
    in_order = found[torch.tensor(counts).argsort()]
    assert (in_order.diff() >= 0).all()


def test_strength_comes_from_all_that_training_has_met():
    target = voxels(0, 0, 1, 1)  # equally large in this batch
    assert torch.equal(mixture(target, partner="other_class"), torch.eye(4, dtype=torch.float64))
    running = started(voxels(0, 0, 0, 0, 0, 1), features=4, partner="other_class")
    running.see(target)
    assert running.counts.tolist() == [7, 3]
    shares = rows(blended(running, like(torch.eye(4, dtype=torch.float64), target), target)[0]).diag()
    assert (shares[:2] < 1).all()
    assert (shares[2:] == 1).all()


def test_counts_go_on_where_float32_would_stop():
    running = started(voxels(0))
    running.counts.copy_(torch.tensor([2.0**24, 1.0]))
    running.see(voxels(0, -1).float())
    assert running.counts.tolist() == [2**24 + 1, 1]


def test_a_batch_larger_than_float32_counts_is_counted_exactly():
    target = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1, 1).expand(1, 2, 4099, 4097, 1)  # of an odd number of voxels
    assert started(target).counts.tolist() == [4099 * 4097, 0]


@pytest.mark.parametrize(
    ("fields", "rare", "expected"),
    [
        ({}, [False, False, True], [1, 0.5, 0]),
        ({"strength": "power"}, [False, False, True], [0.9, 0.683772, 0]),
        ({"strength": "power", "gamma": 1.0}, [False, False, True], [0.99, 0.9, 0]),
        ({"strength": "step"}, [False, True, True], [1, 0, 0]),
    ],
)
def test_the_law_is_that_of_the_settings(fields, rare, expected):
    target = scattered(100, 10, 1)
    features, rho_u = like(torch.eye(111, dtype=torch.float64), target), mixture(target, partner="other_class", strength="step").diag()
    running = started(target, features=111, partner="other_class", **fields)
    own = rows(running.blend(features, target, torch.tensor(rare), seeded())[0]).diag()
    by_hand = 1 - (1 - rho_u) * (rows(target) @ torch.tensor(expected, dtype=torch.float64))  # where steps are all of strength 1
    torch.testing.assert_close(own, by_hand, atol=1e-6, rtol=0)


@pytest.mark.parametrize("law", [(1.0, 1.0), (2.0, 5.0), (0.5, 3.0)])
@pytest.mark.parametrize("rho", [0.5, 0.2])
def test_the_own_share_is_one_minus_rho_s_u(law, rho):
    target = scattered(20000, 2000, 200)
    running = started(target, rho=rho, beta=law, partner="other_class", bank=0)
    # class j shows as 1 in channel j, so its own share is what is left of it: the partner is of another class
    shares = rows((blended(running, target, target)[0] * target).sum(1, keepdim=True)).squeeze(1)
    labels = rows(target).argmax(1)
    for label, s in enumerate((1.0, 0.5)):
        partners = 1 - shares[labels == label]
        assert partners.max() <= rho * s
        error = 4 * rho * s * beta(*law).std() / math.sqrt(len(partners))
        assert partners.mean().item() == pytest.approx(rho * s * beta(*law).mean(), abs=error)
        assert kstest(partners.numpy() / (rho * s), beta(*law).cdf).pvalue > 1e-3
    assert (shares[labels == 2] == 1).all()


@pytest.mark.parametrize(("step", "rho"), [(0, 0.4), (20, 0.4), (30, 0.3), (50, 0.1), (60, 0.0), (100, 0.0)])
def test_annealing_leads_rho_to_zero_on_a_straight_line(step, rho):
    target = scattered(40, 5)
    running = started(target, features=45, steps=100, rho=0.4, anneal=(0.2, 0.6))
    running.set_step(step)
    assert running.rho.item() == pytest.approx(rho)
    features = like(torch.eye(45, dtype=torch.float64), target)
    mixed = rows(blended(running, features, target)[0])
    assert 1 - mixed.diag().min() <= rho + 1e-12
    assert torch.equal(mixed, rows(features)) is (rho == 0)


@pytest.mark.parametrize(("step", "rho"), [(49, 0.5), (50, 0.0)])
def test_an_annealing_without_length_is_a_switch(step, rho):
    running = started(voxels(0, 1), steps=100, anneal=(0.5, 0.5))
    running.set_step(step)
    assert running.rho.item() == rho


# Who is left alone


def classifier_and_body(classes, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv3d(2, 6, 3, padding=1), nn.ReLU()), nn.Conv3d(6, classes, 1)


def loss_and_gradients(running, target):
    body, classifier = classifier_and_body(target.shape[1])
    features = body(torch.randn(len(target), 2, *target.shape[2:], generator=seeded(1)))
    goal = target = target.float()
    if running is not None:
        features, goal = running.blend(features, target, nobody(target), seeded())
    loss = CrossEntropy()(classifier(features), goal, nobody(target))
    return loss, *torch.autograd.grad(loss, (*body.parameters(), *classifier.parameters()))


@every_rule
@pytest.mark.parametrize(
    ("counts", "fields"),
    [((100, 10, 10), {"rho": 0.0}), ((40, 40, 40), {}), ((100, 10, 10), {"rho": 0.0, "max_voxels": 30})],
    ids=["rho 0", "equal classes", "rho 0, a few voxels"],
)
def test_where_nothing_is_weakened_loss_and_gradients_are_the_plain_ones_to_the_bit(rule, counts, fields):
    target = scattered(*counts, shape=(2, 5, 4, 3))
    ours = loss_and_gradients(started(target, features=6, **rule, **fields), target)
    assert all(torch.equal(a, b) for a, b in zip(ours, loss_and_gradients(None, target), strict=True))


@every_label_and_partner
def test_the_smallest_class_and_ignored_voxels_stay_as_they_are_and_the_others_do_not(label, partner):
    target = scattered(60, 20, 5, ignored=15)
    features = torch.randn(1, 3, 100, 1, 1, generator=seeded(), dtype=torch.float64)
    running = started(target, features=3, label=label, partner=partner)
    shown, goal = blended(running, features, target)
    labels = torch.where(rows(target).sum(1) > 0, rows(target).argmax(1), -1)
    for name, changed in ((0, True), (1, True), (2, False), (-1, False)):
        members = labels == name
        same = (rows(shown)[members] == rows(features)[members]).all(1)
        assert same.float().mean() < 0.1 if changed else same.all()  # a voxel may have drawn itself
        if not changed:
            assert torch.equal(rows(goal)[members], rows(target)[members])


@every_label_and_partner
def test_ignored_voxels_are_nobodys_partner(label, partner):
    target = scattered(60, 20, 5, ignored=15)
    names = mixture(target, label=label, partner=partner)
    ignored = rows(target).sum(1) == 0
    assert torch.equal(names[:, ignored], torch.eye(100, dtype=torch.float64)[:, ignored])


@pytest.mark.parametrize("labels", [(0, 0, 0, -1), (-1, -1, -1, -1)], ids=["one class", "all ignored"])
@every_rule
def test_where_there_is_no_partner_everything_stays_as_it_is(rule, labels):
    target = voxels(*labels)
    running = started(voxels(0, 0, 0, 1), features=3, **rule)  # class 0 is the large one
    features = torch.randn(1, 3, 4, 1, 1, generator=seeded(), dtype=torch.float64, requires_grad=True)
    shown, goal = blended(running, features, target)
    (gradient,) = torch.autograd.grad(shown.square().sum(), features)
    assert torch.isfinite(gradient).all()
    assert torch.equal(goal, target)
    if rule["partner"] == "other_class" or labels[0] == -1:
        assert torch.equal(shown, features)
        assert torch.equal(gradient, 2 * features)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_before_anything_was_met_nothing_is_mixed(gradient):
    target = scattered(20, 5)
    running = FeatureWeakening(partner_gradient=gradient).start(2, 25, 10)
    features = like(torch.eye(25, dtype=torch.float64), target)
    assert torch.equal(blended(running, features, target)[0], features)


@every_rule
def test_the_given_tensors_are_not_written_to(rule):
    target = scattered(60, 20, 5, ignored=15)
    features = torch.randn(1, 3, 100, 1, 1, generator=seeded(), dtype=torch.float64)
    before = features.clone(), target.clone()
    blended(started(target, features=3, **rule), features, target)
    assert torch.equal(features, before[0])
    assert torch.equal(target, before[1])


# With whom


@settings(deadline=None, max_examples=60)
@given(
    counts=st.lists(st.integers(0, 30), min_size=2, max_size=5).filter(any),
    ignored=st.integers(0, 10),
    rule=st.sampled_from(RULES),
    rho=st.floats(0, 0.5),
    most=st.sampled_from([1, 10, 1000]),
    seed=st.integers(0, 1000),
)
def test_each_voxel_becomes_a_mean_of_itself_and_one_other_and_its_target_the_same_mean(counts, ignored, rule, rho, most, seed):
    target = scattered(*counts, ignored=ignored, seed=seed)
    fields = {**rule, "rho": rho, "max_voxels": most}
    names = mixture(target, seed, **fields)
    torch.testing.assert_close(names.sum(1), torch.ones(len(names), dtype=torch.float64), atol=1e-12, rtol=0)
    assert (names.diag() >= 1 - rho - 1e-12).all()
    assert ((names > 0).sum(1) <= 2).all()
    features = torch.randn(len(names), 4, generator=seeded(), dtype=torch.float64)
    shown, goal = blended(started(target, features=4, **fields), like(features, target), target, seed)
    torch.testing.assert_close(rows(shown), names @ features)
    expected = rows(target) if rule["label"] == "keep" else names @ rows(target)
    torch.testing.assert_close(rows(goal), expected)


def met(target, **fields):
    """How often a mixed voxel of the largest class met each class: [C]."""
    names = mixture(target, **fields)
    mixed = (rows(target).argmax(1) == 0) & (names.diag() < 1)
    return ((names - names.diag().diag())[mixed] > 0).double() @ rows(target)


def test_balanced_partners_are_of_each_class_alike():
    of_each = met(scattered(1999, 1), partner="class_balanced").sum(0)
    # a voxel that met itself shows as not mixed: one in 2 * 1999
    assert (of_each / of_each.sum()).tolist() == pytest.approx([0.5, 0.5], abs=4 * math.sqrt(0.25 / 1999))
    of_each = met(scattered(1900, 90, 10), partner="class_balanced").sum(0)
    assert (of_each / of_each.sum()).tolist() == pytest.approx([1 / 3] * 3, abs=4 * math.sqrt(2 / 9 / 1900))


def test_uniform_partners_are_of_each_class_by_its_size():
    of_each = met(scattered(1600, 300, 100), partner="uniform").sum(0)
    assert (of_each / of_each.sum()).tolist() == pytest.approx([0.8, 0.15, 0.05], abs=4 * math.sqrt(0.16 / 1600))


def test_partners_of_another_class_are_of_each_other_class_alike_and_never_of_the_own():
    target = scattered(900, 60, 30, 10)
    names = mixture(target, partner="other_class")
    own = rows(target) @ rows(target).T > 0
    assert ((names - names.diag().diag())[own] == 0).all()
    of_each = met(target, partner="other_class").sum(0)
    assert of_each.sum() == 900
    assert (of_each / 900).tolist() == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3], abs=4 * math.sqrt(2 / 9 / 900))


@pytest.mark.parametrize("partner", PARTNERS)
def test_within_a_class_each_voxel_is_a_partner_as_likely(partner):
    target = scattered(1980, 20)
    names = mixture(target, partner=partner)
    mixed = rows(target)[:, 0] > 0
    times = (names[mixed] > 0)[:, ~mixed].sum(0).double()
    assert times.std() < 2 * times.mean().sqrt()  # of a Poisson law: as large as the root of the mean
    assert (times > 0).all() or partner == "uniform"


def test_a_class_that_the_batch_lacks_comes_from_the_bank():
    both, background = voxels(0, 0, 0, 1, 1), voxels(0, 0, 0, 0)
    running = started(both, features=2, partner="other_class")
    blended(running, both, both)  # features name the class
    features = background.clone().requires_grad_()
    shown, goal = blended(running, features, background)
    assert torch.equal(shown, goal)
    assert (rows(shown)[:, 1] > 0).all()
    torch.testing.assert_close(rows(shown).sum(1), torch.ones(4, dtype=torch.float64))
    (gradient,) = torch.autograd.grad(shown[:, 0].sum(), features)
    torch.testing.assert_close(rows(gradient)[:, 0], rows(shown)[:, 0].detach())  # the own share alone


def test_balanced_partners_are_of_the_class_that_the_batch_lacks_as_often_as_of_the_others():
    both, background = scattered(50, 50, 100), scattered(3000, 50, 0)
    running = started(both, features=3)
    blended(running, both, both)
    running.see(background)
    goal = rows(blended(running, background, background)[1])[rows(background)[:, 0] > 0]
    of_each = (goal[:, 1:] > 0).double().mean(0)
    assert of_each.tolist() == pytest.approx([1 / 3, 1 / 3], abs=4 * math.sqrt(2 / 9 / 3000))


@pytest.mark.parametrize("fields", [{"bank": 0}, {"partner_gradient": "flow"}], ids=["no bank", "flow"])
def test_without_a_bank_a_class_that_the_batch_lacks_is_nobodys_partner(fields):
    both, background = voxels(0, 0, 0, 1, 1), voxels(0, 0, 0, 0)
    running = started(both, features=2, partner="other_class", **fields)
    blended(running, both, both)
    assert torch.equal(blended(running, background, background)[0], background)


def put(bank, target, first):
    """Features that are numbers in the order of the voxels, the first one `first`."""
    bank.put(torch.arange(first, first + target.numel() // target.shape[1]).view(1, -1, 1, 1, 1).float(), by_class(target), seeded(first))


def held(bank, label):
    return sorted(bank.features[label, : bank.filled[label], 0].tolist())


def test_a_bank_holds_some_voxels_of_each_class_of_a_batch_and_no_other():
    bank = Bank(3, 1, 64)
    put(bank, voxels(0, 0, 1, -1, 0, 0, 0, 1, 0, 0, 0, classes=3), 100)
    assert bank.filled.tolist() == [4, 2, 0]
    assert held(bank, 1) == [102, 107]
    assert set(held(bank, 0)) < {100, 101, 104, 105, 106, 108, 109, 110}
    assert len(set(held(bank, 0))) == 4


def test_a_full_bank_forgets_its_oldest_feature_first():
    bank = Bank(2, 1, 5)  # one feature of a class from each batch
    for batch in range(13):
        put(bank, voxels(1, 0) if batch % 4 == 0 else voxels(0), 10 * batch)
    assert bank.filled.tolist() == [5, 4]
    assert held(bank, 0) == [81, 90, 100, 110, 121]
    assert held(bank, 1) == [0, 40, 80, 120]


def test_a_bank_is_a_ring_wherever_a_batch_ends():
    bank = Bank(2, 1, 33)  # two features of a class from each batch
    for batch in range(17):
        put(bank, voxels(0, 0), 2 * batch)
    assert held(bank, 0)[1:] == list(range(2, 34))  # one of 34 had to go, of the oldest two
    put(bank, voxels(0), 34)
    assert held(bank, 0) == list(range(2, 35))
    put(bank, voxels(0), 35)
    assert len(set(held(bank, 0)) & {2, 3}) == 1


def test_partners_from_the_bank_are_not_all_the_same():
    lesion, background = voxels(0, *[1] * 20), voxels(*[0] * 50)
    running = started(voxels(0, 0, 1), features=21, partner="other_class", bank=320)
    blended(running, like(torch.eye(21, dtype=torch.float64), lesion), lesion)
    shown, _ = blended(running, torch.zeros(1, 21, 50, 1, 1, dtype=torch.float64), background)
    assert ((rows(shown) > 0).sum(1) == 1).all()
    assert (rows(shown) > 0).any(0).sum() >= 15


def test_what_is_taken_from_a_bank_is_any_of_the_features_it_holds():
    bank = Bank(2, 1, 64)
    put(bank, voxels(1, 1, 1, 0), 1)
    taken = bank.taken(torch.ones(600, dtype=torch.int64), torch.rand(600, generator=seeded(), dtype=torch.float64))
    for value in (1, 2, 3):
        assert (taken == value).double().mean().item() == pytest.approx(1 / 3, abs=4 * math.sqrt(2 / 9 / 600))


def test_no_more_voxels_are_mixed_than_allowed_and_each_weakened_one_as_likely():
    target = scattered(60, 40)
    running = started(target, features=100, partner="other_class", max_voxels=15)
    features, times = like(torch.eye(100, dtype=torch.float64), target), torch.zeros(100)
    for seed in range(400):
        shown, goal = blended(running, features, target, seed)
        changed = rows(shown).diag() < 1
        assert changed.sum() == 15
        assert torch.equal(changed, (rows(goal) != rows(target)).any(1))
        times += changed
    background = rows(target)[:, 0] > 0
    assert (times[~background] == 0).all()
    assert (times[background] / 400).tolist() == pytest.approx([0.25] * 60, abs=5 * math.sqrt(0.1875 / 400))


def test_where_less_is_weakened_than_allowed_all_of_it_is_mixed():
    names = mixture(scattered(20, 10, ignored=70), partner="other_class", max_voxels=25)
    assert (names.diag() < 1).sum() == 20


def test_partners_may_lie_in_any_sample():
    target = torch.cat([scattered(60, 0), scattered(55, 5, seed=1)])
    names = mixture(target, partner="other_class")
    assert (names[:60, 60:].sum(1) > 0).all()


def test_a_generator_in_the_same_state_mixes_the_same_and_then_another():
    target = scattered(60, 20, 5)
    features = torch.randn(1, 3, 85, 1, 1, generator=seeded(), dtype=torch.float64)
    rng, again = seeded(3), seeded(3)
    torch.manual_seed(0)
    first, same, after = (started(target, features=3).blend(features, target, nobody(target), generator) for generator in (rng, again, rng))
    assert torch.equal(first[0], same[0])
    assert torch.equal(first[1], same[1])
    assert not torch.equal(first[0], after[0])


# What is trained


def drawn(target, **fields):
    """Own shares [N], partners' shares [N] and partners [N] of what `blend` draws with seed 0."""
    names = mixture(target, **fields)
    others = names - names.diag().diag()
    return names.diag(), others.sum(1), others.argmax(1)


def residuals(weight, bias, shown, goal):
    """Of the mean cross-entropy: W^T (p - t) / N at each voxel, [N, D]."""
    return ((shown @ weight.T + bias).softmax(1) - goal) @ weight / len(shown)


@pytest.mark.parametrize("classes", [2, 4])
@every_rule
def test_gradients_in_closed_form(rule, classes):
    target = scattered(*[60, 20, 9, 5][:classes], ignored=6)
    own, others, partner = drawn(target, **rule)
    generator = seeded(5)
    features = torch.randn(len(own), 7, generator=generator, dtype=torch.float64)
    weight = torch.randn(classes, 7, generator=generator, dtype=torch.float64)
    bias = torch.randn(classes, generator=generator, dtype=torch.float64)

    leaf = like(features, target).clone().requires_grad_()
    shown, goal = blended(started(target, features=7, **rule), leaf, target)
    loss = CrossEntropy()(torch.einsum("cd,bdxyz->bcxyz", weight, shown) + bias.view(1, -1, 1, 1, 1), goal, nobody(target))
    (found,) = torch.autograd.grad(loss, leaf)

    mixed = own.unsqueeze(1) * features + others.unsqueeze(1) * features[partner]
    labels = rows(target)
    soft = own.unsqueeze(1) * labels + others.unsqueeze(1) * labels[partner]
    pull = residuals(weight, bias, mixed, soft if rule["label"] == "soft" else labels) * labels.sum(1, keepdim=True)
    expected = own.unsqueeze(1) * pull
    if rule["partner_gradient"] == "flow":
        expected.index_add_(0, partner, others.unsqueeze(1) * pull)
    torch.testing.assert_close(rows(found), expected, atol=1e-10, rtol=0)


def test_gradcheck_where_gradients_flow_to_partners():
    target = scattered(8, 3, ignored=1)
    running = started(target, features=2, partner="other_class", partner_gradient="flow")
    features = torch.randn(1, 2, 12, 1, 1, generator=seeded(), dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda h: blended(running, h, target)[0], features)


def test_the_loss_of_soft_labels_is_the_mean_of_two_losses():
    target = scattered(60, 20, 5)
    own, others, partner = drawn(target, partner="other_class")
    logits = torch.randn(1, 3, 85, 1, 1, generator=seeded(7), dtype=torch.float64)
    _, goal = blended(started(target, features=3, partner="other_class"), logits, target)
    logp, labels = rows(logits).log_softmax(1), rows(target).argmax(1)
    by_hand = -(own * logp[torch.arange(85), labels] + others * logp[torch.arange(85), labels[partner]]).mean()
    torch.testing.assert_close(CrossEntropy()(logits, goal, nobody(target)), by_hand)


def test_between_two_opposite_classes_the_margin_shrinks_by_two_l_minus_one():
    target = scattered(60, 5)
    own, _, _ = drawn(target, partner="other_class", label="keep")
    prototype = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    features = (rows(target) @ torch.tensor([[1.0], [-1.0]], dtype=torch.float64)) * prototype  # h of class 1 is minus h of class 0
    shown, _ = blended(started(target, features=3, partner="other_class", label="keep"), like(features, target), target)
    margin, clean = (rows(h) @ (2 * prototype) for h in (shown, like(features, target)))  # rows of the classifier are +- prototype
    torch.testing.assert_close(margin, (2 * own - 1) * clean)
    assert (own < 1).sum() == 60


# Types, memory, checkpoints, processes


@pytest.mark.parametrize("given_type", [torch.float16, torch.bfloat16])
def test_half_features_are_mixed_in_float32_and_rounded_once(given_type):
    target = scattered(200, 20).float()
    features = torch.randn(1, 3, 220, 1, 1, generator=seeded()).to(given_type)
    shown, goal = blended(started(target, features=3, bank=0), features, target)
    exact, same_goal = blended(started(target, features=3, bank=0), features.float(), target)
    assert shown.dtype == given_type
    assert torch.equal(shown, exact.to(given_type))
    assert torch.equal(goal, same_goal)
    assert goal.dtype == torch.float32


def test_under_autocast_the_mixture_is_that_of_float32():
    target = scattered(200, 20).float()
    features = torch.randn(1, 3, 220, 1, 1, generator=seeded())
    plain = blended(started(target, features=3), features, target)
    with torch.autocast("cpu", torch.bfloat16):
        cast = blended(started(target, features=3), features, target)
    assert all(torch.equal(a, b) for a, b in zip(cast, plain, strict=True))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_the_memory_layout_stays_and_changes_nothing(layout):
    target = scattered(100, 20, shape=(2, 5, 4, 3))
    features = torch.randn(2, 3, 5, 4, 3, generator=seeded(), dtype=torch.float64)
    shown, _ = blended(started(target, features=3), features.contiguous(memory_format=layout), target)
    assert shown.is_contiguous(memory_format=layout)
    assert torch.equal(shown, blended(started(target, features=3), features, target)[0])


def a_step(running, seed):
    """One of a training whose batches often lack a class."""
    target = scattered(30, 6 * (seed % 2), 3 * (seed % 3 == 0), seed=seed)
    features = torch.randn(1, 4, *target.shape[2:], generator=seeded(100 + seed))
    running.set_step(seed)
    running.see(target)
    return running.blend(features, target.float(), nobody(target), seeded(200 + seed))


@pytest.mark.parametrize(
    "fields",
    [{"bank": 40, "anneal": (0.1, 0.9)}, {"partner": "other_class", "bank": 3}, {"preset": "literal"}],
    ids=["seg", "other class", "literal"],
)
def test_a_training_goes_on_from_a_checkpoint_as_if_it_had_not_ended(fields):
    whole, begun, resumed = (FeatureWeakening(**fields).start(3, 4, 20) for _ in range(3))
    for seed in range(7):
        a_step(whole, seed)
        a_step(begun, seed)
    resumed.load_state_dict(begun.state_dict())
    for seed in range(7, 20):
        ours, theirs = a_step(resumed, seed), a_step(whole, seed)
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(resumed.state_dict().values(), whole.state_dict().values(), strict=True))


def test_a_checkpoint_holds_the_bank_where_there_is_one():
    plain = {"counts", "rho"}
    assert set(FeatureWeakening(preset="literal").start(2, 3, 10).state_dict()) == plain
    assert set(FeatureWeakening().start(2, 3, 10).state_dict()) == plain | {"bank.features", "bank.filled", "bank.head"}


HALVES = ((0, 0, 0, 1), (0, 1, 1, -1))


def one_process(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    torch.save(started(voxels(*HALVES[rank])).counts, folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_with_half_a_batch_each_count_the_whole(tmp_path):
    multiprocessing.spawn(one_process, (tmp_path,), nprocs=2)
    for rank in (0, 1):
        assert torch.load(tmp_path / f"{rank}.pt", weights_only=True).tolist() == [4, 3]


# What it is for


def toy(seed, count):
    """Points of two classes, 100 to 1, whose clouds overlap: [1, 10, N, 1, 1] and a target of as many."""
    target = scattered(count - count // 101, count // 101, seed=seed).float()
    rare = target[:, 1:]
    noise = torch.randn(1, 10, *target.shape[2:], generator=seeded(1000 + seed))
    offset = torch.full((1, 10, 1, 1, 1), 3 / math.sqrt(10))
    return noise + rare * offset, target


def recall_of_the_rare_class(seed, steps=600, **fields):
    """On new points, of a small network trained on few."""
    torch.manual_seed(seed)
    body = nn.Sequential(nn.Conv3d(10, 32, 1), nn.ReLU(), nn.Conv3d(32, 32, 1), nn.ReLU())
    classifier = nn.Conv3d(32, 2, 1)
    optimizer = torch.optim.Adam([*body.parameters(), *classifier.parameters()], lr=1e-2)
    running = FeatureWeakening(**fields).start(2, 32, steps)
    (image, target), rng = toy(seed, 2020), seeded(seed)
    for step in range(steps):
        running.set_step(step)
        running.see(target)
        shown, goal = running.blend(body(image), target, nobody(target), rng)
        optimizer.zero_grad()
        CrossEntropy()(classifier(shown), goal, nobody(target)).backward()
        optimizer.step()
    image, target = toy(500 + seed, 40400)
    with torch.no_grad():
        found = classifier(body(image)).argmax(1, keepdim=True)
    return (found * target[:, 1:]).sum().item() / target[:, 1:].sum().item()


@pytest.mark.slow
def test_with_soft_labels_more_of_a_rare_class_is_found_and_with_kept_ones_less():
    plain = [recall_of_the_rare_class(seed, rho=0.0) for seed in range(5)]
    soft = [recall_of_the_rare_class(seed, partner="other_class") for seed in range(5)]
    kept = [recall_of_the_rare_class(seed, preset="literal", partner="other_class") for seed in range(5)]
    assert sum(a > b for a, b in zip(soft, plain, strict=True)) >= 4
    assert sum(a < b for a, b in zip(kept, plain, strict=True)) >= 4
