"""BTCV: image and label folders, numbers as ids, 13 organs."""

import pytest
from pydantic import ValidationError

from segkit.datasets.btcv import ORGANS


def test_the_real_torso_is_found(build, shared_data):
    root = shared_data / "ct_torso"
    (case,) = build("btcv", root=str(root)).find()
    assert (case.id, case.channels["ct"].path, case.label) == ("0001", root / "img/img0001.nii.gz", root / "label/label0001.nii.gz")


def test_the_organs_are_the_challenge_s(build):
    class_map = build("btcv", rare_classes=["gallbladder"]).class_map
    assert class_map.names == ("background", *ORGANS)
    assert class_map.written_values == tuple(range(14))


def test_a_renamed_download_is_found_too(build, tree):
    root = tree("imagesTr/img0002.nii.gz", "imagesTr/img0001.nii.gz", "labelsTr/label0002.nii.gz", "imagesTr/other.nii.gz")
    cases = build("btcv").find()
    assert [(case.id, case.label) for case in cases] == [("0001", None), ("0002", root / "labelsTr/label0002.nii.gz")]


@pytest.mark.parametrize("folder", [".", "img", "imagesTs"])
def test_images_to_predict_lie_in_the_folder_or_below(build, tree, folder):
    root = tree("img/img0001.nii.gz", "imagesTs/img0061.nii.gz")
    found = {".": ["0001", "0061"], "img": ["0001"], "imagesTs": ["0061"]}
    assert [case.id for case in build("btcv").find_input(root / folder)] == found[folder]


def test_other_names_are_single_files(build, tree):
    root = tree("in/scan.nii.gz")
    assert [case.id for case in build("btcv").find_input(root / "in")] == ["scan"]


def test_one_image_loses_its_prefix(build, tree):
    root = tree("img0007.nii.gz")
    assert [case.id for case in build("btcv").find_input(root / "img0007.nii.gz")] == ["0007"]


def test_there_is_one_channel(build):
    with pytest.raises(ValidationError, match="channels: no channel is named 'mr'; there are ct"):
        build("btcv", channels=["mr"])
