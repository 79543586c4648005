"""From files to a case: agreement of the files, the order of the steps, real scans."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from segkit.config.errors import InputError
from segkit.volume import nifti
from segkit.volume.case import CaseFiles, Source
from segkit.volume.intensity import Window, ZScore
from segkit.volume.labels import ClassMap
from segkit.volume.nifti import Volume
from segkit.volume.preprocess import Preprocess, prepare

AFFINE = np.diag([-1.0, -1, 2, 1])  # LPS, as BraTS
SHAPE = (12, 14, 10)
BOX = np.s_[3:8, 4:10, 2:7]
TUMOR = ClassMap({"tumor": (1, 4)})


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    nifti.write(path, array, Volume.new(array, affine))
    return path


@pytest.fixture
def case(tmp_path) -> CaseFiles:
    """Two channels that are zero outside a box, a label in it, a mask of 0.99999997."""
    rng = np.random.default_rng(0)
    images = np.zeros((2, *SHAPE), np.float32)
    images[:, *BOX] = rng.uniform(50, 150, images[:, *BOX].shape)
    label = np.zeros(SHAPE, np.uint8)
    label[5:7, 5:8, 3:5] = 4
    mask = np.zeros(SHAPE, np.float64)
    mask[BOX] = 0.99999997
    return CaseFiles(
        "case",
        {name: Source(save(tmp_path / f"{name}.nii.gz", image)) for name, image in zip(("flair", "t1c"), images, strict=True)},
        label=save(tmp_path / "label.nii.gz", label),
        roi=save(tmp_path / "mask.nii.gz", mask),
    )


def run(case: CaseFiles, settings: Preprocess | None = None, **changes):
    return prepare(case, settings or Preprocess(), **{"roi": "file", "class_map": TUMOR, "margin": 0} | changes)


def test_a_case_is_oriented_normalized_and_cropped(case):
    got = run(case)
    assert got.image.shape == (2, 5, 6, 5)
    assert got.image.dtype == np.float16
    assert got.image.flags.c_contiguous
    assert got.roi.all()
    raw = nifti.read(case.channels["flair"].path).array[BOX][::-1, ::-1]  # LPS -> RAS
    np.testing.assert_allclose(got.image[0], (raw - raw.mean()) / raw.std(), atol=2e-3)
    assert got.classes == 2
    assert got.outside == 0
    assert np.bincount(got.label.ravel()).tolist() == [5 * 6 * 5 - 12, 12]


def test_the_label_returns_to_its_place(case):
    got = run(case, margin=2)
    np.testing.assert_array_equal(got.native.label_to_native(got.label) * 4, nifti.read(case.label).array)


def test_voxels_outside_the_region_are_zero(case):
    got = run(case, margin=1)
    assert got.image.shape == (2, 7, 8, 7)
    assert (got.image[:, ~got.roi] == 0).all()


def test_a_window_leaves_air_outside(case):
    got = run(case, Preprocess(intensity=Window(low=0, high=100)), margin=1)
    assert (got.image[:, ~got.roi] == -1).all()


def test_the_margin_ends_with_the_volume(case):
    got = run(case, margin=100)
    assert got.image.shape[1:] == SHAPE


def test_the_margin_does_not_change_the_values(case):
    np.testing.assert_array_equal(run(case, margin=3).image[:, 3:-3, 3:-3, 2:-3], run(case).image)


@pytest.mark.parametrize(("crop", "shape"), [("roi", (5, 6, 5)), ("nonzero", (5, 6, 5)), ("none", SHAPE)])
def test_the_crop_is_the_named_one(case, crop, shape):
    assert run(case, Preprocess(crop=crop)).image.shape[1:] == shape


@pytest.mark.parametrize("roi", ["nonzero", "none"])
def test_other_regions_need_no_mask(case, roi):
    got = run(CaseFiles("a", case.channels, case.label), roi=roi)
    assert got.roi.all()


def test_a_region_from_a_file_needs_one(case):
    with pytest.raises(InputError, match="SK-V054: no ROI mask"):
        run(CaseFiles("a", case.channels))


def test_an_unlabeled_case_has_no_label(case):
    assert run(CaseFiles("a", case.channels, None, case.roi)).label is None
    assert run(case, class_map=None).label is None


def test_labels_outside_the_box_are_counted(case, tmp_path):
    label = nifti.read(case.label).array.copy()
    label[0, 0, :3] = 1
    got = run(CaseFiles("a", case.channels, save(tmp_path / "more.nii.gz", label), case.roi))
    assert got.outside == 3
    assert (got.label == 1).sum() == 12


def test_spacing_is_what_was_asked_for(case):
    got = run(case, Preprocess(spacing_mm=(2.0, 2.0, 2.0)))
    assert got.native.network_spacing_mm == pytest.approx((2, 2, 2))
    assert got.image.shape[1:] == got.label.shape == got.roi.shape == got.native.network_shape
    assert np.abs(got.image).max() < 6


@pytest.mark.parametrize(
    ("role", "array", "affine", "text"),
    [
        ("channel", np.ones((12, 14, 9), np.float32), AFFINE, "shape 12 x 14 x 10 and 12 x 14 x 9"),
        ("label", np.ones(SHAPE, np.uint8), np.diag([-1.0, -1, 3, 1]), "spacing 1 x 1 x 2 and 1 x 1 x 3 mm"),
        ("roi", np.ones(SHAPE, np.uint8), np.diag([1.0, -1, 2, 1]), "origin or direction: corners up to 22 voxels apart"),
    ],
)
def test_files_on_different_grids_are_refused_by_name(case, tmp_path, role, array, affine, text):
    other = save(tmp_path / "other.nii.gz", array, affine)
    channels = dict(case.channels) | ({"t1c": Source(other)} if role == "channel" else {})
    files = CaseFiles("a", channels, other if role == "label" else case.label, other if role == "roi" else case.roi)
    with pytest.raises(InputError) as error:
        run(files)
    first = case.channels["flair"].path
    assert str(error.value) == (
        f"SK-V061: the files of a case are not on one grid\n  where:    {other}\n  expected: the grid of {first}\n"
        f"  got:      {text}\n  remedy:   register and resample the files of a case onto one grid"
    )


def test_components_of_one_file_are_channels(case, tmp_path, monkeypatch):
    both = np.stack([nifti.read(source.path).array for source in case.channels.values()], axis=-1)
    path = save(tmp_path / "both.nii.gz", both)
    files = CaseFiles("a", {"flair": Source(path, 0), "t1c": Source(path, 1)}, case.label, case.roi)
    reads, read = [], nifti.read_components
    monkeypatch.setattr(nifti, "read_components", lambda *a, **k: reads.append(a) or read(*a, **k))
    np.testing.assert_array_equal(run(files).image, run(case).image)
    assert sum(a[0] == path for a in reads) == 1


def test_a_component_that_is_not_there_is_named(case):
    path = case.channels["t1c"].path
    with pytest.raises(InputError, match="SK-V060: no component for channel 't1c'"):
        run(CaseFiles("a", {"t1c": Source(path, 2)}, None, case.roi))


def test_a_constant_channel_is_named_by_its_file(case, tmp_path):
    flat = save(tmp_path / "flat.nii.gz", np.ones(SHAPE, np.float32))
    with pytest.raises(InputError) as error:
        run(CaseFiles("a", dict(case.channels) | {"t1c": Source(flat)}, None, case.roi))
    assert (error.value.code, error.value.where) == ("SK-V040", flat)


def test_values_beyond_float16_are_refused_not_made_infinite(case, tmp_path):
    # values of 1e6 +- 100, and zeros inside the region: those land 10,000 std below; with +- 1 at 1,000,000 std
    def channel(width: float) -> CaseFiles:
        image = np.zeros(SHAPE, np.float32)
        image[0], image[1] = 1e6 - width, 1e6 + width
        return CaseFiles("a", {"t1": Source(save(tmp_path / f"{width}.nii.gz", image))})

    inside_nonzero = Preprocess(intensity=ZScore(inside="nonzero"))
    assert run(channel(100.0), inside_nonzero, roi="none").image.min() == -10_000
    with pytest.raises(InputError) as error:
        run(channel(1.0), inside_nonzero, roi="none")
    assert (error.value.code, error.value.expected, error.value.got) == ("SK-V055", "magnitudes up to 65504", "1e+06")
    wide = Preprocess(intensity=ZScore(inside="nonzero"), dtype="float32")
    assert run(channel(1.0), wide, roi="none").image.min() == -1e6


def test_values_beyond_float32_are_refused(tmp_path):
    path = save(tmp_path / "huge.nii.gz", np.full(SHAPE, 1e300))
    with pytest.raises(InputError, match="SK-V062"):
        run(CaseFiles("a", {"t1": Source(path)}), roi="none")


def test_notices_name_their_file(case, tmp_path):
    mask = save(tmp_path / "four.nii.gz", np.ones((*SHAPE, 1), np.uint8))
    got = run(CaseFiles("a", case.channels, None, mask))
    assert got.notices == (f"{mask}: sizes [12, 14, 10, 1] read as the volume [12, 14, 10]",)


@pytest.mark.parametrize("codes", ["RA", "RRS", "XYZ", "ras", "RAI S"])
def test_an_orientation_that_is_none_is_refused(codes):
    with pytest.raises(ValidationError, match="orientation"):
        Preprocess(orientation=codes)


@pytest.mark.parametrize("spacing", [(0.0, 1.0, 1.0), (1.0, -1.0, 1.0), (1.0, 1.0)])
def test_spacings_are_three_and_positive(spacing):
    with pytest.raises(ValidationError):
        Preprocess(spacing_mm=spacing)


def test_a_real_brain_is_prepared_and_its_lesion_returns(shared_data):
    folder = shared_data / "brats2015" / "brats_2013_pat0005_1"
    files = CaseFiles(
        folder.name,
        {"flair": Source(folder / "Flair_subtrMeanDivStd.nii.gz"), "t1c": Source(folder / "T1c_subtrMeanDivStd.nii.gz")},
        folder / "OTMultiClass.nii.gz",
        folder / "brainmask.nii.gz",
    )
    core = ClassMap({"core": (1, 3, 4)}, background="rest")
    got = prepare(files, Preprocess(), roi="file", class_map=core, margin=8)
    assert 0.1 < got.roi.mean() < 0.6
    assert float(got.image[0][got.roi].astype(np.float64).mean()) == pytest.approx(0, abs=1e-3)
    truth = np.isin(nifti.read_label(files.label).array, (1, 3, 4))
    np.testing.assert_array_equal(got.native.label_to_native(got.label) == 1, truth)
    assert got.outside == 0


def test_a_real_torso_survives_a_finer_grid(shared_data):
    image, label = (next(shared_data.glob(f"ct_torso/{kind}/*.nii.gz")) for kind in ("img", "label"))
    organs = ClassMap({f"organ{i}": (i,) for i in range(1, 14)})
    settings = Preprocess(spacing_mm=(2.0, 2.0, 2.0), intensity=Window(low=-175, high=250))
    got = prepare(CaseFiles("torso", {"ct": Source(image)}, label), settings, roi="body", class_map=organs, margin=4)
    back, truth = got.native.label_to_native(got.label), nifti.read_label(label).array
    for index in np.unique(truth):
        ours, theirs = back == index, truth == index
        assert 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()) > 0.99
