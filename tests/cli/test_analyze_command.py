"""`segkit analyze`: what it writes, what it prints, and what it refuses."""

import csv
import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from segkit.engine.weights import load_weights

LOGIT_FILES = {"shift.csv", "logits.npz", "logits.png"}
NOTE = "made_from.json"


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def row_of(path: Path, structure: str = "tumor", quantity: str = "margin") -> dict[str, str]:
    return next(row for row in rows_of(path) if (row["class"], row["quantity"]) == (structure, quantity))


def table_line(said, structure: str = "tumor") -> list[str]:
    return next(line.split() for line in said.out.splitlines() if line.startswith(structure))


@pytest.fixture
def here(run, place) -> Path:
    """The trained run, whose recipe names the scans in the working directory: a test may damage them."""
    model = json.loads((run / "model.json").read_text())
    model["recipe"]["dataset"]["root"] = str(place / "data")
    (run / "model.json").write_text(json.dumps(model))
    return run


def test_logits_of_a_run_are_written_and_summed_up(run, segkit):
    before = names_in(run)
    said = segkit("analyze", run, "--only", "logits", "--voxels", 100, "--device", "cpu")
    assert (said.status, said.err) == (0, "")
    assert names_in(run) - before == {"analysis"}
    assert names_in(run / "analysis") == LOGIT_FILES | {NOTE}
    assert json.loads((run / "analysis" / NOTE).read_text()) == dict.fromkeys(LOGIT_FILES, load_weights(run, torch.device("cpu")).sha256)
    margin, over = (row_of(run / "analysis/shift.csv", quantity=name) for name in ("margin", "over_boundary"))
    assert (margin["run"], margin["training_cases"], margin["test_cases"], margin["low"]) == ("run", "3", "1", "")
    assert int(margin["training_voxels"]) <= 300
    expected = f"tumor 3 1 {float(margin['training']):.2f} {float(margin['test']):.2f} {float(margin['shift']):+z.2f} [no interval]"
    assert table_line(said) == [*expected.split(), f"{float(over['training']):.3f}", f"{float(over['test']):.3f}"]
    assert "  no interval: a class in a single case of a side says nothing of other cases\n" in said.out
    assert "up to 100 of a class, at random" in said.out
    assert said.out.endswith(f"analysis: {run}/analysis: logits.npz, shift.csv, logits.png\n")


def test_scans_that_came_after_the_training_are_not_taken_for_training_cases(here, place, segkit):
    for name in ("Late_1", "Late_2", "Late_3"):
        for path in (place / "data/Phantom_000").iterdir():
            (place / "data" / name).mkdir(exist_ok=True)
            shutil.copy(path, place / "data" / name / path.name.replace("Phantom_000", name))
    said = segkit("analyze", here, "--only", "logits", "--device", "cpu")
    assert (said.status, said.err) == (0, "")
    assert row_of(here / "analysis/shift.csv")["training_cases"] == "3"


def test_a_second_call_gives_the_same_without_inference(run, segkit):
    first = segkit("analyze", run, "--only", "logits", "--device", "cpu")
    files = {name: (run / "analysis" / name).read_bytes() for name in LOGIT_FILES}
    second = segkit("analyze", run, "--only", "logits", "--device", "cpu")
    assert second.out.startswith("logits of run: as sampled before\n")
    assert first.out.partition("\nlogit shift")[2] == second.out.partition("\nlogit shift")[2]
    assert {name: (run / "analysis" / name).read_bytes() for name in LOGIT_FILES} == files


def test_performance_is_what_predict_and_evaluate_say(run, segkit):
    assert segkit("analyze", run, "--only", "performance", "--device", "cpu").status == 0
    assert not (run / "predictions").exists(), "label maps of training cases have no place there"
    found = {(row["split"], row["metric"]): row for row in rows_of(run / "analysis/performance.csv")}
    for split, count in (("training", "3"), ("test", "1")):
        assert segkit("predict", run, "--split", split, "--output", run / split, "--device", "cpu").status == 0
        assert segkit("evaluate", run / split, "--recipe", run / "recipe.yaml", "--output", run / split, "--quiet").status == 0
        summary = json.loads((run / split / "summary.json").read_text())["classes"]["tumor"]
        for metric in ("dice", "sensitivity", "precision"):
            row, expected = found[split, metric], summary[metric]
            assert (row["run"], row["class"], row["training_cases"], row["train_fraction"]) == ("run", "tumor", "3", "1.0")
            assert (row["mean"], row["std"]) == tuple("" if expected[key] is None else str(expected[key]) for key in ("mean", "std"))
            assert (int(row["cases"]), int(row["cases"]) + int(row["left_out"])) == (expected["cases"], int(count))
    again = segkit("analyze", run, "--only", "performance", "--device", "cpu")
    assert again.out.startswith("performance of run: as measured before\n")


