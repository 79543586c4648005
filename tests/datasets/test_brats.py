"""BraTS: three namings of the same four channels, masks, patients, and which label values an edition has."""

import pytest
from pydantic import ValidationError

from segkit.config.errors import InputError

NAMES = {
    2015: {
        "flair": "Flair_subtrMeanDivStd.nii.gz",
        "t1c": "T1c_subtrMeanDivStd.nii.gz",
        "t1": "T1_subtrMeanDivStd.nii.gz",
        "t2": "T2_subtrMeanDivStd.nii.gz",
        "label": "OTMultiClass.nii.gz",
    },
    2017: {"flair": "X_flair.nii.gz", "t1c": "X_t1ce.nii.gz", "t1": "X_t1.nii.gz", "t2": "X_t2.nii.gz", "label": "X_seg.nii.gz"},
    2023: {"flair": "X-t2f.nii.gz", "t1c": "X-t1c.nii.gz", "t1": "X-t1n.nii.gz", "t2": "X-t2w.nii.gz", "label": "X-seg.nii.gz"},
}


@pytest.mark.parametrize("edition", [2015, 2017, 2023])
def test_channels_have_the_same_names_in_every_edition(build, tree, edition):
    root = tree("X/brainmask.nii.gz", *(f"X/{name}" for name in NAMES[edition].values()))
    (case,) = build("brats", edition=edition).find()
    found = {channel: source.path.name for channel, source in case.channels.items()} | {"label": case.label.name}
    assert found == NAMES[edition]
    assert list(case.channels) == ["flair", "t1c", "t1", "t2"]
    assert case.roi == (root / "X/brainmask.nii.gz" if edition == 2015 else None)


@pytest.mark.parametrize(("edition", "roi"), [(2015, "file"), (2017, "nonzero"), (2023, "nonzero")])
def test_the_roi_follows_the_edition(build, edition, roi):
    assert build("brats", edition=edition).roi == roi
    assert build("brats", edition=edition, roi="none").roi == "none"


def test_real_cases_of_2015_are_found(build, shared_data):
    root = shared_data / "brats2015"
    cases = build("brats", root=str(root), edition=2015, channels=["t1c", "flair"]).find()
    assert [case.id for case in cases] == [f"brats_2013_pat000{i}_1" for i in (3, 4, 5, 6)]
    assert [case.patient for case in cases] == [f"brats_2013_pat000{i}" for i in (3, 4, 5, 6)]
    folder = root / "brats_2013_pat0003_1"
    assert {name: source.path for name, source in cases[0].channels.items()} == {
        "t1c": folder / "T1c_subtrMeanDivStd.nii.gz",
        "flair": folder / "Flair_subtrMeanDivStd.nii.gz",
    }
    assert (cases[0].label, cases[0].roi) == (folder / "OTMultiClass.nii.gz", folder / "brainmask.nii.gz")


def test_a_channel_that_real_cases_lack_is_reported_for_each(build, shared_data):
    with pytest.raises(InputError) as error:
        build("brats", root=str(shared_data / "brats2015"), edition=2015, channels=["t1"]).find()
    lines = str(error.value).splitlines()
    assert lines[0] == "SK-D003: 4 cases of 4 cannot be used"
    assert lines[1] == (
        "  brats_2013_pat0003_1: channel t1: looked for t1_*.nii.gz, there is Flair_subtrMeanDivStd.nii.gz, License_CC_BY_NC_SA_3.0.txt, "
        "OTMultiClass.nii.gz, T1c_subtrMeanDivStd.nii.gz, brainmask.nii.gz"
    )
    assert len(lines) == 1 + 4 + 2


def test_a_missing_mask_stops_training_but_not_prediction(build, tree):
    root = tree("X/Flair_a.nii.gz", "X/OTMultiClass.nii.gz")
    dataset = build("brats", edition=2015, channels=["flair"])
    with pytest.raises(InputError, match=r"\n  X: ROI: looked for brainmask.nii.gz, there is no such file\n"):
        dataset.find()
    assert [case.id for case in dataset.find_input(root)] == ["X"]


