"""Predicting and scoring wrong input: what is wrong is said, what is right is done, nothing half is left."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest


def test_one_bad_case_among_many_is_listed_and_the_others_are_written(run, place, segkit):
    flair = place.scan(2, "flair")
    flair.write_bytes(flair.read_bytes()[:2000])
    said = segkit("predict", "run", "--input", "data", "--output", "out", "--device", "cpu")
    assert said.status == 1
    assert said.err == (
        "case Phantom_002: SK-V031: the gzip stream is cut off\n"
        "  where:    data/Phantom_002/Phantom_002_flair.nii.gz\n"
        "  remedy:   the file is damaged or was not copied to its end: get it again\n"
        "SK-C012: 1 of 5 cases could not be predicted\n"
        "  where:    out\n"
        "  got:      Phantom_002\n"
    )
    assert said.out.endswith("4 of 5 cases predicted: out\n")
    assert {path.name for path in (place / "out").iterdir()} == {f"Phantom_00{i}.nii.gz" for i in (0, 1, 3, 4)} | {"predictions.json"}
    entries = json.loads((place / "out/predictions.json").read_text())["cases"]
    assert entries["Phantom_002"] == {"error": "SK-V031", "message": "the gzip stream is cut off"}
    assert all("volumes_ml" in entries[f"Phantom_00{i}"] for i in (0, 1, 3, 4))


def test_a_mended_case_is_predicted_at_the_next_call_alone(run, place, segkit):
    whole = place.scan(2, "flair").read_bytes()
    place.scan(2, "flair").write_bytes(whole[:2000])
    assert segkit("predict", "run", "--input", "data", "--output", "out", "--device", "cpu").status == 1
    place.scan(2, "flair").write_bytes(whole)
    said = segkit("predict", "run", "--input", "data", "--output", "out", "--device", "cpu")
    assert said.status == 0
    assert said.out.endswith("1 of 5 cases predicted, 4 were there already (--overwrite predicts them again): out\n")
    assert "error" not in json.loads((place / "out/predictions.json").read_text())["cases"]["Phantom_002"]


ASKED = "SK-C010: what to predict is not clear\n  where:    segkit predict\n  expected: exactly one of --input, --channels, --split\n"
FILES = "flair=data/Phantom_000/Phantom_000_flair.nii.gz"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((), ASKED),
        (("--input", "data", "--split", "test"), ASKED),
        (("--channels", FILES, "--split", "test"), ASKED),
        (("--input", "nowhere"), "SK-D010: no such file or folder\n  where:    nowhere\n"),
        (
            ("--channels", FILES),
            "SK-I021: the channels are not the model's\n  where:    data/Phantom_000/Phantom_000_flair.nii.gz\n"
            "  expected: flair, t1c\n  got:      flair\n  remedy:   name each file by its channel: flair=FILE,t1c=FILE\n",
        ),
        (("--channels", FILES + ",t1ce=x.nii.gz"), "SK-I021: the channels are not the model's\n"),
        (("--channels", FILES + ",t1c=nowhere.nii.gz"), "SK-I022: no such file\n  where:    nowhere.nii.gz\n  expected: a NIfTI file\n"),
        (("--channels", "flair,t1c"), "SK-C016: --channels cannot be read\n"),
        (("--channels", FILES + "," + FILES), "SK-C016: --channels cannot be read\n"),
        (
            ("--input", "data/Phantom_000/Phantom_000_flair.nii.gz"),
            "SK-D011: one file cannot be a case: the model takes 2 channels, flair, t1c\n",
        ),
        (
            ("--input", "data", "--input", "data/Phantom_001"),
            "SK-C014: two cases of one id\n  where:    --input\n  got:      Phantom_001\n",
        ),
        (("--input", "data", "--roi", "x.nii.gz"), "SK-C015: --roi belongs to one case\n"),
        (("--input", "data/Phantom_000", "--roi", "x.nii.gz"), "SK-C017: no such ROI mask\n  where:    x.nii.gz\n"),
        (("--input", "data", "--device", "tpu"), "SK-T001: no such device\n"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_anything_is_written(arguments, error, run, place, segkit):
    said = segkit("predict", "run", *arguments, "--output", "out")
    assert said.status == 2
    assert said.err.startswith(error)
    assert not (place / "out").exists()


def test_new_scans_need_a_place_for_their_label_maps(run, segkit):
    error = "SK-C011: no place for the label maps\n  where:    segkit predict\n  expected: --output DIR\n"
    assert segkit("predict", "run", "--input", "data").err == error
    assert segkit("predict", "run", "run", "--split", "test").err == error  # an ensemble is no one run's


def test_a_folder_without_a_model_is_refused(place, segkit):
    said = segkit("predict", "nowhere", "--input", "data", "--output", "out")
    assert said.status == 2
    assert said.err == (
        "SK-I001: no trained model here\n"
        "  where:    nowhere\n"
        "  expected: a run folder with model.safetensors and model.json\n"
        "  got:      no model.json\n"
        "  remedy:   give the folder of a run that has validated or ended once\n"
    )


def test_damaged_weights_are_refused(run, segkit):
    path = run / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    said = segkit("predict", run, "--split", "test", "--device", "cpu")
    assert said.status == 2
    assert said.err.startswith("SK-I003: the weights are damaged: their checksum differs\n")


def test_label_maps_of_another_model_are_neither_skipped_nor_replaced_unasked(run, place, segkit):
    assert segkit("predict", "run", "--input", "data", "--output", "out", "--device", "cpu").status == 0
    assert segkit("train", "r.yaml", "train.seed=1", "--run", "other", "--device", "cpu").status == 0
    before = (place / "out/Phantom_000.nii.gz").read_bytes()
    said = segkit("predict", "other", "--input", "data/Phantom_000", "--output", "out", "--device", "cpu")
    assert said.status == 2
    assert said.err == (
        "SK-I032: the folder holds label maps that are not of this model\n"
        "  where:    out\n"
        "  got:      Phantom_000\n"
        "  remedy:   choose another folder with --output, or replace them with --overwrite\n"
    )
    assert (place / "out/Phantom_000.nii.gz").read_bytes() == before
    mirrored = segkit("predict", "run", "--mirror", "-i", "data/Phantom_000", "-o", "out", "--device", "cpu")
    assert (mirrored.status, mirrored.err[:8]) == (2, "SK-I032:")  # other settings count too
    assert segkit("predict", "other", "-i", "data/Phantom_000", "-o", "out", "--device", "cpu", "--overwrite").status == 0


def test_mirrored_passes_of_a_network_that_never_saw_a_mirrored_patch(place, segkit):
    options = ("sampling.augment.flip=[]", "--run", "run", "--device", "cpu")
    assert segkit("train", place.recipe(), *options).status == 0
    said = segkit("predict", "run", "--mirror", "-i", "data/Phantom_000", "-o", "out", "--device", "cpu")
    assert (said.status, said.err) == (
        2,
        "SK-I011: mirrored passes of a network that never saw a mirrored patch\n"
        "  where:    sampling.augment.flip\n"
        "  expected: the axes that training mirrors\n"
        "  got:      none\n"
        "  remedy:   predict without --mirror and infer.mirror, or train with flips\n",
    )
    assert not (place / "out").exists()


def test_labels_by_experts_in_the_output_folder_are_not_taken_for_predictions(run, place, segkit):
    (place / "out").mkdir()
    shutil.copy(place.scan(0, "seg"), place / "out/Phantom_000.nii.gz")
    said = segkit("predict", "run", "--input", "data", "--output", "out", "--device", "cpu")
    assert said.status == 2
    assert said.err.startswith("SK-I032: the folder holds label maps that are not of this model\n")
    assert [path.name for path in (place / "out").iterdir()] == ["Phantom_000.nii.gz"]


@pytest.fixture
def one_channel(place, segkit) -> Path:
    """A model of one channel, which takes bare files."""
    place.recipe("[flair, t1c]", "[flair]", "one.yaml")
    assert segkit("train", "one.yaml", "train.steps=1", "--run", "one", "--device", "cpu").status == 0
    return place / "one"


def test_a_bare_file_is_a_case_of_a_one_channel_model(one_channel, place, segkit):
    shutil.copy(place.scan(0, "flair"), place / "scan.nii.gz")
    assert segkit("predict", one_channel, "--input", "scan.nii.gz", "--output", "out", "--device", "cpu").status == 0
    assert (place / "out/scan.nii.gz").is_file()


def test_a_scan_is_never_replaced_by_its_label_map(one_channel, place, segkit):
    (place / "new").mkdir()
    shutil.copy(place.scan(0, "flair"), place / "new/scan.nii.gz")
    before = (place / "new/scan.nii.gz").read_bytes()
    said = segkit("predict", one_channel, "--input", "new", "--output", "new", "--overwrite", "--device", "cpu")
    assert said.status == 2
    assert said.err == (
        "SK-I031: the label map would replace a file of the case\n"
        "  where:    new/scan.nii.gz\n"
        "  remedy:   choose another folder with --output\n"
    )
    assert (place / "new/scan.nii.gz").read_bytes() == before


def test_models_of_other_channels_are_no_ensemble(one_channel, run, segkit):
    said = segkit("predict", run, one_channel, "--split", "test", "--output", "out", "--device", "cpu")
    assert said.status == 2
    assert said.err.startswith("SK-I010: these models cannot be one ensemble\n")


def test_a_damaged_index_is_refused(run, place, segkit):
    (place / "out").mkdir()
    (place / "out/predictions.json").write_text('{"cases": ')
    said = segkit("predict", "run", "--input", "data", "--output", "out", "--device", "cpu")
    assert said.status == 2
    assert said.err.startswith("SK-I030: the folder's index is damaged\n  where:    out/predictions.json\n")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("data",), "SK-C020: what to score against is not clear\n"),
        (("data", "data", "--split", "test"), "SK-C020: what to score against is not clear\n"),
        (("run", "--split", "test", "--classes", "x.yaml"), "SK-C021: --classes belongs to LABELS\n"),
        (("run", "--split", "test", "--layout", "brats"), "SK-C021: --layout belongs to LABELS\n"),
        (("data", "--split", "test"), "SK-C024: this is no run\n  where:    data\n"),
        (
            ("run", "--split", "test"),
            "SK-C025: this run has no predictions\n  where:    run/predictions\n  remedy:   segkit predict run --split test\n",
        ),
        (("nowhere", "data"), "SK-E010: no such folder\n  where:    nowhere\n  expected: a folder of label maps\n"),
        (("data", "data"), "SK-E012: no label maps here\n  where:    data\n"),
        (("flat", "data", "--layout", "brats"), "SK-E014: no prediction has a label in this data set\n  where:    flat\n"),
        (("flat", "flat", "--classes", "nowhere.yaml"), "SK-R001: the file cannot be read\n"),
        (("flat", "flat", "--classes", "names.yaml"), "SK-C023: the class names cannot be read\n  where:    names.yaml\n"),
    ],
)
def test_scoring_what_makes_no_sense_is_refused_before_anything_is_written(arguments, error, run, place, segkit):
    (place / "flat").mkdir()
    shutil.copy(place.scan(0, "seg"), place / "flat/stranger.nii.gz")
    (place / "names.yaml").write_text("tumor: [1, x]\n")
    said = segkit("evaluate", *arguments, "--output", "scores")
    assert said.status == 2
    assert said.err.startswith(error)
    assert not (place / "scores").exists()


def test_another_grid_is_not_resampled_silently(place, segkit):
    for folder in ("ours", "theirs"):
        (place / folder).mkdir()
        shutil.copy(place.scan(0, "seg"), place / folder / "a.nii.gz")
    place.edit(place / "ours/a.nii.gz", lambda a: a[:-1])
    said = segkit("evaluate", "ours", "theirs")
    assert said.status == 1
    assert said.err.startswith(
        "case a: SK-E001: prediction and label are on different grids\n"
        "  where:    ours/a.nii.gz\n"
        "  expected: the grid of theirs/a.nii.gz\n"
        "  got:      shape 31 x 32 x 32 and 32 x 32 x 32\n"
    )
    assert said.out.startswith("no scores\n")
    assert (place / "ours/scores.csv").read_text() == "case,class,metric,value,unit,state\n"


def test_images_in_the_place_of_label_maps_are_told_apart(place, segkit):
    (place / "flat").mkdir()
    place.edit(place.scan(0, "flair"), lambda a: np.arange(a.size, dtype=np.int32).reshape(a.shape))
    shutil.copy(place.scan(0, "flair"), place / "flat/a.nii.gz")
    said = segkit("evaluate", "flat", "flat")
    assert said.status == 2
    assert said.err == (
        "SK-E015: too many label values\n"
        "  where:    flat\n"
        "  expected: at most 254 classes\n"
        "  got:      32767\n"
        "  remedy:   name the classes; are these label maps?\n"
    )
