"""Dropout on the CPU: the law, the same mask for the gradient, and none of it depends on threads."""

import pytest
import torch

from segkit.models.dropout import Dropout
from segkit.models.dropout import dropped as operator
from segkit.models.stored import SMALL

LAST = torch.channels_last_3d


def dropped(x, p=0.5, seed=0):
    torch.manual_seed(seed)
    return Dropout(p)(x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.25, 0.5, 0.9])
def test_values_are_zero_or_scaled_in_the_proportion_asked_for(p, dtype):
    x = torch.rand(2, 3, 40, 50, 60, dtype=dtype).add_(1).to(memory_format=LAST)
    out = dropped(x, p)
    kept = out != 0
    torch.testing.assert_close(out[kept], (x[kept].float() * (1 / (1 - p))).to(dtype), atol=0, rtol=1e-6 if dtype == torch.float32 else 0)
    off = (kept.double().mean() - (1 - p)).abs() / (p * (1 - p) / x.numel()) ** 0.5
    assert off < 4  # standard deviations
    assert out.is_contiguous(memory_format=LAST)


def test_neighbors_and_draws_are_independent():
    x = torch.ones(2**20).view(1, 1, 64, 128, 128)
    drawn = torch.stack([dropped(x, seed=seed).flatten() for seed in range(4)]) - 1  # -1 or 1
    for away in (1, 2, 64, 128, 2**14, 2**16):
        assert (drawn[:, away:] * drawn[:, :-away]).mean(1).abs().max() < 5 / 2**10  # standard deviations of a mean of products
    between = drawn @ drawn.T / 2**20 - torch.eye(4)
    assert between.abs().max() < 5 / 2**10


def test_the_gradient_has_the_mask_of_the_value_whatever_its_layout():
    x = torch.ones(2, 3, 4, 5, 6).to(memory_format=LAST).requires_grad_()
    out = dropped(x)
    (gradient,) = torch.autograd.grad(out, x, torch.ones(2, 3, 4, 5, 6))
    torch.testing.assert_close(gradient, out.detach(), atol=0, rtol=0)


def test_threads_change_nothing_and_the_seed_does():
    x = torch.ones(1, 4, 64, 64, 70)
    assert x.numel() > SMALL
    before, found = torch.get_num_threads(), []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        found.append(dropped(x))
    torch.set_num_threads(before)
    assert found[0].equal(found[1])
    assert not found[0].equal(dropped(x, seed=1))


def test_in_evaluation_nothing_is_dropped():
    x = torch.rand(1, 2, 3, 4, 5)
    assert Dropout(0.5).eval()(x).equal(x)
    assert Dropout(0.0)(x).equal(x)


def test_compilers_are_told_the_truth_about_the_operator():
    x = torch.ones(2, 3, 4, 5, 6).to(memory_format=LAST)
    torch.library.opcheck(operator, (x, 0.5, 7), test_utils=("test_schema", "test_faketensor"))
