"""Reading and writing NIfTI: round trips, an oracle, and damaged files."""

import gzip
import tracemalloc
from pathlib import Path

import nibabel
import numpy as np
import pytest

from segkit.config.errors import InputError, WorkError
from segkit.volume import nifti
from segkit.volume.nifti import Volume

# what the fixture scan_file holds unless told otherwise
AFFINE = np.array([[-2.0, 0, 0, 30], [0, 1.5, 0, -20], [0, 0, 3, 7], [0, 0, 0, 1]])
VOXELS = np.arange(210, dtype=np.int16).reshape(5, 6, 7) - 100
SHAPE = VOXELS.shape
SLOPE = 112  # place of scl_slope and scl_inter in a NIfTI-1 header, in bytes


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
def test_what_nibabel_writes_is_read_as_it_is(scan_file, name, kind, dtype):
    array = np.abs(VOXELS % 100).astype(dtype)
    volume = nifti.read(scan_file(array=array, kind=kind, name=name))
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


def test_scaling_gives_float32(scan_file):
    volume = nifti.read(scan_file((SLOPE, "2f", (0.5, 10.0))))
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array, VOXELS * 0.5 + 10)


@pytest.mark.parametrize("slope", [0.0, np.nan])
def test_slope_zero_and_nan_mean_no_scaling(scan_file, slope):
    volume = nifti.read(scan_file((SLOPE, "2f", (slope, 10.0))))
    np.testing.assert_array_equal(volume.array, VOXELS)
    assert volume.notices == ()


def test_an_infinite_slope_is_ignored_with_a_notice(scan_file):
    volume = nifti.read(scan_file((SLOPE, "2f", (np.inf, 0.0))))
    np.testing.assert_array_equal(volume.array, VOXELS)
    assert volume.notices == ("scaling ignored: slope inf, intercept 0.0",)


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("name", ["out.nii", "out.nii.gz"])
def test_written_labels_keep_geometry_codes_and_units(tmp_path, scan_file, kind, name):
    scan = scan_file(kind=kind)
    like = nifti.read(scan)
    labels = (VOXELS % 3).astype(np.uint8)
    nifti.write(tmp_path / f"of_{name}", labels, like)
    before, after = nibabel.load(scan), nibabel.load(tmp_path / f"of_{name}")
    np.testing.assert_array_equal(np.asarray(after.dataobj), labels)
    assert after.get_data_dtype() == np.uint8
    for field in ("qform_code", "sform_code", "xyzt_units", "pixdim"):
        np.testing.assert_array_equal(after.header[field], before.header[field])
    np.testing.assert_array_equal(after.get_sform(), before.get_sform())
    np.testing.assert_array_equal(after.get_qform(), before.get_qform())
    raw = (tmp_path / f"of_{name}").read_bytes()
    header = kind.header_class((gzip.decompress(raw) if name.endswith(".gz") else raw)[: kind.header_class.sizeof_hdr], check=False)
    assert (header["scl_slope"], header["scl_inter"]) == (1, 0)  # nibabel hides them in the image it loads


def test_the_scaling_of_the_scan_is_not_passed_on(tmp_path, scan_file):
    like = nifti.read(scan_file((SLOPE, "2f", (0.5, 10.0))))
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


def test_a_plain_volume_has_one_component(scan_file):
    assert nifti.read_components(scan_file()).array.shape == (*SHAPE, 1)


def test_the_grid_comes_from_the_header_alone(scan_file):
    path = scan_file(name="scan.nii.gz")
    path.write_bytes(path.read_bytes()[:-20])  # the voxels end early
    shape, affine = nifti.read_grid(path)
    assert shape == SHAPE
    np.testing.assert_array_equal(affine, AFFINE)
    assert nifti.read_geometry(path).array.shape == SHAPE


def test_a_geometry_serves_as_the_model_of_a_file(tmp_path, scan_file):
    path = scan_file()
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


def test_float_labels_near_integers_are_rounded_with_a_notice(scan_file):
    array = np.full(SHAPE, 0.9999999, np.float64)
    array[0] = 2
    volume = nifti.read_label(scan_file(array=array))
    assert volume.array.dtype == np.int32
    assert np.unique(volume.array).tolist() == [1, 2]
    assert volume.notices == ("168 label voxels rounded to integers, by at most 1e-07",)


def test_labels_between_integers_are_refused_with_their_number(scan_file):
    array = np.zeros(SHAPE, np.float32)
    array[0, 0, :3] = 0.5
    error = refusal(scan_file(array=array), nifti.read_label)
    assert error.code == "SK-V016"
    assert error.got == "3 voxels such as 0.5"


def test_huge_labels_are_refused(scan_file):
    assert refusal(scan_file(array=np.full(SHAPE, 1e20)), nifti.read_label).code == "SK-V017"


