"""The density behind contours: a share of cases, smooth, and the regions that hold most of it."""

import numpy as np
import pytest
from scipy.stats import gaussian_kde, multivariate_normal

from segkit.analysis.density import density, levels

EDGES = np.linspace(-6, 6, 161)
MIDDLE = (EDGES[:-1] + EDGES[1:]) / 2
CELL = (EDGES[1] - EDGES[0]) ** 2


def test_it_is_the_kernel_estimate_with_scotts_rule():
    points = np.random.default_rng(0).normal(size=(800, 2)) * [1.0, 1.5]
    grid = np.stack(np.meshgrid(MIDDLE, MIDDLE, indexing="ij")).reshape(2, -1)
    # scipy's kernel has the covariance of the points; that of independent axes is near to its diagonal
    expected = gaussian_kde(points.T)(grid).reshape(160, 160) * CELL
    np.testing.assert_allclose(density([points], EDGES, EDGES), expected, atol=0.05 * expected.max())


def test_it_comes_near_the_law_that_points_are_drawn_from():
    rng = np.random.default_rng(1)
    cases = [rng.normal(size=(n, 2)) for n in (40_000, 50_000)]
    law = multivariate_normal(np.zeros(2)).pdf(np.stack(np.meshgrid(MIDDLE, MIDDLE, indexing="ij"), axis=-1)) * CELL
    np.testing.assert_allclose(density(cases, EDGES, EDGES), law, atol=0.06 * law.max())


def test_every_case_weighs_the_same_however_many_points_it_has():
    left, right = np.tile([-1.0, 0.0], (990, 1)), np.tile([1.0, 0.0], (10, 1))
    field = density([left, right], EDGES, EDGES)
    assert field.sum() == pytest.approx(1, abs=1e-3)
    assert field[:80].sum() == pytest.approx(field[80:].sum(), rel=1e-6)


def test_a_single_point_has_a_density():
    field = density([np.array([[0.5, -0.5]])], EDGES, EDGES)
    assert np.unravel_index(field.argmax(), field.shape) == (np.searchsorted(EDGES, 0.5) - 1, np.searchsorted(EDGES, -0.5) - 1)
    assert field.sum() == pytest.approx(1)


def test_points_outside_the_edges_are_left_out():
    assert density([np.array([[20.0, 0.0]])], EDGES, EDGES).sum() == 0


def test_levels_by_hand():
    field = np.array([[0.4, 0.3], [0.2, 0.1]])
    assert levels(field, (0.3, 0.4, 0.6, 0.85, 1.0)) == [0.4, 0.4, 0.3, 0.2, 0.1]


def test_half_of_a_normal_law_lies_within_its_level():
    law = multivariate_normal(np.zeros(2)).pdf(np.stack(np.meshgrid(MIDDLE, MIDDLE, indexing="ij"), axis=-1))
    (level,) = levels(law, [0.5])
    # half of the law lies where exp(-r^2 / 2) >= 1/2
    assert level / law.max() == pytest.approx(0.5, abs=0.01)
