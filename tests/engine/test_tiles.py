"""Whole volumes in tiles: the tiling must not be seen in the result."""

import numpy as np
import pytest
import torch
from torch import nn

from segkit.engine.blend import gaussian
from segkit.engine.slabs import View, probabilities, slabs
from segkit.engine.tiles import Box, bounding_box, disjoint_tiles, mirrored, needed, overlapping_starts, widened
from segkit.models.base import Lattice, Network
from segkit.models.deepmedic import DeepMedic, DeepMedicBasic, DeepMedicTiny, DeepMedicWide
from segkit.models.unet3d import UNet3D

SHAPE = (34, 41, 29)
SMALL = {"widths": (4, 4, 5, 5), "hidden": (9, 9), "residual_after": (4,)}
EVERYWHERE = np.ones(SHAPE, dtype=bool)


def lively(network: Network) -> Network:
    """Statistics and slopes as after training: fresh ones would hide a misplaced normalization."""
    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
    return network.eval()


def volume(shape: tuple[int, int, int] = SHAPE, channels: int = 2) -> torch.Tensor:
    return torch.randn((channels, *shape), generator=torch.Generator().manual_seed(0))


def predicted(network: Network, tile: tuple[int, int, int], image: torch.Tensor, roi: np.ndarray, axes=(), overlap=0.5) -> torch.Tensor:
    return probabilities([View(network, tile, overlap, axes)], image, roi, "fp32")


@pytest.mark.parametrize(
    "settings",
    [DeepMedic(**SMALL), DeepMedic(**SMALL, legacy_alignment=True), DeepMedicBasic(**SMALL | {"residual_after": ()}), DeepMedicTiny()],
    ids=["deepmedic", "legacy", "basic", "tiny"],
)
def test_deepmedic_does_not_depend_on_the_tile(settings):
    network = lively(settings.build(2, 3))
    whole = predicted(network, SHAPE, volume(), EVERYWHERE)
    for tile in ((15, 15, 15), (13, 20, 7), (34, 9, 29)):
        torch.testing.assert_close(predicted(network, tile, volume(), EVERYWHERE), whole, atol=1e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [DeepMedic(), DeepMedicWide()], ids=["standard", "wide"])
def test_the_full_size_networks_do_not_depend_on_the_tile_either(settings):
    network, image = lively(settings.build(2, 3)), volume((40, 33, 27))
    roi = np.ones(image.shape[1:], dtype=bool)
    whole = predicted(network, (40, 33, 27), image, roi)
    for tile in ((30, 30, 30), (17, 33, 11)):
        torch.testing.assert_close(predicted(network, tile, image, roi), whole, atol=1e-5, rtol=0)


def test_where_the_roi_is_does_not_change_the_probabilities_inside_it():
    network, roi = lively(DeepMedic(**SMALL).build(2, 3)), np.zeros(SHAPE, dtype=bool)
    roi[7:23, 11:30, 5:9] = True
    whole = predicted(network, (20, 20, 20), volume(), EVERYWHERE)
    part = predicted(network, (20, 20, 20), volume(), roi)
    torch.testing.assert_close(part[:, roi], whole[:, roi], atol=1e-5, rtol=0)
    assert (part[0, ~roi] == 1).all()
    assert (part[1:, ~roi] == 0).all()


