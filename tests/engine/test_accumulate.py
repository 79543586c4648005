"""Logits into sums: what the formula says, wherever the box lies, and nothing beside it."""

import pytest
import torch

from segkit.engine.accumulate import accumulate

TILE, VOLUME = (9, 7, 11), (14, 12, 20)
OPCHECKS = ("test_schema", "test_faketensor")  # what is mutated, and shapes
BOXES = [((0, 0, 0), (0, 0, 0), TILE), ((2, 1, 3), (5, 0, 9), (7, 6, 8)), ((8, 6, 10), (13, 11, 19), (1, 1, 1))]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize(("here", "there", "shape"), BOXES)
def test_weighted_probabilities_are_added(layout, here, there, shape):
    generator = torch.Generator().manual_seed(0)
    logits = (30 * torch.randn(1, 4, *TILE, generator=generator)).to(memory_format=layout)[0]  # far apart, so that small shares vanish
    bump = torch.rand(TILE, generator=generator)
    sums, weights = torch.rand(4, *VOLUME, generator=generator), torch.rand(VOLUME, generator=generator)
    tile, volume = (tuple(slice(a, a + size) for a, size in zip(start, shape, strict=True)) for start in (here, there))
    expected, expected_weights = sums.double(), weights.clone()
    expected[:, *volume] += (logits.double().softmax(0) * bump)[:, *tile]
    expected_weights[volume] += bump[tile]
    with torch.inference_mode():
        accumulate(logits, bump, sums, weights, here, there, shape)
    torch.testing.assert_close(sums.double(), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(weights, expected_weights, atol=0, rtol=0)


def test_compilers_are_told_the_truth_about_it():
    tensors = torch.randn(3, *TILE), torch.rand(TILE), torch.zeros(3, *VOLUME), torch.zeros(VOLUME)
    torch.library.opcheck(accumulate, (*tensors, [0, 0, 0], [1, 2, 3], list(TILE)), test_utils=OPCHECKS)
