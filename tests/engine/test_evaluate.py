"""Scores: rows by hand, honest summaries, files that strict readers take."""

import csv
import json
import time

import numpy as np
import pytest

from segkit.config.errors import InputError
from segkit.engine.evaluate import DiceMeans, Row, Scoring, score_all, summarize, write_scores
from segkit.engine.folders import score_folders
from segkit.metrics.overlap import Dice, Precision, Sensitivity
from segkit.metrics.surface import Hausdorff95
from segkit.volume import nifti
from segkit.volume.labels import ClassMap
from segkit.volume.nifti import Volume

MAP = ClassMap({"organ": (1,), "lesion": (4, 5)})
ONE_MM = (1.0, 1.0, 1.0)


def scoring(*metrics, convention="segkit") -> Scoring:
    return Scoring(metrics, {"organ": (1,), "lesion": (2,), "both": (1, 2)}, MAP, convention)


def line(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.uint8).reshape(-1, 1, 1)


def test_rows_by_hand():
    rows = scoring(Dice(), Sensitivity(), Precision()).rows("a", line(1, 1, 0, 2), line(1, 0, 0, 1), ONE_MM)
    assert [(row.structure, row.metric, row.value, row.state) for row in rows] == [
        ("organ", "dice", 0.5, "ok"),
        ("organ", "sensitivity", 0.5, "ok"),
        ("organ", "precision", 0.5, "ok"),
        ("lesion", "dice", 0.0, "spurious"),
        ("lesion", "sensitivity", None, "spurious"),
        ("lesion", "precision", 0.0, "spurious"),
        ("both", "dice", 2 * 2 / (3 + 2), "ok"),
        ("both", "sensitivity", 1.0, "ok"),
        ("both", "precision", 2 / 3, "ok"),
    ]


def test_ignored_voxels_are_not_scored():
    rows = scoring(Dice()).rows("a", line(1, 1, 1), line(1, 255, 0), ONE_MM)
    assert rows[0].value == pytest.approx(2 / 3)


def row(value: float | None, state: str = "ok", case: str = "a") -> Row:
    return Row(case, "organ", "dice", value, "", state)


def test_a_mean_counts_the_cases_in_it_and_those_left_out():
    summary = summarize([row(0.5), row(1.0), row(0.0, "missed"), row(None, "absent"), row(0.0, "spurious")])[0]
    assert (summary.mean, summary.median, summary.cases, summary.left_out) == (0.375, 0.25, 4, 1)
    assert (summary.missed, summary.spurious, summary.absent) == (1, 1, 1)
    assert summary.std == pytest.approx(np.std([0.5, 1, 0, 0], ddof=1))


def test_one_case_has_no_standard_deviation_and_none_no_mean():
    assert summarize([row(0.5)])[0].std is None
    assert summarize([row(None, "absent")])[0].mean is None


def test_validation_averages_over_the_classes_that_have_a_value():
    rows = [Row("a", "organ", "dice", 0.5, "", "ok"), Row("a", "lesion", "dice", None, "", "absent")]
    assert DiceMeans.over(rows, ["organ", "lesion"]).mean == 0.5
    assert DiceMeans.over(rows, ["organ", "lesion"]).counts == {"organ": 1, "lesion": 0}
    assert DiceMeans.over(rows, ["lesion"]).mean is None


def saved(path, array: np.ndarray, shift: float = 0.0):
    affine = np.eye(4)
    affine[0, 3] = shift
    nifti.write(path, array, Volume.new(array, affine))
    return path


def test_other_grids_are_refused_not_resampled(tmp_path):
    cases = [("a", saved(tmp_path / "p.nii.gz", line(0, 1, 0, 0), shift=3.0), saved(tmp_path / "l.nii.gz", line(0, 1, 0, 0)))]
    rows, failed = score_all(scoring(Dice()), cases)
    assert rows == []
    assert isinstance(failed[0][1], InputError)
    assert failed[0][1].code == "SK-E001"


def test_rows_and_failures_keep_the_order_of_the_cases(tmp_path):
    label = saved(tmp_path / "l.nii.gz", line(0, 1, 4, 0))
    cases = [(f"{i}", tmp_path / "absent.nii.gz" if i % 3 else label, label) for i in range(20)]
    rows, failed = score_all(scoring(Dice()), cases)
    assert list(dict.fromkeys(row.case for row in rows)) == [f"{i}" for i in range(20) if i % 3 == 0]
    assert [(case, error.code) for case, error in failed] == [(f"{i}", "SK-V034") for i in range(20) if i % 3]


class Interrupted(Scoring):
    """A scoring during which Ctrl-C is pressed."""

    def rows(self, case, prediction, label, spacing_mm):
        if case == "0":
            raise KeyboardInterrupt
        time.sleep(0.05)
        BEGUN.append(case)
        return []


BEGUN: list[str] = []


def test_ctrl_c_does_not_wait_for_cases_that_have_not_begun(tmp_path):
    label = saved(tmp_path / "l.nii.gz", line(0, 1, 4, 0))
    with pytest.raises(KeyboardInterrupt):
        score_all(Interrupted((Dice(),), {}, MAP), [(f"{i}", label, label) for i in range(400)])
    assert len(BEGUN) < 100


def test_scores_are_written_for_strict_readers(tmp_path):
    rows = scoring(Dice(), Hausdorff95()).rows('a, "quoted"', line(1, 0), line(1, 2), ONE_MM)
    write_scores(tmp_path, rows, [("b", InputError("SK-V002", "unreadable"))])
    with (tmp_path / "scores.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert list(read[0]) == ["case", "class", "metric", "value", "unit", "state"]
    assert read[0]["case"] == 'a, "quoted"'
    assert (read[3]["class"], read[3]["metric"], read[3]["value"], read[3]["unit"], read[3]["state"]) == (
        "lesion",
        "hd95",
        "",
        "mm",
        "missed",
    )
    summary = json.loads((tmp_path / "summary.json").read_text(), parse_constant=lambda word: pytest.fail(f"not strict: {word}"))
    assert summary["classes"]["lesion"]["hd95"]["mean"] is None
    assert summary["failed"] == {"b": {"error": "SK-V002", "message": "unreadable"}}


def test_two_folders_are_matched_by_case_and_values_name_classes(tmp_path):
    for folder in ("predictions", "labels"):
        (tmp_path / folder).mkdir()
    saved(tmp_path / "predictions" / "a.nii.gz", line(0, 7, 7, 3))
    saved(tmp_path / "labels" / "a.nii.gz", line(0, 7, 0, 3))
    saved(tmp_path / "labels" / "b.nii.gz", line(0, 7, 0, 0))
    rows, failed = score_folders(tmp_path / "predictions", tmp_path / "labels")
    assert {(row.structure, row.value) for row in rows if row.metric == "dice"} == {("3", 1.0), ("7", 2 / 3)}
    assert [(case, error.code) for case, error in failed] == [("b", "SK-E013")]
