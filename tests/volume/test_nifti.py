"""Reading and writing NIfTI: round trips, an oracle, and one clear error for every fault."""

import gzip
import struct
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segkit.config.errors import InputError, SegkitError, WorkError
from segkit.volume import nifti
from segkit.volume.nifti import Volume

AFFINE = np.array([[-2.0, 0, 0, 30], [0, 1.5, 0, -20], [0, 0, 3, 7], [0, 0, 0, 1]])
SHAPE = (5, 6, 7)
VOXELS = np.random.default_rng(0).integers(-1000, 1000, SHAPE).astype(np.int16)

# places of NIfTI-1 fields, in bytes
DIM, DATATYPE, PIXDIM, VOX_OFFSET, SLOPE, QFORM, SFORM, SROW, MAGIC = 40, 70, 76, 108, 112, 252, 254, 280, 344


def file_bytes(array: np.ndarray = VOXELS, affine: np.ndarray = AFFINE, kind: type = nibabel.Nifti1Image, qform: bool = True) -> bytearray:
    """A well-formed .nii, made by nibabel."""
    image = kind(array, affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=2)
    if qform:
        image.set_qform(affine, code=1)
    return bytearray(image.to_bytes())


def patched(*changes: tuple[int, str, tuple], **how) -> bytes:
    data = file_bytes(**how)
    for place, form, values in changes:
        struct.pack_into("<" + form, data, place, *values)
    return bytes(data)


def put(tmp_path: Path, data: bytes, name: str = "scan.nii") -> Path:
    path = tmp_path / name
    path.write_bytes(gzip.compress(data, 1) if name.endswith(".gz") else data)
    return path


def refusal(path: Path, read=nifti.read) -> InputError:
    with pytest.raises(InputError) as error:
        read(path)
    assert str(path) in str(error.value)
    assert error.value.exit_status == 2
    return error.value


# --- what is read and written


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", ">i2", ">f4"])
def test_what_nibabel_writes_is_read_as_it_is(tmp_path, name, kind, dtype):
    array = np.abs(VOXELS % 100).astype(dtype)
    image = kind(array, AFFINE, dtype=array.dtype)
    path = put(tmp_path, image.to_bytes(), name)
    volume = nifti.read(path)
    np.testing.assert_array_equal(volume.array, array)
    assert volume.array.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(volume.affine, AFFINE)
    assert volume.spacing_mm == (2.0, 1.5, 3.0)
    assert volume.notices == ()


def test_a_big_endian_header_is_read(tmp_path):
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    path = tmp_path / "scan.nii"
    nibabel.save(nibabel.Nifti1Image(VOXELS.astype(">i2"), AFFINE, header.copy()), path)
    assert path.read_bytes()[:4] == (348).to_bytes(4, "big")
    np.testing.assert_array_equal(nifti.read(path).array, VOXELS)


def test_scaling_gives_float32(tmp_path):
    volume = nifti.read(put(tmp_path, patched((SLOPE, "2f", (0.5, 10.0)))))
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array, VOXELS * 0.5 + 10)


@pytest.mark.parametrize("slope", [0.0, np.nan])
def test_slope_zero_and_nan_mean_no_scaling(tmp_path, slope):
    volume = nifti.read(put(tmp_path, patched((SLOPE, "2f", (slope, 10.0)))))
    np.testing.assert_array_equal(volume.array, VOXELS)
    assert volume.notices == ()


