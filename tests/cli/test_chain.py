"""The whole chain on phantom scans: train, predict, evaluate, by command line and from Python."""

import csv
import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest

import segkit as package
from segkit.config.errors import InputError, WorkError

RUN_FILES = {
    "recipe.yaml", "provenance.json", "log.jsonl", "model.safetensors", "model.json",
    "checkpoints/last.pt", "checkpoints/last.pt.sha256", "checkpoints/best.pt", "checkpoints/best.pt.sha256",
}  # fmt: skip


def strict_json(path: Path):
    def refuse(token):
        raise AssertionError(f"{token} is no JSON")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_phantom_has_the_layout_of_brats(scans):
    names = {f"Phantom_00{case}/Phantom_00{case}_{name}.nii.gz" for case in range(5) for name in ("flair", "t1", "t1ce", "t2", "seg")}
    assert files_in(scans) == names | {"phantom.json"}


def test_a_run_has_the_files_of_the_contract(trained):
    assert {name for name in files_in(trained) if not name.startswith("tensorboard/")} == RUN_FILES
    assert len(list((trained / "tensorboard").iterdir())) == 1


def test_the_resolved_recipe_can_be_trained_again_as_it_is(run, place, segkit):
    shutil.copytree(place / "run", place / "first")
    assert segkit("train", "first/recipe.yaml", "--run", "second", "--device", "cpu").status == 0
    assert (place / "second/recipe.yaml").read_text() == (place / "first/recipe.yaml").read_text()
    assert (place / "second/model.safetensors").read_bytes() == (place / "first/model.safetensors").read_bytes()


def test_provenance_names_versions_data_and_command(trained):
    facts = strict_json(trained / "provenance.json")
    assert set(facts) == {
        "command",
        "started",
        "python",
        "versions",
        "commit",
        "device",
        "cuda",
        "threads",
        "machine",
        "data",
        "cases",
        "processes",
    }
    assert {"segkit", "torch", "numpy"} <= set(facts["versions"])


def test_every_line_of_the_log_is_strict_json(trained):
    events = [json.loads(line)["event"] for line in (trained / "log.jsonl").read_text().splitlines()]
    assert events == ["begin", "step", "step", "validate", "step", "validate", "checkpoint", "end"]


@pytest.fixture
def predicted(run, segkit) -> Path:
    """A run with its test case predicted."""
    assert segkit("predict", run, "--split", "test", "--device", "cpu").status == 0
    return run


def test_a_prediction_lies_where_the_scan_lies(predicted):
    (path,) = predicted.glob("predictions/*.nii.gz")
    case = path.name.removesuffix(".nii.gz")
    ours, scan = nibabel.load(path), nibabel.load(predicted.parent / f"data/{case}/{case}_flair.nii.gz")
    assert ours.shape == scan.shape == (32, 32, 32)
    assert np.array_equal(ours.affine, scan.affine)
    for form in ("sform", "qform"):
        assert int(ours.header[f"{form}_code"]) == int(scan.header[f"{form}_code"])
    assert ours.header.get_xyzt_units() == scan.header.get_xyzt_units()
    assert ours.get_data_dtype() == np.uint8
    assert set(np.unique(np.asarray(ours.dataobj))) <= {0, 1}  # a class is written as the first of its source values


def test_predictions_json_says_what_the_values_mean_and_how_large_each_class_is(predicted):
    index = strict_json(predicted / "predictions/predictions.json")
    ((case, facts),) = index["cases"].items()
    maker = index["makers"][facts["mark"]]
    assert [(model["name"], model["step"]) for model in maker["models"]] == [("run", 3)]
    assert maker["values"] == {"background": 0, "tumor": 1}
    image = nibabel.load(predicted / f"predictions/{case}.nii.gz")
    voxel_ml = abs(np.linalg.det(image.affine[:3, :3])) / 1000
    assert facts["volumes_ml"]["tumor"] == pytest.approx(float((np.asarray(image.dataobj) == 1).sum() * voxel_ml), abs=1e-4)
    assert facts["shape"] == [32, 32, 32]
    assert facts["seconds"] > 0


