"""Maps of models that were not trained here: the same voxels, the same margins, and every way a folder can be wrong."""

import json

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from segkit.analysis.external import Maps, class_map_of, read_split, sample_maps
from segkit.analysis.observe import case_keys
from segkit.analysis.shift import shifts
from segkit.config.errors import InputError
from segkit.engine.console import Console
from segkit.volume import nifti
from segkit.volume.nifti import Volume

AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])
SHAPE = (6, 5, 4)
NAMES = ("background", "liver", "kidneys")
VALUES = {"liver": (6,), "kidneys": (2, 3)}
QUIET = Console("quiet")


def write(path, array, affine=AFFINE):
    path.parent.mkdir(exist_ok=True)
    nifti.write(path, array, Volume.new(array, affine))


class Folder:
    """Two cases with a label and a map a class: `logits`, and `probabilities` of the same."""

    def __init__(self, root):
        self.root, self.logits, self.labels = root, {}, {}
        for seed, case in enumerate("ab"):
            rng = np.random.default_rng(seed)
            self.logits[case] = rng.normal(0, 3, size=(3, *SHAPE)).astype(np.float32)
            label = rng.choice(np.array([0, 2, 3, 6, 9], np.uint8), size=SHAPE)  # 9 is in no list
            write(root / f"labels/{case}.nii.gz", label)
            self.labels[case] = root / f"labels/{case}.nii.gz"
            for name, z, p in zip(NAMES, self.logits[case], softmax(self.logits[case], axis=0), strict=True):
                write(root / f"logits/{case}_{name}.nii.gz", z)
                write(root / f"probabilities/{case}_{name}.nii.gz", p)

    def sample(self, folder="logits", voxels=5, splits=None):
        maps = Maps(self.root / folder, class_map_of(VALUES, self.root), "logit" if folder == "logits" else "log_probability")
        return sample_maps(maps, self.labels, splits or {"training": ["a"], "test": ["b"]}, voxels, QUIET)


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def test_of_each_class_the_voxels_with_the_lowest_keys_are_sampled(folder):
    sample, failed = folder.sample()
    assert failed == []
    assert (sample.classes, sample.scale) == (NAMES, "logit")
    label = nifti.read_label(folder.labels["b"]).array
    for index, values in enumerate(((0, 9), (6,), (2, 3))):
        key = np.where(np.isin(label, values), case_keys("b", SHAPE), np.inf).ravel()
        expected = folder.logits["b"].reshape(3, -1).T[np.argsort(key)[:5]]
        np.testing.assert_array_equal(next(sample.of("test", index)), expected)


def test_probabilities_give_the_margins_of_their_logits(folder):
    by_logits, by_probabilities = (shifts(folder.sample(name)[0]) for name in ("logits", "probabilities"))
    compared = 0
    for one, other in zip(by_logits, by_probabilities, strict=True):
        if one.quantity != "logit":
            compared += 1
            assert one.quantity == other.quantity
            np.testing.assert_allclose([other.training.mean, other.test.mean], [one.training.mean, one.test.mean], atol=2e-4)
    assert compared == 3 * 5
    sample = folder.sample("probabilities", voxels=1000)[0]
    expected = log_softmax(folder.logits["a"].reshape(3, -1), axis=0).mean(axis=1)
    np.testing.assert_allclose(sample.cases[0].logits.mean(axis=0), expected, atol=1e-3)


def test_a_probability_of_zero_counts_as_the_smallest_float32(folder):
    array = np.zeros(SHAPE, np.float32)
    write(folder.root / "probabilities/b_liver.nii.gz", array)
    sample, failed = folder.sample("probabilities")
    assert failed == []
    lowest = next(sample.of("test", 1))[:, 1]
    np.testing.assert_allclose(lowest, np.log(np.finfo(np.float32).tiny), rtol=1e-6)


def error_of(folder, name="logits"):
    sample, failed = folder.sample(name)
    assert [case for case, _ in failed] == ["b"]
    assert [each.case for each in sample.cases] == ["a"], "the other case is in the sample all the same"
    return str(failed[0][1])


