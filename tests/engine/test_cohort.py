"""Where volumes live, how much is kept around them, and patches that do not fit."""

import io
import shutil
from pathlib import Path

import nibabel
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


@pytest.mark.parametrize(
    ("wish", "place", "reason"),
    [
        ("host", "host", "0.25 GB, as the recipe says"),
        ("disk", "disk", "0.25 GB, as the recipe says"),
        ("device", "host", "0.25 GB, as the recipe says: the device is the CPU"),
    ],
)
def test_a_wish_is_granted_and_said(wish, place, reason):
    assert choose_residence(wish, 250 * 10**6, CPU) == (place, reason)


MAPS = Path("/proc/self/maps")


def file_behind(array: np.ndarray) -> str:
    """The name of the stored array whose bytes an array's memory is; empty where it is memory alone."""
    for line in MAPS.read_text().splitlines():
        bounds, *_, path = line.split()
        low, high = (int(bound, 16) for bound in bounds.split("-"))
        if low <= array.ctypes.data < high:
            return Path(path).name if path.endswith(".npy") else ""
    raise AssertionError("memory that is mapped nowhere")


@pytest.mark.skipif(not MAPS.exists(), reason="needs a Linux system's list of mappings")
@pytest.mark.parametrize(("place", "files"), [("host", ["", "", ""]), ("disk", ["image.npy", "label.npy", "voxels.npy"])])
def test_volumes_are_where_it_is_said(tiny, place, files):
    recipe, said = tiny(sampling__residence=place), io.StringIO()
    network = recipe.model.build(2, 2)
    loader = make_loader(gather(recipe, network, QUIET), recipe, network, CPU, Console(file=said))
    assert said.getvalue() == f"training volumes: {place} (0.00 GB, as the recipe says)\n"
    assert [file_behind(array) for array in (*loader.volumes[0].arrays, loader.balance.cases[0].flat)] == files


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


def test_other_orders_of_classes_have_labels_of_their_own(tiny):
    recipes = [
        tiny(dataset__classes={name: {"edema": 2, "core": [1, 4]}[name] for name in order})
        for order in (("edema", "core"), ("core", "edema"))
    ]
    stores = [gather(recipe, recipe.model.build(2, 3), QUIET) for recipe in recipes]
    case = stores[0].training[0].id
    first, second = (np.asarray(cohort.store.case(case).label) for cohort in stores)
    assert 0 < (first == 1).sum() != (first == 2).sum() > 0
    np.testing.assert_array_equal(first, np.array([0, 2, 1])[second])


def test_notices_are_summed_up_in_a_line_a_kind(tiny, tiny_root, tmp_path):
    root = shutil.copytree(tiny_root, tmp_path / "noticed")
    for case in range(4):
        path = root / f"Phantom_00{case}/Phantom_00{case}_seg.nii.gz"
        label = nibabel.load(path)
        array = label.get_fdata(dtype=np.float32)
        array[array == 1] -= 1e-5
        array[0, 0, 0] = 1  # outside the brain
        nibabel.save(nibabel.Nifti1Image(array, label.affine), path)
    recipe, said = tiny(dataset__root=str(root), preprocess__crop="roi"), io.StringIO()
    cohort = gather(recipe, UNet3D(widths=(2, 4)).build(2, 2), Console(file=said))
    notices = [line for line in said.getvalue().splitlines() if line.startswith("notice: ")]
    assert len(notices) == 2
    assert notices[0].startswith("notice: files of 3 of 3 cases were read in one of several ways, such as ")
    assert cohort.store.case(cohort.training[0].id).notices[0] in notices[0]
    assert notices[1] == (
        "notice: 3 voxels of a class in 3 of 3 cases lie outside the crop and train nothing (segkit check --verbose lists them)"
    )


GB = 10**9
V2, V1 = "sys/fs/cgroup", "sys/fs/cgroup/memory"


@pytest.fixture
def machine(tmp_path):
    """A tree of /proc and /sys with 50 GB available, and files on top."""

    def make(files: dict[str, str]):
        for name, text in ({"proc/meminfo": f"MemTotal: 99 kB\nMemAvailable:   {50 * GB // 1000} kB\n"} | files).items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return make


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({}, 51.2),
        ({"proc/self/cgroup": "0::/\n", f"{V2}/memory.max": "max\n", f"{V2}/memory.current": f"{GB}\n"}, 51.2),
        ({"proc/self/cgroup": "0::/\n", f"{V2}/memory.max": f"{8 * GB}\n", f"{V2}/memory.current": f"{3 * GB}\n"}, 5),
        (  # what is kept of files can be dropped
            {
                "proc/self/cgroup": "0::/\n",
                f"{V2}/memory.max": f"{8 * GB}\n",
                f"{V2}/memory.current": f"{8 * GB}\n",
                f"{V2}/memory.stat": f"anon {5 * GB}\ninactive_file {2 * GB}\nactive_file {GB}\n",
            },
            3,
        ),
        (  # a batch job: its own group has no limit, the one above it has
            {
                "proc/self/cgroup": "0::/job_7/step_0\n",
                f"{V2}/job_7/step_0/memory.max": "max\n",
                f"{V2}/job_7/step_0/memory.current": "1\n",
                f"{V2}/job_7/memory.max": f"{6 * GB}\n",
                f"{V2}/job_7/memory.current": f"{2 * GB}\n",
            },
            4,
        ),
        (  # a container of version 1, which sees its own group at the top
            {
                "proc/self/cgroup": "5:cpu,cpuacct:/docker/ab\n4:memory:/docker/ab\n0::/\n",
                f"{V1}/memory.limit_in_bytes": f"{9 * GB}\n",
                f"{V1}/memory.usage_in_bytes": f"{7 * GB}\n",
                f"{V1}/memory.stat": f"inactive_file 1\ntotal_inactive_file {GB}\ntotal_active_file 0\n",
            },
            3,
        ),
        (
            {"proc/self/cgroup": "4:memory:/\n", f"{V1}/memory.limit_in_bytes": f"{2**63 - 4096}\n", f"{V1}/memory.usage_in_bytes": "9\n"},
            51.2,
        ),
        ({"proc/self/cgroup": "0::/\n", f"{V2}/memory.max": f"{2 * GB}\n", f"{V2}/memory.current": f"{3 * GB}\n"}, 0),
    ],
    ids=["no group", "no limit", "a limit", "file cache", "a limit above", "version 1", "version 1, no limit", "over the limit"],
)
def test_free_memory_is_the_smallest_of_the_machine_s_and_its_control_groups(machine, files, free):
    assert available_memory(machine(files)) == free * GB


def test_a_patch_reaches_no_farther_than_the_largest_volume():
    network = UNet3D(widths=(2, 4)).build(1, 2)  # multiples of 2
    check_patch((34, 50, 36), network, [(35, 50, 36), (31, 44, 29)])
    with pytest.raises(InputError, match=r"at most \[34, 50, 36\] voxels"):
        check_patch((36, 50, 36), network, [(35, 50, 36), (31, 44, 29)])


def test_volumes_of_less_than_two_multiples_may_be_filled_up():
    network = UNet3D(widths=(2, 2, 4, 4)).build(1, 2)  # multiples of 8
    check_patch((16, 8, 16), network, [(15, 5, 16), (9, 4, 23)])
    with pytest.raises(InputError, match=r"at most \[16, 8, 16\] voxels"):
        check_patch((16, 16, 16), network, [(15, 5, 16), (9, 4, 23)])
