"""What a header may claim: geometries that agree, and one clear error for every impossible claim."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segkit.config.errors import InputError, SegkitError
from segkit.volume import nifti

# what the fixture scan_file holds
AFFINE = np.array([[-2.0, 0, 0, 30], [0, 1.5, 0, -20], [0, 0, 3, 7], [0, 0, 0, 1]])
VOXELS = np.arange(210, dtype=np.int16).reshape(5, 6, 7) - 100

# places of NIfTI-1 fields, in bytes
DIM, DATATYPE, PIXDIM, VOX_OFFSET, QFORM, SFORM, QUATERNION, SROW, MAGIC = 40, 70, 76, 108, 252, 254, 256, 280, 344


def refusal(path: Path, read=nifti.read) -> InputError:
    with pytest.raises(InputError) as error:
        read(path)
    assert str(path) in str(error.value)
    assert error.value.exit_status == 2
    return error.value


# --- geometry


@pytest.mark.parametrize(
    ("changes", "notice"),
    [
        ([(SROW, "12f", (0.0,) * 12)], "the sform is no possible geometry: qform used"),
        ([(SROW + 12, "f", (1e30,))], "the sform is no possible geometry: qform used"),
        ([(SROW, "f", (np.nan,))], "the sform is no possible geometry: qform used"),
        ([(PIXDIM + 4, "f", (0.0,))], "the qform is no possible geometry: sform used"),
        ([(QUATERNION, "3f", (1.0, 1.0, 1.0))], "the qform is no possible geometry: sform used"),
    ],
)
def test_a_broken_geometry_gives_way_to_the_other(scan_file, changes, notice):
    volume = nifti.read(scan_file(*changes))
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-5)
    assert volume.notices == (notice,)


def test_an_odd_pixdim_does_not_matter_beside_a_valid_sform(scan_file):
    path = scan_file((PIXDIM + 4, "3f", (np.nan, 0, -1)), (QFORM, "h", (0,)))
    volume = nifti.read(path)
    assert volume.spacing_mm == (2.0, 1.5, 3.0)
    assert volume.notices == ()


def test_both_geometries_broken_is_an_error(scan_file):
    error = refusal(scan_file((SROW, "12f", (0.0,) * 12), (PIXDIM + 4, "f", (np.nan,))))
    assert (error.code, error.got) == ("SK-V011", "an unusable sform and an unusable qform")


def test_no_code_is_a_notice_and_reads_as_nibabel_does(scan_file):
    path = scan_file((QFORM, "2h", (0, 0)))
    volume = nifti.read(path)
    np.testing.assert_array_equal(volume.affine, nibabel.load(path).affine)
    assert volume.notices == ("neither sform nor qform is coded: spacing from pixdim, orientation assumed LAS",)


def test_no_code_and_no_spacing_is_an_error(scan_file):
    assert refusal(scan_file((QFORM, "2h", (0, 0)), (PIXDIM + 4, "f", (0.0,)))).code == "SK-V011"


def test_disagreeing_geometries_are_refused_unless_accepted(scan_file):
    path = scan_file((SROW, "4f", (-1.0, 0, 0, 30)))
    error = refusal(path)
    assert str(error) == (
        f"SK-V012: sform and qform disagree\n  where:    {path}\n  expected: one geometry\n"
        "  got:      (sform and qform) spacing 1 x 1.5 x 3 and 2 x 1.5 x 3 mm\n"
        "  remedy:   repair the header; if the sform is right, set dataset.accept_sform: true in the recipe, or pass --accept-sform"
    )
    volume = nifti.read(path, accept_sform=True)
    assert volume.spacing_mm == (1.0, 1.5, 3.0)
    assert volume.notices == ("sform used although the qform disagrees: spacing 1 x 1.5 x 3 and 2 x 1.5 x 3 mm",)


def test_a_difference_below_half_a_voxel_is_no_disagreement(scan_file):
    assert nifti.read(scan_file((SROW, "4f", (-2.0, 0, 0, 30.9)))).notices == ()


def test_the_qform_is_nibabels(scan_file):
    rng = np.random.default_rng(3)
    quaternion = rng.uniform(-0.5, 0.5, 3)
    path = scan_file((SFORM, "h", (0,)), (QUATERNION, "3f", tuple(quaternion)), (PIXDIM, "f", (-1.0,)))
    np.testing.assert_allclose(nifti.read(path).affine, nibabel.load(path).affine, atol=1e-5)


def test_shear_is_refused_and_rounding_is_not(scan_file):
    sheared = AFFINE.copy()
    sheared[0, 2] = 0.02 * 3
    assert refusal(scan_file(affine=sheared, qform=False)).code == "SK-V014"
    sheared[0, 2] = 0.005 * 3
    assert nifti.read(scan_file(affine=sheared, qform=False)).notices == ()


@pytest.mark.parametrize("size", [1e-6, 1e6])
def test_absurd_spacings_are_refused(scan_file, size):
    assert refusal(scan_file(affine=np.diag([size, 1, 1, 1]), qform=False)).code == "SK-V013"


# --- impossible claims


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
def test_an_impossible_header_is_refused(scan_file, changes, code, name):
    error = refusal(scan_file(*changes, name=name))
    # a .gz may hold more than its own size: there the voxels are found to end early
    assert error.code == code or (name.endswith(".gz") and code == "SK-V010" and error.code == "SK-V019")


def test_a_header_of_27_trillion_voxels_is_refused_before_it_is_allocated(scan_file):
    error = refusal(scan_file((DIM, "4h", (3, 30000, 30000, 30000)), name="scan.nii.gz"))
    assert error.code == "SK-V010"
    assert error.got == "54,000,000,000,352 bytes"


def test_a_4d_singleton_is_squeezed_with_a_notice(scan_file):
    volume = nifti.read(scan_file(array=VOXELS[..., None]))
    np.testing.assert_array_equal(volume.array, VOXELS)
    assert volume.notices == ("sizes [5, 6, 7, 1] read as the volume [5, 6, 7]",)


def test_an_offset_of_zero_means_right_behind_the_header(scan_file):
    np.testing.assert_array_equal(nifti.read(scan_file((VOX_OFFSET, "f", (0.0,)))).array, VOXELS)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(st.tuples(st.integers(0, 351), st.integers(0, 255)), min_size=1, max_size=3),
    packed=st.booleans(),
    cut=st.sampled_from([0, 0, 1, 30]),
)
def test_no_header_byte_leads_to_anything_but_a_volume_or_a_named_error(scan_file, changes, packed, cut):
    path = scan_file(*[(place, "B", (value,)) for place, value in changes], cut=cut, name="scan.nii.gz" if packed else "scan.nii")
    try:
        volume = nifti.read(path)
    except SegkitError:
        return
    assert volume.array.nbytes < 10_000
    assert np.isfinite(volume.affine).all()
