"""What is drawn for a patch, and what it does to intensities."""

import numpy as np
import pytest
import torch

from segkit.sampling.augment import Augment, Drawn, Elastic, Intensity, Tone, draw
from segkit.sampling.counter import Purpose, host

ONE_MM = (1.0, 1.0, 1.0)


def drawn(settings: Augment, step: int = 0, spacing_mm: tuple[float, float, float] = ONE_MM) -> Drawn:
    return draw(settings, host(0, step, 0, Purpose.AUGMENT), 2, (16, 16, 16), spacing_mm)


def test_the_defaults_do_nothing():
    assert all(drawn(Augment(), step) == Drawn() for step in range(20))


def test_axes_are_mirrored_half_of_the_time_and_only_those_named():
    flips = np.array([drawn(Augment(flip=("x", "z")), step).flip for step in range(2000)])
    assert flips.mean(0) == pytest.approx([0.5, 0, 0.5], abs=0.04)


def test_a_rotation_keeps_lengths_in_millimetres():
    spacing = (0.5, 1.0, 3.0)
    warp = drawn(Augment(rotation=30), 3, spacing).warp
    assert warp is not None
    in_mm = np.diag(spacing) @ warp.matrix @ np.linalg.inv(np.diag(spacing))
    np.testing.assert_allclose(in_mm @ in_mm.T, np.eye(3), atol=1e-12)
    assert not np.allclose(in_mm, np.eye(3))


def test_zoom_stays_in_its_range():
    zooms = [1 / np.linalg.det(drawn(Augment(scale=0.2), step).warp.matrix) ** (1 / 3) for step in range(200)]
    assert 0.8 <= min(zooms) < 0.84
    assert 1.16 < max(zooms) <= 1.2


def test_the_probability_is_of_geometry_only():
    settings = Augment(rotation=10, probability=0.25, intensity=Intensity(shift=0.1))
    many = [drawn(settings, step) for step in range(1000)]
    assert np.mean([one.warp is not None for one in many]) == pytest.approx(0.25, abs=0.05)
    assert all(one.tone is not None for one in many)


def test_switching_one_part_on_leaves_the_others_as_they_were():
    alone = drawn(Augment(flip=("x", "y"), rotation=20), 5)
    more = drawn(Augment(flip=("x", "y"), rotation=20, elastic=Elastic(), intensity=Intensity(noise=0.1)), 5)
    assert alone.flip == more.flip
    np.testing.assert_array_equal(alone.warp.matrix, more.warp.matrix)


def test_elastic_displacement_has_the_standard_deviation_asked_for():
    fields = [drawn(Augment(elastic=Elastic(magnitude=3.0)), step).warp.field for step in range(100)]
    assert torch.stack(fields).std().item() == pytest.approx(3.0, rel=0.1)


def tone(shift: float = 0.0, scale: float = 1.0, gamma: float = 1.0, noise: float = 0.0) -> Tone:
    return Tone(np.array([shift]), np.array([scale]), np.array([gamma]), noise)


def test_shift_comes_before_scale():
    image = torch.tensor([0.0, 1.0, 4.0]).view(1, 3, 1, 1)
    out = tone(shift=1.0, scale=2.0)(image, torch.tensor([0.0]), torch.tensor([4.0]), torch.Generator())
    assert out.flatten().tolist() == [2.0, 4.0, 10.0]


def test_gamma_acts_between_the_ends_of_the_range():
    image = torch.tensor([-1.0, 0.0, 1.0]).view(1, 3, 1, 1)  # scaled to 0..1: 0, 1/2, 1
    out = tone(gamma=2.0)(image, torch.tensor([-1.0]), torch.tensor([1.0]), torch.Generator())
    assert out.flatten().tolist() == pytest.approx([-1.0, 2 * 0.25 - 1, 1.0])


def test_noise_has_the_standard_deviation_drawn():
    out = tone(noise=0.5)(torch.zeros(1, 20, 20, 20), torch.zeros(1), torch.ones(1), torch.Generator().manual_seed(0))
    assert out.std().item() == pytest.approx(0.5, rel=0.05)
