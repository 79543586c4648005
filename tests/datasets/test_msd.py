"""Decathlon: the list in dataset.json, components of 4D files, labels as classes."""

import json

import pytest

from segkit.config.errors import InputError

TASK = {
    "modality": {"0": "FLAIR", "1": "T1w"},
    "labels": {"0": "background", "1": "edema", "2": "tumor"},
    "training": [
        {"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"},
        {"image": "./imagesTr/b.nii.gz", "label": "./labelsTr/b.nii.gz"},
    ],
}
FILES = ("imagesTr/a.nii.gz", "imagesTr/b.nii.gz", "labelsTr/a.nii.gz", "labelsTr/b.nii.gz", "imagesTs/c.nii.gz", "imagesTs/._c.nii.gz")


def described(root, **changes):
    (root / "dataset.json").write_text(json.dumps(TASK | changes))
    return root


def test_the_real_hippocampus_and_its_split_are_read(build, shared_data):
    root = shared_data / "Task04_Hippocampus"
    dataset = build("msd", root=str(root), split={"file": str(root / "split.json")}, train_fraction=0.05)
    assert dataset.channel_names == ("MRI",)
    assert dataset.class_map.classes == {"Anterior": (1,), "Posterior": (2,)}
    assert len(dataset.find()) == 195
    listed = json.loads((root / "split.json").read_text())
    splits = dataset.splits()
    assert [case.id for case in splits.training] == listed["train_order"][:8]  # 0.05 * 150 = 7.5 -> 8
    assert [case.id for case in splits.test] == listed["test"]
    assert splits.training[0].channels["MRI"].component is None


@pytest.mark.parametrize(("fraction", "count"), [(0.05, 8), (0.1, 15), (0.2, 30), (0.5, 75), (1.0, 150)])
def test_the_real_subsets_have_their_published_sizes(build, shared_data, fraction, count):
    root = shared_data / "Task04_Hippocampus"
    assert len(build("msd", root=str(root), split={"file": str(root / "split.json")}, train_fraction=fraction).splits().training) == count


def test_real_images_without_labels_are_single_files(build, shared_data):
    root = shared_data / "Task04_Hippocampus"
    cases = build("msd", root=str(root)).find_input(root / "imagesTr")
    assert (len(cases), cases[0].id, cases[0].label) == (195, "hippocampus_003", None)


def test_channels_are_components_in_the_order_of_the_file(build, tree):
    described(tree(*FILES))
    dataset = build("msd", channels=["T1w", "FLAIR"])
    assert dataset.channel_names == ("T1w", "FLAIR")
    assert [(name, source.component) for name, source in dataset.find()[0].channels.items()] == [("T1w", 1), ("FLAIR", 0)]


def test_test_images_count_as_input_only(build, tree):
    root = described(tree(*FILES))
    dataset = build("msd")
    assert [case.id for case in dataset.find()] == ["a", "b"]
    assert [case.id for case in dataset.find_input(root)] == ["a", "b", "c"]
    assert [(case.id, case.channels["T1w"].component) for case in dataset.find_input(root / "imagesTs")] == [("c", 1)]


def test_numbered_files_are_channels_of_their_own_not_4d_images(build, tree):
    root = described(tree("in/x_0000.nii.gz", "in/x_0001.nii.gz"))
    (case,) = build("msd").find_input(root / "in")
    assert {name: (source.path.name, source.component) for name, source in case.channels.items()} == {
        "FLAIR": ("x_0000.nii.gz", None),
        "T1w": ("x_0001.nii.gz", None),
    }


def test_every_listed_file_that_is_not_there_is_named(build, tree):
    root = described(tree("imagesTr/a.nii.gz", "labelsTr/b.nii.gz"))
    with pytest.raises(InputError) as error:
        build("msd").find()
    assert str(error.value) == (
        "SK-D003: 2 cases of 2 cannot be used\n"
        f"  a: label: looked for {root}/labelsTr/a.nii.gz, there is no such file\n"
        f"  b: image: looked for {root}/imagesTr/b.nii.gz, there is no such file\n"
        f"  where:    {root}\n  remedy:   complete these cases, or take their folders away"
    )


def test_a_listed_case_without_its_label_can_be_predicted(build, tree):
    root = described(tree("imagesTr/a.nii.gz"), training=TASK["training"][:1])
    assert [(case.id, case.label) for case in build("msd").find_input(root)] == [("a", None)]


def test_the_newer_form_is_read_alike(build, tree):
    described(tree(*FILES), modality=None, channel_names={"0": "FLAIR", "1": "T1w"}, labels={"background": 0, "edema": 1, "tumor": 2})
    dataset = build("msd")
    assert (dataset.channel_names, dataset.class_map.classes) == (("FLAIR", "T1w"), {"edema": (1,), "tumor": (2,)})


def test_the_recipe_s_classes_come_first(build, tree):
    described(tree(*FILES))
    assert build("msd", classes={"lesion": [1, 2]}).class_map.classes == {"lesion": (1, 2)}


@pytest.mark.parametrize(
    ("changes", "fields", "message"),
    [
        ({}, {"channels": ["T1"]}, "SK-D033: channels: no channel is named 'T1'; did you mean 'T1w'?"),
        ({}, {"rare_classes": ["tumour"]}, "SK-D006: the data set's own classes cannot be used"),
        ({"modality": {"1": "T1w"}}, {}, "SK-D030: the channels cannot be read"),
        ({"modality": {"0": "MRI", "1": "MRI"}}, {}, "SK-D031: two channels have the same name"),
        ({"labels": ["edema"]}, {}, "SK-D032: the labels cannot be read"),
        ({"labels": {"one": "edema"}}, {}, "SK-D032: the labels cannot be read"),
        ({"labels": {"1": "edema", "2": "edema"}}, {}, "SK-D036: two labels have the same name"),
        ({"training": [{"image": "a.nii.gz"}]}, {}, "SK-D034: the list of training cases cannot be read"),
    ],
)
def test_a_description_that_cannot_be_used_says_why(build, tree, changes, fields, message):
    root = described(tree(*FILES), **changes)
    with pytest.raises(InputError) as error:
        (lambda dataset: (dataset.find(), dataset.class_map))(build("msd", **fields))
    assert str(error.value).splitlines()[0] == message
    assert str(error.value.where).startswith(str(root))


def test_channels_of_one_name_can_be_named_apart(build, tree):
    described(tree(*FILES), modality={"0": "MRI", "1": "MRI"})
    dataset = build("msd", file_channels=["first", "second"], channels=["second"])
    assert dataset.find()[0].channels["second"].component == 1
    assert dataset.class_map.classes == {"edema": (1,), "tumor": (2,)}


def test_a_folder_without_a_description_says_so(build, tree):
    root = tree("imagesTr/a.nii.gz")
    with pytest.raises(InputError, match="SK-D020: cannot read the file: No such file or directory") as error:
        build("msd").find()
    assert error.value.where == root / "dataset.json"
