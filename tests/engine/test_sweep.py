"""The threshold sweep: values by hand, shift 0 as written, the threshold a shift stands for, laws, files."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segkit.cli.scoreboard import sweep_lines
from segkit.config.errors import InputError
from segkit.engine.console import Console
from segkit.engine.curves import METRICS, SHIFTS, Sweep, write_sweep
from segkit.engine.evaluate import Scoring
from segkit.engine.infer import keep_largest
from segkit.engine.run import Run
from segkit.engine.sweep import Duel, Sweeper, sweep_run
from segkit.volume import nifti
from segkit.volume.geometry import Native
from segkit.volume.labels import ClassMap
from segkit.volume.nifti import Volume

ONE_MM = (1.0, 1.0, 1.0)
TWO = Scoring(METRICS, {"lesion": (1,)}, ClassMap({"lesion": (4,)}))
FOUR = Scoring(METRICS, {"organ": (1,), "lesion": (2,), "cyst": (3,)}, ClassMap({"organ": (1,), "lesion": (2,), "cyst": (3,)}))


def line(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.uint8).reshape(-1, 1, 1)


def fields(*classes: list[float]) -> list[np.ndarray]:
    """The probability of each class over a line of voxels."""
    return [np.array(values, dtype=np.float32).reshape(-1, 1, 1) for values in classes]


def two_classes(*lesion: float) -> list[np.ndarray]:
    (field,) = fields(list(lesion))
    return [1 - field, field]


def shares(classes: int, voxels: int = 12) -> st.SearchStrategy[np.ndarray]:
    """Probabilities [C, voxels, 1, 1] with many ties and many zeros: shares of eighths, which float32 holds exactly."""
    cuts = arrays(np.int64, (classes - 1, voxels), elements=st.integers(0, 8)).map(lambda cut: np.sort(cut, axis=0))
    parts = cuts.map(lambda cut: np.diff(cut, axis=0, prepend=0, append=8) / 8)
    return parts.map(lambda part: part.astype(np.float32)[..., None, None])


def values_at(sweeper: Sweeper, probabilities: list[np.ndarray], label: np.ndarray) -> dict[float, list[float | None]]:
    rows = sweeper.rows("a", Duel.of(probabilities, sweeper.shifted), label, ONE_MM)
    return {shift: [row.value for row in found] for shift, found in rows.items()}


def test_the_grid_is_symmetric_and_holds_what_was_predicted():
    assert tuple(-shift for shift in reversed(SHIFTS)) == SHIFTS
    assert 0.0 in SHIFTS
    assert (SHIFTS[0], SHIFTS[-1], len(SHIFTS)) == (-4.0, 4.0, 17)


def test_scores_of_a_binary_case_by_hand():
    # thresholds 1 / (1 + e^b): 0.018 at b = 4, 0.182 at 1.5, 0.269 at 1, 0.378 at 0.5, 0.5 at 0, 0.881 at -2, 0.924 at -2.5
    found = values_at(Sweeper(TWO, (1,)), two_classes(0.9, 0.4, 0.2, 0.01), line(1, 1, 0, 0))
    missed, one, both, three = [0.0, 0.0, None], [2 / 3, 1 / 2, 1.0], [1.0, 1.0, 1.0], [4 / 5, 1.0, 2 / 3]
    by_hand = {-4.0: missed, -3.5: missed, -3.0: missed, -2.5: missed}
    by_hand |= {-2.0: one, -1.5: one, -1.0: one, -0.5: one, 0.0: one, 0.5: both, 1.0: both}
    by_hand |= dict.fromkeys((1.5, 2.0, 2.5, 3.0, 3.5, 4.0), three)
    assert found == by_hand


def test_a_shift_raises_the_rare_class_over_the_common_one_and_the_background_alike():
    background, organ, lesion, cyst = [0.6, 0.1, 0.1, 0.4], [0.1, 0.6, 0.1, 0.1], [0.2, 0.2, 0.7, 0.3], [0.1, 0.1, 0.1, 0.2]
    duel = Duel.of(fields(background, organ, lesion, cyst), (2,))
    assert duel.at(0.0).ravel().tolist() == [0, 1, 2, 0]
    assert duel.at(0.5).ravel().tolist() == [0, 1, 2, 2]  # 0.3 e^0.5 = 0.49 > 0.4
    assert duel.at(1.5).ravel().tolist() == [2, 2, 2, 2]  # 0.2 e^1.5 = 0.90 > 0.6
    assert duel.at(-2.0).ravel().tolist() == [0, 1, 0, 0]  # 0.7 e^-2 = 0.09 < 0.1: the lower of three that tie


@settings(deadline=None)
@given(st.sampled_from([2, 4]).flatmap(shares), st.data())
def test_every_shift_is_the_argmax_of_the_multiplied_probabilities_and_shift_0_that_of_the_plain_ones(stack, data):
    shifted = data.draw(st.sets(st.integers(1, len(stack) - 1), min_size=1))
    duel = Duel.of(list(stack), shifted)
    raised = np.isin(np.arange(len(stack)), list(shifted))[:, None, None, None]
    np.testing.assert_array_equal(duel.at(0.0), stack.argmax(0))
    for shift in SHIFTS:
        factor = np.where(raised, np.float32(math.exp(shift)), np.float32(1))
        np.testing.assert_array_equal(duel.at(shift), (stack * factor).argmax(0))


def test_a_shift_of_a_binary_case_is_the_threshold_it_stands_for():
    probability = np.arange(1001) / 1000
    duel = Duel.of(two_classes(*probability), (1,))
    for shift in SHIFTS:
        np.testing.assert_array_equal(duel.at(shift).ravel() == 1, probability > 1 / (1 + math.exp(shift)))


@settings(deadline=None)
@given(st.sampled_from([2, 4]).flatmap(shares), arrays(np.uint8, (12, 1, 1), elements=st.integers(0, 3)), st.data())
def test_sensitivity_of_a_shifted_class_never_falls_with_the_shift(stack, label, data):
    label = np.minimum(label, len(stack) - 1)
    shifted = data.draw(st.sets(st.integers(1, len(stack) - 1), min_size=1))
    found = values_at(Sweeper(TWO if len(stack) == 2 else FOUR, tuple(shifted)), list(stack), label)
    for index in shifted:
        sensitivity = [values[3 * (index - 1) + 1] for values in found.values()]
        assert sensitivity == sorted(sensitivity) if (label == index).any() else set(sensitivity) == {None}


def test_certain_background_stays_background_at_every_shift_and_nothing_overflows():
    smallest = float(np.finfo(np.float32).smallest_subnormal)
    duel = Duel.of(fields([1, 1, 0], [0, smallest, 0], [0, 0, 1]), (1, 2))
    with np.errstate(all="raise", under="ignore"):
        assert {tuple(duel.at(shift).ravel().tolist()) for shift in SHIFTS} == {(0, 0, 2)}


@pytest.mark.parametrize("kept", [(), ((1,),), ((1, 2), (3,))])
def test_a_box_around_what_can_change_gives_the_scores_of_the_whole_volume(kept):
    rng = np.random.default_rng(0)
    stack = rng.dirichlet((40.0, 1.0, 1.0, 1.0), (9, 8, 7)).astype(np.float32).transpose(3, 0, 1, 2)
    stack[:, :3] = stack[:, :, :2] = np.array([1, 0, 0, 0], dtype=np.float32)[:, None, None, None]
    label = np.zeros(stack.shape[1:], dtype=np.uint8)
    label[5:, 4:6, 3:] = rng.integers(0, 4, (4, 2, 4))
    label[8, 7, 6] = 255
    sweeper = Sweeper(FOUR, (2, 3), kept)
    duel = Duel.of(list(stack), sweeper.shifted)
    rows = sweeper.rows("a", duel, label, ONE_MM)
    assert rows == {shift: FOUR.rows("a", sweeper.label_map(duel, shift), label, ONE_MM) for shift in SHIFTS}
    assert len({row.value for found in rows.values() for row in found}) > 10


def test_the_largest_part_is_kept_at_every_shift():
    sweeper = Sweeper(TWO, (1,), kept=((1,),))
    duel = Duel.of(two_classes(0.9, 0.9, 0.3, 0.9), (1,))
    assert sweeper.label_map(duel, 0.0).ravel().tolist() == [1, 1, 0, 0]
    assert sweeper.label_map(duel, 1.0).ravel().tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("spacing", [None, (1.5, 1.5, 2.0)], ids=["kept", "resampled"])
@pytest.mark.parametrize("kept", [(), ((1, 2),)], ids=["whole", "largest part"])
def test_shift_0_of_the_written_fields_is_the_label_map_as_prediction_makes_it(spacing, kept):
    affine = np.diag([-1.0, 1.0, 1.2, 1.0])
    native = Native.plan((20, 18, 16), affine, "RAS", spacing)
    native = native.cropped((2, 1, 1), tuple(size - 2 for size in native.resampled))
    stack = np.random.default_rng(1).dirichlet((4.0, 1.0, 1.0, 1.0), native.network_shape).astype(np.float32).transpose(3, 0, 1, 2)
    whole = native.probabilities_to_native_labels([stack])
    indices = whole.copy()
    for members in kept:
        keep_largest(indices, members)
    assert set(np.unique(indices)) == {0, 1, 2, 3}
    assert bool(kept) == (indices != whole).any()
    duel = Duel.of([native.field_to_native(field, float(index == 0)) for index, field in enumerate(stack)], (2,))
    np.testing.assert_array_equal(Sweeper(FOUR, (2,), kept).label_map(duel, 0.0), indices)


def test_the_rare_classes_are_shifted_and_all_classes_where_none_is_named_rare(tiny):
    classes = {"edema": [2], "core": [1], "rim": [4]}
    recipe = tiny(dataset__classes=classes, evaluate__regions={"whole": ["edema", "core", "rim"]}, infer__keep_largest=["whole", "core"])
    sweeper = Sweeper.of(recipe)
    assert (sweeper.shifted, sweeper.kept) == ((1, 2, 3), ((1, 2, 3), (2,)))
    assert list(sweeper.scoring.regions) == ["edema", "core", "rim", "whole"]
    assert Sweeper.of(tiny(dataset__classes=classes, dataset__rare_classes=["rim", "core"])).shifted == (3, 2)


def saved(path: Path, array: np.ndarray, shift: float = 0.0) -> Path:
    affine = np.eye(4)
    affine[0, 3] = shift
    path.parent.mkdir(exist_ok=True)
    nifti.write(path, array, Volume.new(array, affine))
    return path


@pytest.fixture
def files(tmp_path) -> tuple[str, Path, list[Path], Path]:
    """A case whose lesion is written as 4: id, label map, probabilities by class, label."""
    background, lesion = two_classes(0.9, 0.4, 0.2, 0.01)
    paths = [saved(tmp_path / "p_background.nii.gz", background), saved(tmp_path / "p_lesion.nii.gz", lesion)]
    return "a", saved(tmp_path / "p.nii.gz", line(4, 0, 0, 0)), paths, saved(tmp_path / "l.nii.gz", line(4, 4, 0, 0))


def test_files_give_the_scores_of_their_voxels(files):
    rows = Sweeper(TWO, (1,)).score_files(*files)
    assert [(row.case, row.structure, row.metric, row.value) for row in rows[0.5]] == [
        ("a", "lesion", "dice", 1.0), ("a", "lesion", "sensitivity", 1.0), ("a", "lesion", "precision", 1.0),
    ]  # fmt: skip


def test_probabilities_of_another_prediction_are_refused(files):
    case, written, probabilities, label = files
    saved(written, line(4, 4, 0, 4))
    with pytest.raises(InputError) as error:
        Sweeper(TWO, (1,)).score_files(case, written, probabilities, label)
    assert str(error.value) == (
        "SK-E022: the label map was not made from these probabilities\n"
        f"  where:    {written}\n"
        f"  expected: the most probable classes of {written.parent}\n"
        "  got:      2 voxels of another class\n"
        "  remedy:   predict again with --probabilities --overwrite"
    )


@pytest.mark.parametrize("moved", [1, 2, 3], ids=["label map", "background", "lesion"])
def test_another_grid_is_refused_whichever_file_lies_on_it(files, moved):
    case, written, probabilities, label = files
    path = [written, *probabilities][moved - 1]
    saved(path, nifti.read(path).array, shift=3.0)
    with pytest.raises(InputError, match="SK-E021: prediction and label are on different grids") as error:
        Sweeper(TWO, (1,)).score_files(case, written, probabilities, label)
    assert (error.value.where, error.value.expected) == (path, f"the grid of {label}")


def swept(*cases: tuple[list[float], np.ndarray], split: str = "test") -> Sweep:
    """A sweep of binary cases a, b, ... from the probability of the lesion and the label."""
    rows = {shift: [] for shift in SHIFTS}
    for name, (lesion, label) in zip("abc", cases, strict=False):
        for shift, found in Sweeper(TWO, (1,)).rows(name, Duel.of(two_classes(*lesion), (1,)), label, ONE_MM).items():
            rows[shift] += found
    return Sweep(split, ("lesion",), rows)


FOUND, NOT_THERE = ([0.9, 0.4, 0.2, 0.01], line(1, 1, 0, 0)), ([0.3, 0.0, 0.0, 0.0], line(0, 0, 0, 0))


def test_means_say_how_many_cases_are_in_them_and_how_many_are_left_out():
    points = {point.shift: point for point in swept(FOUND, NOT_THERE).curves()["lesion"].points}
    assert [points[0.0].dice.mean, points[0.0].dice.cases, points[0.0].dice.left_out, points[0.0].dice.absent] == [2 / 3, 1, 1, 1]
    assert [points[1.0].dice.mean, points[1.0].dice.cases, points[1.0].dice.left_out, points[1.0].dice.spurious] == [1 / 2, 2, 0, 1]
    assert [points[1.0].sensitivity.mean, points[1.0].sensitivity.left_out] == [1.0, 1]
    assert [points[-4.0].precision.mean, points[-4.0].precision.cases, points[-4.0].precision.left_out] == [None, 0, 2]


def test_the_best_shift_has_the_largest_mean_dice_and_is_near_0_where_several_have():
    curve = swept(FOUND).curves()["lesion"]
    assert (curve.best.shift, curve.best.dice.mean, curve.written.dice.mean) == (0.5, 1.0, 2 / 3)
    assert swept(([1.0, 0.0], line(1, 0))).curves()["lesion"].best.shift == 0
    assert swept(([0.0, 0.0], line(0, 0))).curves()["lesion"].best.shift == 0


def test_the_convention_of_the_recipe_holds_at_every_shift():
    brats = Sweeper(replace(TWO, convention="brats"), (1,))
    lesion, label = NOT_THERE
    found = values_at(brats, two_classes(*lesion), label)
    assert (found[0.0], found[1.0]) == ([1.0, 1.0, 1.0], [0.0, 0.0, 0.0])


def test_the_table_of_cases_leaves_empty_what_is_not_applicable(tmp_path):
    write_sweep(tmp_path, swept(FOUND, NOT_THERE))
    with (tmp_path / "sweep.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["case", "class", "shift", "dice", "sensitivity", "precision"]
    assert [(row[0], row[1]) for row in rows] == [("a", "lesion")] * 17 + [("b", "lesion")] * 17
    assert [float(row[2]) for row in rows] == [*SHIFTS, *SHIFTS]
    by_place = {(row[0], float(row[2])): row[3:] for row in rows}
    assert by_place["a", -4.0] == ["0.0", "0.0", ""]
    assert by_place["a", 0.0] == [str(2 / 3), "0.5", "1.0"]
    assert by_place["b", 0.0] == ["", "", ""]
    assert by_place["b", 4.0] == ["0.0", "", "0.0"]


def strict_json(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda word: pytest.fail(f"not strict: {word}"))


def test_the_summary_holds_the_best_shift_and_a_point_a_shift(tmp_path):
    sweep = replace(swept(FOUND, NOT_THERE), failed=[("c", InputError("SK-V002", "unreadable"))])
    write_sweep(tmp_path, sweep)
    content = strict_json(tmp_path / "sweep.json")
    assert (content["split"], content["shifted_classes"]) == ("test", ["lesion"])
    assert content["failed"] == {"c": {"error": "SK-V002", "message": "unreadable"}}
    lesion = content["classes"]["lesion"]
    assert lesion["best_shift"] == 0.5  # 1, of the one case that has a value there; at 1 the other one has 0
    assert [point["shift"] for point in lesion["points"]] == list(SHIFTS)
    facts = {"unit": "", "mean": 0.5, "std": math.sqrt(0.5), "median": 0.5}
    facts |= {"cases": 2, "left_out": 0, "missed": 0, "spurious": 1, "absent": 0}
    assert lesion["points"][SHIFTS.index(1.0)]["dice"] == pytest.approx(facts)


def test_a_class_in_no_case_has_rows_without_values_and_no_best_shift(tmp_path):
    write_sweep(tmp_path, swept(([0.0, 0.0], line(0, 0))))
    lesion = strict_json(tmp_path / "sweep.json")["classes"]["lesion"]
    assert lesion["best_shift"] is None
    assert {(point["dice"]["mean"], point["dice"]["left_out"], point["dice"]["absent"]) for point in lesion["points"]} == {(None, 1, 1)}
    assert (tmp_path / "sweep.csv").read_text().splitlines()[1] == "a,lesion,-4.0,,,"
    assert (tmp_path / "sweep.png").stat().st_size > 0


@pytest.mark.parametrize("sweep", [swept(FOUND, NOT_THERE), swept()], ids=["cases", "none"])
def test_the_figure_is_a_picture(sweep, tmp_path):
    write_sweep(tmp_path, sweep)
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sweep.csv", "sweep.json", "sweep.png"]


def test_a_class_may_be_called_anything_a_file_may(tmp_path):
    rows = {shift: [replace(row, structure=r"$\frac{1$") for row in found] for shift, found in swept(FOUND).rows.items()}
    write_sweep(tmp_path, Sweep("test", ("lesion",), rows))
    assert (tmp_path / "sweep.png").exists()


def test_the_printed_table_by_hand():
    assert sweep_lines(swept(FOUND)) == [
        "mean±standard deviation over n cases; (k): over the k cases that have a value",
        "m/s/a: cases in which the class is missed, spurious or absent",
        "shift b: the probability of lesion is multiplied by e^b before the most probable class is taken",
        "best: the largest mean Dice on these test cases; a shift chosen on the cases it is scored on is a diagnosis, not a result",
        "",
        "class       shift  n  m/s/a            dice            sens            prec",
        "---------------------------------------------------------------------------",
        "lesion          0  1  0/0/0           0.667           0.500           1.000",
        "        best +0.5     0/0/0           1.000           1.000           1.000",
        "         -4 to +4            0.000 to 1.000  0.000 to 1.000  0.667 to 1.000",
    ]


def test_the_printed_table_says_what_a_shift_chosen_on_validation_cases_is_good_for():
    said = "best: the largest mean Dice on these validation cases; a shift chosen on validation cases may be applied to others"
    assert sweep_lines(swept(FOUND, split="validation"))[3] == said


def test_the_printed_table_without_a_case_or_a_value():
    assert sweep_lines(swept()) == ["no scores"]
    assert [row.split()[-3:] for row in sweep_lines(swept(([0.0, 0.0], line(0, 0))))[-3:]] == [["n/a"] * 3] * 3


@pytest.fixture
def predicted(tiny, tmp_path):
    """The tiny recipe, and a run whose test case is predicted as a blurred copy of its label."""
    recipe, run = tiny(), Run(tmp_path / "run")
    (files,) = recipe.dataset.splits().test
    label = nifti.read_label(files.label)
    tumor = np.where(label.array > 0, 0.8, 0.3).astype(np.float32)
    run.probability(files.id, "tumor").parent.mkdir(parents=True)
    nifti.write(run.probability(files.id, "background"), 1 - tumor, label)
    nifti.write(run.probability(files.id, "tumor"), tumor, label)
    nifti.write(run.predictions / f"{files.id}.nii.gz", (label.array > 0).astype(np.uint8), label)
    return recipe, run, files.id


def test_a_run_is_swept_over_the_cases_of_the_split(predicted):
    recipe, run, case = predicted
    sweep = sweep_run(run, recipe, "test", Console("quiet"))
    assert (sweep.split, sweep.shifted, sweep.failed) == ("test", ("tumor",), [])
    assert {row.case for rows in sweep.rows.values() for row in rows} == {case}
    by_shift = {point.shift: point for point in sweep.curves()["tumor"].points}
    assert by_shift[0.0].dice.mean == 1.0
    assert by_shift[1.0].precision.mean < 1.0  # 0.3 e > 0.7
    assert by_shift[-1.5].sensitivity.mean == 0.0  # 0.8 e^-1.5 < 0.2


def test_a_case_that_cannot_be_read_is_kept_with_its_error(predicted):
    recipe, run, case = predicted
    path = run.probability(case, "tumor")
    path.write_bytes(path.read_bytes()[:-20])
    sweep = sweep_run(run, recipe, "test", Console("quiet"))
    assert [(name, error.code) for name, error in sweep.failed] == [(case, "SK-V031")]
    assert set(map(len, sweep.rows.values())) == {0}


def test_a_missing_map_is_named_with_the_command_that_writes_it(predicted):
    recipe, run, case = predicted
    run.probability(case, "tumor").unlink()
    with pytest.raises(InputError) as error:
        sweep_run(run, recipe, "test", Console("quiet"))
    assert str(error.value) == (
        "SK-E020: the probabilities of a class are missing\n"
        f"  where:    {run.path}/predictions/probabilities/{case}_tumor.nii.gz\n"
        "  expected: a map of every class of every test case\n"
        "  got:      1 of 2 maps are missing\n"
        f"  remedy:   segkit predict {run.path} --split test --probabilities"
    )


def test_a_split_without_a_prediction_asks_for_its_probabilities(predicted):
    recipe, run, _ = predicted
    (files,) = recipe.dataset.splits().validation
    with pytest.raises(InputError, match="SK-E020: the probabilities of a class are missing") as error:
        sweep_run(run, recipe, "validation", Console("quiet"))
    assert error.value.where == run.probability(files.id, "background")


def test_a_split_without_cases_cannot_be_swept(predicted, tiny):
    _, run, _ = predicted
    with pytest.raises(InputError, match="SK-E023: the recipe has no validation cases"):
        sweep_run(run, tiny(dataset__split={"test": 1}), "validation", Console("quiet"))