def test_what_is_there_already_is_not_predicted_again_unless_asked(predicted, segkit):
    (path,) = predicted.glob("predictions/*.nii.gz")
    before = path.stat().st_mtime_ns
    again = segkit("predict", predicted, "--split", "test", "--device", "cpu")
    assert again.status == 0
    assert again.out.endswith(f"0 of 1 cases predicted, 1 were there already (--overwrite predicts them again): {predicted}/predictions\n")
    assert path.stat().st_mtime_ns == before
    assert segkit("predict", predicted, "--split", "test", "--device", "cpu", "--overwrite").status == 0
    assert path.stat().st_mtime_ns > before


def test_probabilities_that_were_not_written_before_are_written_and_sum_to_one(predicted, segkit):
    assert segkit("predict", predicted, "--split", "test", "--device", "cpu", "--probabilities").status == 0
    paths = sorted((predicted / "predictions/probabilities").iterdir())
    assert [path.name.split("_")[-1] for path in paths] == ["background.nii.gz", "tumor.nii.gz"]
    background, tumor = (np.asarray(nibabel.load(path).dataobj) for path in paths)
    assert background.dtype == np.float32
    assert np.abs(background + tumor - 1).max() < 1e-6
    (label_map,) = predicted.glob("predictions/*.nii.gz")
    assert np.array_equal(np.asarray(nibabel.load(label_map).dataobj) == 1, tumor > background)


def test_a_folder_of_cases_and_named_files_and_the_split_give_the_same_label_map(predicted, place, segkit):
    (path,) = predicted.glob("predictions/*.nii.gz")
    case = path.name.removesuffix(".nii.gz")
    assert segkit("predict", "run", "--input", "data", "--output", "folder", "--device", "cpu").status == 0
    assert files_in(place / "folder") == {f"Phantom_00{i}.nii.gz" for i in range(5)} | {"predictions.json"}
    files = f"t1c=data/{case}/{case}_t1ce.nii.gz,flair=data/{case}/{case}_flair.nii.gz"
    assert segkit("predict", "run", "--channels", files, "--output", "named", "--device", "cpu").status == 0
    assert segkit("predict", "run", "-i", f"data/{case}", "-o", "one", "--device", "cpu").status == 0
    assert files_in(place / "one") == {f"{case}.nii.gz", "predictions.json"}
    for folder in ("folder", "named", "one"):
        assert (place / folder / f"{case}.nii.gz").read_bytes() == path.read_bytes()


def test_a_given_mask_is_the_roi_whatever_the_recipe_says(run, place, segkit):
    place.edit(place.scan(0, "seg"), lambda a: np.pad(a[:8] * 0 + 1, ((0, 24), (0, 0), (0, 0))))
    place.scan(0, "seg").rename(place / "mask.nii.gz")
    call = ("predict", "run", "--roi", "mask.nii.gz", "--output", "out", "--device", "cpu", "--probabilities")
    named = f"flair={place.scan(0, 'flair')},t1c={place.scan(0, 't1ce')}"
    for case in (("--input", "data/Phantom_000"), ("--channels", named)):
        assert segkit(*call, *case, "--overwrite").status == 0
        background = nibabel.load(place / "out/probabilities/Phantom_000_background.nii.gz").get_fdata()
        assert (background[8:] == 1).all()
        assert (background[:8] < 1).all()


def test_notices_of_a_scan_are_counted_and_shown_on_demand(run, place, segkit):
    image = nibabel.load(place.scan(0, "flair"))
    image.header.set_sform(image.affine, code=0)
    image.header.set_qform(image.affine, code=0)
    for name in ("flair", "t1ce"):
        nibabel.Nifti1Image(np.asarray(nibabel.load(place.scan(0, name)).dataobj), None, image.header).to_filename(place.scan(0, name))
    call = ("predict", "run", "--input", "data/Phantom_000", "--output", "out", "--device", "cpu", "--overwrite")
    said = segkit(*call)
    assert said.out.endswith("1 of 1 cases predicted, 1 of them with notices (--verbose shows them): out\n")
    assert (
        "notice, case Phantom_000: data/Phantom_000/Phantom_000_flair.nii.gz: neither sform nor qform is coded" in segkit(*call, "-v").out
    )


@pytest.fixture
def twofold(place) -> None:
    """Every file of Phantom_000 has an sform and a qform that differ."""
    for name in ("flair", "t1ce", "t1", "t2", "seg"):
        path = place.scan(0, name)
        image = nibabel.load(path)
        image.set_sform(image.affine @ np.diag([2, 1, 1, 1]), code=1)
        image.set_qform(image.affine @ np.diag([0.5, 1, 1, 1]), code=1)
        nibabel.save(image, path)


