"""nnU-Net raw: numbered channels, both versions of dataset.json, regions and the ignore label."""

import json

import pytest

from segkit.config.errors import InputError

TASK = {"channel_names": {"0": "CT", "1": "PET"}, "labels": {"background": 0, "organ": 1, "tumor": 2}, "file_ending": ".nii.gz"}
FILES = (
    "imagesTr/a_0000.nii.gz",
    "imagesTr/a_0001.nii.gz",
    "imagesTr/b_1_0000.nii.gz",
    "imagesTr/b_1_0001.nii.gz",
    "imagesTr/._a_0000.nii.gz",
    "labelsTr/a.nii.gz",
    "labelsTr/b_1.nii.gz",
    "imagesTs/c_0000.nii.gz",
    "imagesTs/c_0001.nii.gz",
)


def described(root, **changes):
    (root / "dataset.json").write_text(json.dumps(TASK | changes))
    return root


def test_cases_are_numbered_files_with_their_labels(build, tree):
    root = described(tree(*FILES))
    cases = build("nnunet").find()
    assert [(case.id, case.label) for case in cases] == [("a", root / "labelsTr/a.nii.gz"), ("b_1", root / "labelsTr/b_1.nii.gz")]
    assert {name: source.path.name for name, source in cases[1].channels.items()} == {"CT": "b_1_0000.nii.gz", "PET": "b_1_0001.nii.gz"}


def test_a_channel_keeps_its_number_when_others_are_left_out(build, tree):
    described(tree(*FILES))
    dataset = build("nnunet", channels=["PET"])
    assert (dataset.channel_names, dataset.find()[0].channels["PET"].path.name) == (("PET",), "a_0001.nii.gz")


def test_it_keeps_it_where_the_root_is_not(build, tree):
    root = described(tree(*FILES))
    resolved = build("nnunet", channels=["PET"]).resolved().model_copy(update={"root": root / "none"})
    assert resolved.find_input(root / "imagesTs")[0].channels["PET"].path.name == "c_0001.nii.gz"


@pytest.mark.parametrize(("folder", "found"), [(".", ["a", "b_1", "c"]), ("imagesTs", ["c"])])
def test_input_is_the_whole_data_set_or_a_folder_of_images(build, tree, folder, found):
    root = described(tree(*FILES))
    assert [case.id for case in build("nnunet").find_input(root / folder)] == found


def test_a_missing_channel_names_its_file(build, tree):
    root = described(tree("imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz"))
    with pytest.raises(InputError) as error:
        build("nnunet").find()
    assert str(error.value) == (
        "SK-D003: 1 case of 1 cannot be used\n  a: channel PET: looked for a_0001.nii.gz, there is a_0000.nii.gz\n"
        f"  where:    {root}\n  remedy:   complete these cases, or take their folders away"
    )


def test_version_1_is_read_too(build, tree):
    root = tree(*FILES)
    (root / "dataset.json").write_text('{"modality": {"0": "CT", "1": "PET"}, "labels": {"0": "background", "1": "organ"}}')
    dataset = build("nnunet")
    assert (dataset.channel_names, dataset.class_map.classes, len(dataset.find())) == (("CT", "PET"), {"organ": (1,)}, 2)


def test_a_class_may_have_several_values(build, tree):
    described(tree(*FILES), labels={"background": 0, "whole": [1, 2]})
    assert build("nnunet").class_map.classes == {"whole": (1, 2)}


def test_the_ignore_label_is_ignored(build, tree):
    described(tree(*FILES), labels={"background": 0, "organ": 1, "ignore": 2})
    class_map = build("nnunet").class_map
    assert (class_map.classes, class_map.ignore) == ({"organ": (1,)}, (2,))
    assert build("nnunet").resolved().ignore == (2,)


def test_overlapping_regions_must_be_named_apart(build, tree):
    root = described(tree(*FILES), labels={"background": 0, "whole": [1, 2], "core": [2]})
    with pytest.raises(InputError) as error:
        _ = build("nnunet").class_map
    assert str(error.value) == (
        f"SK-D006: the data set's own classes cannot be used\n  where:    {root}\n"
        "  got:      classes: expected each source value once, got 2 in class whole and class core\n"
        "  remedy:   name the classes under dataset.classes"
    )


def test_other_file_formats_are_refused(build, tree):
    described(tree(*FILES), file_ending=".nrrd")
    with pytest.raises(InputError, match="SK-D035: the data set's files are not NIfTI"):
        _ = build("nnunet").class_map


def test_an_empty_root_lists_what_is_there(build, tree):
    described(tree("images/"))
    with pytest.raises(InputError) as error:
        build("nnunet").find()
    assert (error.value.code, error.value.got) == ("SK-D002", "dataset.json, images/")
