"""What looks and changes nothing: help, list, config, check."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

SHELVES = {
    "datasets": {"brats", "btcv", "files", "msd", "nnunet", "phantom"},
    "losses": {"cross_entropy", "dice", "f_beta", "focal", "focal_dice", "generalized_dice", "iou", "top_k", "tversky"},
    "metrics": {"dice", "sensitivity", "precision", "hd95", "assd", "nsd", "specificity"},
    "models": {"deepmedic", "deepmedic_basic", "deepmedic_tiny", "deepmedic_wide", "monai", "unet3d"},
    "optimizers": {"adamw", "rmsprop", "sgd"},
    "regularizers": {"adversarial", "feature_weakening", "large_margin", "logit_adjustment", "mixup"},
    "schedules": {"constant", "cosine", "poly", "steps"},
}


def test_help_does_not_wait_for_torch():
    code = "from segkit.cli.main import run; import atexit, sys; atexit.register(lambda: print('torch' in sys.modules)); run()"
    said = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True)
    assert said.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize("verb", ["train", "predict", "evaluate", "check", "phantom", "list", "config", "bench", "demo"])
def test_every_command_explains_itself_and_has_the_common_options(verb, segkit):
    said = segkit(verb, "--help")
    assert said.status == 0
    text = re.sub(r"\x1b\[[0-9;]*m", "", said.out)
    assert all(option in text for option in ("--quiet", "--verbose", "--debug", "--plugin"))


def test_the_version_is_printed(segkit):
    from importlib.metadata import version

    assert segkit("--version").out == version("segkit") + "\n"


@pytest.mark.parametrize("shelf", SHELVES)
def test_every_shelf_is_listed_with_fields_and_defaults(shelf, segkit):
    said = segkit("list", shelf)
    assert said.status == 0
    names = {line.partition(":")[0] for line in said.out.splitlines() if not line.startswith(" ")}
    assert names >= SHELVES[shelf]
    for line in said.out.splitlines():
        assert re.fullmatch(r"[a-z0-9_]+: \S.*|    [a-z0-9_]+: .+, (required|default .+)", line), line


def test_without_a_shelf_all_are_named(segkit):
    lines = dict(line.split(": ") for line in segkit("list").out.splitlines())
    assert set(lines) == set(SHELVES)
    assert SHELVES["models"] <= set(lines["models"].split(", "))


def test_an_unknown_shelf_is_refused(segkit):
    said = segkit("list", "lossess")
    assert said.status == 2
    assert "losses" in said.err


def test_config_prints_every_value_with_its_origin(place, segkit):
    said = segkit("config", "r.yaml", "train.steps=7")
    assert said.status == 0
    lines = {line.partition(":")[0]: re.split(r"\s+# ", line.partition(": ")[2]) for line in said.out.splitlines()}
    assert lines["train.steps"] == ["7", "command line"]
    assert lines["model.name"] == ["deepmedic_tiny", "r.yaml:8"]
    assert lines["train.seed"] == ["0", "default"]
    assert lines["dataset.root"] == [str(place / "data"), "r.yaml:3"]


def findings(place) -> list[dict]:
    return json.loads((place / "integrity.json").read_text())["findings"]


def codes(place) -> list[tuple[str, str, str | None]]:
    return [(finding["grade"], finding["code"], finding["case"]) for finding in findings(place)]


def test_a_sound_recipe_has_no_findings(place, segkit):
    said = segkit("check", "r.yaml")
    assert (said.status, said.err) == (0, "")
    assert said.out.splitlines()[-1] == "5 cases read, 0 errors, 0 notices: integrity.json"
    assert json.loads((place / "integrity.json").read_text()) == {"subject": "r.yaml", "cases": 5, "errors": 0, "findings": []}
    assert not (place / ".segkit").exists()


def test_a_sound_folder_needs_only_its_layout(place, segkit):
    assert segkit("check", "data", "--layout", "brats", "--report", "report.json").status == 0
    assert json.loads((place / "report.json").read_text())["cases"] == 5
    said = segkit("check", "data")
    assert said.status == 2
    assert said.err == "SK-C030: the layout of the folder is not given\n  where:    data\n  expected: --layout brats, btcv, msd or nnunet\n"


def test_all_findings_come_at_once_and_the_exit_status_is_two(place, segkit):
    flair = place.scan(0, "flair")
    flair.write_bytes(flair.read_bytes()[:2000])
    place.scan(1, "t1ce").unlink()
    place.edit(place.scan(2, "seg"), lambda a: np.where(a == 4, 9, a).astype(np.uint8))
    place.edit(place.scan(3, "t1ce"), lambda a: a[:-1])
    said = segkit("check", "r.yaml", "dataset.split.test=9")
    assert said.status == 2
    assert codes(place) == [
        ("error", "SK-D003", None),
        ("error", "SK-V031", "Phantom_000"),
        ("error", "SK-V020", "Phantom_002"),
        ("error", "SK-V061", "Phantom_003"),
    ]
    assert said.err.count("error") == 4
    assert (
        "error, case Phantom_000: SK-V031: the gzip stream is cut off\n"
        f"  where:    {flair}\n"
        "  remedy:   the file is damaged or was not copied to its end: get it again\n"
    ) in said.err
    assert said.out.splitlines()[-1] == "4 cases read, 4 errors, 0 notices: integrity.json"


def test_a_split_that_does_not_fit_does_not_hide_the_rest(place, segkit):
    place.edit(place.scan(2, "seg"), lambda a: np.where(a == 4, 9, a).astype(np.uint8))
    assert segkit("check", "r.yaml", "dataset.split={fold: 0, of: 9}").status == 2
    assert codes(place) == [("error", "SK-D044", None), ("error", "SK-V020", "Phantom_002")]


def test_a_class_in_no_case_is_an_error(place, segkit):
    place.recipe("{tumor: [1, 2, 4]}", "{tumor: [1, 2], gone: [4]}")
    for case in range(5):
        place.edit(place.scan(case, "seg"), lambda a: np.where(a == 4, 0, a).astype(np.uint8))
    assert segkit("check", "r.yaml").status == 2
    assert [finding["what"] for finding in findings(place)] == ["no case holds a voxel of gone"]


@pytest.fixture
def last_is_test(place) -> None:
    """A split by a file: Phantom_004 is the test case, the others train."""
    place.recipe("split: {test: 1, validation: 1}", "split: {file: split.json}")
    ids = [f"Phantom_00{case}" for case in range(5)]
    (place / "split.json").write_text(json.dumps({"test": ids[4:], "train_order": ids[:4]}))


@pytest.mark.parametrize(("empty", "grade", "side", "status"), [([0, 1, 2, 3], "error", "training", 2), ([4], "notice", "test", 0)])
@pytest.mark.usefixtures("last_is_test")
def test_a_class_that_a_side_lacks_is_an_error_in_training_and_a_notice_in_test(empty, grade, side, status, place, segkit):
    for case in empty:
        place.edit(place.scan(case, "seg"), lambda a: a * 0)
    assert segkit("check", "r.yaml").status == status
    assert [(found["grade"], found["code"], found["what"]) for found in findings(place)] == [
        (grade, "SK-D092", f"no {side} case holds a voxel of tumor")
    ]


@pytest.mark.usefixtures("last_is_test")
def test_the_same_scan_on_two_sides_of_the_split_is_an_error(place, segkit):
    for name in ("flair", "t1ce"):
        place.scan(4, name).write_bytes(place.scan(0, name).read_bytes())
    assert segkit("check", "r.yaml").status == 2
    ((code, got),) = [(finding["code"], finding["got"]) for finding in findings(place)]
    assert (code, got) == ("SK-D094", "Phantom_000 (training), Phantom_004 (test)")


def test_a_patch_that_fits_no_volume_or_no_network_is_found(place, segkit):
    assert segkit("check", "r.yaml", "sampling.patch_shape=[60, 60, 60]").status == 2
    assert [finding["code"] for finding in findings(place)] == ["SK-T032"]
    model = "model={name: unet3d, widths: [4, 8]}"
    assert segkit("check", "r.yaml", model, "sampling.patch_shape=[9, 9, 9]").status == 2
    assert [finding["code"] for finding in findings(place)] == ["SK-M001"]


def test_notices_are_shown_on_demand_and_do_not_fail(place, segkit):
    place.edit(place.scan(1, "seg"), lambda a: (a + 0.0001 * (a > 0)).astype(np.float32))
    said = segkit("check", "r.yaml")
    assert (said.status, said.err) == (0, "")
    assert said.out.splitlines()[-1] == "5 cases read, 0 errors, 1 notice (--verbose shows the notices): integrity.json"
    assert "notice, case Phantom_001: SK-V099: " in segkit("check", "r.yaml", "--verbose").out


def test_a_flipped_bit_in_the_store_is_an_error(place, segkit):
    assert segkit("train", "r.yaml", "train.steps=1", "--device", "cpu").status == 0
    assert segkit("check", "r.yaml").status == 0
    image = sorted((place / ".segkit").rglob("image.npy"))[0]
    data = bytearray(image.read_bytes())
    data[-5] ^= 1
    image.write_bytes(data)
    assert segkit("check", "r.yaml").status == 2
    ((code, where, remedy),) = [(finding["code"], finding["where"], finding["remedy"]) for finding in findings(place)]
    assert (code, where, remedy) == ("SK-D096", str(image), f"remove {image.parent}: training makes it again")
    shutil.rmtree(image.parent)
    assert segkit("check", "r.yaml").status == 0


def test_the_layout_files_needs_a_recipe(place, segkit):
    said = segkit("check", "data", "--layout", "files")
    assert said.status == 2
    assert said.err.startswith("SK-E016: this folder needs a recipe\n  where:    data\n")
    assert said.err.endswith("  remedy:   write a recipe and name that\n")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("r.yaml", "--layout", "brats"), "SK-C032"),
        (("data", "train.steps=3", "--layout", "brats"), "SK-C031"),
        (("nowhere.yaml",), "SK-R001"),
    ],
)
def test_a_subject_that_makes_no_sense_is_refused(arguments, code, place, segkit):
    said = segkit("check", *arguments)
    assert said.status == 2
    assert said.err.startswith(code)
    assert not (place / "integrity.json").exists()


@pytest.mark.parametrize(("layout", "code"), [("btcv", "SK-D002"), ("msd", "SK-D020"), ("nnunet", "SK-D020")])
def test_the_wrong_layout_is_one_finding(layout, code, place, segkit):
    assert segkit("check", "data", "--layout", layout).status == 2
    assert codes(place) == [("error", code, None)]
