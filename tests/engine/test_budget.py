"""Memory said beforehand: what is counted is what is taken, and a budget is kept by the process."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from segkit.config.errors import InputError
from segkit.engine.budget import Budget, lighter_and_lighter, plan, readable_extents
from segkit.engine.console import Console
from segkit.engine.infer import Predictor, predict_all
from segkit.engine.memory import Allocated, Extent, Need, allocated, held_by_process, need_of, parse_bytes
from segkit.engine.run import Run
from segkit.engine.slabs import View, slabs
from segkit.engine.train import train
from segkit.models import DeepMedic, UNet3D
from segkit.phantom.write import write
from segkit.volume.case import Source

CPU = torch.device("cpu")
SMALL = {"widths": (4, 4, 5, 5), "hidden": (9, 9), "residual_after": (4,)}


def test_allocated_counts_what_lives_at_once():
    with Allocated() as seen:
        a = torch.zeros(1000)
        b = a + 1
        del a
        c = b.view(10, 100)[2:].mul_(2)
        d = torch.empty(500)
        del b, c, d
    assert (seen.peak, seen.now) == (8000, 0)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    ("model", "tile", "flips"),
    [(DeepMedic(**SMALL), (15, 15, 15), (0,)), (UNet3D(widths=(4, 8)), (16, 16, 16), ()), (UNet3D(widths=(4, 8)), (32, 16, 24), (1,))],
)
def test_what_is_counted_without_values_is_what_inference_takes(model, tile, flips, precision):
    extent = (70, 41, 50)
    view = View(model.build(2, 5).eval(), tile, 0.5, flips, batch=2)
    said = allocated([view], 2, extent, "float16", CPU, precision)
    with Allocated() as seen:
        image = torch.zeros((2, *extent), dtype=torch.float16)
        for _ in slabs([view], image, np.ones(extent, dtype=bool), precision):
            pass
    assert 0.8 * said < seen.peak <= 1.05 * said


def test_lighter_views_take_less_and_see_the_same():
    torch.manual_seed(0)
    image, roi = torch.randn(2, 40, 33, 30), np.ones((40, 33, 30), dtype=bool)
    for view in (
        View(DeepMedic(**SMALL).build(2, 3), (40, 40, 40), 0.0),
        View(UNet3D(widths=(4, 8)).build(2, 3), (16, 16, 16), 0.5, batch=4),
    ):
        lighter = view.lighter()
        sizes = [allocated([each], 2, roi.shape, "float32", CPU, "fp32") for each in (lighter, view)]
        assert sizes[0] < sizes[1]
        seen = [torch.cat([slab.probabilities.clone() for slab in slabs([each], image, roi, "fp32")], 1) for each in (lighter, view)]
        torch.testing.assert_close(*seen, atol=1e-5, rtol=0)


def test_the_lightest_view_has_none_below():
    assert View(DeepMedic(**SMALL).build(2, 3), (15, 9, 15), 0.0).lighter() is None
    assert View(UNet3D(widths=(4, 8)).build(2, 3), (16, 16, 16), 0.5).lighter() is None


def test_an_extent_beside_another_is_the_largest_of_both():
    a, b = Extent((1, 9, 3), (4, 4, 4), 4, 4), Extent((5, 2, 3), (1, 8, 1), 8, 2)
    assert a.beside(b) == b.beside(a) == Extent((5, 9, 3), (4, 8, 4), 8, 4)


def test_needs_of_two_cases_are_the_larger_part_by_part():
    assert Need(1, 9, 3, 4).beside(Need(5, 2, 3, 8)) == Need(5, 9, 3, 8)


def test_needs_side_by_side_and_one_by_one():
    need = Need(reading=5, computing=7, writing=2)
    assert (need.alone, need.overlapped) == (7, 14)


@pytest.mark.parametrize(
    ("text", "size"), [("8G", 8 * 10**9), ("7.5GiB", 15 * 2**29), ("500 mb", 5 * 10**8), ("1Ti", 2**40), ("4096", 4096), ("2k", 2000)]
)
def test_amounts_are_read(text, size):
    assert parse_bytes(text, "--ram-budget") == size


@pytest.mark.parametrize("text", ["", "G", "-1G", "0", "8 apples", "1e9", "8Gx"])
def test_other_amounts_are_refused(text):
    with pytest.raises(InputError) as caught:
        parse_bytes(text, "--ram-budget")
    assert caught.value.code == "SK-I050"
    assert caught.value.where == "--ram-budget"


def test_the_process_holds_what_it_was_given():
    before = held_by_process()
    block = np.ones(2**26, dtype=np.uint8)
    assert held_by_process() - before > 0.9 * block.nbytes


def test_cases_that_fit_one_by_one_are_planned_though_none_is_as_large_as_all(trained, tmp_path):
    run, scans = trained
    predictor = Predictor.load([run], CPU)
    (first, *_) = predictor.files_of(scans)
    cases = []
    for name, shape in (("tall", (40, 40, 900)), ("wide", (900, 40, 40))):
        for channel in first.channels:
            nibabel.save(nibabel.Nifti1Image(np.zeros(shape, np.int16), np.eye(4)), tmp_path / f"{name}_{channel}.nii")
        cases.append(replace(first, id=name, channels={channel: Source(tmp_path / f"{name}_{channel}.nii") for channel in first.channels}))
    alone = [plan(predictor, [case], Budget(10**12)).need.alone for case in cases]
    room = max(alone) + 10**7
    found = plan(predictor, cases, Budget(held_by_process() + room))
    assert not found.way.refused
    assert found.need.alone <= room


def test_a_case_that_does_not_fit_is_refused_and_the_others_planned(trained, tmp_path):
    run, scans = trained
    predictor = Predictor.load([run], CPU)
    small = predictor.files_of(scans)
    for name in small[0].channels:
        path = tmp_path / "large" / f"large_{name}.nii.gz"
        path.parent.mkdir(exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(np.zeros((400, 300, 200), np.int16), np.eye(4)), path)
    large = replace(small[0], id="large", channels={name: Source(tmp_path / f"large/large_{name}.nii.gz") for name in small[0].channels})
    broken = replace(large, id="broken", channels={name: Source(tmp_path / "none.nii.gz") for name in small[0].channels})
    (extent,) = set(readable_extents(predictor, small).values())
    *_, (lightest, _) = lighter_and_lighter(predictor.views, CPU)
    room = need_of(extent, predictor.recipe, lightest, CPU, "fp32", frugal=True).alone + 10**7
    found = plan(predictor, [large, *small, broken], Budget(held_by_process() + room))
    assert list(found.way.refused) == ["large"]
    assert found.need.alone <= room
    error = found.way.refused["large"]
    assert (error.code, error.where, error.exit_status) == ("SK-I052", "case large", 2)
    assert error.remedy.startswith("raise --ram-budget")
    outcomes = {outcome.case: outcome.error for outcome in predict_all(predictor, [large], tmp_path / "out", way=found.way)}
    assert outcomes == {"large": error}


PREDICT = """
import re, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from segkit.engine.budget import Budget, plan, readable_extents
from segkit.engine.infer import Predictor, predict_all
from segkit.engine.memory import held_by_process, need_of
run, scans, output, way = sys.argv[1:]
predictor = Predictor.load([Path(run)], torch.device("cpu"))
cases = predictor.files_of(Path(scans))
free = plan(predictor, cases, Budget(10**12))
(extent,) = set(readable_extents(predictor, cases).values())
lighter = tuple(view.lighter() for view in free.views)
frugal, light = (need_of(extent, predictor.recipe, views, predictor.device, "fp32", frugal=True) for views in (free.views, lighter))
held = held_by_process()
needs = {"overlapped": free.need.overlapped, "alone": free.need.alone, "frugal": frugal.alone, "light": light.alone}
allowed = held + needs[way] + 2**20
found = plan(predictor, cases, Budget(allowed))
predictor.views = found.views
Path("/proc/self/clear_refs").write_text("5")
for outcome in predict_all(predictor, cases, Path(output), way=found.way):
    assert outcome.error is None, outcome.error
