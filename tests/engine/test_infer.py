"""Prediction comes back in the scan's own geometry, whatever way the scan lies on disk."""

import json
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from segkit.api import Model
from segkit.config.errors import InputError
from segkit.engine.console import Console
from segkit.engine.infer import Predictor, keep_largest, mirrored_axes, predict_all
from segkit.engine.run import Run
from segkit.engine.train import train
from segkit.volume.case import CaseFiles, Source

CPU = torch.device("cpu")
AXES = [codes for triple in permutations(("RL", "AP", "SI")) for codes in product(*triple)]  # all 48


@pytest.fixture(scope="session")
def tiny_run(tiny_root, tmp_path_factory) -> Run:
    """A one-channel model after a few steps, tumour against the rest."""
    from segkit.config.yaml import loads
    from segkit.recipe import resolve

    folder = tmp_path_factory.mktemp("model")
    text = f"""
dataset: {{name: phantom, root: {tiny_root}, cases: 4, shape: [32, 32, 32], channels: [flair], classes: {{tumor: [2, 1, 4]}},
          split: {{test: 1}}}}
preprocess: {{store: {folder / "store"}}}
sampling: {{patch_shape: [12, 12, 12]}}
model: {{name: deepmedic_tiny, dropout: 0}}
losses: [cross_entropy]
train: {{steps: 60, batch_size: 4, precision: fp32, optimizer: {{name: rmsprop, learning_rate: 5e-3}}}}
"""
    return train(resolve(loads(text, "tiny.yaml")), Run(folder / "run"), device_name="cpu", console=Console("quiet"))


@pytest.fixture(scope="session")
def predictor(tiny_run) -> Predictor:
    return Predictor.load([tiny_run.path], CPU)


def files(path: Path, case: str = "scan") -> CaseFiles:
    return CaseFiles(case, {"flair": Source(path)})


@pytest.fixture(scope="session")
def scan(tiny_root) -> nibabel.Nifti1Image:
    return nibabel.load(tiny_root / "Phantom_003" / "Phantom_003_flair.nii.gz")


def saved(image: nibabel.Nifti1Image, path: Path) -> Path:
    nibabel.save(image, path)
    return path


def turned(image: nibabel.Nifti1Image, codes: tuple[str, str, str]) -> nibabel.Nifti1Image:
    change = ornt_transform(io_orientation(image.affine), axcodes2ornt(codes))
    return image.as_reoriented(change)


def predicted(predictor: Predictor, path: Path) -> nibabel.Nifti1Image:
    outcome = next(iter(predict_all(predictor, [files(path)], path.parent / "out", overwrite=True)))
    assert outcome.error is None, outcome.error
    return nibabel.load(path.parent / "out" / "scan.nii.gz")


@pytest.fixture(scope="session")
def reference(predictor, scan, tmp_path_factory) -> nibabel.Nifti1Image:
    label = predicted(predictor, saved(scan, tmp_path_factory.mktemp("reference") / "scan.nii.gz"))
    assert 0 < np.count_nonzero(label.get_fdata()) < label.get_fdata().size / 4
    return label


@pytest.mark.parametrize("codes", AXES, ids="".join)
def test_all_48_orientations_come_back_in_their_own(predictor, scan, reference, tmp_path, codes):
    image = turned(scan, codes)
    label = predicted(predictor, saved(image, tmp_path / "scan.nii.gz"))
    np.testing.assert_allclose(label.affine, image.affine, atol=1e-5)
    np.testing.assert_array_equal(label.get_fdata(), turned(reference, codes).get_fdata())


def test_an_oblique_scan_keeps_its_affine_and_its_codes(predictor, scan, reference, tmp_path):
    c, s = np.cos(0.3), np.sin(0.3)
    tilt = np.array([[c, -s, 0, 5], [s, c, 0, -7], [0, 0, 1, 11], [0, 0, 0, 1]])
    image = nibabel.Nifti1Image(scan.get_fdata(dtype=np.float32), tilt @ scan.affine)
    image.header.set_sform(tilt @ scan.affine, code=2)
    image.header.set_qform(tilt @ scan.affine, code=1)
    label = predicted(predictor, saved(image, tmp_path / "scan.nii.gz"))
    np.testing.assert_allclose(label.affine, tilt @ scan.affine, atol=1e-5)
    assert (int(label.header["sform_code"]), int(label.header["qform_code"])) == (2, 1)
    np.testing.assert_array_equal(label.get_fdata(), reference.get_fdata())


def test_the_label_map_holds_source_values_in_the_smallest_type(reference):
    assert set(np.unique(np.asarray(reference.dataobj))) == {0, 2}  # a class is written as the first of its values
    assert reference.get_data_dtype() == np.uint8
    assert (reference.dataobj.slope, reference.dataobj.inter) == (1, 0)


