"""Numbers from a beta law: the law itself, also where it is extreme, and its generator."""

import pytest
import torch
from scipy.stats import beta, kstest

from segkit.regularizers.beta import beta_draws


def draws(a, b, count=20_000, seed=0):
    return beta_draws((a, b), count, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("a", "b"), [(0.2, 0.2), (1.0, 1.0), (4.0, 4.0), (0.5, 3.0), (2.0, 1.0)])
def test_the_law_is_scipys(a, b):
    assert kstest(draws(a, b).numpy(), beta(a, b).cdf).pvalue > 1e-3


@pytest.mark.parametrize("a", [1e-4, 1e-2, 1e4])
def test_an_extreme_law_gives_numbers_too(a):
    drawn = draws(a, a)
    assert drawn.dtype == torch.float64
    assert ((drawn >= 0) & (drawn <= 1)).all()
    assert drawn.mean().item() == pytest.approx(0.5, abs=0.02)
    assert drawn.std().item() == pytest.approx(beta(a, a).std(), rel=0.03)


def test_a_generator_in_the_same_state_draws_the_same_and_then_others():
    rng = torch.Generator().manual_seed(0)
    first, second = (beta_draws((0.5, 2.0), 5, rng) for _ in range(2))
    assert torch.equal(first, draws(0.5, 2.0, 5))
    assert not torch.isin(second, first).any()
