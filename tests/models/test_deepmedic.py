"""DeepMedic: its size, its geometry, and that a volume's prediction does not know how it was cut into tiles."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from segkit.models import DeepMedic, DeepMedicBasic, DeepMedicTiny, DeepMedicWide
from segkit.models.blocks import ValidPathway, add_residual, crop_faces, pad_faces, repeat_cells
from segkit.models.deepmedic import Cells

SMALL = {"widths": (3, 4, 5), "context_strides": (3, 5), "residual_after": (3,), "hidden": (7, 6), "dropout": 0.0}


def randomized(network, seed=0):
    """Evaluation mode, with statistics and parameters that are nowhere 0 or 1."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
            module.weight.data.uniform_(0.5, 2, generator=generator)
            module.bias.data.normal_(generator=generator)
        if isinstance(module, nn.Conv3d):
            module.weight.data.normal_(std=1 / math.sqrt(module.weight[0].numel()), generator=generator)
    return network.eval()


def patch(network, shape, in_channels=2, batch=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(batch, in_channels, *lattice.shape, generator=generator) for lattice in network.lattices(shape))


@pytest.mark.parametrize(
    ("settings", "channels", "classes", "count"),
    [
        (DeepMedic(), 2, 5, 2_008_901),
        (DeepMedic(), 4, 5, 2_013_767),
        (DeepMedic(), 4, 2, 2_013_014),
        (DeepMedic(), 1, 2, 2_005_715),
        (DeepMedicBasic(), 4, 2, 2_011_554),
        (DeepMedicWide(), 2, 5, 5_141_051),
        (DeepMedicWide(), 4, 5, 5_145_917),
        (DeepMedicTiny(), 2, 5, 3_291),
    ],
)
def test_the_number_of_parameters_is_that_of_the_original(settings, channels, classes, count):
    assert sum(parameter.numel() for parameter in settings.build(channels, classes).parameters()) == count


@pytest.mark.parametrize(
    ("settings", "output", "inputs"),
    [
        (DeepMedic(), 21, (37, 23, 21)),
        (DeepMedic(), 29, (45, 26, 22)),
        (DeepMedic(), 1, (17, 17, 17)),
        (DeepMedicTiny(), 19, (25, 13)),
        (DeepMedicTiny(), 39, (45, 19)),
    ],
)
def test_an_output_needs_these_inputs(settings, output, inputs):
    lattices = settings.build(1, 2).lattices((output,) * 3)
    assert tuple(lattice.shape for lattice in lattices) == tuple((size,) * 3 for size in inputs)
    assert tuple(lattice.stride for lattice in lattices) == (1, *settings.context_strides)


def test_the_logits_have_the_shape_that_was_asked_for():
    network = DeepMedicTiny(dropout=0.0).build(2, 4)
    assert network(patch(network, (5, 6, 7), batch=2)).shape == (2, 4, 5, 6, 7)


