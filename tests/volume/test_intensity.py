"""Normalizations: values by hand, and what lies outside the region of interest."""

from typing import Annotated

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from segkit.config.errors import InputError
from segkit.volume.intensity import Intensity, PercentileClip, Robust, Window, ZScore, intensities


def row(*values) -> np.ndarray:
    return np.array(values, dtype=np.float32).reshape(-1, 1, 1)


INSIDE = np.array([True, True, False, False]).reshape(-1, 1, 1)


def test_zscore_by_hand():
    # inside: 1 and 5, mean 3, std 2
    assert ZScore()(row(1, 5, 9, 0), INSIDE).ravel().tolist() == [-1, 1, 0, 0]


def test_zscore_over_nonzero_voxels():
    # nonzero: 2, 6 (mean 4, std 2); the 0 inside the ROI is moved with them
    assert ZScore(inside="nonzero")(row(2, 6, 0, 0), np.array([True, True, True, False]).reshape(-1, 1, 1)).ravel().tolist() == [
        -1,
        1,
        -2,
        0,
    ]


def test_zscore_over_all_voxels():
    assert ZScore(inside="all")(row(1, 1, 5, 5), INSIDE).ravel().tolist() == [-1, -1, 0, 0]


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_zscore_is_exact_far_from_zero(offset):
    image = np.random.default_rng(0).normal(offset, 50, (20, 20, 20)).astype(np.float32)
    out = ZScore()(image, np.ones(image.shape, bool))
    assert out.dtype == np.float32
    assert out.mean(dtype=np.float64) == pytest.approx(0, abs=1e-5)
    assert out.std(dtype=np.float64) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("intensity", [ZScore(), ZScore(inside="nonzero"), ZScore(inside="all"), Robust(), PercentileClip()])
@pytest.mark.parametrize("value", [0.0, 0.1, -12345.678])
def test_a_constant_channel_is_refused(intensity, value):
    with pytest.raises(InputError, match="SK-V040: a constant channel cannot be normalized"):
        intensity(np.full((30, 30, 30), value, np.float32), np.ones((30, 30, 30), bool))


def test_robust_by_hand():
    # inside: 0 1 2 3 100, median 2, quartiles 1 and 3
    out = Robust()(row(0, 1, 2, 3, 100, 7), row(1, 1, 1, 1, 1, 0) > 0).ravel()
    np.testing.assert_allclose(out, np.array([-2, -1, 0, 1, 98, 0]) * 1.349 / 2, rtol=1e-6)


def test_robust_is_the_zscore_of_normal_intensities():
    image = np.random.default_rng(0).normal(300, 50, (40, 40, 40)).astype(np.float32)
    roi = np.ones(image.shape, bool)
    np.testing.assert_allclose(Robust()(image, roi), ZScore()(image, roi), atol=0.05)


def test_a_bright_lesion_moves_healthy_tissue_less_under_robust_than_under_zscore():
    image = np.random.default_rng(0).normal(300, 50, (20, 20, 20)).astype(np.float32)
    lesion = image.copy()
    lesion[:2] += 200
    roi = np.ones(image.shape, bool)
    moved = {kind: abs(kind()(lesion, roi)[2:] - kind()(image, roi)[2:]).mean() for kind in (Robust, ZScore)}
    assert moved[Robust] < 0.5 * moved[ZScore]


def test_a_window_by_hand():
    out = Window(low=-100, high=300)(row(-1000, 100, 1000, 100), np.array([True, True, True, False]).reshape(-1, 1, 1))
    assert out.ravel().tolist() == [-1, 0, 1, -1]
    assert out.dtype == np.float32


def test_percentiles_are_those_of_the_region():
    image = row(*range(101), 5000)
    roi = image < 4000
    clipped = np.clip(np.arange(101), 10, 90)
    expected = (clipped - clipped.mean()) / clipped.std()
    out = PercentileClip(low=10, high=90)(image, roi).ravel()
    np.testing.assert_allclose(out[:-1], expected, rtol=1e-5)
    assert out[-1] == 0


@pytest.mark.parametrize("intensity", [ZScore(), Window(low=0, high=1), PercentileClip()])
def test_the_scan_itself_is_not_changed(intensity):
    image = row(1, 2, 3, 4)
    intensity(image, INSIDE)
    np.testing.assert_array_equal(image, row(1, 2, 3, 4))


@pytest.mark.parametrize("fields", [{"low": 5, "high": 5}, {"low": 6, "high": 5}])
@pytest.mark.parametrize("kind", [Window, PercentileClip])
def test_low_is_below_high(kind, fields):
    with pytest.raises(ValidationError, match="low must be below high"):
        kind(**fields)


def test_a_recipe_names_them():
    parse = TypeAdapter(Annotated[Intensity, intensities]).validate_python
    assert list(intensities) == ["percentile_clip", "robust", "window", "zscore"]
    assert parse("zscore") == ZScore()
    assert parse({"name": "window", "low": -175, "high": 250}) == Window(low=-175, high=250)