def test_all_that_applies_is_done_from_one_call(run, segkit):
    said = segkit("analyze", run, "--device", "cpu", "--quiet")
    assert (said.status, said.out, said.err) == (0, "", "")
    assert names_in(run / "analysis") > LOGIT_FILES | {"performance.csv", "embeddings.csv"}
    assert set(json.loads((run / "analysis" / NOTE).read_text())) == names_in(run / "analysis") - {NOTE}
    assert "progress.csv" not in names_in(run / "analysis")


def test_a_run_that_was_not_monitored_has_no_progress(run, segkit):
    said = segkit("analyze", run, "--only", "progress")
    assert said.status == 2
    assert said.err.startswith("SK-A040: this run's training was not monitored\n")
    assert not (run / "analysis").exists()


def test_a_monitored_run_has_its_progress_without_a_look_at_the_scans(place, segkit):
    assert segkit("train", "r.yaml", "train.monitor={every: 1}", "--run", "followed", "--device", "cpu").status == 0
    shutil.rmtree(place / "data")
    said = segkit("analyze", "followed", "--only", "progress")
    assert (said.status, said.err) == (0, "")
    assert "progress.csv" in names_in(place / "followed/analysis")
    assert said.out.startswith("analysis: followed/analysis: progress.csv")


def test_several_runs_are_shown_together(run, place, segkit):
    assert segkit("train", "r.yaml", "dataset.train_fraction=0.3", "--run", "few/run", "--device", "cpu").status == 0
    said = segkit(
        "analyze", "run", "few/run", "--only", "logits", "--only", "performance", "--output", "both", "--voxels", 50, "--device", "cpu"
    )
    assert (said.status, said.err) == (0, "")
    for folder in ("run", "few/run"):
        assert names_in(place / folder / "analysis") == LOGIT_FILES | {"performance.csv", NOTE}
    assert names_in(place / "both") == {"shift.csv", "logits.png", "performance.csv", "performance.png"}
    assert {row["run"] for row in rows_of(place / "few/run/analysis/shift.csv")} == {"run"}
    names = {f"{place.path.name}/run", "few/run"}
    assert {row["run"] for row in rows_of(place / "both/shift.csv")} == names
    assert {(row["run"], row["training_cases"]) for row in rows_of(place / "both/performance.csv")} == {
        (f"{place.path.name}/run", "3"),
        ("few/run", "1"),
    }
    assert said.out.count("\nmargin: logit of the true class") == 1
    assert [line for line in said.out.splitlines() if line.startswith("logit shift of ")] == [
        f"logit shift of {place.path.name}/run",
        "logit shift of few/run",
    ]


def test_runs_of_one_amount_of_data_make_no_figure_of_it(run, place, segkit):
    shutil.copytree(run, place / "twin")
    said = segkit("analyze", "run", "twin", "--only", "performance", "--output", "both", "--device", "cpu")
    assert said.status == 0
    assert "no figure of performance: all runs have the same number of training cases\n" in said.out
    assert names_in(place / "both") == {"performance.csv"}