def test_an_infinite_slope_is_ignored_with_a_notice(tmp_path):
    volume = nifti.read(put(tmp_path, patched((SLOPE, "2f", (np.inf, 0.0)))))
    np.testing.assert_array_equal(volume.array, VOXELS)
    assert volume.notices == ("scaling ignored: slope inf, intercept 0.0",)


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("name", ["out.nii", "out.nii.gz"])
def test_written_labels_keep_geometry_codes_and_units(tmp_path, kind, name):
    data = file_bytes(kind=kind)
    like = nifti.read(put(tmp_path, bytes(data)))
    labels = (VOXELS % 3).astype(np.uint8)
    nifti.write(tmp_path / name, labels, like)
    before, after = kind.from_bytes(bytes(data)), nibabel.load(tmp_path / name)
    np.testing.assert_array_equal(np.asarray(after.dataobj), labels)
    assert after.get_data_dtype() == np.uint8
    for field in ("qform_code", "sform_code", "xyzt_units", "pixdim"):
        np.testing.assert_array_equal(after.header[field], before.header[field])
    np.testing.assert_array_equal(after.get_sform(), before.get_sform())
    np.testing.assert_array_equal(after.get_qform(), before.get_qform())
    assert (after.header["scl_slope"], after.header["scl_inter"]) == (1, 0)


def test_the_scaling_of_the_scan_is_not_passed_on(tmp_path):
    like = nifti.read(put(tmp_path, patched((SLOPE, "2f", (0.5, 10.0)))))
    nifti.write(tmp_path / "out.nii.gz", like.array, like)
    np.testing.assert_array_equal(nifti.read(tmp_path / "out.nii.gz").array, like.array)


def test_the_same_voxels_give_the_same_bytes(tmp_path):
    like = Volume.new(VOXELS, AFFINE)
    for name in ("a.nii.gz", "b.nii.gz"):
        nifti.write(tmp_path / name, VOXELS, like)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_components_are_written_and_read(tmp_path):
    array = np.random.default_rng(1).random((*SHAPE, 3), dtype=np.float32)
    nifti.write(tmp_path / "four.nii.gz", array, Volume.new(array, AFFINE))
    np.testing.assert_array_equal(nifti.read_components(tmp_path / "four.nii.gz").array, array)
    np.testing.assert_array_equal(nibabel.load(tmp_path / "four.nii.gz").get_fdata(), array)
    assert nifti.read_grid(tmp_path / "four.nii.gz")[0] == SHAPE


def test_a_plain_volume_has_one_component(tmp_path):
    assert nifti.read_components(put(tmp_path, bytes(file_bytes()))).array.shape == (*SHAPE, 1)


def test_the_grid_comes_from_the_header_alone(tmp_path):
    path = put(tmp_path, bytes(file_bytes()), "scan.nii.gz")
    path.write_bytes(path.read_bytes()[:-20])  # the voxels end early
    shape, affine = nifti.read_grid(path)
    assert shape == SHAPE
    np.testing.assert_array_equal(affine, AFFINE)
    assert nifti.read_geometry(path).array.shape == SHAPE


def test_a_geometry_serves_as_the_model_of_a_file(tmp_path):
    path = put(tmp_path, bytes(file_bytes()))
    nifti.write(tmp_path / "out.nii", VOXELS > 0, nifti.read_geometry(path))
    written = nifti.read(tmp_path / "out.nii")
    np.testing.assert_array_equal(written.array, VOXELS > 0)
    np.testing.assert_array_equal(written.affine, AFFINE)


def test_an_array_of_another_shape_is_a_bug(tmp_path):
    with pytest.raises(ValueError, match="has not the grid"):
        nifti.write(tmp_path / "out.nii", VOXELS[1:], Volume.new(VOXELS, AFFINE))


def test_a_missing_folder_is_a_work_error(tmp_path):
    with pytest.raises(WorkError, match="SK-R090"):
        nifti.write(tmp_path / "absent" / "out.nii.gz", VOXELS, Volume.new(VOXELS, AFFINE))


# --- labels


def test_float_labels_near_integers_are_rounded_with_a_notice(tmp_path):
    array = np.full(SHAPE, 0.9999999, np.float64)
    array[0] = 2
    volume = nifti.read_label(put(tmp_path, bytes(file_bytes(array))))
    assert volume.array.dtype == np.int32
    assert np.unique(volume.array).tolist() == [1, 2]
    assert volume.notices == ("168 label voxels rounded to integers, by at most 1e-07",)


