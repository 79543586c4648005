"""The two conventions for empty masks."""

import numpy as np
import pytest

from segkit.metrics.base import CONVENTIONS, Pair, metrics

NAMES = ("dice", "sensitivity", "precision", "hd95", "assd", "nsd", "specificity")
FULL, EMPTY = np.ones((2, 2, 2), dtype=bool), np.zeros((2, 2, 2), dtype=bool)
VOXELS = 240 * 240 * 155
DIAGONAL = pytest.approx(373.13, abs=0.005)  # mm, of 240 x 240 x 155 voxels of 1 mm


def row(convention, prediction, label):
    pair = Pair(prediction, label, (1.0, 1.0, 1.0), image_shape=(240, 240, 155))
    return tuple(CONVENTIONS[convention](metrics[name](), pair) for name in NAMES)


@pytest.mark.parametrize(
    ("prediction", "label", "expected"),
    [
        (EMPTY, EMPTY, (None, None, None, None, None, None, None)),
        (EMPTY, FULL, (0, 0, None, None, None, 0, 1)),
        (FULL, EMPTY, (0, None, 0, None, None, 0, 1 - 8 / VOXELS)),
    ],
    ids=["absent", "missed", "spurious"],
)
def test_segkit_leaves_out_what_does_not_apply(prediction, label, expected):
    assert row("segkit", prediction, label) == expected


@pytest.mark.parametrize(
    ("prediction", "label", "expected"),
    [
        (EMPTY, EMPTY, (1, 1, 1, 0, 0, 1, 1)),
        (EMPTY, FULL, (0, 0, 0, DIAGONAL, DIAGONAL, 0, 0)),
        (FULL, EMPTY, (0, 0, 0, DIAGONAL, DIAGONAL, 0, 0)),
    ],
    ids=["absent", "missed", "spurious"],
)
def test_brats_gives_every_case_a_value(prediction, label, expected):
    assert row("brats", prediction, label) == expected


def test_the_conventions_agree_where_both_masks_hold_something():
    half = FULL.copy()
    half[0] = False
    assert row("brats", half, FULL) == row("segkit", half, FULL) == pytest.approx((2 / 3, 0.5, 1, 1, 1 / 3, 1, 1))
