"""Features and logits of whole volumes: the prediction's own, and every voxel once."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segkit.engine.slabs import View, probabilities
from segkit.engine.tap import owned_ranges, tapped
from segkit.engine.tiles import Box, overlapping_starts
from segkit.models.deepmedic import DeepMedicTiny
from segkit.models.unet3d import UNet3D

SHAPE = (21, 18, 17)
EVERYWHERE = np.ones(SHAPE, dtype=bool)
NETWORKS = [DeepMedicTiny(), UNet3D(widths=(4, 6), blocks=1)]


def network_of(settings):
    torch.manual_seed(0)
    return settings.build(2, 3).eval()


def volume():
    return torch.randn((2, *SHAPE), generator=torch.Generator().manual_seed(0))


def visits(network, roi, tile, overlap=0.5):
    counts = torch.zeros(SHAPE, dtype=torch.int64)
    for tap in tapped(network, volume(), roi, tile, overlap, "fp32"):
        counts[tap.box.slices] += 1
        assert tap.features.shape[1:] == tap.logits.shape[1:] == tap.box.shape
    return counts


@pytest.mark.parametrize("settings", NETWORKS, ids=["deepmedic", "unet"])
@pytest.mark.parametrize("tile", [(8, 8, 8), (16, 6, 20), (30, 30, 30)])
@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.7])
def test_every_voxel_comes_once(settings, tile, overlap):
    assert (visits(network_of(settings), EVERYWHERE, tile, overlap) == 1).all()


@pytest.mark.parametrize("settings", NETWORKS, ids=["deepmedic", "unet"])
def test_every_voxel_of_the_roi_comes_once_and_far_from_it_nothing(settings):
    roi = np.zeros(SHAPE, dtype=bool)
    roi[2:6, 3:7, 1:9] = True
    counts = visits(network_of(settings), roi, (6, 6, 6), 0.0)
    assert (counts[roi] == 1).all()
    assert (counts[14:] == 0).all()
    assert counts.max() == 1


@pytest.mark.parametrize("settings", NETWORKS, ids=["deepmedic", "unet"])
def test_without_an_roi_voxel_nothing_comes(settings):
    assert visits(network_of(settings), ~EVERYWHERE, (8, 8, 8)).sum() == 0


@given(st.integers(1, 60), st.integers(1, 30), st.sampled_from([0.0, 0.25, 0.5, 0.9]))
def test_owned_ranges_follow_one_another_and_lie_in_their_tiles(extent, length, overlap):
    starts = sorted({start[0] for start in overlapping_starts(Box((0, 0, 0), (extent, 1, 1)), (length, 1, 1), overlap)})
    ranges = owned_ranges(starts, length, 0, extent)
    assert [low for low, _ in ranges.values()] == [0, *(high for _, high in ranges.values())][:-1]
    assert list(ranges.values())[-1][1] == extent
    for start, (low, high) in ranges.items():
        assert start <= low < high <= start + length or (length < extent and low == high)


def test_owned_ranges_by_hand():
    assert owned_ranges([0, 6, 12], 10, 0, 22) == {0: (0, 8), 6: (8, 14), 12: (14, 22)}
    assert owned_ranges([-3], 10, 0, 4) == {-3: (0, 4)}
    assert owned_ranges([5, 11], 10, 5, 21) == {5: (5, 13), 11: (13, 21)}


def test_logits_of_one_tile_are_the_networks_own():
    network = network_of(UNet3D(widths=(4, 6), blocks=1))
    (tap,) = tapped(network, volume()[:, :16, :16, :16], EVERYWHERE[:16, :16, :16], (16, 16, 16), 0.5, "fp32")
    with torch.no_grad():
        expected = network((volume()[None, :, :16, :16, :16],))[0]
    torch.testing.assert_close(tap.logits, expected, atol=1e-5, rtol=1e-5)


def test_softmax_of_an_exact_networks_logits_is_its_prediction():
    network = network_of(DeepMedicTiny())
    expected = probabilities([View(network, (9, 9, 9), 0.5)], volume(), EVERYWHERE, "fp32")
    for tap in tapped(network, volume(), EVERYWHERE, (12, 7, 20), 0.5, "fp32"):
        torch.testing.assert_close(tap.logits.softmax(0), expected[:, *tap.box.slices], atol=1e-5, rtol=0)


@pytest.mark.parametrize("settings", NETWORKS, ids=["deepmedic", "unet"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_logits_are_the_classifiers_answer_to_the_features(settings, precision):
    network = network_of(settings)
    weight, bias = network.classifier.weight.detach()[:, :, 0, 0, 0].double(), network.classifier.bias.detach().double()
    for tap in tapped(network, volume(), EVERYWHERE, (12, 12, 12), 0.5, precision):
        expected = torch.einsum("cd,dxyz->cxyz", weight, tap.features.double()) + bias.view(-1, 1, 1, 1)
        torch.testing.assert_close(tap.logits.double(), expected, atol=1e-5, rtol=1e-5)


def test_a_network_in_training_mode_is_refused():
    with pytest.raises(ValueError, match="training mode"):
        next(tapped(network_of(DeepMedicTiny()).train(), volume(), EVERYWHERE, (9, 9, 9), 0.5, "fp32"))
