"""Regions of interest: from a mask, from zeros, from a CT."""

import numpy as np
import pytest

from segkit.config.errors import InputError
from segkit.volume.nifti import Volume
from segkit.volume.roi import body, everything, from_mask, nonzero


def volume(array: np.ndarray) -> Volume:
    return Volume.new(array, np.eye(4))


def phantom() -> np.ndarray:
    """Air, a soft box with an air-filled lung in it, and a table apart from the box."""
    ct = np.full((20, 20, 8), -1000, np.int16)
    ct[4:16, 4:14, :] = 40
    ct[6:9, 6:9, 2:6] = -850
    ct[2:18, 17, :] = 200
    return ct


def test_a_mask_of_almost_one_is_a_mask():
    assert from_mask(volume(np.array([[[0.99999997, 0.0, 0.4]]]))).tolist() == [[[True, False, False]]]


def test_an_empty_mask_is_refused():
    with pytest.raises(InputError, match="SK-V050: the ROI mask is empty"):
        from_mask(volume(np.zeros((2, 2, 2))))


def test_nonzero_is_any_channel():
    one, two = np.zeros((2, 1, 1), np.float32), np.zeros((2, 1, 1), np.float32)
    one[0], two[1] = 1, -1
    assert nonzero([volume(one), volume(two)]).all()
    assert nonzero([volume(one)]).ravel().tolist() == [True, False]


def test_a_constant_background_is_inside():
    assert nonzero([volume(np.full((2, 2, 2), -0.3))]).all()


def test_channels_of_zeros_are_refused():
    with pytest.raises(InputError, match="SK-V051"):
        nonzero([volume(np.zeros((2, 2, 2)))])


@pytest.mark.parametrize("axial", [0, 1, 2])
def test_the_body_holds_its_lungs_and_leaves_the_table(axial):
    expected = np.zeros((20, 20, 8), bool)
    expected[4:16, 4:14, :] = True
    affine = np.eye(4)[[*np.roll([0, 1, 2], axial - 2), 3]]
    ct = Volume.new(np.moveaxis(phantom(), 2, axial), np.linalg.inv(affine))
    assert np.abs(ct.affine[2, axial]) == 1
    np.testing.assert_array_equal(body(ct), np.moveaxis(expected, 2, axial))


def test_a_notch_open_to_the_air_is_not_body():
    ct = phantom()
    ct[4:6, 8:10, :] = -1000
    assert not body(volume(ct))[4:6, 8:10].any()


def test_a_scan_that_is_not_in_hounsfield_units_is_wholly_body():
    assert body(volume(phantom() + 1000)).all()


def test_a_scan_of_air_is_refused():
    with pytest.raises(InputError, match="SK-V052: no body in the CT"):
        body(volume(np.full((3, 3, 3), -1000)))


def test_everything_is_everything():
    assert everything([volume(np.zeros((2, 3, 4)))]).shape == (2, 3, 4)


def test_the_body_of_a_real_torso_is_one_solid_piece(shared_data):
    from scipy import ndimage

    from segkit.volume.nifti import read

    ct = read(next(shared_data.glob("ct_torso/img/*.nii.gz")))
    inside = body(ct)
    assert ndimage.label(inside)[1] == 1
    assert 0.4 < inside.mean() < 0.9
    labels = read(next(shared_data.glob("ct_torso/label/*.nii.gz")))
    assert inside[labels.array > 0].mean() > 0.999
