"""`segkit evaluate RUN --split SPLIT --sweep`: what it writes, what it prints, and what it needs."""

import csv
import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def predicted(run, segkit) -> Path:
    """A run with its test case predicted, label map and probabilities."""
    assert segkit("predict", run, "--split", "test", "--probabilities", "--device", "cpu").status == 0
    return run


def case_of(run: Path) -> str:
    (path,) = run.glob("predictions/*.nii.gz")
    return path.name.removesuffix(".nii.gz")


def test_the_files_lie_in_the_run_and_the_scores_are_left_as_they_are(predicted, segkit):
    before = {path.name for path in predicted.iterdir()}
    said = segkit("evaluate", predicted, "--split", "test", "--sweep")
    assert (said.status, said.err) == (0, "")
    assert {path.name for path in predicted.iterdir()} - before == {"sweep.csv", "sweep.json", "sweep.png"}
    assert [line.split()[0] for line in said.out.splitlines() if line.startswith("tumor")] == ["tumor"]
    assert "on these test cases; a shift chosen on the cases it is scored on is a diagnosis, not a result\n" in said.out
    assert said.out.endswith(f"sweep: {predicted}/sweep.csv\n")


def test_shift_0_has_the_scores_of_the_label_maps(predicted, segkit):
    assert segkit("evaluate", predicted, "--split", "test", "--sweep", "--quiet").out == ""
    assert segkit("evaluate", predicted, "--split", "test", "--quiet").status == 0
    scores = {row["metric"]: row["value"] for row in rows_of(predicted / "scores.csv")}
    (row,) = [row for row in rows_of(predicted / "sweep.csv") if float(row["shift"]) == 0]
    assert row == {"case": case_of(predicted), "class": "tumor", "shift": "0.0"} | {name: scores[name] for name in list(row)[3:]}


def test_every_shift_has_the_scores_of_its_threshold(predicted, segkit):
    assert segkit("evaluate", predicted, "--split", "test", "--sweep", "--quiet").status == 0
    case = case_of(predicted)
    tumor = np.asarray(nibabel.load(predicted / f"predictions/probabilities/{case}_tumor.nii.gz").dataobj, dtype=np.float64)
    label = np.asarray(nibabel.load(predicted.parent / f"data/{case}/{case}_seg.nii.gz").dataobj) > 0
    found = {float(row["shift"]): float(row["sensitivity"]) for row in rows_of(predicted / "sweep.csv")}
    assert len(set(found.values())) > 1
    for shift, sensitivity in found.items():
        low, high = ((tumor[label] > 1 / (1 + np.exp(shift)) + slack).mean() for slack in (1e-6, -1e-6))  # the maps sum to 1 within this
        assert low <= sensitivity <= high


def test_the_largest_part_is_kept_in_the_sweep_as_in_prediction(place, segkit):
    assert segkit("train", "r.yaml", "infer.keep_largest=[tumor]", "--run", "kept", "--device", "cpu").status == 0
    assert segkit("predict", "kept", "--split", "test", "--probabilities", "--device", "cpu").status == 0
    kept, case = place / "kept", case_of(place / "kept")
    tumor, background = (
        np.asarray(nibabel.load(kept / f"predictions/probabilities/{case}_{name}.nii.gz").dataobj) for name in ("tumor", "background")
    )
    assert ((np.asarray(nibabel.load(kept / f"predictions/{case}.nii.gz").dataobj) == 1) != (tumor > background)).any()
    assert segkit("evaluate", kept, "--split", "test", "--sweep").status == 0


def test_a_sweep_on_validation_cases_says_what_its_shift_is_good_for(run, place, segkit):
    assert segkit("predict", run, "--split", "validation", "--probabilities", "--device", "cpu").status == 0
    said = segkit("evaluate", run, "--split", "validation", "--sweep", "--output", "chosen")
    assert said.status == 0
    assert "on these validation cases; a shift chosen on validation cases may be applied to others\n" in said.out
    assert {path.name for path in (place / "chosen").iterdir()} == {"sweep.csv", "sweep.json", "sweep.png"}
    assert json.loads((place / "chosen/sweep.json").read_text())["split"] == "validation"
    assert not (run / "sweep.csv").exists()


def test_without_probabilities_the_missing_file_and_the_command_are_named(run, place, segkit):
    assert segkit("predict", "run", "--split", "test", "--device", "cpu").status == 0
    case = case_of(run)
    said = segkit("evaluate", "run", "--split", "test", "--sweep", "--output", "out")
    assert said.status == 2
    assert said.err == (
        "SK-E020: the probabilities of a class are missing\n"
        f"  where:    run/predictions/probabilities/{case}_background.nii.gz\n"
        "  expected: a map of every class of every test case\n"
        "  got:      2 of 2 maps are missing\n"
        "  remedy:   segkit predict run --split test --probabilities\n"
    )
    assert not (place / "out").exists()
    assert segkit("predict", "run", "--split", "test", "--probabilities", "--device", "cpu").status == 0
    assert segkit("evaluate", "run", "--split", "test", "--sweep", "--output", "out").status == 0


def test_probabilities_that_a_later_prediction_left_behind_are_refused(predicted, segkit):
    case = case_of(predicted)
    path = predicted / f"predictions/{case}.nii.gz"
    image = nibabel.load(path)
    nibabel.Nifti1Image(1 - np.asarray(image.dataobj), image.affine, image.header).to_filename(path)
    said = segkit("evaluate", predicted, "--split", "test", "--sweep")
    assert said.status == 1
    assert said.err.startswith(f"case {case}: SK-E022: the label map was not made from these probabilities\n")
    assert said.err.endswith(f"SK-C022: 1 of 1 cases could not be scored\n  where:    {predicted}\n  got:      {case}\n")
    assert "\nno scores\n" in said.out


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("run", "--sweep"), "SK-C020: what to score against is not clear\n"),
        (
            ("run", "--recipe", "r.yaml", "--sweep"),
            "SK-C026: --sweep belongs to --split\n  where:    --sweep\n  expected: segkit evaluate RUN --split validation --sweep\n",
        ),
        (("run", "data", "--layout", "brats", "--sweep"), "SK-C026: --sweep belongs to --split\n"),
        (("data", "--split", "test", "--sweep"), "SK-C024: this is no run\n  where:    data\n"),
        (
            ("run", "--split", "test", "--sweep"),
            "SK-C025: this run has no predictions\n  where:    run/predictions\n"
            "  remedy:   segkit predict run --split test --probabilities\n",
        ),
    ],
)
def test_a_sweep_that_makes_no_sense_is_refused_before_anything_is_written(arguments, error, run, place, segkit):
    shutil.rmtree(run / "predictions", ignore_errors=True)
    said = segkit("evaluate", *arguments, "--output", "out")
    assert said.status == 2
    assert said.err.startswith(error)
    assert not (place / "out").exists()
