"""What every data set does alike: its fields, its class map, finding, splitting, and reading a folder to predict."""

import json
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import ValidationError

from segkit.config.document import Document, Origin
from segkit.config.errors import InputError
from segkit.config.parse import parse
from segkit.config.registry import described
from segkit.config.settings import Settings
from segkit.datasets.base import Dataset, datasets

ONE_CASE = ("A/A_flair.nii.gz", "A/A_t1ce.nii.gz", "A/A_t1.nii.gz", "A/A_t2.nii.gz", "A/A_seg.nii.gz")


def test_the_shelf_holds_every_layout():
    assert list(datasets) == ["brats", "btcv", "files", "msd", "nnunet", "phantom"]


def test_a_number_is_short_for_a_list_of_one(build):
    dataset = build("brats", classes={"edema": 2, "core": [1, 4]}, background=0)
    assert dataset.classes == {"edema": (2,), "core": (1, 4)}
    assert dataset.class_map.names == ("background", "edema", "core")
    assert dataset.class_map.written_values == (0, 2, 1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"classes": {"background": 1}}, "classes: expected names other than 'background', which dataset.background lists"),
        (
            {"classes": {"a/b": 1, "core": 2, "../c": 4}},
            "classes: expected names that a file can bear (no / or \\, no leading dot), got 'a/b', '../c'",
        ),
        ({"classes": {"core": [1, 4], "rim": 4}}, "classes: expected each source value once, got 4 in class core and class rim"),
        ({"classes": {"core": [1, 1]}}, "classes: expected each source value once, got 1 in class core and class core"),
        ({"classes": {"core": 1}, "background": [0, 1]}, "classes: expected each source value once, got 1 in class core and background"),
        ({"classes": {"core": 1}, "ignore": [0]}, "classes: expected each source value once, got 0 in background and ignore"),
        (
            {"classes": {"tumor_core": 1}, "rare_classes": ["tumour_core"]},
            "rare_classes: no class is named 'tumour_core'; did you mean 'tumor_core'?",
        ),
        ({"classes": {"edema": 1, "core": 2}, "rare_classes": ["x"]}, "rare_classes: no class is named 'x'; there are edema, core"),
        ({"classes": {"core": 1}, "rare_classes": ["core", "core"]}, "rare_classes: expected each name once, got core more than once"),
        ({"channels": ["t1", "t1"]}, "channels: expected each name once, got t1 more than once"),
        ({"channels": ["t1ce"]}, "channels: no channel is named 't1ce'; did you mean 't1c'?"),
        ({"roi": "file"}, "roi: expected nonzero, body or none, since this layout has no ROI files, got 'file'"),
    ],
)
def test_a_mistake_names_the_field(build, fields, message):
    with pytest.raises(ValidationError) as error:
        build("brats", **fields)
    assert str(error.value.errors()[0]["ctx"]["error"]) == message


@pytest.mark.parametrize(
    "fields",
    [
        {"train_fraction": 0.0},
        {"train_fraction": 1.1},
        {"channels": []},
        {"classes": {}},
        {"classes": {"core": []}},
        {"classes": {"core": True}},
        {"background": []},
    ],
)
def test_bounds_are_kept(build, fields):
    with pytest.raises(ValidationError):
        build("brats", **fields)


@pytest.mark.parametrize("name", ["brats", "btcv", "msd", "nnunet", "phantom"])
def test_a_data_set_survives_being_written_and_read(build, name):
    dataset = build(name, split={"fold": 0, "of": 3}, background="rest")
    assert datasets.build(json.loads(json.dumps(described(dataset)))) == dataset


def test_a_rest_background_takes_what_no_class_names(build):
    class_map = build("brats", classes={"core": [1, 4]}, background="rest").class_map
    assert (class_map.background, class_map.written_values) == ("rest", (0, 1))


def test_a_root_that_is_not_there_says_what_it_should_hold(build, tmp_path):
    with pytest.raises(InputError) as error:
        build("btcv", root=str(tmp_path / "none")).find()
    assert str(error.value) == (
        f"SK-D001: the data set's folder is not there\n  where:    {tmp_path / 'none'}\n"
        "  expected: img/img0001.nii.gz and label/label0001.nii.gz (or imagesTr and labelsTr)\n"
        "  remedy:   set dataset.root; see data/README.md"
    )


def test_an_empty_root_says_what_is_there_instead(build, tree):
    root = tree("notes.txt", "scans/")
    with pytest.raises(InputError) as error:
        build("btcv").find()
    assert str(error.value) == (
        f"SK-D002: no case under the data set's folder\n  where:    {root}\n"
        "  expected: img/img0001.nii.gz and label/label0001.nii.gz (or imagesTr and labelsTr)\n"
        "  got:      notes.txt, scans/\n  remedy:   set dataset.root to the folder described above"
    )


