"""The torso phantom: thirteen organs of true volume at their places, densities that overlap."""

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from segkit.phantom import torso
from segkit.phantom.organs import ORGANS, SPREADS

SHAPE = (72, 72, 48)
CASES = 5
VALUE = {name: organ.value for name, organ in ORGANS.items()}


@pytest.fixture(scope="module")
def cohort() -> list[tuple[dict[str, np.ndarray], np.ndarray]]:
    return [torso.draw(2, i, SHAPE) for i in range(CASES)]


def volumes_ml(label: np.ndarray, affine: np.ndarray) -> np.ndarray:
    return np.bincount(label.ravel(), minlength=14) * abs(np.linalg.det(affine[:3, :3])) / 1000


def center(label: np.ndarray, affine: np.ndarray, name: str) -> np.ndarray:
    return nib.affines.apply_affine(affine, np.argwhere(label == VALUE[name]).mean(axis=0))


def test_the_organs_are_numbered_as_in_btcv():
    order = ("spleen", "right kidney", "left kidney", "gallbladder", "esophagus", "liver", "stomach", "aorta", "inferior vena cava")
    order += ("portal and splenic veins", "pancreas", "right adrenal", "left adrenal")
    assert tuple(sorted(VALUE, key=VALUE.__getitem__)) == order
    assert sorted(VALUE.values()) == list(range(1, 14))


def test_types_and_range_are_those_of_a_scanner(cohort):
    for volumes, _ in cohort:
        assert (volumes["img"].dtype, volumes["label"].dtype) == (np.int16, np.uint8)
        assert volumes["img"].min() >= -1024
        assert volumes["img"].max() > 400  # bone
        assert np.median(volumes["img"][:3]) == pytest.approx(-1000, abs=10)  # air


def test_axes_are_las_and_the_voxel_differs_between_patients(cohort):
    assert {nib.aff2axcodes(affine) for _, affine in cohort} == {("L", "A", "S")}
    spacings = np.array([np.abs(np.diag(affine)[:3]) for _, affine in cohort])
    np.testing.assert_allclose(spacings[:, 0], spacings[:, 1])
    assert (np.abs(spacings / (360 / 72, 360 / 72, 320 / 48) - 1) < 0.081).all()
    assert np.ptp(spacings[:, 2]) > 0.1


def test_each_organ_has_its_true_volume(cohort):
    for volumes, affine in cohort:
        found = volumes_ml(volumes["label"], affine)
        voxel = abs(np.linalg.det(affine[:3, :3])) / 1000
        for name, organ in ORGANS.items():
            assert 0.6 * organ.volume_ml - voxel <= found[organ.value] <= 1.6 * organ.volume_ml + voxel, name


def test_organs_whose_size_varies_most_are_known():
    assert set(SPREADS) < set(ORGANS)


def test_adrenals_are_over_ten_times_smaller_than_kidneys(cohort):
    for volumes, affine in cohort:
        found = volumes_ml(volumes["label"], affine)
        assert 10 * max(found[12], found[13]) < min(found[2], found[3])


@pytest.mark.parametrize("shape", [(32, 32, 32), (32, 64, 40), (64, 64, 64)])
def test_no_organ_is_lost_on_a_coarse_grid(shape):
    for i in range(3):
        label = torso.draw(8, i, shape)[0]["label"]
        assert np.unique(label).tolist() == list(range(14))


def test_organs_are_in_one_piece_but_for_crumbs(cohort):
    for volumes, _ in cohort:
        for name in ("liver", "spleen", "right kidney", "left kidney", "stomach"):
            pieces = np.bincount(ndimage.label(volumes["label"] == VALUE[name])[0].ravel())[1:]
            assert pieces.max() > 0.9 * pieces.sum(), name


def test_organs_are_on_their_side(cohort):
    for volumes, affine in cohort:
        at = {name: center(volumes["label"], affine, name) for name in VALUE}
        right, anterior, superior = range(3)
        assert at["liver"][right] > 30 > 0 > at["stomach"][right] > at["spleen"][right]
        assert at["right kidney"][right] > at["inferior vena cava"][right] > at["aorta"][right] > at["left kidney"][right]
        assert at["right adrenal"][superior] > at["right kidney"][superior]
        assert at["left adrenal"][superior] > at["left kidney"][superior]
        assert at["pancreas"][anterior] > at["aorta"][anterior]
        assert at["esophagus"][superior] > at["stomach"][superior]


def test_the_couch_is_below_the_body_and_apart_from_it(cohort):
    for volumes, _ in cohort:
        pieces, count = ndimage.label(volumes["img"] > -550)
        sizes = np.bincount(pieces.ravel())[1:]
        body, couch = np.argsort(sizes)[::-1][:2] + 1
        assert count >= 2
        assert sizes[couch - 1] > 3000
        assert (volumes["label"][pieces == couch] == 0).all()
        assert np.argwhere(pieces == couch)[:, 1].mean() < np.argwhere(pieces == body)[:, 1].min() + 2


def test_every_organ_lies_in_the_body(cohort):
    for volumes, _ in cohort:
        dense = ndimage.gaussian_filter(volumes["img"].astype(float), 1) > -300
        body = np.stack([ndimage.binary_fill_holes(plane) for plane in np.moveaxis(dense, 2, 0)], axis=2)
        assert body[volumes["label"] > 0].mean() > 0.999


def test_densities_overlap_and_their_order_is_the_scanner_s(cohort):
    def median(name: str) -> float:
        return float(np.median(np.concatenate([volumes["img"][volumes["label"] == VALUE[name]] for volumes, _ in cohort])))

    def deviation(name: str) -> float:
        return float(np.mean([volumes["img"][volumes["label"] == VALUE[name]].std() for volumes, _ in cohort]))

    assert median("gallbladder") < median("pancreas") < median("right kidney")
    assert median("liver") < median("aorta")
    assert abs(median("liver") - median("spleen")) < deviation("liver") + deviation("spleen")


def test_unlabeled_voxels_have_the_density_of_organs(cohort):
    """Bowel, muscle, heart: where the middle 80 % of the liver lie, there are many voxels of no organ."""
    for volumes, _ in cohort:
        liver = volumes["img"][volumes["label"] == VALUE["liver"]]
        low, high = np.percentile(liver, (10, 90))
        alike = (volumes["label"] == 0) & (volumes["img"] > low) & (volumes["img"] < high)
        assert alike.sum() > 0.25 * len(liver)


def test_the_phase_of_the_contrast_medium_differs_between_patients(cohort):
    aortas = [np.median(volumes["img"][volumes["label"] == VALUE["aorta"]]) for volumes, _ in cohort]
    assert np.ptp(aortas) > 30


def test_one_seed_is_one_patient_at_every_resolution():
    (coarse, coarse_affine), (fine, fine_affine) = torso.draw(1, 0, (64, 64, 32)), torso.draw(1, 0, (128, 128, 64))
    large = [VALUE[name] for name in ("liver", "spleen", "stomach", "right kidney", "left kidney")]
    ratio = volumes_ml(coarse["label"], coarse_affine)[large] / volumes_ml(fine["label"], fine_affine)[large]
    np.testing.assert_allclose(ratio, 1, atol=0.02)
    assert (fine["label"][::2, ::2, ::2] == coarse["label"])[coarse["label"] > 0].mean() > 0.7
