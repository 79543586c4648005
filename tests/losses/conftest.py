"""Batches small enough for every test of a loss."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

Batch = tuple[Tensor, Tensor, Tensor]


@pytest.fixture(scope="session")
def draw() -> Callable[..., Batch]:
    """Draws logits and one-hot target [2, C, 3, 4, 5] in which every class occurs in both samples, and a mask: the last class is rare."""

    def drawn(classes: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Batch:
        rng = torch.Generator().manual_seed(seed)
        logits = 2 * torch.randn(2, classes, 3, 4, 5, generator=rng, dtype=dtype)
        labels = torch.stack([torch.randperm(60, generator=rng).view(3, 4, 5) % classes for _ in range(2)])
        labels[:, 0] = 0  # so that the classes are not equally frequent
        return logits, one_hot(labels, classes).movedim(-1, 1).to(dtype), torch.arange(classes) == classes - 1

    return drawn


@pytest.fixture(scope="session")
def quarters() -> Batch:
    """Two voxels with p = (1/4, 3/4), the first background, the second lesion; nothing is rare."""
    logits = torch.tensor([0.0, math.log(3)]).view(1, 2, 1, 1, 1).expand(1, 2, 2, 1, 1)
    return logits, torch.eye(2).view(1, 2, 2, 1, 1), torch.tensor([False, False])