def test_every_incomplete_case_is_in_one_message(build, tree):
    root = tree(*ONE_CASE, "B/B_flair.nii.gz", "B/B_t1.nii.gz", "B/B_t1ce.nii.gz", "C/C_seg.nii.gz")
    with pytest.raises(InputError) as error:
        build("brats", channels=["t1c", "t2"]).find()
    assert str(error.value) == (
        "SK-D003: 2 cases of 3 cannot be used\n"
        "  B: channel t2: looked for *_t2.nii.gz, there is B_flair.nii.gz, B_t1.nii.gz, B_t1ce.nii.gz\n"
        "  C: channel t1c: looked for *_t1ce.nii.gz, there is C_seg.nii.gz\n"
        "  C: channel t2: looked for *_t2.nii.gz, there is C_seg.nii.gz\n"
        f"  where:    {root}\n  remedy:   complete these cases, or take their folders away"
    )


def test_an_id_that_is_found_twice_names_both_places(build, tree):
    root = tree(*(f"{grade}/{name}" for grade in ("HGG", "LGG") for name in ONE_CASE))
    with pytest.raises(InputError) as error:
        build("brats").find()
    assert str(error.value) == (
        f"SK-D004: 1 case id found more than once\n  A: {root}/HGG/A, {root}/LGG/A\n  where:    {root}\n  remedy:   rename all but one"
    )


def test_a_case_of_a_split_needs_a_label(build, tree):
    tree(*ONE_CASE, *(name.replace("A", "B") for name in ONE_CASE[:4]))
    dataset = build("brats")
    assert [case.label is None for case in dataset.find()] == [False, True]
    with pytest.raises(InputError, match="SK-D005: 1 of the cases to train, validate or test on have no label: B\n"):
        dataset.splits()


def test_a_case_that_the_split_file_leaves_out_needs_no_label(build, tree):
    root = tree(*ONE_CASE, *(name.replace("A", "B") for name in ONE_CASE[:4]))
    (root / "split.json").write_text('{"test": [], "train_order": ["A"]}')
    splits = build("brats", split={"file": str(root / "split.json")}).splits()
    assert [case.id for case in splits.training] == ["A"]


def test_train_fraction_takes_the_first_of_the_training_order(build, tree):
    tree(*(name.replace("A", case) for case in "ABCDEFGH" for name in ONE_CASE))
    full, half = (build("brats", split={"test": 2}, train_fraction=fraction).splits() for fraction in (1.0, 0.5))
    assert (len(full.training), len(half.training)) == (6, 3)
    assert full.training[:3] == half.training
    assert full.test == half.test


# find_input: the layout, else numbered channels, else single files


def test_a_folder_of_cases_or_one_case_is_read_in_the_layout(build, tree):
    root = tree(*(f"in/{name}" for name in ONE_CASE))
    dataset = build("brats", channels=["t2", "flair"])
    (case,) = dataset.find_input(root / "in")
    assert dataset.find_input(root / "in" / "A") == [case]
    assert (case.id, list(case.channels), case.label) == ("A", ["t2", "flair"], root / "in/A/A_seg.nii.gz")


def test_a_case_folder_given_as_a_dot_has_its_own_name(build, tree, monkeypatch):
    monkeypatch.chdir(tree(*ONE_CASE) / "A")
    assert [case.id for case in build("brats").find_input(Path())] == ["A"]


def test_numbered_channels_are_in_the_order_of_the_model(build, tree):
    root = tree("in/P_0000.nii.gz", "in/P_0001.nii.gz", "in/Q_0000.nii", "in/Q_0001.nii")
    cases = build("brats", channels=["t2", "flair"]).find_input(root / "in")
    assert [(case.id, {name: source.path.name for name, source in case.channels.items()}) for case in cases] == [
        ("P", {"t2": "P_0000.nii.gz", "flair": "P_0001.nii.gz"}),
        ("Q", {"t2": "Q_0000.nii", "flair": "Q_0001.nii"}),
    ]


def test_numbered_channels_must_be_as_many_as_the_model_takes(build, tree):
    root = tree("in/P_0000.nii.gz", "in/P_0002.nii.gz")
    with pytest.raises(InputError) as error:
        build("brats", channels=["t2", "flair"]).find_input(root / "in")
    assert str(error.value) == (
        "SK-D003: 1 case of 1 cannot be used\n"
        "  P: channel flair: looked for P_0001.nii.gz, there is P_0000.nii.gz, P_0002.nii.gz\n"
        "  P: expected 2 channels, got also P_0002.nii.gz\n"
        f"  where:    {root / 'in'}\n  remedy:   complete these cases, or take their folders away"
    )


