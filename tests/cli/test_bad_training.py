"""Training on wrong input: one block that says what, where, expected, got, remedy; exit status 2; no run folder."""

import json
from collections.abc import Callable

import numpy as np
import pytest


@pytest.fixture
def refused(place, segkit) -> Callable[..., str]:
    """Trains with these arguments, which must fail as wrong input and leave no run; returns the error."""

    def train(*arguments: str) -> str:
        said = segkit("train", *(arguments or ("r.yaml",)), "--run", "new")
        assert said.status == 2
        assert said.err.startswith("SK-")
        assert "Traceback" not in said.err
        assert not (place / "new").exists()
        return said.err

    return train


def test_a_missing_recipe(refused):
    assert refused("nowhere.yaml") == "SK-R001: the file cannot be read\n  where:    nowhere.yaml\n  got:      No such file or directory\n"


def test_a_misspelt_key_and_a_misspelt_name_are_told_with_the_line_and_what_was_meant(place, refused):
    place.recipe("steps: 3", "stepz: 3")
    assert refused() == (
        "SK-R030: 2 mistakes in r.yaml\n"
        "r.yaml:10: train.steps: missing; expected int > 0\n"
        "r.yaml:10: train.stepz: unknown key; did you mean 'steps'?\n"
    )
    place.recipe("deepmedic_tiny", "deepmedic_tny")
    assert refused() == "SK-R030: 1 mistake in r.yaml\nr.yaml:8: model: no model is named 'deepmedic_tny'; did you mean 'deepmedic_tiny'?\n"
    place.recipe()
    assert (
        refused("r.yaml", "train.stepz=3")
        == "SK-R030: 1 mistake in r.yaml\ncommand line: train.stepz: unknown key; did you mean 'steps'?\n"
    )


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a: [1,\n b", "SK-R004"),
        ("train:\n\tsteps: 3\n", "SK-R004"),
        ("train: {steps: 1}\ntrain: {steps: 2}\n", "SK-R010: a key is written twice"),
        ("a: !!python/object:os.system {}\n", "SK-R005: tags are not read"),
        ("\n".join(["a0: &a0 [1]", *(f"a{i}: &a{i} [{f'*a{i - 1},' * 10}]" for i in range(1, 7))]), "SK-R009: too many values"),
    ],
    ids=["open bracket", "tab", "key twice", "tag", "alias bomb"],
)
def test_what_is_not_strict_yaml(text, code, place, refused):
    (place / "r.yaml").write_text(text)
    error = refused()
    assert error.startswith(code)
    assert "r.yaml" in error


def test_a_data_set_that_is_not_there(place, refused):
    assert refused("r.yaml", "dataset.root=nowhere") == (
        "SK-D001: the data set's folder is not there\n"
        f"  where:    {place.path}/nowhere\n"
        "  expected: a folder a case, holding *_flair.nii.gz, *_t1ce.nii.gz, *_seg.nii.gz\n"
        "  remedy:   set dataset.root; see data/README.md\n"
    )


def test_an_absent_channel(place, refused):
    place.scan(0, "flair").unlink()
    assert refused() == (
        "SK-D003: 1 case of 5 cannot be used\n"
        "  Phantom_000: channel flair: looked for *_flair.nii.gz, there is "
        "Phantom_000_seg.nii.gz, Phantom_000_t1.nii.gz, Phantom_000_t1ce.nii.gz, Phantom_000_t2.nii.gz\n"
        f"  where:    {place.path}/data\n"
        "  remedy:   complete these cases, or take their folders away\n"
    )


def test_an_absent_label(place, refused):
    place.scan(0, "seg").unlink()
    assert refused().startswith("SK-D005: 1 of the cases to train, validate or test on have no label: Phantom_000\n")


@pytest.fixture
def bad_case(place, refused) -> Callable[[], str]:
    """What is said of the one bad case, without the frame that lists all bad ones. All cases train, so that it is among them."""

    def complaint() -> str:
        error = refused("r.yaml", "dataset.split={test: 0}")
        head, *lines, remedy = error.splitlines()
        assert head == "SK-V070: 1 of 5 cases cannot be used"
        assert remedy == "  remedy:   repair these cases, or take them out of the data set"
        return "\n".join(line.removeprefix("  ") for line in lines).replace(f"{place.path}/", "")

    return complaint