@pytest.mark.usefixtures("twofold")
def test_a_disagreeing_sform_is_accepted_by_every_command_that_reads_bare_files(run, place, segkit):
    predict = ("predict", "run", "-i", "data/Phantom_000", "-o", "out", "--device", "cpu")
    refused = segkit(*predict)
    assert refused.status == 1
    assert "set dataset.accept_sform: true in the recipe, or pass --accept-sform\n" in refused.err
    assert segkit(*predict, "--accept-sform").status == 0
    (place / "labels").mkdir()
    shutil.copy(place.scan(0, "seg"), place / "labels/Phantom_000.nii.gz")
    against = [("labels",), ("data", "--layout", "brats"), ("--recipe", "r.yaml")]
    for labels in against:
        assert "SK-V012" in segkit("evaluate", "out", *labels, "-o", "scores").err
        said = segkit("evaluate", "out", *labels, "-o", "scores", "--accept-sform")
        assert (said.status, said.err) == (0, "")
    assert segkit("check", "data", "--layout", "brats").status == 2
    assert segkit("check", "data", "--layout", "brats", "--accept-sform").status == 0
    assert segkit("check", "r.yaml", "dataset.accept_sform=true").status == 0
    said = segkit("check", "r.yaml", "--accept-sform")
    assert said.status == 2
    assert said.err == (
        "SK-C033: --accept-sform belongs to a folder\n  where:    r.yaml\n  remedy:   for a recipe, set dataset.accept_sform=true instead\n"
    )


def test_an_ensemble_of_one_model_twice_is_that_model(predicted, place, segkit):
    shutil.copytree(predicted, place / "copy")
    assert segkit("predict", "run", "copy", "--split", "test", "--output", "both", "--device", "cpu").status == 0
    (path,) = predicted.glob("predictions/*.nii.gz")
    assert (place / "both" / path.name).read_bytes() == path.read_bytes()


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_scores_of_the_split_are_written_into_the_run(predicted, segkit):
    said = segkit("evaluate", predicted, "--split", "test")
    assert said.status == 0
    assert said.out.endswith(f"scores: {predicted}/scores.csv\n")
    assert (predicted / "scores.csv").read_text().splitlines()[0] == "case,class,metric,value,unit,state"
    rows = rows_of(predicted / "scores.csv")
    assert [row["metric"] for row in rows] == ["dice", "sensitivity", "precision", "hd95", "assd", "nsd"]
    assert {row["class"] for row in rows} == {"tumor"}
    summary = strict_json(predicted / "summary.json")
    assert summary["failed"] == {}
    assert summary["classes"]["tumor"]["dice"]["mean"] == float(rows[0]["value"])
    assert (summary["classes"]["tumor"]["dice"]["cases"], summary["classes"]["tumor"]["dice"]["left_out"]) == (1, 0)


def test_dice_is_what_the_two_files_say(predicted, segkit):
    assert segkit("evaluate", predicted, "--split", "test", "--quiet").status == 0
    (path,) = predicted.glob("predictions/*.nii.gz")
    case = path.name.removesuffix(".nii.gz")
    ours = np.asarray(nibabel.load(path).dataobj) == 1
    theirs = np.asarray(nibabel.load(predicted.parent / f"data/{case}/{case}_seg.nii.gz").dataobj) > 0
    assert float(rows_of(predicted / "scores.csv")[0]["value"]) == pytest.approx(2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()))


@pytest.fixture
def labels(place) -> Path:
    """The labels as a flat folder, one file a case."""
    folder = place / "labels"
    folder.mkdir()
    for case in range(5):
        shutil.copy(place.scan(case, "seg"), folder / f"Phantom_00{case}.nii.gz")
    return folder


def test_two_folders_are_matched_by_case_and_every_value_is_a_class(labels, place, segkit):
    said = segkit("evaluate", "labels", "labels", "--output", "scores")
    assert said.status == 0
    assert files_in(place / "scores") == {"scores.csv", "summary.json"}
    rows = rows_of(place / "scores/scores.csv")
    assert {row["class"] for row in rows} == {"1", "2", "4"}
    assert {row["case"] for row in rows} == {f"Phantom_00{case}" for case in range(5)}
    assert {row["value"] for row in rows if row["metric"] == "dice" and row["state"] == "ok"} == {"1.0"}


