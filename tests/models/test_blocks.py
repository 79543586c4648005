"""The bricks of networks, each against the plain operation it stands for."""

import pytest
import torch
from torch.nn.functional import conv3d

from segkit.models.blocks import KINDS, add_convolved_cells, cells_of, collect, repeat_cells, scatter_


def cells(*shape):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("stride", [3, 5, 7])
@pytest.mark.parametrize("start", [(0, 0, 0), (1, 2, 0), (2, 2, 2)])
def test_a_convolution_of_cells_is_that_of_their_voxels(stride, start):
    maps, weight = cells(2, 4, 5, 6, 4), cells(7, 4, 3, 3, 3)
    whole = tuple((size - 2) * stride - first for size, first in zip(maps.shape[2:], start, strict=True))
    for shape in (whole, (1, 1, 1), (stride + 1, 2, stride)):
        around = tuple(size + 2 for size in shape)
        voxels = repeat_cells(maps, stride, tuple(first + stride - 1 for first in start), around)
        added = add_convolved_cells(torch.ones(2, 7, *shape, dtype=torch.float64), maps, weight, stride, start)
        torch.testing.assert_close(added, 1 + conv3d(voxels, weight))


def test_a_convolution_of_cells_by_hand():
    # cells 1, 10, 100 along x, weights 1, 2, 3 there: the voxels of cell 10 see 1 10 10, 10 10 10, 10 10 100
    maps = torch.tensor([1.0, 10.0, 100.0]).view(1, 1, 3, 1, 1).expand(1, 1, 3, 3, 3)
    weight = torch.zeros(1, 1, 3, 3, 3)
    weight[0, 0, :, 1, 1] = torch.tensor([1.0, 2.0, 3.0])
    voxels = add_convolved_cells(torch.zeros(1, 1, 3, 1, 1), maps, weight, 3, (0, 0, 0))
    assert voxels.flatten().tolist() == [1 + 20 + 30, 10 + 20 + 30, 10 + 20 + 300]


def test_the_gradients_of_a_convolution_of_cells():
    out, maps, weight = (each.requires_grad_() for each in (cells(1, 2, 2, 4, 1), cells(1, 2, 3, 4, 3), cells(2, 2, 3, 3, 3)))

    def added(out, maps, weight):
        return add_convolved_cells(out.clone(), maps, weight, 5, (1, 0, 5))

    assert torch.autograd.gradcheck(added, (out, maps, weight))
    assert torch.autograd.gradgradcheck(added, (out, maps, weight))


@pytest.mark.parametrize("start", [(0, 0, 0), (1, 2, 0), (2, 1, 2), (4, 4, 4)])
@pytest.mark.parametrize("surplus", [0, 1])
def test_cells_come_back_from_their_voxels(start, surplus):
    maps = cells(1, 2, 3, 2, 4)
    shape = tuple(size * 5 - first - surplus for size, first in zip(maps.shape[2:], start, strict=True))
    assert torch.equal(cells_of(repeat_cells(maps, 5, start, shape), 5, start), maps)


def test_a_single_voxel_is_a_cell():
    assert torch.equal(cells_of(repeat_cells(cells(1, 1, 1, 1, 1), 5, (3, 0, 4), (1, 1, 1)), 5, (3, 0, 4)), cells(1, 1, 1, 1, 1))


def test_compilers_are_told_the_truth_about_the_operators():
    maps = [torch.randn(1, 2, 3, 3, 3) for _ in KINDS]
    out, sizes = torch.zeros(1, 2, 9, 9, 9), [3] * 3 * len(KINDS)
    for operator, arguments in ((scatter_, (out, maps, 3, [0, 0, 0])), (collect, (out, sizes, 3, [0, 0, 0]))):
        torch.library.opcheck(operator, arguments, test_utils=("test_schema", "test_faketensor"))