def test_training_and_inference_agree_on_a_patch_in_the_middle():
    # without a fully connected layer of 3^3 a patch knows all it needs; its start must fall on the cell grid (a multiple of 3)
    network = lively(DeepMedicTiny().build(2, 3))
    image, start, size = volume((48, 48, 48)), 18, 12
    lattices = network.lattices((size, size, size))
    low = [start + lattice.offset[0] for lattice in lattices]
    views = []
    for first, lattice in zip(low, lattices, strict=True):
        x, y, z = (slice(first, first + lattice.stride * count, lattice.stride) for count in lattice.shape)
        views.append(image[:, x, y, z][None])
    with torch.no_grad():
        patch = network(tuple(views))[0].softmax(0)
    whole = predicted(network, (20, 20, 20), image, np.ones((48, 48, 48), dtype=bool))
    inside = slice(start, start + size)
    torch.testing.assert_close(whole[:, inside, inside, inside], patch, atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", [(1, 40, 3), (5, 5, 5), (2, 1, 1)])
@pytest.mark.parametrize("model", [DeepMedicTiny(), UNet3D(widths=(4, 8))], ids=["deepmedic_tiny", "unet3d"])
def test_volumes_smaller_than_a_tile_are_predicted_whole(model, shape):
    network = lively(model.build(2, 3))
    out = predicted(network, (16, 16, 16), volume(shape), np.ones(shape, dtype=bool))
    assert out.shape == (3, *shape)
    torch.testing.assert_close(out.sum(0), torch.ones(shape))


def test_an_empty_roi_is_background():
    out = predicted(lively(DeepMedicTiny().build(2, 3)), (16, 16, 16), volume(), ~EVERYWHERE)
    assert (out[0] == 1).all()


class Voxelwise(Network):
    """A network that sees one voxel: any blending of its tiles must give back what it says of that voxel."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Conv3d(2, 3, 1)

    def lattices(self, output_shape):
        return (Lattice(1, output_shape, (0, 0, 0)),)

    def features(self, image):
        return image[0]


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.8])
def test_blending_gives_back_what_all_tiles_agree_on(overlap):
    network = Voxelwise().eval()
    with torch.inference_mode():
        out = predicted(network, (10, 12, 9), volume(), EVERYWHERE, overlap=overlap)
        torch.testing.assert_close(out, network((volume()[None],))[0].softmax(0))


def test_mirroring_a_voxelwise_network_changes_nothing():
    network = Voxelwise().eval()
    plain = predicted(network, (10, 12, 9), volume(), EVERYWHERE)
    torch.testing.assert_close(predicted(network, (10, 12, 9), volume(), EVERYWHERE, (0, 1, 2)), plain)


@pytest.mark.parametrize(
    ("axes", "views"),
    [
        ((0,), [(), (0,)]),
        ((0, 2), [(), (0,), (2,), (0, 2)]),
        ((0, 1, 2), [(), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]),
    ],
)
def test_mirroring_is_the_mean_over_every_subset_of_the_axes(axes, views):
    network = lively(UNet3D(widths=(4, 8)).build(2, 3))
    image, whole = volume((16, 16, 16)), np.ones((16, 16, 16), dtype=bool)
    torch.testing.assert_close(predicted(network, (16, 16, 16), image, whole, axes), mean_over(views, network, (16, 16, 16), image, whole))


@pytest.mark.parametrize("tile", [(34, 41, 29), (8, 11, 10)])
def test_an_exact_network_sees_the_mirrored_volume_not_mirrored_tiles(tile):
    network, roi = lively(DeepMedic(**SMALL).build(2, 3)), np.zeros(SHAPE, dtype=bool)
    roi[3:20, 5:40, 2:27] = True
    views = [(), (0,), (2,), (0, 2)]
    torch.testing.assert_close(
        predicted(network, tile, volume(), roi, (0, 2)), mean_over(views, network, tile, volume(), roi), atol=1e-5, rtol=0
    )


def mean_over(views, network, tile, image, roi):
    """The mean of whole-volume predictions of flipped volumes, flipped back."""
    singles = []
    for axes in views:
        spatial = [axis + 1 for axis in axes]
        singles.append(predicted(network, tile, image.flip(spatial), np.flip(roi, axes)).flip(spatial))
    return torch.stack(singles).mean(0)


def test_mirrored_tiles_are_blended_where_they_lie():
    network, image = lively(UNet3D(widths=(4, 8)).build(2, 3)), volume((40, 24, 20))  # tiles lie alike from both ends
    everywhere = np.ones(image.shape[1:], dtype=bool)
    expected = mean_over([(), (0,), (1,), (0, 1)], network, (16, 16, 12), image, everywhere)
    torch.testing.assert_close(predicted(network, (16, 16, 12), image, everywhere, (0, 1)), expected)


# --- slabs --------------------------------------------------------------------------------------------------------------------------------


def plain_blend(network, image, tile, overlap):
    """The definition, with the whole volume in memory: every tile's softmax times the Gaussian, over the sum of the Gaussians."""
    total, weights, bump = torch.zeros(3, *image.shape[1:]), torch.zeros(image.shape[1:]), gaussian(tile)
    for start in overlapping_starts(Box((0, 0, 0), tuple(image.shape[1:])), tile, overlap):
        held = tuple(slice(low, low + size) for low, size in zip(start, tile, strict=True))
        total[:, *held] += network((image[None, :, *held],))[0].softmax(0) * bump
        weights[held] += bump
    return total / weights


@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.5, 0.75])
def test_rolling_sums_are_the_sums_over_the_whole_volume(overlap):
    network, image = lively(UNet3D(widths=(4, 8)).build(2, 3)), volume((61, 20, 24))
    with torch.inference_mode():
        expected = plain_blend(network, image, (16, 16, 12), overlap)
    everywhere = np.ones(image.shape[1:], dtype=bool)
    torch.testing.assert_close(predicted(network, (16, 16, 12), image, everywhere, overlap=overlap), expected)


def test_slabs_follow_one_another_over_all_rows():
    roi = np.zeros(SHAPE, dtype=bool)
    roi[9:30, 4:20, 3:25] = True
    rows = [slab.rows for slab in slabs([View(Voxelwise(), (8, 8, 8), 0.5)], volume(), roi, "fp32")]
    assert [each.start for each in rows] == [0, *(each.stop for each in rows[:-1])]
    assert rows[-1].stop == SHAPE[0]
    assert max(each.stop - each.start for each in rows) <= 9  # of a volume of 34 rows


