"""Pictures of a case: where the patient's right is, what is cut out, which slices are shown."""

import base64
import io

import nibabel
import numpy as np
import pytest
from matplotlib.image import imread
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform

from segkit.config.errors import InputError
from segkit.report.overlay import Look, around, look_at, panels


def look(label: np.ndarray, prediction: np.ndarray | None = None, classes: tuple[str, ...] = ("a",), spacing=(1.0, 1.0, 1.0)) -> Look:
    gray = np.where(label > 0, np.uint8(200), np.uint8(40))
    numbers = tuple(tuple(range(size)) for size in label.shape)
    return Look("case", classes, {"t1": gray}, label, np.zeros_like(label) if prediction is None else prediction, spacing, numbers)


def gray_of(strip: str) -> np.ndarray:
    kind, _, content = strip.partition(";base64,")
    assert kind == "data:image/jpeg"
    return imread(io.BytesIO(base64.b64decode(content)), format="jpg")[..., 0]


def case_files(made, case: str):
    return next(files for files in made.recipe.dataset.splits().test if files.id == case)


def test_the_patients_right_front_and_top_are_at_the_upper_left():
    label = np.zeros((3, 4, 5), dtype=np.uint8)
    label[0, 0, 0] = 1  # the rightmost, foremost, uppermost voxel of a volume that runs to the left, the back and down
    for panel in panels(look(label), 40):
        assert (panel.numbers[panel.start], panel.label[panel.start]) == (0, ("M0 0h1v1h-1z",))
    axial, coronal, sagittal = panels(look(label), 40)
    assert [(panel.columns, panel.rows) for panel in (axial, coronal, sagittal)] == [(3, 4), (3, 5), (4, 5)]


@pytest.mark.parametrize("codes", ["RAS", "LPI", "LAS", "SPR", "ASL"])
def test_a_scan_is_shown_the_same_however_it_is_stored(make, codes):
    """A case stored in another order of axes gives the same pictures."""
    made = make(moves={"a": 1})
    expected = panels(look_at(made.run, made.recipe, case_files(made, "a")), 40)
    move = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    for path in [*(made.root / "a").iterdir(), made.run.predictions / "a.nii.gz"]:
        image = nibabel.load(path)
        array, affine = np.asarray(image.dataobj).copy(), image.affine @ inv_ornt_aff(move, image.shape)
        nibabel.Nifti1Image(np.ascontiguousarray(apply_orientation(array, move)), affine).to_filename(path)
    for panel, other in zip(panels(look_at(made.run, made.recipe, case_files(made, "a")), 40), expected, strict=True):
        assert (panel.label, panel.prediction, panel.strips) == (other.label, other.prediction, other.strips)
        assert (panel.width_mm, panel.height_mm) == pytest.approx((other.width_mm, other.height_mm))


def test_a_slice_bears_the_number_it_has_in_the_file(make):
    made = make(moves={"a": 0})
    axial, coronal, sagittal = panels(look_at(made.run, made.recipe, case_files(made, "a")), 40)
    # stored as RAS: all three axes are run backwards, and the margin of 10 mm reaches the borders except along z, where it is 5 voxels
    assert (axial.numbers, coronal.numbers, sagittal.numbers) == (
        tuple(range(15, -1, -1)),
        tuple(range(23, -1, -1)),
        tuple(range(19, -1, -1)),
    )
    assert (axial.numbers[axial.start], coronal.numbers[coronal.start], sagittal.numbers[sagittal.start]) == (10, 15, 13)


def test_what_is_labeled_or_predicted_is_cut_out_with_a_margin():
    shown = np.zeros((100, 100, 100), dtype=bool)
    shown[50:52, 3, 99] = True
    assert around(shown, (1.0, 2.0, 4.0)) == (slice(40, 62), slice(0, 9), slice(96, 100))
    assert around(np.zeros((3, 4, 5), dtype=bool), (1.0, 1.0, 1.0)) == (slice(0, 3), slice(0, 4), slice(0, 5))