def test_a_case_that_cannot_be_read_is_reported_once_and_the_others_are_analyzed(here, place, segkit):
    assert segkit("predict", here, "--split", "training", "--output", "known", "--device", "cpu").status == 0
    case = min(path.name.removesuffix(".nii.gz") for path in (place / "known").glob("*.nii.gz"))
    path = place / f"data/{case}/{case}_flair.nii.gz"
    path.write_bytes(path.read_bytes()[:2000])
    said = segkit("analyze", here, "--only", "logits", "--only", "performance", "--device", "cpu")
    assert said.status == 1
    assert said.err == (
        f"case {case} of run: SK-V031: the gzip stream is cut off\n"
        f"  where:    {path}\n"
        "  remedy:   the file is damaged or was not copied to its end: get it again\n"
        "SK-C063: 1 case could not be analyzed; what was written is of the others\n"
        f"  got:      {case} of run\n"
    )
    assert table_line(said)[1:3] == ["2", "1"]
    assert row_of(here / "analysis/shift.csv")["training_cases"] == "2"
    rows = rows_of(here / "analysis/performance.csv")
    assert {row["cases"] for row in rows if (row["split"], row["metric"]) == ("training", "dice")} == {"2"}
    # nothing of it is taken for the whole the next time
    assert segkit("analyze", here, "--only", "logits", "--only", "performance", "--device", "cpu").err == said.err


def test_an_empty_class_has_no_numbers_and_the_rest_is_rendered(place, segkit):
    assert segkit("train", "r.yaml", "--run", "rest", "dataset.split={test: 1, validation: 0}", "--device", "cpu").status == 0
    splits = {path.parent.name for path in (place / "data").glob("*/*_seg.nii.gz")}
    for case in splits:
        path = place / f"data/{case}/{case}_seg.nii.gz"
        place.edit(path, np.zeros_like)
    said = segkit("analyze", "rest", "--only", "logits", "--device", "cpu")
    assert (said.status, said.err) == (0, "")
    assert table_line(said) == ["tumor", "0", "0", "n/a", "n/a", "n/a", "n/a", "n/a"]
    assert table_line(said, "background")[1:3] == ["4", "1"]
    row = row_of(place / "rest/analysis/shift.csv")
    assert (row["training"], row["training_cases"], row["test_voxels"], row["shift"]) == ("", "0", "0", "")


@pytest.fixture
def maps(run, place, segkit) -> Path:
    """Probabilities of all cases, their logarithms plus a constant as `logits`, labels, class names, and a split file."""
    assert segkit("predict", run, "--input", "data", "--output", "out", "--probabilities", "--device", "cpu").status == 0
    (place / "labels").mkdir()
    (place / "logits").mkdir()
    for number in range(5):
        shutil.copy(place.scan(number, "seg"), place / f"labels/Phantom_00{number}.nii.gz")
    for path in (place / "out/probabilities").glob("*.nii.gz"):
        image = nibabel.load(path)
        array = np.log(np.maximum(np.asarray(image.dataobj, dtype=np.float32), np.finfo(np.float32).tiny)) + np.float32(2)
        nibabel.Nifti1Image(array, image.affine).to_filename(place / f"logits/{path.name}")
    (place / "names.yaml").write_text("tumor: [1, 2, 4]\n")
    (place / "split.json").write_text('{"training": ["Phantom_000", "Phantom_001"], "test": ["Phantom_002", "Phantom_003"]}')
    return place.path


GIVEN = ("--labels", "labels", "--classes", "names.yaml", "--output", "found")


def test_logits_of_a_model_not_trained_here(maps, segkit):
    said = segkit("analyze", "--logits", "logits", *GIVEN, "--split-file", "split.json")
    assert (said.status, said.err) == (0, "")
    assert names_in(maps / "found") == LOGIT_FILES
    row = row_of(maps / "found/shift.csv")
    assert (row["run"], row["training_cases"], row["test_cases"]) == ("logits", "2", "2")
    assert table_line(said)[1:5] == ["2", "2", f"{float(row['training']):.2f}", f"{float(row['test']):.2f}"]
    assert "  of fewer than 6 cases on a side it says less than that\n" in said.out
    assert said.out.endswith("analysis: found: logits.npz, shift.csv, logits.png\n")


def test_probabilities_of_a_model_not_trained_here_have_the_same_margins(maps, segkit):
    assert segkit("analyze", "--logits", "logits", *GIVEN, "--split-file", "split.json", "--quiet").out == ""
    by_logits = row_of(maps / "found/shift.csv")
    assert segkit("analyze", "--probabilities", "out/probabilities", *GIVEN, "--split-file", "split.json").status == 0
    by_probabilities = row_of(maps / "found/shift.csv")
    for key in ("training", "test", "shift", "low", "high"):
        assert float(by_probabilities[key]) == pytest.approx(float(by_logits[key]), abs=1e-4)
    assert row_of(maps / "found/shift.csv", quantity="log_probability")["run"] == "probabilities"