def test_cases_lie_under_the_root_or_under_the_grades(build, tree):
    tree("HGG/B/B_t1.nii.gz", "LGG/A/A_t1.nii.gz", "C/C_t1.nii", "other/D/D_t1.nii.gz", ".hidden/E_t1.nii.gz")
    assert [case.id for case in build("brats", channels=["t1"]).find()] == ["A", "B", "C"]


def test_two_files_of_one_channel_are_ambiguous(build, tree):
    tree("X/X_t1.nii.gz", "X/Y_t1.nii.gz")
    with pytest.raises(InputError, match=r"\n  X: channel t1: expected one file \*_t1.nii.gz, got X_t1.nii.gz, Y_t1.nii.gz\n"):
        build("brats", channels=["t1"]).find()


def test_a_folder_of_one_channel_s_files_is_many_cases(build, tree):
    root = tree("in/X_flair.nii.gz", "in/Y_flair.nii.gz")
    dataset = build("brats", channels=["flair"])
    assert [case.id for case in dataset.find_input(root / "in")] == ["X", "Y"]
    assert dataset.find_input(root / "in/X_flair.nii.gz")[0].id == "X"


def test_two_labels_stop_training_but_not_prediction(build, tree):
    root = tree("X/X_t1.nii.gz", "X/X_seg.nii.gz", "X/Y_seg.nii.gz")
    dataset = build("brats", channels=["t1"])
    with pytest.raises(InputError, match="X: label: expected one file"):
        dataset.find()
    assert dataset.find_input(root)[0].label is None


def test_files_of_another_edition_name_the_edition(build, tree):
    tree("BraTS-GLI-00005-000/BraTS-GLI-00005-000-t1c.nii.gz")
    with pytest.raises(InputError) as error:
        build("brats").find()
    assert error.value.remedy == "these files are named as in edition 2023: set dataset.edition"


@pytest.mark.parametrize(
    ("case", "patient"),
    [
        ("BraTS-GLI-00005-000", "BraTS-GLI-00005"),
        ("BraTS-MET-00086-001", "BraTS-MET-00086"),
        ("brats_tcia_pat101_0001", "brats_tcia_pat101"),
        ("Brats17_2013_10_1", None),
        ("BraTS20_Training_001", None),
    ],
)
def test_patients_are_told_only_where_the_name_is_sure(build, tree, case, patient):
    root = tree(f"{case}/x_t1.nii.gz")
    assert build("brats", channels=["t1"]).find_input(root)[0].patient == patient


def test_the_scans_of_a_patient_stay_on_one_side(build, tree):
    tree(*(f"BraTS-GLI-{patient:05}-{scan:03}/x-{name}.nii.gz" for patient in range(6) for scan in range(2) for name in ("t1n", "seg")))
    splits = build("brats", edition=2023, channels=["t1"], split={"test": 3, "validation": 1}).splits()
    assert [len(side) for side in (splits.training, splits.validation, splits.test)] == [6, 2, 4]


@pytest.mark.parametrize(
    ("edition", "fields", "message"),
    [
        (2017, {"classes": {"core": [1, 3]}}, "classes.core: expected values among [0, 1, 2, 4], the labels of edition 2017, got [3]"),
        (2015, {"classes": {"core": 5}}, "classes.core: expected values among [0, 1, 2, 3, 4], the labels of edition 2015, got [5]"),
        (2017, {"ignore": [3]}, "ignore: expected values among [0, 1, 2, 4], the labels of edition 2017, got [3]"),
        (2017, {"background": [0, 7]}, "background: expected values among [0, 1, 2, 4], the labels of edition 2017, got [7]"),
    ],
)
def test_only_labels_of_the_edition_may_be_named(build, edition, fields, message):
    with pytest.raises(ValidationError) as error:
        build("brats", edition=edition, **fields)
    assert str(error.value.errors()[0]["ctx"]["error"]) == message


@pytest.mark.parametrize(("edition", "core"), [(2015, [1, 3, 4]), (2017, [1, 4]), (2023, [1, 3])])
def test_the_tumor_core_of_each_edition_can_be_named(build, edition, core):
    assert build("brats", edition=edition, classes={"core": core}, background="rest").class_map.classes == {"core": tuple(core)}
