"""SGD and AdamW: settings reach torch, decay spares biases."""

import pytest
import torch
from torch import nn

from segkit.optimizers.adamw import AdamW
from segkit.optimizers.sgd import SGD


def test_nesterov_by_hand():
    weight = nn.Parameter(torch.tensor([1.0]))
    optimizer = SGD(learning_rate=0.1, momentum=0.5, weight_decay=0.0).build([weight])
    weight.grad = torch.tensor([2.0])
    optimizer.step()  # v = 2, w = 1 - 0.1 (2 + 0.5 * 2)
    assert weight.item() == pytest.approx(0.7)


def test_adamw_decays_kernels_and_leaves_biases():
    conv = nn.Conv3d(1, 1, 3)
    before = {name: p.detach().clone() for name, p in conv.named_parameters()}
    optimizer = AdamW(learning_rate=0.1, weight_decay=0.5).build(conv.parameters())
    for parameter in conv.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(conv.weight, before["weight"] * (1 - 0.1 * 0.5))
    assert torch.equal(conv.bias, before["bias"])
