"""Training and test embeddings side by side: values by hand, planted gaps, what must not matter, and classes without voxels."""

from dataclasses import fields

import numpy as np
import pytest
import torch

from segkit.analysis.embedding_comparison import GROUPS, READINGS
from segkit.analysis.embeddings import Embeddings
from segkit.analysis.observe import SPLITS, Voxels
from segkit.statistics.bootstrap import difference_interval

D = 8
# class c speaks through channels c and c + 3
WEIGHT = (
    4 * np.eye(3, D, dtype=np.float32) + 2 * np.eye(3, D, 3, dtype=np.float32) + np.linspace(0, 0.7, 3 * D, dtype=np.float32).reshape(3, D)
)
BIAS = np.array([0.1, 0.2, -0.3], dtype=np.float32)
CLASSES = ("background", "edema", "core")


def cases(count, seed=0, n=60, shift=0.0):
    """Label [n] and features [n, D] of some cases; voxels of class c have more of channel c."""
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        label = rng.integers(0, 3, n)
        features = rng.gamma(1.0, size=(n, D)) + rng.normal(0, 0.1, D)
        features[np.arange(n), label] += 2.0 - shift
        yield label, features.astype(np.float32)


def observed(training, test, weight=WEIGHT, bias=BIAS, classes=CLASSES, **settings):
    """Embeddings of a network that has seen these cases."""
    observer = Embeddings(weight, bias, classes, "run", **settings)
    for split, each in (("training", training), ("test", test)):
        for index, (label, features) in enumerate(each):
            observer.begin(split, f"{split}_{index}")
            h = torch.from_numpy(features)
            logits = h @ torch.from_numpy(weight).T + torch.from_numpy(bias)
            key = np.random.default_rng(index).random(len(label))
            observer.see(Voxels(torch.from_numpy(label), h, logits, torch.from_numpy(key)))
            observer.end()
    return observer


@pytest.fixture(scope="module")
def usual():
    return observed(cases(6), cases(5, seed=1, shift=0.5)).compare()


def places(comparison):
    return [(reading, group, index) for reading in READINGS for group in GROUPS for index in range(len(comparison.classes))]


def test_k_channels_lead_in_every_voxel(usual):
    assert usual.k == 2
    for portrait in usual.portraits.values():
        assert portrait.voxels > 0
        assert portrait.frequency.sum() == pytest.approx(2, rel=1e-12)
        assert 0 <= portrait.frequency.min() <= portrait.frequency.max() <= 1
        assert 2 <= portrait.diversity <= D
        assert 1 <= portrait.used50 <= portrait.used90 <= D


def test_shifts_add_up_to_the_shift_of_the_mean_logit_every_case_counting_the_same(usual):
    for index in range(3):
        means = []
        for some in (cases(6), cases(5, seed=1, shift=0.5)):
            logits = [(features @ WEIGHT[index] + BIAS[index])[label == index].mean() for label, features in some]
            means.append(np.mean(logits))
        assert usual.matches["raw", "all", index].shift.sum() == pytest.approx(means[1] - means[0], abs=1e-5)
        assert abs(means[1] - means[0]) > 0.5


def test_a_planted_loss_of_magnitude_is_found():
    known = list(cases(4))
    top = observed(known, []).compare().top
    for index in range(3):
        weaker = [(label, features.copy()) for label, features in known]
        for _, features in weaker:
            features[:, top["raw", index]] *= 0.7
        comparison = observed(known, weaker).compare()
        match = comparison.matches["raw", "all", index]
        assert match.ratio == pytest.approx(0.7, abs=1e-6)
        others = np.setdiff1d(np.arange(D), top["raw", index])
        np.testing.assert_allclose(match.shift[others], 0, atol=1e-6)  # means of cases are float32
        assert comparison.portraits["raw", "test", "all", index].overlap == 1


def test_identical_splits_match():
    comparison = observed(cases(6), cases(6)).compare()
    for reading, group, index in places(comparison):
        match = comparison.matches[reading, group, index]
        top = comparison.top[reading, index]
        np.testing.assert_array_equal(match.shift, 0)
        assert (match.interval[top, 0] <= 0).all()
        assert (match.interval[top, 1] >= 0).all()
        if np.isfinite(match.ratio):
            assert match.ratio == pytest.approx(1, rel=1e-12)
            assert match.ratio_interval[0] <= 1 <= match.ratio_interval[1]
        training, test = (comparison.portraits[reading, split, group, index] for split in SPLITS)
        assert training.overlap == test.overlap
        assert training.diversity == test.diversity
    assert comparison.portraits["raw", "test", "tp", 0].overlap == 1
    assert [comparison.recall["training", index] for index in range(3)] == [comparison.recall["test", index] for index in range(3)]


def test_the_range_gap_of_the_same_voxels_is_zero():
    # fewer voxels than the reservoir holds: all are in both samples
    comparison = observed(cases(3, n=30), cases(3, n=30)).compare()
    smallest = min(comparison.portraits["raw", "training", "all", index].voxels for index in range(3))
    index = next(i for i in range(3) if comparison.portraits["raw", "training", "all", i].voxels == smallest)
    assert comparison.matches["raw", "all", index].range_gap == 0