def test_a_truncated_scan(place, bad_case):
    path = place.scan(0, "flair")
    path.write_bytes(path.read_bytes()[:2000])
    assert bad_case() == (
        "Phantom_000: SK-V031: the gzip stream is cut off\n"
        "  where:    data/Phantom_000/Phantom_000_flair.nii.gz\n"
        "  remedy:   the file is damaged or was not copied to its end: get it again"
    )


def test_every_bad_case_is_listed_at_once(place, refused):
    for case in (1, 3):
        path = place.scan(case, "flair")
        path.write_bytes(path.read_bytes()[:2000])
    error = refused("r.yaml", "dataset.split={test: 0}")
    assert error.startswith("SK-V070: 2 of 5 cases cannot be used\n  Phantom_001: SK-V031: the gzip stream is cut off\n")
    assert "\n  Phantom_003: SK-V031: the gzip stream is cut off\n" in error


@pytest.mark.parametrize("name", ["t1ce", "seg"])
def test_another_shape_than_the_first_channel(name, place, bad_case):
    place.edit(place.scan(0, name), lambda a: a[:-1])
    assert bad_case() == (
        "Phantom_000: SK-V061: the files of a case are not on one grid\n"
        f"  where:    data/Phantom_000/Phantom_000_{name}.nii.gz\n"
        "  expected: the grid of data/Phantom_000/Phantom_000_flair.nii.gz\n"
        "  got:      shape 32 x 32 x 32 and 31 x 32 x 32\n"
        "  remedy:   register and resample the files of a case onto one grid"
    )


@pytest.mark.parametrize("name", ["t1ce", "seg"])
def test_another_affine_than_the_first_channel(name, place, bad_case):
    place.edit(place.scan(0, name), lambda a: a, affine=np.diag([2.0, 2.0, 2.0, 1.0]))
    error = bad_case()
    assert error.startswith("Phantom_000: SK-V061: the files of a case are not on one grid\n")
    assert f"  where:    data/Phantom_000/Phantom_000_{name}.nii.gz\n" in error
    assert "and 2 x 2 x 2 mm\n" in error