def test_labels_between_integers_are_refused_with_their_number(tmp_path):
    array = np.zeros(SHAPE, np.float32)
    array[0, 0, :3] = 0.5
    error = refusal(put(tmp_path, bytes(file_bytes(array))), nifti.read_label)
    assert error.code == "SK-V016"
    assert error.got == "3 voxels such as 0.5"


def test_huge_labels_are_refused(tmp_path):
    assert refusal(put(tmp_path, bytes(file_bytes(np.full(SHAPE, 1e20)))), nifti.read_label).code == "SK-V017"


# --- geometry


@pytest.mark.parametrize(
    ("changes", "notice"),
    [
        ([(SROW, "12f", (0.0,) * 12)], "the sform is singular or not finite: qform used"),
        ([(SROW, "f", (np.nan,))], "the sform is singular or not finite: qform used"),
        ([(PIXDIM + 4, "f", (0.0,))], "the qform is singular or not finite: sform used"),
        ([(256, "3f", (1.0, 1.0, 1.0))], "the qform is singular or not finite: sform used"),
    ],
)
def test_a_broken_geometry_gives_way_to_the_other(tmp_path, changes, notice):
    volume = nifti.read(put(tmp_path, patched(*changes)))
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-5)
    assert volume.notices == (notice,)


def test_an_odd_pixdim_does_not_matter_beside_a_valid_sform(tmp_path):
    path = put(tmp_path, patched((PIXDIM + 4, "3f", (np.nan, 0, -1)), (QFORM, "h", (0,))))
    volume = nifti.read(path)
    assert volume.spacing_mm == (2.0, 1.5, 3.0)
    assert volume.notices == ()


def test_both_geometries_broken_is_an_error(tmp_path):
    error = refusal(put(tmp_path, patched((SROW, "12f", (0.0,) * 12), (PIXDIM + 4, "f", (np.nan,)))))
    assert (error.code, error.got) == ("SK-V011", "an unusable sform and an unusable qform")


def test_no_code_is_a_notice_and_reads_as_nibabel_does(tmp_path):
    path = put(tmp_path, patched((QFORM, "2h", (0, 0))))
    volume = nifti.read(path)
    np.testing.assert_array_equal(volume.affine, nibabel.load(path).affine)
    assert volume.notices == ("neither sform nor qform is coded: spacing from pixdim, orientation assumed LAS",)


def test_no_code_and_no_spacing_is_an_error(tmp_path):
    assert refusal(put(tmp_path, patched((QFORM, "2h", (0, 0)), (PIXDIM + 4, "f", (0.0,))))).code == "SK-V011"


def test_disagreeing_geometries_are_refused_unless_accepted(tmp_path):
    path = put(tmp_path, patched((SROW, "4f", (-1.0, 0, 0, 30))))
    error = refusal(path)
    assert str(error) == (
        f"SK-V012: sform and qform disagree\n  where:    {path}\n  expected: one geometry\n"
        "  got:      (sform and qform) spacing 1 x 1.5 x 3 and 2 x 1.5 x 3 mm\n"
        "  remedy:   repair the header, or pass --accept-sform if the sform is right"
    )
    volume = nifti.read(path, accept_sform=True)
    assert volume.spacing_mm == (1.0, 1.5, 3.0)
    assert volume.notices == ("sform used although the qform disagrees: spacing 1 x 1.5 x 3 and 2 x 1.5 x 3 mm",)


def test_a_difference_below_half_a_voxel_is_no_disagreement(tmp_path):
    assert nifti.read(put(tmp_path, patched((SROW, "4f", (-2.0, 0, 0, 30.9))))).notices == ()


def test_the_qform_is_nibabels(tmp_path):
    rng = np.random.default_rng(3)
    quaternion = rng.uniform(-0.5, 0.5, 3)
    path = put(tmp_path, patched((SFORM, "h", (0,)), (256, "3f", tuple(quaternion)), (PIXDIM, "f", (-1.0,))))
    np.testing.assert_allclose(nifti.read(path).affine, nibabel.load(path).affine, atol=1e-5)