@pytest.mark.parametrize("shape", [(1, 32, 32), (32, 1, 32), (32, 32, 1), (3, 4, 5)])
def test_thin_and_small_scans_are_predicted(predictor, scan, tmp_path, shape):
    middle = tuple(slice((32 - n) // 2, (32 - n) // 2 + n) for n in shape)
    image = scan.slicer[middle]
    label = predicted(predictor, saved(image, tmp_path / "scan.nii.gz"))
    assert label.shape == shape
    np.testing.assert_allclose(label.affine, image.affine, atol=1e-5)


def test_one_bad_scan_does_not_stop_the_others(predictor, scan, tmp_path):
    good, bad = saved(scan, tmp_path / "good.nii.gz"), tmp_path / "bad.nii.gz"
    bad.write_bytes(good.read_bytes()[:2000])
    outcomes = list(predict_all(predictor, [files(bad, "bad"), files(good, "good")], tmp_path / "out"))
    assert [(outcome.case, outcome.error is None) for outcome in outcomes] == [("bad", False), ("good", True)]
    assert sorted(path.name for path in (tmp_path / "out").glob("*.nii.gz")) == ["good.nii.gz"]


def test_what_is_there_is_not_predicted_again(predictor, scan, tmp_path):
    path, out = saved(scan, tmp_path / "scan.nii.gz"), tmp_path / "out" / "scan.nii.gz"
    list(predict_all(predictor, [files(path)], out.parent))
    before = out.stat().st_mtime_ns
    again = next(iter(predict_all(predictor, [files(path)], out.parent)))
    assert again.skipped
    assert out.stat().st_mtime_ns == before


def test_probabilities_are_written_on_the_native_grid_and_sum_to_one(predictor, scan, tmp_path):
    path = saved(turned(scan, ("A", "S", "L")), tmp_path / "scan.nii.gz")
    list(predict_all(predictor, [files(path)], tmp_path / "out", with_probabilities=True))
    maps = {name: nibabel.load(tmp_path / "out" / "probabilities" / f"scan_{name}.nii.gz") for name in ("background", "tumor")}
    total = sum(image.get_fdata() for image in maps.values())
    np.testing.assert_allclose(total, 1, atol=1e-5)
    label = nibabel.load(tmp_path / "out" / "scan.nii.gz").get_fdata()
    np.testing.assert_array_equal(label > 0, maps["tumor"].get_fdata() > maps["background"].get_fdata())


def test_mirrored_passes_go_along_the_axes_that_training_mirrored(tiny):
    recipe = tiny(infer__mirror=True, sampling__augment__flip=["z", "x"])
    assert mirrored_axes(recipe) == (0, 2)
    assert mirrored_axes(recipe, False) == ()
    assert mirrored_axes(tiny()) == ()


def test_a_network_that_never_saw_a_mirrored_patch_is_not_asked_for_mirrored_passes(tiny):
    with pytest.raises(InputError, match="SK-I011: mirrored passes of a network that never saw a mirrored patch"):
        mirrored_axes(tiny(sampling__augment__flip=[]), True)
    with pytest.raises(InputError, match=r"sampling\.augment\.flip: expected the axes to mirror, since infer.mirror averages over them"):
        tiny(sampling__augment__flip=[], infer__mirror=True)


def test_an_ensemble_of_one_model_twice_is_that_model(tiny_run, predictor, scan, tmp_path):
    path = saved(scan, tmp_path / "scan.nii.gz")
    twice = Predictor.load([tiny_run.path, tiny_run.path], CPU)
    once, both = (each.predict(each.read(files(path)), with_probabilities=True) for each in (predictor, twice))
    np.testing.assert_allclose(both.probabilities, once.probabilities, atol=1e-6)
    assert predictor.predict(predictor.read(files(path))).probabilities is None


def test_models_of_other_classes_are_no_ensemble(tiny, tiny_run, tmp_path):
    other = train(
        tiny(train__steps=1, dataset__channels=["flair"], dataset__classes={"core": [1, 4], "edema": 2}),
        Run(tmp_path / "other"),
        console=Console("quiet"),
    )
    with pytest.raises(InputError, match="SK-I010: these models cannot be one ensemble"):
        Predictor.load([tiny_run.path, other.path], CPU)


@pytest.mark.parametrize(
    ("what", "dataset"),
    [
        ("classes", {"classes": {"edema": (2,), "core": (1, 4)}}),
        ("background", {"background": (0, 3)}),
        ("ignore", {"ignore": (3,)}),
        ("roi", {"roi": "none"}),
    ],
)
def test_models_that_mean_other_things_are_no_ensemble(predictor, what, dataset):
    (member,) = predictor.members
    base = member.recipe.dataset.model_copy(update={"classes": {"core": (1, 4), "edema": (2,)}})
    ours, theirs = (
        replace(member, recipe=member.recipe.model_copy(update={"dataset": base.model_copy(update=changes)})) for changes in ({}, dataset)
    )
    Predictor([ours, ours], CPU)
    with pytest.raises(InputError, match="SK-I010: these models cannot be one ensemble") as error:
        Predictor([ours, theirs], CPU)
    assert error.value.expected.startswith(f"the {what} of ")


@pytest.fixture
def mask(scan, tmp_path) -> Path:
    """Half of the volume."""
    half = np.zeros(scan.shape, dtype=np.uint8)
    half[:16] = 1
    return saved(nibabel.Nifti1Image(half, scan.affine), tmp_path / "mask.nii.gz")


def test_a_given_mask_is_the_roi_whatever_the_recipe_says(predictor, scan, reference, mask, tmp_path):
    assert predictor.recipe.dataset.roi != "file"
    path = saved(scan, tmp_path / "scan.nii.gz")
    inside = predictor.predict(predictor.read(files(path), mask)).indices
    assert (inside[16:] == 0).all()
    assert np.count_nonzero(reference.get_fdata()[16:]) > 0
    case = predictor.read(CaseFiles("scan", {"flair": Source(path)}, roi=mask))  # a layout's mask that the recipe does not use
    beside = predictor.predict(case).indices
    np.testing.assert_array_equal(np.where(beside, 2, 0), reference.get_fdata())
    by_path = Model(predictor).predict(path, roi=mask)
    by_name = Model(predictor).predict({"flair": path}, roi=str(mask))
    np.testing.assert_array_equal(by_path.array, predictor.class_map.decode(inside))
    np.testing.assert_array_equal(by_name.array, by_path.array)


def test_a_prediction_inside_a_mask_is_another_one(predictor, scan, mask, tmp_path):
    path = saved(scan, tmp_path / "scan.nii.gz")
    list(predict_all(predictor, [files(path)], tmp_path / "out"))
    with pytest.raises(InputError, match="SK-I032"):
        list(predict_all(predictor, [files(path)], tmp_path / "out", roi=mask))
    with pytest.raises(InputError, match="SK-I031: the label map would replace a file of the case"):
        list(predict_all(predictor, [files(path, "mask")], tmp_path, roi=mask))


def test_every_case_keeps_the_models_and_values_it_was_made_by(predictor, scan, tmp_path):
    path = saved(scan, tmp_path / "scan.nii.gz")
    (member,) = predictor.members
    dataset = member.recipe.dataset.model_copy(update={"classes": {"tumor": (4, 1, 2)}})
    recipe = member.recipe.model_copy(update={"dataset": dataset})
    other = Predictor([replace(member, name="other", recipe=recipe, sha256="0" * 64)], CPU)
    out = tmp_path / "out"

    def maker(case: str) -> tuple[str, int]:
        index = json.loads((out / "predictions.json").read_text())
        facts = index["makers"][index["cases"][case]["mark"]]
        return facts["models"][0]["name"], facts["values"]["tumor"]

    list(predict_all(predictor, [files(path, "a")], out))
    list(predict_all(other, [files(path, "b")], out))
    assert (maker("a"), maker("b")) == ((member.name, 2), ("other", 4))
    list(predict_all(other, [files(path, "a")], out, overwrite=True))
    assert (maker("a"), maker("b")) == (("other", 4), ("other", 4))
    assert len(json.loads((out / "predictions.json").read_text())["makers"]) == 1


def test_damaged_weights_are_refused(tiny_run, tmp_path):
    copy = Run(tmp_path)
    copy.description.write_bytes(tiny_run.description.read_bytes())
    content = bytearray(tiny_run.weights.read_bytes())
    content[-3] ^= 1
    copy.weights.write_bytes(content)
    with pytest.raises(InputError, match="SK-I003: the weights are damaged: their checksum differs"):
        Predictor.load([copy.path], CPU)


def test_a_folder_without_a_model_says_so(tmp_path):
    with pytest.raises(InputError, match=r"no trained model here"):
        Predictor.load([tmp_path], CPU)


def test_keep_largest_by_hand():
    indices = np.zeros((7, 1, 1), dtype=np.uint8)
    indices[[0, 1, 4], 0, 0] = 2
    indices[6] = 1
    keep_largest(indices, (2,))
    assert indices[:, 0, 0].tolist() == [2, 2, 0, 0, 0, 0, 1]


def test_keep_largest_of_a_region_goes_by_the_union():
    indices = np.array([1, 2, 0, 2, 2, 1, 0, 3], dtype=np.uint8).reshape(-1, 1, 1)
    keep_largest(indices, (1, 2))
    assert indices[:, 0, 0].tolist() == [0, 0, 0, 2, 2, 1, 0, 3]