def test_single_files_are_cases_of_a_one_channel_model(build, tree):
    root = tree("in/b.nii.gz", "in/a.nii", "in/._a.nii", "in/notes.txt")
    cases = build("brats", channels=["flair"]).find_input(root / "in")
    assert [(case.id, case.channels["flair"].path.name) for case in cases] == [("a", "a.nii"), ("b", "b.nii.gz")]


def test_the_same_stem_twice_is_a_duplicate(build, tree):
    root = tree("in/a.nii.gz", "in/a.nii")
    with pytest.raises(InputError, match="SK-D004: 1 case id found more than once\n  a: "):
        build("brats", channels=["flair"]).find_input(root / "in")


def test_single_files_do_not_tell_the_channels_of_a_larger_model(build, tree):
    root = tree("in/a.nii.gz")
    with pytest.raises(InputError) as error:
        build("brats", channels=["t2", "flair"]).find_input(root / "in")
    assert str(error.value) == (
        "SK-D012: the files of this folder do not say which channel they are; the model takes 2: t2, flair\n"
        f"  where:    {root / 'in'}\n"
        "  expected: a folder a case, holding *_t2.nii.gz, *_flair.nii.gz, *_seg.nii.gz; "
        "or <case>_0000.nii.gz to <case>_0001.nii.gz in the order t2, flair\n"
        "  got:      a.nii.gz"
    )


def test_a_folder_without_a_case_says_what_would_be_one(build, tree):
    root = tree("in/")
    with pytest.raises(InputError) as error:
        build("btcv").find_input(root / "in")
    assert str(error.value) == (
        f"SK-D013: no case in this folder\n  where:    {root / 'in'}\n"
        "  expected: img/img0001.nii.gz and label/label0001.nii.gz (or imagesTr and labelsTr); or <case>_0000.nii.gz ...; "
        "or NIfTI files of a one-channel model\n  got:      nothing"
    )


def test_one_file_is_a_case_of_a_one_channel_model(build, tree):
    root = tree("scan_0000.nii.gz")
    (case,) = build("brats", channels=["flair"]).find_input(root / "scan_0000.nii.gz")
    assert (case.id, case.channels["flair"].path) == ("scan", root / "scan_0000.nii.gz")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "scan.nii.gz",
            "SK-D011: one file cannot be a case: the model takes 2 channels, t2, flair\n  where:    {path}\n"
            "  remedy:   give the case's folder, or --channels t2=FILE,flair=FILE",
        ),
        ("scan.nrrd", "SK-D014: not a NIfTI file\n  where:    {path}\n  expected: a name ending in .nii.gz or .nii, or a folder"),
        (
            "none",
            "SK-D010: no such file or folder\n  where:    {path}\n"
            "  expected: a NIfTI file, or a folder: a folder a case, holding *_t2.nii.gz, *_flair.nii.gz, *_seg.nii.gz",
        ),
    ],
)
def test_a_file_that_is_no_case_says_why(build, tree, name, message):
    root = tree("scan.nii.gz", "scan.nrrd")
    with pytest.raises(InputError) as error:
        build("brats", channels=["t2", "flair"]).find_input(root / name)
    assert str(error.value) == message.format(path=root / name)


def test_a_resolved_data_set_predicts_where_its_root_is_not(build, tree):
    root = tree("msd/imagesTr/a.nii.gz", "msd/labelsTr/a.nii.gz", "in/b.nii.gz")
    listed = [{"image": "imagesTr/a.nii.gz", "label": "labelsTr/a.nii.gz"}]
    description = {"modality": {"0": "T1", "1": "T2"}, "labels": {"0": "bg", "7": "tumor"}, "training": listed}
    (root / "msd/dataset.json").write_text(json.dumps(description))
    resolved = build("msd", root=str(root / "msd"), channels=["T2"]).resolved()
    elsewhere = datasets.build(json.loads(json.dumps(described(resolved))) | {"root": "/nowhere"})
    (case,) = elsewhere.find_input(root / "in")
    assert (case.channels["T2"].component, elsewhere.class_map.written_values) == (1, (0, 7))


def test_a_recipe_says_where_the_mistake_is():

    class Recipe(Settings):
        dataset: Annotated[Dataset, datasets]

    value = {"dataset": {"name": "brats", "root": "data", "split": {"test": 1}, "classes": {"core": 1}, "rare_classes": ["cor"]}}
    with pytest.raises(InputError) as error:
        parse(Recipe, Document(value, {(): Origin("train.yaml", None, Path("/"))}))
    assert str(error.value).splitlines()[1] == "train.yaml: dataset.rare_classes: no class is named 'cor'; did you mean 'core'?"