def test_the_scale_of_a_channel_does_not_matter(usual):
    scale = np.array([2.0, 0.5, 4.0, 1.0, 8.0, 0.125, 1.0, 2.0], dtype=np.float32)  # powers of two: exact
    scaled = [[(label, features * scale) for label, features in some] for some in (cases(6), cases(5, seed=1, shift=0.5))]
    other = observed(*scaled, weight=WEIGHT / scale).compare()
    for place in places(usual):
        np.testing.assert_allclose(other.matches[place].shift, usual.matches[place].shift, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(other.matches[place].range_gap, usual.matches[place].range_gap, rtol=1e-9)
    for place, ours in usual.portraits.items():
        np.testing.assert_array_equal(other.portraits[place].frequency, ours.frequency)
    for place, ours in usual.top.items():
        np.testing.assert_array_equal(other.top[place], ours)
    assert other.portraits["raw", "test", "tp", 0].participation != usual.portraits["raw", "test", "tp", 0].participation


def test_a_vector_added_to_all_weights_does_not_matter_to_centered_ones(usual):
    moved = WEIGHT + np.linspace(-3, 5, D, dtype=np.float32)
    other = observed(cases(6), cases(5, seed=1, shift=0.5), weight=moved).compare()
    for split in SPLITS:
        for index in range(3):
            ours, theirs = (each.portraits["centered", split, "all", index] for each in (usual, other))
            np.testing.assert_allclose(theirs.magnitude, ours.magnitude, rtol=1e-5, atol=1e-5)
            ours, theirs = (each.portraits["raw", split, "all", index] for each in (usual, other))
            assert np.abs(theirs.magnitude - ours.magnitude).max() > 1
        assert usual.recall[split, 1] == pytest.approx(other.recall[split, 1], abs=1e-6)


# two classes and four channels, so K = 1: embeddings of class 0 are (h0, 0, 2 h2, 0), of class 1 (0, h1, 0, h3); logits are their sums
HAND = np.array([[1, 0, 2, 0], [0, 1, 0, 1]], dtype=np.float32)


def by_hand(training, test):
    """From lists of cases, each a list of (label, features)."""

    def arrays(some):
        for case in some:
            yield np.array([label for label, _ in case]), np.array([features for _, features in case], dtype=np.float32)

    return observed(arrays(training), arrays(test), weight=HAND, bias=np.zeros(2, dtype=np.float32), classes=("a", "b")).compare()


def test_a_comparison_by_hand():
    training = [[(0, (1, 0, 1, 0)), (0, (3, 0, 1, 0)), (1, (0, 3, 0, 1)), (1, (4, 1, 0, 0))], [(0, (1, 0, 4, 0))]]
    test = [[(0, (2, 0, 1, 0)), (1, (0, 1, 0, 2))]]
    comparison = by_hand(training, test)
    tp = comparison.portraits["raw", "training", "tp", 0]
    # case means of h: (2, 0, 1, 0) and (1, 0, 4, 0); the mean of both is (1.5, 0, 2.5, 0)
    np.testing.assert_array_equal(tp.magnitude, [1.5, 0, 5, 0])
    assert (tp.voxels, tp.cases) == (3, 2)
    assert tp.share == pytest.approx(5 / 6.5)
    np.testing.assert_array_equal(tp.frequency, [1 / 3, 0, 2 / 3, 0])  # (1, 0, 2, 0), (3, 0, 2, 0), (1, 0, 8, 0)
    assert (tp.used50, tp.used90) == (1, 2)
    assert list(comparison.top["raw", 0]) == [2]
    assert list(comparison.top["raw", 1]) == [1]
    match = comparison.matches["raw", "tp", 0]
    np.testing.assert_array_equal(match.shift, [0.5, 0, -3, 0])
    assert match.ratio == pytest.approx(2 / 5)
    assert np.isnan(match.interval).all()  # one test case
    assert np.isnan(match.ratio_interval).all()
    assert comparison.recall["training", 0] == 1
    assert comparison.recall["training", 1] == 0.5
    b = comparison.portraits["raw", "test", "tp", 1]
    np.testing.assert_array_equal(b.magnitude, [0, 1, 0, 2])
    assert b.overlap == 0  # channel 3 leads, 1 did in training
    assert b.share == pytest.approx(1 / 3)
    assert comparison.matches["raw", "tp", 1].ratio == pytest.approx(1 / 3)
    np.testing.assert_array_equal(comparison.class_overlap["raw"], [[1, 0], [0, 1]])
    # channel 2 leads in 2 of 3 voxels of a and in none of b; channel 1 in both of b, in none of a
    np.testing.assert_array_equal(comparison.response["raw"], [[1, 0], [0, 1]])
    assert comparison.chance == 0.25


def test_every_case_counts_the_same_in_recall():
    right, wrong = (1, (0, 3, 0, 0)), (1, (3, 0, 0, 0))
    comparison = by_hand([[right], [wrong, wrong, wrong]], [[right, right, wrong]])
    assert comparison.recall["training", 1] == 0.5
    assert comparison.recall["test", 1] == pytest.approx(2 / 3)


def test_a_ratio_to_nothing_is_no_number():
    comparison = by_hand([[(1, (0, -1, 0, -1))]], [[(1, (0, 1, 0, 1))]])
    assert comparison.recall["training", 1] == 0  # -2 is less than 0
    # training tp is empty, so no channel is the class's own
    assert len(comparison.top["raw", 1]) == 0
    assert np.isnan(comparison.matches["raw", "all", 1].ratio)
    assert np.isfinite(comparison.matches["raw", "all", 1].shift).all()


def test_intervals_are_those_of_the_means_of_cases(usual):
    observer = observed(cases(6), cases(5, seed=1, shift=0.5))
    for index in range(3):
        known, new = (observer.population(split, "tp", index).case_means() * observer.weights[0, index] for split in SPLITS)
        match, top = usual.matches["raw", "tp", index], usual.top["raw", index]
        for channel in range(D):
            expected = difference_interval(new[:, channel], known[:, channel])
            if channel in top:
                assert tuple(match.interval[channel]) == (expected.low, expected.high)
                assert expected.low < match.shift[channel] < expected.high
            else:
                assert np.isnan(match.interval[channel]).all()
        assert match.ratio == pytest.approx(new[:, top].sum(axis=1).mean() / known[:, top].sum(axis=1).mean(), rel=1e-12)
        assert match.ratio_interval[0] < match.ratio < match.ratio_interval[1]


def test_the_interval_of_a_ratio_to_a_constant_is_that_of_the_mean():
    constant = [[(0, (0, 0, 5, 0))]] * 4  # sum over the top channel: 10
    values = [8.0, 9, 11, 14]
    comparison = by_hand(constant, [[(0, (0, 0, value / 2, 0))] for value in values])
    match, expected = comparison.matches["raw", "tp", 0], difference_interval(values, [10.0] * 4)
    np.testing.assert_allclose(match.ratio_interval, [1 + expected.low / 10, 1 + expected.high / 10], rtol=1e-6)


def test_numbers_that_grow_with_voxels_are_also_told_for_the_same_number_of_each():
    comparison = observed(cases(3, n=200), cases(2, seed=1, n=50), reservoir=40).compare()
    for group in GROUPS:
        numbers = {portrait.equal for (_, _, own, _), portrait in comparison.portraits.items() if own == group}
        voxels = [portrait.voxels for (_, _, own, _), portrait in comparison.portraits.items() if own == group]
        assert numbers == {min(40, *voxels)}
    every = comparison.portraits["raw", "training", "all", 1]
    assert every.equal_diversity != every.diversity
    assert every.equal_participation != every.participation


def numbers(portrait):
    return {field.name: getattr(portrait, field.name) for field in fields(portrait) if field.name not in ("voxels", "cases", "equal")}


def test_a_class_without_a_voxel_has_no_number_and_the_others_have():
    def without_core(some):
        return [(label[label < 2], features[label < 2]) for label, features in some]

    comparison = observed(without_core(cases(4)), cases(3, seed=1)).compare()
    core = comparison.portraits["centered", "training", "all", 2]
    assert (core.voxels, core.cases, core.equal) == (0, 0, 0)
    for name, value in numbers(core).items():
        assert np.isnan(value).all(), name
    assert len(comparison.top["centered", 2]) == 0
    assert np.isnan(comparison.recall["training", 2])
    assert np.isnan(comparison.matches["centered", "all", 2].shift).all()
    assert np.isnan(comparison.class_overlap["centered"][2]).all()
    assert np.isnan(comparison.response["centered"][2]).all()
    assert np.isfinite(comparison.matches["centered", "all", 1].shift).all()
    assert comparison.portraits["centered", "training", "all", 1].equal > 0


@pytest.mark.parametrize("splits", [([], cases(3)), (cases(3), []), ([], [])], ids=["no training", "no test", "nothing"])
def test_a_split_without_a_case_has_no_number(splits):
    comparison = observed(*splits).compare()
    for match in comparison.matches.values():
        assert np.isnan(match.shift).all()
        assert np.isnan(match.ratio)
        assert np.isnan(match.range_gap)
    assert comparison.cases == {"training": 3 * (splits[0] != []), "test": 3 * (splits[1] != [])}


def test_one_channel_and_one_voxel_are_enough():
    one = [(np.array([1]), np.array([[2.0]], dtype=np.float32))]
    weight = np.array([[0.0], [1.0]], dtype=np.float32)
    comparison = observed(one, one, weight=weight, bias=np.zeros(2, dtype=np.float32), classes=("a", "b")).compare()
    portrait = comparison.portraits["raw", "training", "tp", 1]
    assert (comparison.k, comparison.chance, portrait.diversity, portrait.share, portrait.overlap) == (1, 1, 1, 1, 1)
    assert comparison.matches["raw", "tp", 1].ratio == 1