def test_shear_is_refused_and_rounding_is_not(tmp_path):
    sheared = AFFINE.copy()
    sheared[0, 2] = 0.02 * 3
    assert refusal(put(tmp_path, bytes(file_bytes(affine=sheared, qform=False)))).code == "SK-V014"
    sheared[0, 2] = 0.005 * 3
    assert nifti.read(put(tmp_path, bytes(file_bytes(affine=sheared, qform=False)))).notices == ()


@pytest.mark.parametrize("size", [1e-6, 1e6])
def test_absurd_spacings_are_refused(tmp_path, size):
    assert refusal(put(tmp_path, bytes(file_bytes(affine=np.diag([size, 1, 1, 1]), qform=False)))).code == "SK-V013"


# --- faults


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ([(DIM, "4h", (3, 30000, 30000, 30000))], "SK-V010"),
        ([(DIM, "4h", (3, 5, -6, 7))], "SK-V005"),
        ([(DIM, "4h", (3, 5, 0, 7))], "SK-V005"),
        ([(DIM, "h", (9,))], "SK-V005"),
        ([(DIM, "h", (0,))], "SK-V005"),
        ([(DIM, "h", (2,))], "SK-V006"),
        ([(DIM, "6h", (5, 1, 6, 7, 5, 5))], "SK-V007"),
        ([(DATATYPE, "h", (128,))], "SK-V008"),
        ([(DATATYPE, "h", (32,))], "SK-V008"),
        ([(DATATYPE, "h", (77,))], "SK-V008"),
        ([(VOX_OFFSET, "f", (1e9,))], "SK-V010"),
        ([(VOX_OFFSET, "f", (np.nan,))], "SK-V009"),
        ([(VOX_OFFSET, "f", (-5.0,))], "SK-V009"),
        ([(VOX_OFFSET, "f", (100.0,))], "SK-V009"),
        ([(MAGIC, "4s", (b"bad\0",))], "SK-V003"),
        ([(MAGIC, "4s", (b"ni1\0",))], "SK-V003"),
        ([(0, "i", (347,))], "SK-V004"),
        ([(DIM, "5h", (4, 5, 6, 1, 7))], "SK-V015"),
    ],
)
@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_an_impossible_header_is_refused(tmp_path, changes, code, name):
    error = refusal(put(tmp_path, patched(*changes), name))
    # a .gz may hold more than its own size: there the voxels are found to end early
    assert error.code == code or (name.endswith(".gz") and code == "SK-V010" and error.code == "SK-V019")


def test_a_header_of_27_trillion_voxels_is_refused_before_it_is_allocated(tmp_path):
    error = refusal(put(tmp_path, patched((DIM, "4h", (3, 30000, 30000, 30000))), "scan.nii.gz"))
    assert error.code == "SK-V010"
    assert error.got == "54,000,000,000,352 bytes"


def test_a_4d_singleton_is_squeezed_with_a_notice(tmp_path):
    volume = nifti.read(put(tmp_path, bytes(file_bytes(VOXELS[..., None]))))
    np.testing.assert_array_equal(volume.array, VOXELS)
    assert volume.notices == ("sizes [5, 6, 7, 1] read as the volume [5, 6, 7]",)


def test_an_offset_of_zero_means_right_behind_the_header(tmp_path):
    np.testing.assert_array_equal(nifti.read(put(tmp_path, patched((VOX_OFFSET, "f", (0.0,))))).array, VOXELS)


def test_header_extensions_are_passed_over(tmp_path):
    image = nibabel.Nifti1Image(VOXELS, AFFINE)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"x" * 500))
    np.testing.assert_array_equal(nifti.read(put(tmp_path, image.to_bytes(), "scan.nii.gz")).array, VOXELS)


@pytest.mark.parametrize(("value", "count"), [(np.nan, 2), (np.inf, 2), (-np.inf, 2)])
def test_voxels_that_are_not_finite_are_counted_and_refused(tmp_path, value, count):
    array = VOXELS.astype(np.float32)
    array[0, 0, :2] = value
    error = refusal(put(tmp_path, bytes(file_bytes(array))))
    assert (error.code, error.got) == ("SK-V030", f"{count} NaN or infinite voxels")
    assert refusal(error.where, nifti.read_label).code == "SK-V030"


