"""Where volumes live, how much is kept around them, and patches that do not fit."""

import numpy as np
import pytest
import torch

from segkit.config.errors import InputError
from segkit.engine.cohort import available_memory, check_patch, choose_residence, gather, make_loader, reach
from segkit.engine.console import Console
from segkit.models.deepmedic import DeepMedic, DeepMedicTiny
from segkit.models.unet3d import UNet3D

CPU = torch.device("cpu")
QUIET = Console("quiet")


@pytest.mark.parametrize("size", [1, 9, 21, 27, 30])
@pytest.mark.parametrize("settings", [DeepMedic(), DeepMedicTiny(), DeepMedic(legacy_alignment=True)], ids=["standard", "tiny", "legacy"])
def test_no_lattice_reaches_beyond_the_margin(settings, size):
    network = settings.build(1, 2)
    margin = reach(network, (21, 21, 21))
    for lattice in network.lattices((size, size, size)):
        first, last = lattice.offset[0], lattice.offset[0] + lattice.stride * (lattice.shape[0] - 1)
        assert -margin <= first
        assert last <= size - 1 + margin


def test_the_margin_of_the_standard_network_by_hand():
    # stride 5: first sample at 5 (0 - 8) + 2 = -38; on the far side up to 4 voxels more
    assert reach(DeepMedic().build(1, 2), (21, 21, 21)) == 42
    assert reach(UNet3D(widths=(2, 4)).build(1, 2), (16, 16, 16)) == 0


def test_auto_takes_memory_where_there_is_room_and_the_disk_where_not():
    assert choose_residence("auto", 10**6, CPU)[0] == "host"
    place, reason = choose_residence("auto", 10 * available_memory(), CPU)
    assert place == "disk"
    assert "is more than 60% of" in reason


@pytest.mark.parametrize("place", ["device", "host", "disk"])
def test_a_batch_is_the_same_wherever_the_volumes_live(tiny, tmp_path, place):
    batches = []
    for residence in ("host", place):
        recipe = tiny(sampling__residence=residence)
        network = recipe.model.build(2, 2)
        cohort = gather(recipe, network, QUIET)
        batches.append(make_loader(cohort, recipe, network, CPU, QUIET).batch(3))
    assert all(torch.equal(a, b) for a, b in zip(batches[0].image, batches[1].image, strict=True))
    assert torch.equal(batches[0].label, batches[1].label)


def test_nothing_done_to_a_mapped_volume_reaches_the_disk(tiny, tmp_path):
    recipe = tiny(sampling__residence="disk")
    network = recipe.model.build(2, 2)
    cohort = gather(recipe, network, QUIET)
    loader = make_loader(cohort, recipe, network, CPU, QUIET)
    loader.volumes[0].image.fill_(7)
    assert cohort.store.verify() == []
    assert not (np.asarray(cohort.store.case(loader.volumes[0].id).image) == 7).all()


def test_the_data_hash_tells_settings_apart(tiny, tmp_path):
    def digest(**values) -> str:
        recipe = tiny(**values)
        return gather(recipe, recipe.model.build(2, 2), QUIET).data_hash

    assert digest() == digest(train__seed=5)
    assert digest() != digest(preprocess__dtype="float32")


def test_a_patch_may_fill_up_the_multiple_but_no_more():
    network = UNet3D(widths=(2, 4)).build(1, 2)  # multiples of 2
    check_patch((36, 50, 36), network, [(35, 50, 36), (31, 44, 29)])
    with pytest.raises(InputError, match=r"at most \[36, 50, 36\] voxels"):
        check_patch((38, 50, 36), network, [(35, 50, 36), (31, 44, 29)])
