"""Compiled gathering: what the tensor code makes, to rounding; its noise is of the law asked for."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from segkit.models.base import Lattice
from segkit.sampling.augment import Augment, Drawn, Elastic, Intensity, Tone, draw
from segkit.sampling.counter import Purpose, host
from segkit.sampling.gather import gather
from segkit.sampling.patch import Place, cut

LATTICES = (Lattice(1, (9, 8, 7), (-1, 0, 1)), Lattice(3, (5, 6, 5), (-5, -6, -4)), Lattice(5, (4, 4, 4), (-8, -8, -8)))
SHAPE = (7, 8, 9)


def volume(shape: tuple[int, int, int] = (20, 17, 13), dtype: type = np.float16) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.uniform(-1, 1, (2, *shape)).astype(dtype), rng.integers(0, 4, shape).astype(np.uint8)


def gathered(image: np.ndarray, label: np.ndarray, place: Place, lattices=LATTICES, seed: int = 0) -> tuple[list[np.ndarray], np.ndarray]:
    """Into memory that is full of something else."""
    views = [np.full((len(image), *lattice.shape), np.nan, np.float32) for lattice in lattices]
    target = np.full(place.shape, 77, np.uint8)
    gather(image, label, lattices, place, seed, views, target)
    return views, target


def assert_cut_alike(image: np.ndarray, label: np.ndarray, place: Place, atol: float, labels_apart: int = 0) -> None:
    views, target = gathered(image, label, place)
    expected, labels = cut(torch.from_numpy(image), torch.from_numpy(label), LATTICES, place)
    for ours, theirs in zip(views, expected, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), atol=atol, rtol=0)
    assert (target != labels.numpy()).sum() <= labels_apart


starts, flips = st.tuples(*[st.integers(-12, 24)] * 3), st.tuples(*[st.booleans()] * 3)


@settings(deadline=None, max_examples=30)
@given(starts, flips, st.sampled_from([np.float16, np.float32]))
def test_without_a_warp_it_is_the_cut_to_the_bit(start, flip, dtype):
    assert_cut_alike(*volume(dtype=dtype), Place(start, SHAPE, Drawn(flip)), atol=0)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 2**32),
    starts,
    st.sampled_from([(1.0, 1.0, 1.0), (0.5, 1.0, 3.0)]),
    st.sampled_from([None, Elastic(magnitude=2, spacing=3), Elastic(magnitude=5, spacing=30)]),
    st.sampled_from([np.float16, np.float32]),
)
def test_with_a_warp_it_is_the_cut_up_to_rounding(key, start, spacing_mm, elastic, dtype):
    augment = Augment(flip=("x", "y", "z"), rotation=60, scale=0.5, elastic=elastic, intensity=Intensity(shift=0.1, scale=0.1, gamma=0.4))
    drawn = draw(augment, host(0, key, 0, Purpose.AUGMENT), 2, SHAPE, spacing_mm)
    # a point halfway between two voxels may round to either
    assert_cut_alike(*volume(dtype=dtype), Place(start, SHAPE, drawn), atol=1e-4, labels_apart=2)


@pytest.mark.parametrize("shape", [(1, 17, 13), (20, 1, 13), (20, 17, 1), (1, 1, 1)])
def test_a_volume_of_one_slice_is_cut_alike(shape):
    drawn = draw(Augment(rotation=30), host(0, 1, 0, Purpose.AUGMENT), 2, SHAPE, (1.0, 1.0, 1.0))
    for change in (Drawn(), drawn):
        assert_cut_alike(*volume(shape), Place((-3, 2, -4), SHAPE, change), atol=1e-4)


@pytest.mark.parametrize("gamma", [0.1, 0.7, 1.3, 10.0])
def test_gamma_is_a_power_of_values_scaled_to_0_to_1(gamma):
    values = np.linspace(0, 1, 4096, dtype=np.float32).reshape(1, 16, 16, 16)
    views, _ = gathered(values, values[0].astype(np.uint8), Place((0, 0, 0), (16, 16, 16), Drawn(tone=tone(gamma=gamma))), one_lattice(16))
    np.testing.assert_allclose(views[0], values.astype(np.float64) ** gamma, atol=2e-6)


def tone(gamma: float = 1.0, noise: float = 0.0) -> Tone:
    return Tone(np.zeros(1), np.ones(1), np.array([gamma]), noise)


def one_lattice(size: int) -> tuple[Lattice]:
    return (Lattice(1, (size, size, size), (0, 0, 0)),)


def noise(seed: int, size: int = 64, lattices: tuple[Lattice, ...] | None = None) -> list[np.ndarray]:
    """The noise of standard deviation 2 that is laid over zeros, a lattice each."""
    image, label = np.zeros((1, size, size, size), np.float32), np.zeros((size, size, size), np.uint8)
    place = Place((0, 0, 0), label.shape, Drawn(tone=tone(noise=2.0)))
    return [view.ravel() for view in gathered(image, label, place, lattices or one_lattice(size), seed)[0]]


def test_noise_is_normal_with_the_standard_deviation_drawn():
    values = np.concatenate([noise(seed)[0] for seed in (0, 2**63 - 1)])  # n = 524288
    assert values.mean() == pytest.approx(0, abs=5 * 2 / 724)
    assert values.std() == pytest.approx(2, rel=5 / 1024)
    assert (values**4).mean() / 16 == pytest.approx(3, abs=5 * np.sqrt(96) / 724)
    assert 4.2 < np.abs(values / 2).max() < 5.2
    assert kstest(values / 2, "norm").statistic < 1.95 / 724  # 1 in 1000


def test_noise_is_a_function_of_its_seed_and_the_voxel():
    first, again, other = noise(5)[0], noise(5)[0], noise(6)[0]
    assert np.array_equal(first, again)
    for lag in (0, 1, 64, 4096):
        for a, b in ((first, other), *([(first, first)] if lag else [])):
            assert abs(np.corrcoef(a[: len(a) - lag], b[lag:])[0, 1]) < 5 / 512


def test_each_lattice_has_noise_of_its_own():
    one, two = noise(3, 32, one_lattice(32) * 2)
    assert abs(np.corrcoef(one, two)[0, 1]) < 5 / 181
