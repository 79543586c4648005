"""Cutting patches: coordinate ramps tell where every sample came from."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segkit.models.base import Lattice
from segkit.sampling.augment import Drawn, Warp
from segkit.sampling.patch import Place, cut, image_of
from segkit.volume.labels import IGNORED

SHAPE = (20, 17, 13)
EYE = Warp(np.eye(3))


def ramp(shape: tuple[int, int, int] = SHAPE) -> torch.Tensor:
    """A volume [3, X, Y, Z] whose channels are the coordinates x, y, z."""
    return torch.stack(torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in shape), indexing="ij"))


def patch_of(volume: torch.Tensor, lattice: Lattice, place: Place) -> torch.Tensor:
    return cut(volume, torch.zeros(volume.shape[1:], dtype=torch.uint8), (lattice,), place)[0][0]


def label_of(label: torch.Tensor, place: Place) -> torch.Tensor:
    return cut(label[None].float(), label, (), place)[1]


def clamped(coordinates: list[int], size: int) -> list[float]:
    return [float(min(max(c, 0), size - 1)) for c in coordinates]


def test_a_patch_inside_is_a_slice():
    patch = image_of(ramp(), Lattice(1, (4, 5, 6), (0, 0, 0)), Place((3, 2, 1), (4, 5, 6)))
    assert torch.equal(patch, ramp()[:, 3:7, 2:7, 1:7])


def test_a_context_lattice_reads_every_third_voxel_around_the_patch():
    # 6 output voxels, 2 cells of stride 3 with a border of 2 samples: first sample at 3 (0 - 2) + 1 = -5
    lattice = Lattice(3, (6, 6, 6), (-5, -5, -5))
    x = image_of(ramp((40, 40, 40)), lattice, Place((10, 10, 10), (6, 6, 6)))[0, :, 0, 0]
    assert x.tolist() == [5, 8, 11, 14, 17, 20]


def test_beyond_the_border_the_border_voxel_is_repeated():
    patch = image_of(ramp(), Lattice(3, (5, 1, 1), (-5, 0, 0)), Place((1, 0, 0), (3, 1, 1)))
    assert patch[0, :, 0, 0].tolist() == clamped([-4, -1, 2, 5, 8], SHAPE[0])


def test_a_mirrored_patch_reads_the_mirrored_lattice():
    # output 0..5 mirrored: sample at output coordinate u is read at 5 - u
    lattice = Lattice(3, (3, 1, 1), (-2, 0, 0))
    place = Place((8, 0, 0), (6, 1, 1), Drawn(flip=(True, False, False)))
    assert image_of(ramp(), lattice, place)[0, :, 0, 0].tolist() == [8 + 5 + 2, 8 + 5 - 1, 8 + 5 - 4]


def test_labels_outside_the_volume_are_ignored():
    label = torch.ones((4, 4, 4), dtype=torch.uint8)
    patch = label_of(label, Place((-1, 0, 2), (4, 4, 4)))
    assert (patch[0] == IGNORED).all()
    assert (patch[:, :, 2:] == IGNORED).all()
    assert (patch[1:, :, :2] == 1).all()


@settings(deadline=None, max_examples=40)
@given(
    st.tuples(*[st.integers(-6, 22)] * 3),
    st.tuples(*[st.integers(1, 8)] * 3),
    st.sampled_from([1, 3, 5]),
    st.integers(-9, 0),
    st.tuples(*[st.booleans()] * 3),
)
def test_the_identity_warp_equals_slicing(start, shape, stride, offset, flip):
    lattice = Lattice(stride, shape, (offset, offset, offset))
    plain = patch_of(ramp(), lattice, Place(start, shape, Drawn(flip)))
    warped = patch_of(ramp(), lattice, Place(start, shape, Drawn(flip, EYE)))
    torch.testing.assert_close(warped, plain, atol=1e-4, rtol=0)


@settings(deadline=None, max_examples=20)
@given(st.tuples(*[st.integers(-6, 22)] * 3), st.tuples(*[st.integers(1, 8)] * 3), st.tuples(*[st.booleans()] * 3))
def test_the_identity_warp_equals_slicing_for_labels(start, shape, flip):
    label = (ramp().sum(0) % 5).to(torch.uint8)
    plain = label_of(label, Place(start, shape, Drawn(flip)))
    assert torch.equal(label_of(label, Place(start, shape, Drawn(flip, EYE))), plain)


def test_a_quarter_turn_turns_the_patch():
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])  # output x reads along volume y
    place = Place((5, 5, 5), (5, 5, 5), Drawn(warp=Warp(turn)))
    patch = patch_of(ramp(), Lattice(1, (5, 5, 5), (0, 0, 0)), place)
    center = 7
    assert patch[1, :, 2, 2].tolist() == pytest.approx([center - 2, center - 1, center, center + 1, center + 2])
    assert patch[0, 2, :, 2].tolist() == pytest.approx([center + 2, center + 1, center, center - 1, center - 2])


def test_zoom_two_halves_the_step():
    place = Place((6, 6, 4), (5, 5, 5), Drawn(warp=Warp(np.eye(3) / 2)))
    patch = patch_of(ramp(), Lattice(1, (5, 5, 5), (0, 0, 0)), place)
    assert patch[0, :, 2, 2].tolist() == pytest.approx([7, 7.5, 8, 8.5, 9])


def test_all_lattices_of_a_warped_patch_agree_where_they_meet():
    warp = Warp(
        np.array([[0.9, 0.2, 0], [-0.2, 0.9, 0.1], [0, -0.1, 1.1]]),
        torch.randn(3, 3, 3, 3, generator=torch.Generator().manual_seed(0)),
        4.0,
    )
    place = Place((14, 14, 14), (9, 9, 9), Drawn((True, False, True), warp))
    volume = ramp((40, 40, 40))
    fine = patch_of(volume, Lattice(1, (9, 9, 9), (0, 0, 0)), place)
    coarse = patch_of(volume, Lattice(3, (3, 3, 3), (1, 1, 1)), place)
    torch.testing.assert_close(coarse, fine[:, 1::3, 1::3, 1::3], atol=1e-4, rtol=0)


def test_a_constant_field_is_a_shift():
    field = torch.zeros(3, 3, 3, 3)
    field[2] = 1.5
    place = Place((6, 6, 4), (3, 3, 3), Drawn(warp=Warp(np.eye(3), field, 8.0)))
    patch = patch_of(ramp(), Lattice(1, (3, 3, 3), (0, 0, 0)), place)
    assert patch[2, 1, 1].tolist() == pytest.approx([5.5, 6.5, 7.5])
    assert patch[0, :, 1, 1].tolist() == pytest.approx([6, 7, 8])


def test_half_precision_volumes_give_float32_patches():
    patch = image_of(ramp().half(), Lattice(1, (4, 4, 4), (0, 0, 0)), Place((3, 2, 1), (4, 4, 4)))
    assert patch.dtype == torch.float32