def test_named_classes_a_layout_and_a_recipe_say_the_classes(labels, place, segkit):
    (place / "names.yaml").write_text("core: [1, 4]\nedema: 2\n")
    assert segkit("evaluate", "labels", "labels", "--classes", "names.yaml", "-o", "a").status == 0
    assert segkit("evaluate", "labels", "data", "--layout", "brats", "-o", "b").status == 0
    assert segkit("evaluate", "labels", "--recipe", "r.yaml", "-o", "c").status == 0
    classes = [set(strict_json(place / folder / "summary.json")["classes"]) for folder in "abc"]
    assert classes == [{"core", "edema"}, {"necrosis", "edema", "enhancing"}, {"tumor"}]


def test_a_value_that_only_a_prediction_has_is_spurious_not_forgotten(labels, place, segkit):
    shutil.copytree(labels, place / "predictions")
    place.edit(place / "predictions/Phantom_000.nii.gz", lambda a: np.where(a == 0, 9, a).astype(np.uint8))
    assert segkit("evaluate", "predictions", "labels").status == 0
    states = {row["state"] for row in rows_of(place / "predictions/scores.csv") if row["class"] == "9" and row["case"] == "Phantom_000"}
    assert states == {"spurious"}


def test_a_label_without_a_prediction_is_an_error_after_the_others_are_scored(labels, place, segkit):
    shutil.copytree(labels, place / "predictions")
    (place / "predictions/Phantom_003.nii.gz").unlink()
    said = segkit("evaluate", "predictions", "labels")
    assert said.status == 1
    assert said.err == (
        "case Phantom_003: SK-E013: no prediction of this case\n"
        "  where:    labels/Phantom_003.nii.gz\n"
        "  remedy:   predict it, or leave its label out\n"
        "SK-C022: 1 of 5 cases could not be scored\n"
        "  where:    predictions\n"
        "  got:      Phantom_003\n"
    )
    assert len({row["case"] for row in rows_of(place / "predictions/scores.csv")}) == 4
    assert strict_json(place / "predictions/summary.json")["failed"] == {
        "Phantom_003": {"error": "SK-E013", "message": "no prediction of this case"}
    }


def test_a_run_stands_for_its_predictions(predicted, place, segkit):
    assert segkit("evaluate", "run", "data", "--layout", "brats", "-o", "a").status == 0
    assert segkit("evaluate", "run", "--recipe", "r.yaml", "-o", "b").status == 0
    assert rows_of(place / "b/scores.csv") != []


def test_python_does_the_same_by_name(place):
    run = package.train("r.yaml", {"train.steps": 2}, run="python", device="cpu")
    assert run.path == Path("python")
    model = package.load(run.path, device="cpu")
    named = model.predict({"flair": place.scan(0, "flair"), "t1c": str(place.scan(0, "t1ce"))})
    folder = model.predict("data/Phantom_000")
    assert np.array_equal(named.array, folder.array)
    assert named.array.dtype == np.uint8
    assert np.array_equal(named.affine, nibabel.load(place.scan(0, "flair")).affine)
    with pytest.raises(InputError, match="SK-I020: not one case"):
        model.predict("data")
    with pytest.raises(InputError, match="SK-I021: the channels are not the model's"):
        model.predict({"flair": place.scan(0, "flair")})


def test_python_scores_two_folders(labels):
    rows = package.evaluate(labels, labels, {"edema": [2]})
    assert {(row.structure, row.value) for row in rows if row.metric == "dice"} == {("edema", 1.0)}
    (labels.parent / "fewer").mkdir()
    shutil.copy(labels / "Phantom_000.nii.gz", labels.parent / "fewer")
    with pytest.raises(WorkError, match="SK-E013: no prediction of this case"):
        package.evaluate(labels.parent / "fewer", labels)


@pytest.mark.slow  # twelve scans of 96 x 96 x 80 voxels
def test_the_whole_demo_ends_with_the_place_of_its_report(place, segkit):
    said = segkit("demo", "--output", "demo", "--steps", 1)
    assert said.status == 0
    assert said.out.splitlines()[-1].startswith(f"report: {(place / 'demo/run/report.html').resolve()} (")
    assert {"scores.csv", "summary.json", "model.safetensors", "analysis/shift.csv", "report.html"} <= files_in(place / "demo/run")
