"""Instance normalization: torch's own values and gradients, to more digits, in the layout and the memory that the image came in."""

from contextlib import contextmanager

import pytest
import torch
from hypothesis import given, settings, strategies
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from segkit.models.instance_norm import InstanceNorm, moments, scale_
from segkit.models.stored import SMALL

LAST = torch.channels_last_3d


def image(*shape, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype).to(memory_format=LAST)


def pair(channels):
    """Ours and torch's, with the same weights."""
    torch.manual_seed(channels)
    ours, theirs = InstanceNorm(channels), nn.InstanceNorm3d(channels, affine=True)
    for parameter in ours.parameters():
        parameter.data.normal_()
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@contextmanager
def threads(count):
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    yield
    torch.set_num_threads(before)


def test_by_hand():
    norm = InstanceNorm(2)
    norm.weight.data, norm.bias.data = torch.tensor([1.0, 10.0]), torch.tensor([0.0, 5.0])
    x = torch.tensor([[1.0, 3.0], [4.0, 4.0]]).view(1, 2, 1, 1, 2).to(memory_format=LAST)  # variances 1 and 0
    expected = torch.tensor([[-1.0, 1.0], [5.0, 5.0]]).view(1, 2, 1, 1, 2)
    torch.testing.assert_close(norm(x), expected, atol=1e-4, rtol=0)
    with torch.no_grad():
        torch.testing.assert_close(norm(x), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("gradients", [True, False])
@settings(deadline=None, max_examples=15)
@given(strategies.integers(1, 3), strategies.integers(1, 5), strategies.tuples(*[strategies.integers(2, 4)] * 3))
def test_values_are_those_of_torch_and_the_layout_is_kept(gradients, batch, channels, shape):
    ours, theirs = pair(channels)
    x = image(batch, channels, *shape)
    expected = theirs(x)
    with torch.set_grad_enabled(gradients):
        out = ours(x)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)
    assert out.is_contiguous(memory_format=LAST)


def test_gradients_are_those_of_torch():
    ours, theirs = pair(3)
    theirs = theirs.double()
    x, weights = image(2, 3, 5, 4, 6), image(2, 3, 5, 4, 6).square()
    found = torch.autograd.grad((ours(x.requires_grad_()) * weights).sum(), [x, ours.weight, ours.bias])
    exact = x.detach().double().requires_grad_()
    expected = torch.autograd.grad((theirs(exact) * weights).sum(), [exact, theirs.weight, theirs.bias])
    for mine, other in zip(found, expected, strict=True):
        torch.testing.assert_close(mine.double(), other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("count", "mean", "spread", "corner"), [(1, 3, 1, 3), (3, 3, 1, 3), (1, 100, 1, 0), (1, 5, 0.05, 2)])
def test_statistics_of_many_voxels_are_right_to_float32(count, mean, spread, corner):
    x = image(2, 4, 64, 96, 96).mul_(spread).add_(mean)
    x[:, :, :2, :, :] += corner - mean  # padding, say, which is the first to be read
    assert x.numel() > SMALL
    with threads(count):
        found = moments(x)
    exact = x.double().mean((2, 3, 4)), x.double().var((2, 3, 4), correction=0)
    for mine, other in zip(found, exact, strict=True):
        torch.testing.assert_close(mine.double(), other, atol=0, rtol=5e-7)


def test_of_bfloat16_each_value_is_the_rounded_one():
    every = torch.arange(2**16, dtype=torch.int32).to(torch.uint16).view(torch.bfloat16)
    x = every.view(1, 4, 16, 32, 32).to(memory_format=LAST)
    for slope, offset in ((1.0, 0.0), (-1.5, 0.0), (0.75, 1.0), (3.0, -1e-3)):
        out = x.clone(memory_format=torch.preserve_format)
        scale_(out, torch.full((1, 4), slope), torch.full((1, 4), offset))
        torch.testing.assert_close(out, (x.double() * slope + offset).float().bfloat16(), atol=0, rtol=0, equal_nan=True)


def test_bfloat16_is_normalized_with_statistics_of_float32():
    ours, theirs = pair(4)
    x = image(2, 4, 9, 8, 7, dtype=torch.bfloat16)
    expected = theirs(x.float())
    torch.testing.assert_close(ours(x).float(), expected, atol=0.02, rtol=0.01)
    with torch.no_grad():
        torch.testing.assert_close(ours(x).float(), expected, atol=0.02, rtol=0.01)


def test_without_gradients_the_result_takes_the_place_of_the_image_and_with_them_it_does_not():
    norm, x = InstanceNorm(2), image(1, 2, 3, 4, 5)
    before = x.clone()
    assert norm(x).data_ptr() != x.data_ptr()
    torch.testing.assert_close(x, before, atol=0, rtol=0)
    with torch.no_grad():
        assert norm(x).data_ptr() == x.data_ptr()
    assert (x != before).any()


@pytest.mark.parametrize("strange", [lambda x: x[:, :, ::2], lambda x: x.double(), lambda x: x.contiguous()])
def test_other_tensors_are_left_to_torch(strange):
    ours, theirs = pair(3)
    x = strange(image(2, 3, 6, 4, 5))
    ours, theirs = ours.to(x.dtype), theirs.to(x.dtype)
    before = x.clone()
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(x, before, atol=0, rtol=0)


def test_tensors_without_values_are_let_be():
    with FakeTensorMode(), torch.no_grad():
        norm = InstanceNorm(3)
        x = torch.empty(2, 3, 4, 5, 6).to(memory_format=LAST)
        assert norm(x).shape == x.shape


def test_compilers_are_told_the_truth_about_the_operators():
    x, ones = image(2, 3, 4, 5, 6), torch.ones(2, 3)
    for operator, arguments in ((moments, (x,)), (scale_, (x, ones, ones))):
        torch.library.opcheck(operator, arguments, test_utils=("test_schema", "test_faketensor"))