def test_every_truncation_of_a_gzip_is_found(tmp_path):
    whole = gzip.compress(bytes(file_bytes()), 1)
    for length in [10, len(whole) // 2, len(whole) - 9, len(whole) - 6, len(whole) - 1]:
        path = tmp_path / "scan.nii.gz"
        path.write_bytes(whole[:length])
        assert refusal(path).code == "SK-V031"


def test_every_flipped_bit_of_the_voxels_is_found(tmp_path):
    whole = gzip.compress(bytes(file_bytes()), 0)  # stored, so that a flip hits voxels and nothing else notices
    for place in [-200, -100, -9, -6, -2]:
        data = bytearray(whole)
        data[place] ^= 4
        path = tmp_path / "scan.nii.gz"
        path.write_bytes(data)
        assert refusal(path).code == "SK-V033"


def test_a_gzip_that_holds_too_few_voxels_is_refused(tmp_path):
    error = refusal(put(tmp_path, bytes(file_bytes())[:-10], "scan.nii.gz"))
    assert (error.code, error.expected, error.got) == ("SK-V019", "420 bytes", "410")


def test_a_short_plain_file_is_refused(tmp_path):
    assert refusal(put(tmp_path, bytes(file_bytes())[:-10])).code == "SK-V010"


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("scan.nii.gz", b"", "SK-V004"),
        ("scan.nii", b"", "SK-V004"),
        ("scan.nii", b"0123456789", "SK-V004"),
        ("scan.nii.gz", b"not an image at all", "SK-V032"),
        ("scan.nii", b"not an image at all" * 100, "SK-V004"),
        ("scan.png", b"", "SK-V001"),
    ],
)
def test_a_file_that_is_no_nifti_is_named(tmp_path, name, data, code):
    path = tmp_path / name
    path.write_bytes(data)
    assert refusal(path).code == code


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    assert refusal(tmp_path / "absent.nii.gz").code == "SK-V034"
    (tmp_path / "folder.nii").mkdir()
    assert refusal(tmp_path / "folder.nii").code == "SK-V002"


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 351), value=st.integers(0, 255), packed=st.booleans(), cut=st.integers(0, 30))
def test_no_header_byte_leads_to_anything_but_a_volume_or_a_named_error(tmp_path, place, value, packed, cut):
    data = file_bytes()
    data[place] = value
    path = put(tmp_path, bytes(data[: len(data) - cut]), "scan.nii.gz" if packed else "scan.nii")
    try:
        volume = nifti.read(path)
    except SegkitError:
        return
    assert volume.array.nbytes < 10_000
    assert np.isfinite(volume.affine).all()


# --- real files


@pytest.mark.parametrize(
    "pattern", ["brats2015/brats_2013_pat0003_1/*.nii.gz", "ct_torso/*/*.nii.gz", "Task04_Hippocampus/*/hippocampus_003.nii.gz"]
)
def test_real_files_read_as_nibabel_reads_them(shared_data, pattern):
    paths = sorted(shared_data.glob(pattern))
    assert len(paths) >= 2
    for path in paths:
        ours, theirs = nifti.read(path), nibabel.load(path)
        np.testing.assert_allclose(ours.array, np.asarray(theirs.dataobj), rtol=1e-6)
        np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-5)


def test_a_real_scan_and_sitk_agree_on_what_we_write(shared_data, tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    path = next(shared_data.glob("ct_torso/img/*.nii.gz"))
    volume = nifti.read(path)
    nifti.write(tmp_path / "copy.nii.gz", volume.array, volume)
    ours, original = sitk.ReadImage(str(tmp_path / "copy.nii.gz")), sitk.ReadImage(str(path))
    assert ours.GetDirection() == original.GetDirection()
    assert ours.GetOrigin() == original.GetOrigin()
    np.testing.assert_array_equal(sitk.GetArrayViewFromImage(ours), sitk.GetArrayViewFromImage(original))
