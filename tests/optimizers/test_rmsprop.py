"""DeepMedic's RMSProp: two updates by hand, and the plain method as a special case."""

import math
from copy import deepcopy

import pytest
import torch
from torch import nn

from segkit.optimizers.rmsprop import RMSProp


def weight_after(gradients: list[float], settings: RMSProp) -> float:
    weight = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimizer = settings.build([weight])
    for gradient in gradients:
        weight.grad = torch.full_like(weight, gradient)
        optimizer.step()
    return weight.item()


def test_two_updates_by_hand():
    # s1 = 0.1 * 4, d1 = 0.1 * 2 / sqrt(0.4 + 0.1), v1 = -d1, w1 = 1 + 0.6 v1 - d1
    d1 = 0.2 / math.sqrt(0.5)
    w1 = 1 - 1.6 * d1
    # s2 = 0.9 * 0.4 + 0.1 * 1, d2 = -0.1 / sqrt(0.46 + 0.1), v2 = 0.6 v1 - d2, w2 = w1 + 0.6 v2 - d2
    d2 = -0.1 / math.sqrt(0.56)
    v2 = -0.6 * d1 - d2
    assert weight_after([2.0, -1.0], RMSProp(learning_rate=0.1, eps=0.1)) == pytest.approx(w1 + 0.6 * v2 - d2)


def test_without_momentum_it_is_plain_rmsprop_with_epsilon_under_the_root():
    assert weight_after([3.0], RMSProp(learning_rate=0.1, momentum=0.0, eps=0.1)) == pytest.approx(1 - 0.3 / math.sqrt(0.9 + 0.1))


def test_its_state_survives_saving():
    weight = nn.Parameter(torch.ones(3))
    optimizer = RMSProp().build([weight])
    weight.grad = torch.ones(3)
    optimizer.step()
    again = RMSProp().build([other := nn.Parameter(weight.detach().clone())])
    again.load_state_dict(deepcopy(optimizer.state_dict()))
    for each, parameter in ((optimizer, weight), (again, other)):
        parameter.grad = torch.full((3,), 0.5)
        each.step()
    assert torch.equal(weight, other)