def test_a_missing_map_is_named_and_the_others_are_sampled(folder):
    path = folder.root / "logits/b_liver.nii.gz"
    path.unlink()
    assert error_of(folder) == (
        "SK-A010: no map of the class liver\n"
        f"  where:    {path}\n"
        "  expected: a map of each of background, liver, kidneys\n"
        "  remedy:   write the maps of all classes, the background too, or name the classes as the files do with --classes"
    )


def test_a_map_that_is_not_packed_is_found_too(folder):
    path = folder.root / "logits/b_liver.nii.gz"
    expected = folder.sample()[0].cases[1].logits
    path.unlink()
    write(folder.root / "logits/b_liver.nii", folder.logits["b"][1])
    np.testing.assert_array_equal(folder.sample()[0].cases[1].logits, expected)


def test_a_map_on_another_grid_is_refused(folder):
    path = folder.root / "logits/b_kidneys.nii.gz"
    write(path, folder.logits["b"][2], np.diag([1.0, 1.0, 3.0, 1.0]))
    assert error_of(folder) == (
        "SK-A014: map and label are on different grids\n"
        f"  where:    {path}\n"
        f"  expected: the grid of {folder.labels['b']}\n"
        "  got:      spacing 1 x 1 x 3 and 1 x 1 x 2 mm\n"
        "  remedy:   write the maps on the grid of the scan that was labeled"
    )


def test_logits_are_not_taken_for_probabilities(folder):
    path = folder.root / "probabilities/b_background.nii.gz"
    write(path, np.linspace(-2, 3, np.prod(SHAPE), dtype=np.float32).reshape(SHAPE))
    assert error_of(folder, "probabilities") == (
        "SK-A015: values that are no probabilities\n"
        f"  where:    {path}\n"
        "  expected: 0 to 1\n"
        "  got:      -2 to 3\n"
        "  remedy:   name the folder with --logits if these are logits"
    )


def test_a_damaged_map_is_reported_with_its_case(folder):
    (folder.root / "logits/b_liver.nii.gz").write_bytes(b"no scan")
    assert error_of(folder).startswith("SK-V032: ")


def split_error(folder, content):
    path = folder.root / "split.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError) as error:
        read_split(path, folder.labels)
    return str(error.value), path


def test_a_split_file_says_which_cases_are_which(folder):
    path = folder.root / "split.json"
    path.write_text('{"training": ["b"], "test": ["a"], "note": 1}')
    assert read_split(path, folder.labels) == {"training": ["b"], "test": ["a"]}


def test_without_a_split_file_every_labeled_case_is_a_test_case(folder):
    assert read_split(None, folder.labels) == {"training": [], "test": ["a", "b"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"training": ["a"], "test": ["c", "b", "d"]},
            "SK-A013: the split file names cases without a label\n  where:    {path}\n"
            "  expected: ids among the 2 labels, such as a\n  got:      c, d",
        ),
        ({"training": ["a"]}, "SK-A011: the split file's `test` cannot be used\n  where:    {path}\n"
            "  expected: a list of case ids\n  got:      no such key"),
        ({"training": "a", "test": ["b"]}, "SK-A011: the split file's `training` cannot be used\n  where:    {path}\n"
            "  expected: a list of case ids\n  got:      'a'"),
        (
            {"training": ["a", "b"], "test": ["b"]},
            "SK-A012: cases that stand twice in the split file\n  where:    {path}\n  expected: each case once\n  got:      b",
        ),
    ],
)  # fmt: skip
def test_a_split_file_that_cannot_be_used_is_refused(folder, content, message):
    said, path = split_error(folder, content)
    assert said == message.format(path=path)


def test_the_background_is_no_class_of_its_own(tmp_path):
    with pytest.raises(InputError) as error:
        class_map_of({"background": (0,), "liver": (6,)}, tmp_path / "names.yaml")
    assert str(error.value) == (
        f"SK-A016: the background is named as a class\n  where:    {tmp_path / 'names.yaml'}\n"
        "  expected: the other classes: every value that is named nowhere is background"
    )