# --- damage


def test_header_extensions_are_passed_over(tmp_path):
    image = nibabel.Nifti1Image(VOXELS, AFFINE)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"x" * 500))
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(gzip.compress(image.to_bytes()))
    np.testing.assert_array_equal(nifti.read(path).array, VOXELS)


@pytest.mark.parametrize(("value", "count"), [(np.nan, 2), (np.inf, 2), (-np.inf, 2)])
def test_voxels_that_are_not_finite_are_counted_and_refused(scan_file, value, count):
    array = VOXELS.astype(np.float32)
    array[0, 0, :2] = value
    error = refusal(scan_file(array=array))
    assert (error.code, error.got) == ("SK-V030", f"{count} NaN or infinite voxels")
    assert refusal(error.where, nifti.read_label).code == "SK-V030"


def test_every_truncation_of_a_gzip_is_found(scan_file):
    path = scan_file(name="scan.nii.gz")
    whole = path.read_bytes()
    for length in [10, len(whole) // 2, len(whole) - 9, len(whole) - 6, len(whole) - 1]:
        path.write_bytes(whole[:length])
        assert refusal(path).code == "SK-V031"


def test_every_flipped_bit_of_the_voxels_is_found(scan_file):
    path = scan_file(name="scan.nii.gz", level=0)  # stored, so that a flip hits voxels and nothing else notices
    whole = path.read_bytes()
    for place in [-200, -100, -9, -6, -2]:
        data = bytearray(whole)
        data[place] ^= 4
        path.write_bytes(data)
        assert refusal(path).code == "SK-V033"


def test_a_gzip_that_holds_too_few_voxels_is_refused(scan_file):
    error = refusal(scan_file(cut=10, name="scan.nii.gz"))
    assert (error.code, error.expected, error.got) == ("SK-V019", "420 bytes", "410")


def test_a_short_plain_file_is_refused(scan_file):
    assert refusal(scan_file(cut=10)).code == "SK-V010"


def test_a_wrong_checksum_and_a_wrong_length_are_told_apart(scan_file):
    path = scan_file(name="scan.nii.gz")
    whole = path.read_bytes()
    for place, got in ((-8, "CRC check failed"), (-4, "Incorrect length of data produced")):
        data = bytearray(whole)
        data[place] ^= 1
        path.write_bytes(data)
        assert refusal(path).code == "SK-V033"
        assert got in refusal(path).got


def test_a_file_packed_in_several_members_is_read(tmp_path, scan_file):
    data = scan_file().read_bytes()
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(gzip.compress(data[:400]) + gzip.compress(data[400:]) + bytes(512))  # zeros that pad it to a block of a tape
    np.testing.assert_array_equal(nifti.read(path).array, VOXELS)
    path.write_bytes(gzip.compress(data[:400]) + gzip.compress(data[400:]) + b"further text")
    assert refusal(path).code == "SK-V032"


def test_bytes_behind_the_voxels_are_compared_with_the_checksum_and_dropped(tmp_path, scan_file):
    whole = gzip.compress(scan_file().read_bytes() + bytes(3 * nifti.PIECE))
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(whole)
    np.testing.assert_array_equal(nifti.read(path).array, VOXELS)
    path.write_bytes(whole[:-8] + bytes(4) + whole[-4:])
    assert refusal(path).code == "SK-V033"


def test_a_file_that_unpacks_to_far_more_than_its_voxels_is_refused_before_it_is_unpacked(tmp_path, scan_file):
    path = tmp_path / "scan.nii.gz"
    bomb = gzip.compress(bytes(nifti.FURTHER), 9)
    path.write_bytes(gzip.compress(scan_file().read_bytes()) + 64 * bomb)  # 1 GiB in 1 MiB
    tracemalloc.start()
    error = refusal(path)
    assert tracemalloc.get_traced_memory()[1] < 8 * nifti.PIECE
    tracemalloc.stop()
    assert str(error) == (
        "SK-V036: the file goes on behind its voxels\n"
        f"  where:    {path}\n"
        "  expected: 420 bytes of voxels and at most 16,777,216 others\n"
        "  got:      over 16,777,636 bytes\n"
        "  remedy:   the header names fewer voxels than were stored: export it again"
    )


def test_what_is_written_can_be_unpacked_by_everyone(tmp_path):
    array = np.random.default_rng(2).integers(0, 3, (40, 50, 60), dtype=np.uint8)
    nifti.write(tmp_path / "labels.nii.gz", array, Volume.new(array, AFFINE))
    unpacked = gzip.decompress((tmp_path / "labels.nii.gz").read_bytes())
    assert unpacked[352:] == array.tobytes(order="F")


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
