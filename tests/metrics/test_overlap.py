"""Overlap metrics: values by hand, laws, and MONAI and SimpleITK as oracles."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics import compute_confusion_matrix_metric, compute_dice, get_confusion_matrix

from segkit.metrics.base import Pair, pairs
from segkit.metrics.overlap import Dice, Precision, Sensitivity, Specificity

ONE_MM = (1.0, 1.0, 1.0)


def rows(predicted, labeled):
    """Two rows of voxels as a pair, from strings of 0 and 1."""
    return Pair(*(np.array([[[digit == "1"]] for digit in row]) for row in (predicted, labeled)), ONE_MM)


def random_pair(seed, density=0.3):
    return Pair(*(np.random.default_rng(seed).random((2, 6, 7, 8)) < density), ONE_MM)


def test_values_by_hand():
    pair = rows("1110000", "0111110")  # TP 2, FP 1, FN 3, TN 1
    assert Dice()(pair) == pytest.approx(4 / 8)
    assert Sensitivity()(pair) == pytest.approx(2 / 5)
    assert Precision()(pair) == pytest.approx(2 / 3)
    assert Specificity()(pair) == pytest.approx(1 / 2)


@pytest.mark.parametrize(
    ("predicted", "labeled", "dice", "sensitivity", "precision", "specificity"),
    [
        ("000", "000", None, None, None, None),
        ("000", "001", 0.0, 0.0, None, 1.0),
        ("100", "000", 0.0, None, 0.0, 2 / 3),
        ("100", "001", 0.0, 0.0, 0.0, 1 / 2),
        ("100", "111", 1 / 2, 1 / 3, 1.0, None),
    ],
    ids=["absent", "missed", "spurious", "disjoint", "everywhere"],
)
def test_empty_and_full_masks(predicted, labeled, dice, sensitivity, precision, specificity):
    pair = rows(predicted, labeled)
    assert (Dice()(pair), Sensitivity()(pair), Precision()(pair), Specificity()(pair)) == (dice, sensitivity, precision, specificity)


def test_specificity_is_over_the_whole_image_but_for_ignored_voxels():
    label = np.zeros((5, 4, 3), dtype=np.uint8)
    prediction = label.copy()
    label[0, 0, :2], prediction[0, 0, 1:] = 1, 1  # TP 1, FP 1, FN 1
    label[4, 3], prediction[4, 3, 0] = 255, 1  # 3 ignored, whatever is predicted there
    ((_, pair),) = pairs(prediction, label, {"tumor": (1,)}, ONE_MM)
    assert pair.true_negatives == 60 - 3 - 3
    assert Specificity()(pair) == pytest.approx(54 / 55)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.floats(0.05, 0.9))
def test_dice_is_the_harmonic_mean_of_sensitivity_and_precision(seed, density):
    pair = random_pair(seed, density)
    p, r = Precision()(pair), Sensitivity()(pair)
    assert Dice()(pair) == pytest.approx(2 * p * r / (p + r) if p + r else 0.0)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6))
def test_swapping_the_masks_keeps_dice_and_swaps_sensitivity_with_precision(seed):
    pair = random_pair(seed)
    swapped = Pair(pair.label, pair.prediction, ONE_MM)
    assert Dice()(pair) == Dice()(swapped)
    assert Sensitivity()(pair) == Precision()(swapped)


@pytest.mark.parametrize("seed", range(3))
def test_monai_agrees(seed):
    pair = random_pair(seed)
    prediction, label = (torch.from_numpy(mask)[None, None].float() for mask in (pair.prediction, pair.label))
    counts = get_confusion_matrix(prediction, label)
    assert Dice()(pair) == pytest.approx(compute_dice(prediction, label).item(), rel=1e-6)
    assert Sensitivity()(pair) == pytest.approx(compute_confusion_matrix_metric("sensitivity", counts).item(), rel=1e-6)
    assert Precision()(pair) == pytest.approx(compute_confusion_matrix_metric("precision", counts).item(), rel=1e-6)
    assert Specificity()(pair) == pytest.approx(compute_confusion_matrix_metric("specificity", counts).item(), rel=1e-6)


def test_simpleitk_agrees():
    import SimpleITK

    pair = random_pair(7)
    measures = SimpleITK.LabelOverlapMeasuresImageFilter()
    measures.Execute(*(SimpleITK.GetImageFromArray(mask.astype(np.uint8)) for mask in (pair.prediction, pair.label)))
    assert Dice()(pair) == pytest.approx(measures.GetDiceCoefficient())
    assert Sensitivity()(pair) == pytest.approx(1 - measures.GetFalseNegativeError())
    assert Precision()(pair) == pytest.approx(1 - measures.GetFalseDiscoveryRate())
