"""Phantom files: names, determinism, what is kept, and what is refused."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from segkit.config.errors import InputError, SegkitError, WorkError
from segkit.phantom.write import LAYOUTS, write

SMALL = (32, 32, 32)
CHANNELS = ("flair", "t1", "t1ce", "t2")


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_brats_files_are_named_as_in_brats_2017(tmp_path):
    assert write("brats", tmp_path, 2, SMALL) == [tmp_path / "Phantom_000", tmp_path / "Phantom_001"]
    names = {f"Phantom_{i}/Phantom_{i}_{name}.nii.gz" for i in ("000", "001") for name in (*CHANNELS, "seg")}
    assert set(files(tmp_path)) == names | {"phantom.json"}


def test_btcv_files_are_named_as_in_btcv(tmp_path):
    assert write("btcv", tmp_path, 2, SMALL) == [tmp_path / "img/img0001.nii.gz", tmp_path / "img/img0002.nii.gz"]
    names = {"img/img0001.nii.gz", "img/img0002.nii.gz", "label/label0001.nii.gz", "label/label0002.nii.gz"}
    assert set(files(tmp_path)) == names | {"phantom.json"}


def test_the_settings_stand_beside_the_cases(tmp_path):
    write("btcv", tmp_path, 1, SMALL, seed=4)
    assert json.loads((tmp_path / "phantom.json").read_text()) == {"kind": "btcv", "seed": 4, "shape": [32, 32, 32]}


@pytest.mark.parametrize("kind", ["brats", "btcv"])
def test_the_same_settings_make_the_same_bytes(tmp_path, kind):
    write(kind, tmp_path / "a", 1, SMALL, seed=1)
    write(kind, tmp_path / "b", 1, SMALL, seed=1)
    write(kind, tmp_path / "c", 1, SMALL, seed=2)
    first, again, other = (files(tmp_path / name) for name in "abc")
    assert first == again
    assert not set(first.values()) & set(other.values())


def test_more_cases_leave_the_earlier_ones_untouched(tmp_path):
    write("brats", tmp_path / "few", 1, SMALL)
    before, times = files(tmp_path / "few"), {path: path.stat().st_mtime_ns for path in (tmp_path / "few").rglob("*.gz")}
    write("brats", tmp_path / "few", 2, SMALL)
    write("brats", tmp_path / "many", 2, SMALL)
    assert before.items() <= files(tmp_path / "few").items()
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
    assert files(tmp_path / "few") == files(tmp_path / "many")


def test_a_case_with_a_file_missing_is_completed(tmp_path):
    write("brats", tmp_path, 1, SMALL)
    before = files(tmp_path)
    (tmp_path / "Phantom_000/Phantom_000_t2.nii.gz").unlink()
    write("brats", tmp_path, 1, SMALL)
    assert files(tmp_path) == before


@pytest.mark.parametrize(("kind", "codes"), [("brats", ("L", "P", "S")), ("btcv", ("L", "A", "S"))])
def test_all_files_of_a_case_share_a_valid_grid(tmp_path, kind, codes):
    write(kind, tmp_path, 1, (32, 40, 36))
    images = [nib.load(path) for path in sorted(tmp_path.rglob("*.nii.gz"))]
    assert len(images) == len(LAYOUTS[kind].files)
    for image in images:
        assert image.shape == (32, 40, 36)
        assert nib.aff2axcodes(image.affine) == codes
        np.testing.assert_array_equal(image.affine, images[0].affine)
        np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-4)
        assert (int(image.header["qform_code"]), int(image.header["sform_code"])) == (1, 1)
        assert image.header.get_xyzt_units()[0] == "mm"
    if kind == "brats":
        assert images[0].header.get_zooms() == (1, 1, 1)


def test_progress_counts_the_cases(tmp_path):
    seen = []
    write("brats", tmp_path, 2, SMALL, progress=lambda done, wanted: seen.append((done, wanted)))
    assert seen == [(1, 2), (2, 2)]


def test_a_folder_of_other_settings_is_refused(tmp_path):
    write("brats", tmp_path, 1, SMALL, seed=0)
    with pytest.raises(InputError) as error:
        write("brats", tmp_path, 1, SMALL, seed=1)
    assert str(error.value) == (
        "SK-P006: the folder holds other phantoms\n"
        f"  where:    {tmp_path / 'phantom.json'}\n"
        '  expected: {"kind": "brats", "seed": 1, "shape": [32, 32, 32]}\n'
        '  got:      {"kind": "brats", "seed": 0, "shape": [32, 32, 32]}\n'
        "  remedy:   use another folder, or remove this one first"
    )
    with pytest.raises(InputError, match="SK-P006"):
        write("btcv", tmp_path, 1, SMALL)


def test_damaged_settings_are_refused(tmp_path):
    (tmp_path / "phantom.json").write_bytes(b"\xff{")
    with pytest.raises(InputError, match=r'got: +"text that is no JSON"'):
        write("brats", tmp_path, 1, SMALL)


def test_data_that_is_no_phantom_is_never_touched(tmp_path):
    real = tmp_path / "img" / "img0001.nii.gz"
    real.parent.mkdir()
    real.write_bytes(b"a real scan")
    with pytest.raises(InputError, match="SK-P007") as error:
        write("btcv", tmp_path, 1, SMALL)
    assert error.value.where == real
    assert files(tmp_path) == {"img/img0001.nii.gz": b"a real scan"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "mri"}, "SK-P001: unknown kind of phantom\n  expected: brats or btcv\n  got:      'mri'"),
        ({"cases": 0}, "SK-P002: too few phantom cases\n  expected: cases >= 1\n  got:      0"),
        (
            {"shape": (64, 31, 64)},
            "SK-P003: a phantom of this shape cannot be drawn\n"
            "  expected: 3 voxel counts (X, Y, Z), each 32 to 1024\n  got:      (64, 31, 64)",
        ),
        ({"seed": -1}, "SK-P004: negative phantom seed\n  expected: seed >= 0\n  got:      -1"),
    ],
)
def test_settings_that_cannot_be_drawn_are_refused_before_anything_is_written(tmp_path, change, message):
    output = tmp_path / "new"
    with pytest.raises(InputError) as error:
        write(**({"kind": "brats", "output": output, "cases": 1, "shape": SMALL, "seed": 0} | change))
    assert str(error.value) == message
    assert not output.exists()


def test_an_output_that_is_a_file_is_refused(tmp_path):
    output = tmp_path / "file"
    output.write_text("")
    with pytest.raises(InputError, match="SK-P005"):
        write("brats", output, 1, SMALL)


def test_a_failed_write_leaves_no_half_file_and_the_next_run_completes_it(tmp_path):
    (tmp_path / "Phantom_000").write_text("in the way")
    with pytest.raises(WorkError, match="SK-P008"):
        write("brats", tmp_path, 1, SMALL)
    assert set(files(tmp_path)) == {"Phantom_000", "phantom.json"}
    (tmp_path / "Phantom_000").unlink()
    write("brats", tmp_path, 1, SMALL)
    (tmp_path / "Phantom_000/Phantom_000_t2.nii.gz").unlink()
    (tmp_path / "Phantom_000/Phantom_000_t2.nii.gz").mkdir()
    with pytest.raises(SegkitError, match="Phantom_000_t2"):
        write("brats", tmp_path, 1, SMALL)
    assert not [path for path in tmp_path.rglob("*") if "tmp" in path.name]