def test_a_label_value_outside_the_class_map(place, bad_case):
    place.edit(place.scan(0, "seg"), lambda a: np.where(np.arange(a.size).reshape(a.shape) < 7, 9, a).astype(np.uint8))
    assert bad_case() == (
        "Phantom_000: SK-V020: label values outside the class map\n"
        "  where:    data/Phantom_000/Phantom_000_seg.nii.gz\n"
        "  expected: values among [0, 1, 2, 4]\n"
        "  got:      9 (7 voxels)\n"
        "  remedy:   name them under dataset.classes, dataset.background or dataset.ignore (or `background: rest`)"
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_voxels_that_are_not_finite(value, place, bad_case):
    def spoil(array):
        array = array.astype(np.float32)
        array[3, 3, 3] = value
        return array

    place.edit(place.scan(0, "flair"), spoil)
    assert bad_case() == (
        "Phantom_000: SK-V030: voxels that are no finite numbers\n"
        "  where:    data/Phantom_000/Phantom_000_flair.nii.gz\n"
        "  got:      1 NaN or infinite voxels\n"
        "  remedy:   replace them (NaN is often meant as background) and write the file again"
    )


def test_a_patch_larger_than_every_training_volume(refused):
    error = refused("r.yaml", "sampling.patch_shape=[9, 60, 9]")
    assert error.startswith(
        "SK-T032: the patch is larger than every training volume\n  where:    sampling.patch_shape\n  expected: at most ["
    )
    assert error.endswith("  got:      [9, 60, 9]\n  remedy:   lower sampling.patch_shape\n")


def test_a_patch_that_is_no_multiple_of_the_networks(refused):
    assert refused("r.yaml", "model={name: unet3d, widths: [4, 8]}") == (
        "SK-M001: the network cannot make a patch of this shape\n"
        "  expected: multiples of (2, 2, 2) voxels (X, Y, Z)\n"
        "  got:      (9, 9, 9)\n"
        "  remedy:   change sampling.patch_shape or infer.tile_shape\n"
    )


def test_a_class_in_no_training_case(place, refused):
    for case in range(5):
        place.edit(place.scan(case, "seg"), lambda a: a * 0)
    assert refused() == (
        "SK-S001: no training case holds a voxel of tumor\n"
        "  where:    sampling.proportions\n"
        "  expected: every class with a share to have labelled voxels inside the ROI of a training case\n"
        "  got:      3 training cases without any\n"
        "  remedy:   check dataset.classes against the label files, use more training cases, or give the class the share 0\n"
    )


def test_fewer_cases_than_folds(refused):
    assert refused("r.yaml", "dataset.split={fold: 0, of: 9}") == (
        "SK-D044: more folds than patients\n"
        "  where:    dataset.split\n"
        "  expected: at least 9 patients\n"
        "  got:      5 (5 cases)\n"
        "  remedy:   lower dataset.split.of\n"
    )


def test_asymmetric_augmentation_without_rare_classes(refused):
    assert refused("r.yaml", "sampling.augment.asymmetric=true", "sampling.augment.other_probability=0.5") == (
        "SK-R030: 1 mistake in r.yaml\n"
        "r.yaml:1: dataset.rare_classes: expected the rare classes, since sampling.augment is asymmetric, got none\n"
    )


@pytest.mark.parametrize(
    ("overrides", "mistake"),
    [
        (["losses=[{name: focal}]"], "r.yaml:1: dataset.rare_classes: expected the rare classes, since focal is asymmetric, got none"),
        (
            ["regularizers=[adversarial]"],
            "r.yaml:1: dataset.rare_classes: expected the rare classes, since adversarial is asymmetric, got none",
        ),
        (
            ["regularizers=[{name: mixup, asymmetric: false}]", "train.batch_size=1"],
            "command line: train.batch_size: expected at least 2, since mixup pairs the patches of a batch, got 1",
        ),
        (
            ["regularizers=[{name: mixup, asymmetric: false}, feature_weakening]"],
            "command line: regularizers: expected mixup or feature_weakening, since each mixes what the other means to keep apart, got both"
            " (feature_weakening: {allow_combination: true} permits it)",
        ),
        (
            ["losses=[dice, iou]", "regularizers=[feature_weakening]"],
            "command line: losses: expected a mean over voxels such as cross_entropy, since feature_weakening acts on no other,"
            " got dice, iou",
        ),
        (
            ["regularizers=[{name: feature_weakening, strength: step}]"],
            "r.yaml:1: dataset.rare_classes: expected the rare classes, since feature_weakening is asymmetric, got none",
        ),
        (["infer.mirror=true", "sampling.augment.flip=[]"],
         "command line: sampling.augment.flip: expected the axes to mirror, since infer.mirror averages over them, got none"),
    ],
)  # fmt: skip
def test_a_technique_without_what_it_needs(overrides, mistake, refused):
    assert refused("r.yaml", *overrides) == f"SK-R030: 1 mistake in r.yaml\n{mistake}\n"


@pytest.mark.parametrize(
    ("override", "mistake"),
    [
        ("losses=[{name: focal, gamma: -1}]", "losses[0].gamma: expected number >= 0"),
        ("regularizers=[{name: large_margin, margin: -0.1}]", "regularizers[0].margin: expected number >= 0"),
        ("regularizers=[{name: mixup, margin: 1.0}]", "regularizers[0].margin: expected "),
        ("regularizers=[{name: mixup, margin: 0.2, asymmetric: false}]", "margin: expected none, since symmetric mixup has soft labels"),
        ("regularizers=[{name: large_margin, margin: 101}]", "regularizers[0].margin: expected number >= 0 and <= 100, got 101"),
        ("sampling.augment.asymmetric=true", "other_probability: expected a number < 1, since asymmetric augmentation with 1"),
        ("sampling.augment.other_probability=0.5", "other_probability: expected 1 without asymmetric: true, got 0.5"),
        (
            "sampling.augment={flip: [], asymmetric: true, other_probability: 0.5}",
            "asymmetric: expected an augmentation to withhold from other patches, got none: all of them are off",
        ),
        ("dataset.rare_classes=[tumr]", "tumr"),
    ],
)
def test_a_technique_with_a_value_out_of_range(override, mistake, refused):
    assert mistake in refused("r.yaml", override)


def test_classes_that_sections_name_differently(refused):
    error = refused("r.yaml", "sampling.proportions={background: 0.5, tumour: 0.5}", "infer.keep_largest=[tumr]")
    assert "  sampling.proportions: expected a share for each of ['background', 'tumor'], " in error
    assert "  infer.keep_largest: no class or region is named 'tumr'\n" in error


@pytest.mark.parametrize(
    ("device", "error"),
    [
        ("tpu", "SK-T001: no such device\n  where:    --device\n  expected: auto, cpu, cuda or cuda:N\n  got:      tpu\n"),
        ("cpu:1", "SK-T001: no such device\n  where:    --device\n  expected: auto, cpu, cuda or cuda:N\n  got:      cpu:1\n"),
        ("cuda:99", "SK-T002: this CUDA device is not here\n  where:    --device\n"),
    ],
)
def test_an_unknown_device(device, error, refused):
    assert refused("r.yaml", "--device", device).startswith(error)


def test_resuming_where_nothing_is(refused):
    assert refused("r.yaml", "--resume") == (
        "SK-T011: nothing to resume here\n"
        "  where:    new\n"
        "  expected: a run's folder\n"
        "  got:      no run\n"
        "  remedy:   train without --resume\n"
    )


def test_a_run_folder_in_use_is_left_as_it_is(run, segkit):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    said = segkit("train", "r.yaml", "--run", "run")
    assert said.status == 2
    assert said.err == (
        "SK-T010: this run folder is in use\n"
        "  where:    run\n"
        "  expected: a folder without a run\n"
        "  got:      a run\n"
        "  remedy:   continue it with --resume, or choose another folder with --run\n"
    )
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_resuming_a_finished_run_is_done_at_once_and_changes_nothing(run, segkit):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    said = segkit("train", run / "recipe.yaml", "--run", run, "--resume", "--device", "cpu")
    assert (said.status, said.err) == (0, "")
    assert said.out == f"resumed at step 3\nthis run has its 3 steps already\nrun: {run}\n"
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_resuming_with_another_recipe_shows_what_differs(run, segkit):
    said = segkit("train", run / "recipe.yaml", "train.steps=9", "losses=[dice]", "--run", run, "--resume", "--device", "cpu")
    assert said.status == 2
    assert said.err.startswith(f"SK-T012: the recipe is not the one this run was started with\n  where:    {run}/recipe.yaml\n")
    assert "losses[0].name: cross_entropy -> dice; " in said.err
    assert "train.steps: 3 -> 9" in said.err


def test_a_run_that_ended_before_its_first_checkpoint_begins_again(run, segkit):
    weights = (run / "model.safetensors").read_bytes()
    for path in (*run.glob("checkpoints/*"), run / "model.safetensors", run / "model.json"):
        path.unlink()
    said = segkit("train", run / "recipe.yaml", "--run", run, "--resume", "--device", "cpu")
    assert said.status == 0
    assert said.out.startswith("resumed at step 0, ")
    assert (run / "model.safetensors").read_bytes() == weights
    steps = [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines() if '"event": "step"' in line]
    assert steps == [1, 2, 3]


def test_a_damaged_checkpoint_is_not_resumed(run, segkit):
    path = run / "checkpoints/last.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    said = segkit("train", run / "recipe.yaml", "--run", run, "--resume", "--device", "cpu")
    assert said.status == 2
    assert said.err.startswith("SK-T021: the checkpoint is damaged: its checksum differs\n")


def test_weights_are_kept_where_no_validation_case_holds_a_class(place, segkit):
    place.edit(place.scan(0, "seg"), lambda a: a * 0)
    ids = [f"Phantom_00{case}" for case in range(1, 5)]
    (place / "split.json").write_text(json.dumps({"test": ids[3:], "train_order": ids[:3], "validation": ["Phantom_000"]}))
    assert segkit("train", "r.yaml", "dataset.split={file: split.json}", "--run", "new", "--device", "cpu").status == 0
    assert segkit("predict", "new", "--split", "test", "--device", "cpu").status == 0