def test_the_first_slice_has_the_most_labeled_voxels_else_predicted_else_is_in_the_middle():
    label, prediction = (np.zeros((4, 4, 9), dtype=np.uint8) for _ in range(2))
    assert panels(look(label, prediction), 40)[0].start == 4
    prediction[:, :, 7] = 1
    assert panels(look(label, prediction), 40)[0].start == 7
    label[:2, 0, 2] = 1
    label[0, 0, 3] = 1
    assert panels(look(label, prediction), 40)[0].start == 2


@pytest.mark.parametrize(("slices", "numbers"), [(40, tuple(range(9))), (9, tuple(range(9))), (4, (1, 4, 7)), (1, (4,))])
def test_fewer_slices_are_at_equal_distances_with_the_first_one_among_them(slices, numbers):
    label = np.zeros((4, 4, 9), dtype=np.uint8)
    label[0, 0, 4] = 1
    panel = panels(look(label), slices)[0]
    assert len(panel.numbers) <= slices
    assert panel.numbers == numbers
    assert panel.numbers[panel.start] == 4


def test_a_strip_holds_the_slices_one_below_the_other_with_a_voxel_around_each():
    label = np.zeros((30, 20, 3), dtype=np.uint8)
    label[5:25, 4:16, 1] = 1
    panel = panels(look(label), 40)[0]
    strip = gray_of(panel.strips["t1"])
    assert strip.shape == (3 * (20 + 2), 30 + 2)
    assert (strip[22 + 1 + 6 : 22 + 1 + 14, 1 + 7 : 1 + 23] > 180).all()  # inside the mask of the second slice
    assert (strip[:20] < 60).all()
    assert (strip[46:] < 60).all()


def test_each_class_has_an_outline_of_its_own():
    label = np.zeros((2, 1, 1), dtype=np.uint8)
    label[:, 0, 0] = (2, 1)
    panel = panels(look(label, label, ("a", "b")), 40)[0]
    assert panel.label == panel.prediction == (("M1 0h1v1h-1z", "M0 0h1v1h-1z"),)


def test_ignored_voxels_are_not_drawn():
    label = np.full((2, 2, 2), 255, dtype=np.uint8)
    assert panels(look(label), 40)[0].label == (("",), ("",))


def test_a_large_slice_is_shown_with_every_second_voxel_and_its_true_size():
    label = np.zeros((300, 100, 2), dtype=np.uint8)
    label[100:200, 20:80] = 1
    axial, coronal, _ = panels(look(label, spacing=(0.5, 1.0, 3.0)), 40)
    assert (axial.columns, axial.rows, axial.width_mm, axial.height_mm) == (150, 50, 150.0, 100.0)
    assert axial.label[0] == ("M50 10h50v30h-50z",)
    assert (coronal.columns, coronal.rows, coronal.height_mm) == (150, 1, 6.0)
    assert gray_of(axial.strips["t1"]).shape == (2 * 52, 152)


def test_a_window_of_the_recipe_is_the_window_of_the_picture(make):
    made = make(moves={"a": 0}, preprocess__intensity={"name": "window", "low": 0, "high": 200})
    assert look_at(made.run, made.recipe, case_files(made, "a")).channels["t1"].max() == 255
    wide = make(moves={"a": 0}, preprocess__intensity={"name": "window", "low": 0, "high": 20_000})
    assert look_at(wide.run, wide.recipe, case_files(wide, "a")).channels["t1"].max() <= 6  # of 20,000 at most 430


def test_a_prediction_on_another_grid_is_an_error(make):
    made = make(moves={"a": 0})
    path = made.run.predictions / "a.nii.gz"
    nibabel.Nifti1Image(np.zeros((20, 24, 15), dtype=np.uint8), np.diag([1.0, 1.0, 2.0, 1.0])).to_filename(path)
    with pytest.raises(InputError) as error:
        look_at(made.run, made.recipe, case_files(made, "a"))
    assert str(error.value) == (
        f"SK-W020: prediction and scan are on different grids\n  where:    {path}\n"
        f"  expected: the grid of {made.root}/a/t1.nii.gz\n  got:      shape 20 x 24 x 16 and 20 x 24 x 15"
    )