most = int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
print(most - held, allowed - held, found.way.overlapped, found.way.frugal, found.views[0].tile[0])
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_with) -> tuple[Path, Path]:
    """A run of the standard network that has hardly learned, and two scans that are larger than its own."""
    folder = tmp_path_factory.mktemp("memory")
    once = {"train__steps": 1, "train__validate_every": None, "train__checkpoint_every": 1, "train__batch_size": 1}
    recipe = tiny_with(folder / "store", model={"name": "deepmedic"}, **once)
    train(recipe, Run(folder / "run"), device_name="cpu", console=Console("quiet"))
    write("brats", folder / "scans", 2, (80, 70, 60))
    return folder / "run", folder / "scans"


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs the mark of the most memory held, which Linux keeps")
@pytest.mark.parametrize(
    ("way", "overlapped", "frugal", "tile"),
    [("overlapped", True, False, 45), ("alone", False, False, 45), ("frugal", False, True, 45), ("light", False, True, 30)],
)
def test_the_process_takes_no_more_than_the_budget(trained, tmp_path, way, overlapped, frugal, tile):
    command = [sys.executable, "-c", PREDICT, *map(str, trained), str(tmp_path), way]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    taken, allowed, *found = done.stdout.split()
    assert found == [str(overlapped), str(frugal), str(tile)]
    assert int(taken) <= int(allowed)