def test_without_a_split_file_there_is_no_shift_and_that_is_said(maps, segkit):
    said = segkit("analyze", "--logits", "logits", *GIVEN)
    assert said.status == 0
    assert said.out.startswith("all cases count as test cases, and there is no shift: --split-file says which were trained on\n")
    assert table_line(said)[1:4] == ["0", "5", "n/a"]


def test_a_case_without_a_map_is_reported_and_the_others_are_analyzed(maps, segkit):
    (maps / "logits/Phantom_002_tumor.nii.gz").unlink()
    said = segkit("analyze", "--logits", "logits", *GIVEN, "--split-file", "split.json")
    assert said.status == 1
    assert said.err.startswith(
        "case Phantom_002 of logits: SK-A010: no map of the class tumor\n  where:    logits/Phantom_002_tumor.nii.gz\n"
    )
    assert said.err.endswith(
        "SK-C063: 1 case could not be analyzed; what was written is of the others\n  got:      Phantom_002 of logits\n"
    )
    assert table_line(said)[1:3] == ["2", "1"]


UNCLEAR = "SK-C060: what to analyze is not clear\n  where:    segkit analyze\n"
MORE = "SK-C062: logits of a model not trained here need more options\n"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((), UNCLEAR),
        (("run", "--labels", "data"), UNCLEAR + "  expected: either RUN..., or --logits DIR --labels DIR --classes FILE --output DIR\n"
            "  got:      RUN and --labels\n"),
        (("--logits", "data"), MORE),
        (("--logits", "data", "--probabilities", "data", "--labels", "data", "--classes", "r.yaml", "--output", "out"), MORE),
        (("--labels", "data", "--classes", "r.yaml", "--output", "out"), MORE),
        (("--logits", "data", "--only", "progress"), "SK-C061: of a model not trained here only logits are known\n"),
        (("--logits", "data", "--labels", "data", "--classes", "names.yaml", "--output", "out", "--device", "cpu"),
            "SK-C067: a model not trained here is not computed, so no device is used\n  where:    --device\n"
            "  expected: no --device beside --logits or --probabilities\n  got:      cpu\n"),
        (("--logits", "data", "--labels", "nowhere", "--classes", "names.yaml", "--output", "out"), "SK-E010: no such folder\n"),
        (("run", "run"), "SK-C064: a run is named twice\n  where:    segkit analyze\n  got:      run run\n"),
        (("run", "--output", "out"), "SK-C065: --output is for logits and performance of several runs together\n  where:    --output\n"
            "  got:      embeddings, logits, performance, progress of 1 run\n"
            "  remedy:   leave it out: what is of one run goes into its folder `analysis`\n"),
        (("run", "data", "--only", "progress", "--output", "out"), "SK-C065: "),
        (("data",), "SK-I001: no trained model here\n  where:    data\n"),
        (("run", "data"), "SK-I001: no trained model here\n  where:    data\n"),
        (("run", "--device", "tpu"), "SK-T001: no such device\n"),
    ],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused_before_anything_is_written(arguments, error, run, place, segkit):
    (place / "names.yaml").write_text("tumor: 1\n")
    said = segkit("analyze", *arguments)
    assert said.status == 2
    assert said.err.startswith(error)
    assert said.out == ""
    assert not (place / "out").exists()
    assert not (run / "analysis").exists()


def test_runs_of_other_classes_cannot_be_shown_together(run, place, segkit):
    shutil.copytree(run, place / "other")
    model = json.loads((run / "model.json").read_text())
    model["recipe"]["dataset"]["classes"] = {"core": [1, 2, 4]}
    (place / "other/model.json").write_text(json.dumps(model))
    said = segkit("analyze", "run", "other", "--output", "both", "--device", "cpu")
    assert said.status == 2
    assert said.err == (
        "SK-C066: runs of different classes cannot be shown together\n"
        "  where:    other\n"
        "  expected: the classes of run: background, tumor\n"
        "  got:      background, core\n"
        "  remedy:   analyze them without --output\n"
    )
    assert not (place / "both").exists()