def test_the_logits_are_the_classifier_of_the_features():
    network = randomized(DeepMedic(**SMALL).build(2, 3))
    image = patch(network, (4, 5, 6))
    features = network.features(image)
    assert features.shape == (1, 6, 4, 5, 6)
    assert network.classifier.kernel_size == (1, 1, 1)
    torch.testing.assert_close(network(image), network.classifier(features))


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("stride", [3, 5])
def test_a_cell_looks_at_the_middle_of_its_voxels_and_at_the_first_in_legacy(stride, legacy):
    # A coordinate ramp through a pathway of identities: what a voxel gets is the coordinate its context is centered on.
    network = DeepMedic(context_strides=(stride,), legacy_alignment=legacy).build(1, 2)
    lattice = network.lattices((3 * stride + 1, 1, 1))[1]
    ramp = lattice.offset[0] + lattice.stride * torch.arange(lattice.shape[0], dtype=torch.float32)
    cells = ramp[network.border : -network.border].view(1, 1, -1, 1, 1)
    seen = repeat_cells(cells, stride, (0, 0, 0), (3 * stride + 1, 1, 1)).flatten()
    voxel = torch.arange(3 * stride + 1)
    first_of_cell = voxel // stride * stride
    torch.testing.assert_close(seen, (first_of_cell + (0 if legacy else stride // 2)).float())


def test_repeated_cells_start_anywhere_and_lose_their_surplus_at_the_far_end():
    cells = torch.tensor([10.0, 20.0, 30.0]).view(1, 1, 3, 1, 1).expand(1, 1, 3, 1, 1)
    voxels = repeat_cells(cells, 3, (2, 0, 0), (5, 2, 3))
    assert voxels.shape == (1, 1, 5, 2, 3)
    assert voxels[0, 0, :, 1, 2].tolist() == [10, 20, 20, 20, 30]


@pytest.mark.parametrize(("settings", "reach"), [(DeepMedic(hidden_kernel=1), 17), (DeepMedic(), 19), (DeepMedicTiny(), 7)])
def test_an_output_voxel_sees_this_many_voxels_along_an_axis(settings, reach):
    network = randomized(settings.build(1, 2))
    image = patch(network, (7, 1, 1), in_channels=1)
    image[0].requires_grad_()
    network(image)[0, :, 3].sum().backward()
    seen = image[0].grad.abs().sum((0, 1, 3, 4)).nonzero().flatten()
    assert seen.max() - seen.min() + 1 == reach


def test_a_residual_is_cropped_to_the_middle_and_filled_with_zero_channels_at_the_end():
    pathway = ValidPathway(1, (2, 1, 3), residual_after=(3,), activation="relu").eval()
    for layer in pathway.layers[1:]:
        nn.init.zeros_(layer.conv.weight)
    with torch.no_grad():
        pathway.layers[0].conv.weight.zero_()[:, :, 1, 1, 1] = torch.tensor([[1.0], [2.0]])
    ramp = torch.arange(9.0).view(1, 1, 9, 1, 1).expand(1, 1, 9, 7, 7)
    out = pathway(ramp)  # layer 2's input is (x, 2x) at x = 1 .. 7; cropped by 2 on both sides: 3 .. 5
    assert out[0, :, :, 0, 0].tolist() == [[3, 4, 5], [6, 8, 10], [0, 0, 0]]


def test_a_residual_may_have_more_channels_than_the_layer():
    pathway = ValidPathway(1, (3, 2, 1), residual_after=(3,), activation="relu")
    assert pathway(torch.randn(2, 1, 8, 8, 8)).shape == (2, 1, 2, 2, 2)


def test_statistics_do_not_see_the_padding():
    network = DeepMedic(**SMALL).build(1, 2).train()
    norm = network.hidden[0].before.norm
    seen = []
    norm.register_forward_hook(lambda module, args, output: seen.append(args[0].shape[2:]))
    network(patch(network, (3, 3, 3), in_channels=1, batch=2))
    assert seen == [(3, 3, 3)]


def test_dropout_spares_the_first_hidden_layer_and_is_scaled_while_training():
    network = DeepMedic(dropout=0.25).build(1, 2)
    rates = [module.p for module in network.modules() if isinstance(module, nn.Dropout)]
    assert rates == [0.25, 0.25]  # second hidden layer, classifier
    assert not any(isinstance(module, nn.Dropout) for module in network.hidden[0].modules())


def test_weights_start_with_a_variance_of_two_over_the_fan_in():
    torch.manual_seed(0)
    weight = DeepMedic().build(1, 2).hidden[0].conv.weight
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (150 * 27)), rel=0.01)


def test_every_parameter_learns():
    network = DeepMedic(**SMALL).build(2, 3)
    network(patch(network, (3, 3, 3), batch=2)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in network.parameters())


# --- a whole volume in tiles -------------------------------------------------------------------------------------------------------------


def sampled(volume, stride, first, count):
    """Samples [B, M, ...] of a volume at first, first + stride, ...; an index outside it is clamped to the border voxel."""
    for axis in range(3):
        index = (first[axis] + stride * torch.arange(count[axis])).clamp(0, volume.shape[axis + 2] - 1)
        volume = volume.index_select(axis + 2, index)
    return volume


def cell_grid(network, volume):
    """Maps of every low-resolution pathway on the grid whose cell 0 is centered on voxels 0 .. stride - 1."""
    grids = []
    for index, stride in enumerate(network.strides[1:], start=1):
        count = [-(-size // stride) + 2 * network.border for size in volume.shape[2:]]
        first = [(stride - 1) // 2 - stride * network.border] * 3
        grids.append(network.path_map(index, sampled(volume, stride, first, count)))
    return grids


def predicted_in_tiles(network, volume, tile):
    """Logits of the whole volume from tiles [low, high) of at most `tile` voxels that start anywhere."""
    grids, shape = cell_grid(network, volume), volume.shape[2:]
    logits = torch.full((1, network.classifier.out_channels, *shape), torch.nan)
    starts = [range(0, size, step) for size, step in zip(shape, tile, strict=True)]
    for corner in ((x, y, z) for x in starts[0] for y in starts[1] for z in starts[2]):
        far = [min(low + step, size) for low, step, size in zip(corner, tile, shape, strict=True)]
        faces = tuple(face for low, high, size in zip(corner, far, shape, strict=True) for face in (low == 0, high == size))
        low = [start - (0 if face else network.halo) for start, face in zip(corner, faces[::2], strict=True)]
        high = [stop + (0 if face else network.halo) for stop, face in zip(far, faces[1::2], strict=True)]
        size = [b - a for a, b in zip(low, high, strict=True)]
        border = network.border
        local = network.path_map(0, sampled(volume, 1, [a - border for a in low], [n + 2 * border for n in size]))
        context = []
        for stride, cells in zip(network.strides[1:], grids, strict=True):
            x, y, z = (slice(a // stride, -(-b // stride)) for a, b in zip(low, high, strict=True))
            context.append(Cells(cells[:, :, x, y, z], tuple(a % stride for a in low)))
        x, y, z = (slice(a, b) for a, b in zip(corner, far, strict=True))
        logits[:, :, x, y, z] = network.classifier(network.tile_features(local, context, faces))
    return logits


@pytest.mark.parametrize(
    "settings", [DeepMedic(**SMALL), DeepMedicTiny(), DeepMedic(**SMALL | {"hidden_kernel": 1})], ids=["small", "tiny", "kernel 1"]
)
def test_a_prediction_does_not_depend_on_the_tiles(settings):
    network = randomized(settings.build(2, 3))
    assert network.exact
    volume = torch.randn(1, 2, 13, 10, 7, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        whole = predicted_in_tiles(network, volume, (13, 10, 7))
        for tile in ((4, 10, 3), (5, 3, 7), (1, 7, 2)):
            assert (predicted_in_tiles(network, volume, tile) - whole).abs().max() <= 1e-5


def test_a_patch_as_large_as_the_volume_is_the_volume():
    network = randomized(DeepMedic(**SMALL).build(2, 3))
    volume = torch.randn(1, 2, 8, 9, 4, generator=torch.Generator().manual_seed(4))
    image = tuple(sampled(volume, lattice.stride, lattice.offset, lattice.shape) for lattice in network.lattices((8, 9, 4)))
    with torch.no_grad():
        torch.testing.assert_close(network(image), predicted_in_tiles(network, volume, (3, 4, 4)), atol=1e-5, rtol=0)


def test_repeating_at_an_inner_face_changes_only_the_voxels_at_that_face():
    network = randomized(DeepMedic(**SMALL).build(2, 3))
    rng = torch.Generator().manual_seed(5)
    local, threes, fives = (torch.randn(1, 5, *shape, generator=rng) for shape in ((6, 4, 4), (2, 2, 2), (2, 1, 1)))

    def features(voxels, faces):
        cells = [Cells(maps[:, :, : -(-voxels // stride)], (0, 0, 0)) for maps, stride in ((threes, 3), (fives, 5))]
        return network.tile_features(local[:, :, :voxels], cells, faces)

    with torch.no_grad():
        whole = features(6, (True,) * 6)[:, :, :3]
        neighbor = features(4, (True, False, True, True, True, True))
        repeated = features(3, (True,) * 6)
    torch.testing.assert_close(neighbor, whole)
    torch.testing.assert_close(repeated[:, :, :2], whole[:, :, :2])
    assert (repeated[:, :, 2] - whole[:, :, 2]).abs().max() > 0.1


@pytest.mark.parametrize("start", [(0, 0, 0), (2, 1, 2)])
def test_the_first_hidden_layer_is_a_convolution_of_all_maps_at_full_resolution(start):
    network = randomized(DeepMedic(**SMALL).build(2, 3)).double().train()
    rng, faces = torch.Generator().manual_seed(6), (start[0] == 0, True, start[1] == 0, False, start[2] == 0, False)
    local, threes, fives = (
        torch.randn(2, 5, *shape, dtype=torch.float64, generator=rng, requires_grad=True) for shape in ((7, 6, 8), (3, 3, 4), (2, 2, 2))
    )
    ours = network.tile_features(local, [Cells(threes, start), Cells(fives, start)], faces)

    maps = torch.cat([local, repeat_cells(threes, 3, start, (7, 6, 8)), repeat_cells(fives, 5, start, (7, 6, 8))], dim=1)
    first, second = network.hidden
    hidden = first.conv(pad_faces(first.before(maps), faces, 1))
    plain = network.before_classifier(add_residual(second(hidden), crop_faces(maps, faces, 1)))
    torch.testing.assert_close(ours, plain)
    direction = torch.randn(plain.shape, dtype=torch.float64, generator=rng)
    wanted = [local, threes, fives, *network.hidden.parameters()]
    for mine, theirs in zip(torch.autograd.grad(ours, wanted, direction), torch.autograd.grad(plain, wanted, direction), strict=True):
        torch.testing.assert_close(mine, theirs)


# --- settings ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"context_strides": (3, 4)}, r"expected odd strides \(an even cell has no middle voxel\), got \(3, 4\)"),
        ({"residual_after": (9,)}, r"residual_after: expected layers from 2 to 8, got \(9,\)"),
        ({"hidden_residual_after": (3,)}, r"hidden_residual_after: expected layers from 2 to 2, got \(3,\)"),
        ({"residual_after": (1,)}, "greater than or equal to 2"),
        ({"dropout": 1.0}, "less than 1"),
        ({"widths": ()}, "at least 1 item"),
    ],
)
def test_impossible_settings_are_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        DeepMedic(**fields)