def test_tiles_are_placed_in_the_box_of_the_roi():
    network, roi = lively(UNet3D(widths=(4, 8)).build(2, 3)), np.zeros(SHAPE, dtype=bool)
    roi[10:26, 20:36, 5:21] = True
    out = predicted(network, (16, 16, 16), volume(), roi)
    with torch.inference_mode():
        alone = network((volume()[None, :, 10:26, 20:36, 5:21],))[0].softmax(0)
    torch.testing.assert_close(out[:, 10:26, 20:36, 5:21], alone)
    assert (out[0, ~roi] == 1).all()
    assert (out[1:, ~roi] == 0).all()


def test_an_ensemble_is_the_mean_of_its_members_whatever_their_tiles():
    exact, other = lively(DeepMedicTiny().build(2, 3)), lively(UNet3D(widths=(4, 8)).build(2, 3))
    views = [View(exact, (13, 9, 30), 0.0, (0,)), View(other, (16, 16, 16), 0.5, (1, 2)), View(other, (32, 16, 24), 0.25)]
    roi = np.zeros(SHAPE, dtype=bool)
    roi[3:33, 5:40, 2:27] = True
    for order in (views, views[::-1]):
        together = probabilities(order, volume(), roi, "fp32")
        alone = torch.stack([probabilities([view], volume(), roi, "fp32") for view in order]).mean(0)
        torch.testing.assert_close(together, alone)


# --- boxes --------------------------------------------------------------------------------------------------------------------------------


def test_the_bounding_box_is_tight():
    roi = np.zeros(SHAPE, dtype=bool)
    roi[3, 5:9, 2] = roi[10, 6, 20] = True
    assert bounding_box(roi) == Box((3, 5, 2), (11, 9, 21))
    assert bounding_box(np.zeros(SHAPE, dtype=bool)) is None


def test_disjoint_tiles_cover_a_box_once():
    counts = torch.zeros(SHAPE, dtype=torch.int)
    for tile in disjoint_tiles(Box((3, 0, 5), (30, 41, 28)), (8, 9, 10)):
        counts[tile.slices] += 1
    inside = torch.zeros(SHAPE, dtype=torch.int)
    inside[3:30, :, 5:28] = 1
    assert torch.equal(counts, inside)


@pytest.mark.parametrize(
    ("size", "tile", "overlap", "starts"),
    [
        (20, 20, 0.5, [0]),
        (18, 20, 0.5, [-1]),
        (17, 20, 0.5, [-2]),  # a smaller volume sits in the middle of its tile, the odd voxel on the low side
        (40, 20, 0.5, [0, 10, 20]),
        (41, 20, 0.5, [0, 7, 14, 21]),
        (40, 20, 0.0, [0, 20]),
        (41, 20, 0.0, [0, 10, 21]),
    ],
)
def test_tiles_are_spread_evenly_and_reach_both_ends(size, tile, overlap, starts):
    assert sorted({x for x, _, _ in overlapping_starts(Box((0, 0, 0), (size, 8, 8)), (tile, 8, 8), overlap)}) == starts
    assert sorted({x for x, _, _ in overlapping_starts(Box((7, 0, 0), (7 + size, 8, 8)), (tile, 8, 8), overlap)}) == [7 + x for x in starts]


def test_a_box_in_the_mirror_by_hand():
    assert mirrored(Box((1, 2, 3), (4, 6, 8)), (10, 20, 30), (0, 2)) == Box((6, 2, 22), (9, 6, 27))
    assert mirrored(Box((1, 2, 3), (4, 6, 8)), (10, 20, 30), ()) == Box((1, 2, 3), (4, 6, 8))


def test_a_wider_box_ends_with_the_volume():
    assert widened(Box((0, 2, 3), (4, 9, 10)), 1, (5, 9, 20)) == (Box((0, 1, 2), (5, 9, 11)), (True, False, False, True, False, False))


def test_a_tile_shrinks_to_its_roi_voxels():
    roi = np.zeros(SHAPE, dtype=bool)
    roi[3:6, 20, 7] = True
    assert list(needed([Box((0, 0, 0), (10, 30, 20)), Box((10, 0, 0), (20, 30, 20))], roi)) == [Box((3, 20, 7), (6, 21, 8))]


def test_the_gaussian_by_hand():
    bump = gaussian((8, 1, 1)).flatten()  # sigma 1 voxel along x, distances 3.5, 2.5, 1.5, 0.5, ...
    assert bump[3].item() == pytest.approx(torch.exp(torch.tensor(-0.125)).item())
    assert bump[2].item() == pytest.approx(torch.exp(torch.tensor(-1.125)).item())
    assert bump.min().item() >= 1e-3
    assert torch.equal(bump, bump.flip(0))
