"""The brain phantom: label values, nesting, sizes, intensities that overlap, and one patient at any resolution."""

import numpy as np
import pytest
from scipy import ndimage

from segkit.phantom import brain
from segkit.phantom.tissue import CHANNELS, EDEMA, ENHANCING, NECROSIS
from segkit.phantom.tumor import CORE_SHARE, GROWTHS, WHOLE_SHARE

SHAPE = (48, 48, 40)
CASES = 12


@pytest.fixture(scope="module")
def cohort() -> list[dict[str, np.ndarray]]:
    return [brain.draw(3, i, SHAPE)[0] for i in range(CASES)]


def core(case: dict[str, np.ndarray]) -> np.ndarray:
    return np.isin(case["seg"], (NECROSIS, ENHANCING))


def inside(case: dict[str, np.ndarray]) -> np.ndarray:
    return case["t1"] > 0


def test_the_volumes_are_four_channels_and_a_label_map(cohort):
    assert set(cohort[0]) == {*CHANNELS, "seg"}
    assert {volume.shape for volume in cohort[0].values()} == {SHAPE}
    assert [cohort[0][name].dtype for name in (*CHANNELS, "seg")] == [np.int16] * 4 + [np.uint8]


def test_labels_are_those_of_brats_2017(cohort):
    assert set(np.unique([case["seg"] for case in cohort])) == {0, NECROSIS, EDEMA, ENHANCING}


def test_outside_the_brain_every_channel_is_zero_and_inside_none_is(cohort):
    for case in cohort:
        assert all(np.array_equal(case[name] > 0, inside(case)) for name in CHANNELS)
        assert min(case[name].min() for name in CHANNELS) == 0
        assert not case["seg"][~inside(case)].any()


def test_the_brain_is_one_piece_off_the_border(cohort):
    for case in cohort:
        assert ndimage.label(inside(case))[1] == 1
        assert not any(inside(case).take(face, axis).any() for axis in range(3) for face in (0, -1))


def test_the_core_has_edema_on_every_side(cohort):
    for case in cohort:
        shell = ndimage.binary_dilation(core(case)) & ~core(case)
        assert (case["seg"][shell] == EDEMA).all()


def test_a_necrosis_within_an_enhancing_rim_touches_the_core_only(cohort):
    rings = 0
    for case in cohort:
        necrosis = case["seg"] == NECROSIS
        if 0 < necrosis.sum() < 0.7 * core(case).sum():  # a larger share is a low-grade core, which does not enhance
            rings += 1
            assert core(case)[ndimage.binary_dilation(necrosis)].all()
    assert rings >= CASES // 3


def test_shares_of_the_brain_stay_in_their_ranges_and_fill_them(cohort):
    cores = np.array([core(case).sum() / inside(case).sum() for case in cohort])
    wholes = np.array([(case["seg"] > 0).sum() / inside(case).sum() for case in cohort])
    voxel = 1 / min(inside(case).sum() for case in cohort)
    assert (cores >= CORE_SHARE[0] - voxel).all()
    assert (cores <= CORE_SHARE[1] + voxel).all()
    assert cores.min() < 0.003
    assert cores.max() > 0.02
    assert (wholes > 1.5 * cores).all()
    assert (wholes < WHOLE_SHARE + 0.02).all()


def test_a_small_cohort_holds_tumors_without_necrosis_and_tumors_that_hardly_enhance(cohort):
    assert any(not (case["seg"] == NECROSIS).any() for case in cohort)
    assert any((case["seg"] == ENHANCING).sum() < 0.1 * core(case).sum() for case in cohort)


def test_frequencies_of_the_kinds_sum_to_one():
    assert sum(growth.frequency for growth in GROWTHS) == pytest.approx(1)


def test_tumors_are_anywhere_in_the_brain(cohort):
    centers = np.array([ndimage.center_of_mass(core(case)) for case in cohort]) / SHAPE
    assert (np.ptp(centers, axis=0) > 0.25).all()


def test_each_part_is_brightest_where_a_radiologist_looks_for_it(cohort):
    """In the mean over the patients; within a single patient the tissues overlap."""

    def contrast(channel: str, label: int) -> float:
        healthy = [np.median(case[channel][inside(case) & (case["seg"] == 0)]) for case in cohort]
        lesion = [np.median(case[channel][case["seg"] == label]) if (case["seg"] == label).any() else np.nan for case in cohort]
        return float(np.nanmean(np.divide(lesion, healthy)))

    assert contrast("flair", EDEMA) > 1.15
    assert contrast("t2", EDEMA) > 1.1
    assert contrast("t1ce", ENHANCING) > 1.15
    assert contrast("t1ce", NECROSIS) < 1
    assert contrast("t1", NECROSIS) < 0.9


def test_healthy_voxels_are_as_bright_as_the_enhancing_rim(cohort):
    """Vessels and choroid plexus: in most patients more healthy voxels than enhancing ones lie above the rim's median in T1ce."""
    beyond = []
    for case in cohort:
        rim = case["t1ce"][case["seg"] == ENHANCING]
        if len(rim) > 20:
            healthy = case["t1ce"][inside(case) & (case["seg"] == 0)]
            beyond.append((healthy > np.median(rim)).sum() / len(rim))
    assert np.median(beyond) > 0.2


def test_a_classifier_of_voxels_alone_cannot_find_the_core_in_new_patients(cohort):
    """One Gaussian a class on four z-scored channels, fitted to two patients: what is left needs shape and context."""
    voxels = [
        np.stack([(case[name] - case[name][inside(case)].mean()) / case[name][inside(case)].std() for name in CHANNELS], -1)
        for case in cohort
    ]
    train = [(voxels[i][inside(cohort[i])], cohort[i]["seg"][inside(cohort[i])]) for i in range(2)]
    image, label = (np.concatenate(parts) for parts in zip(*train, strict=True))
    scores = {}
    for value in np.unique(label):
        own = image[label == value]
        mean, covariance = own.mean(axis=0), np.cov(own.T) + 1e-3 * np.eye(4)
        scores[value] = (mean, np.linalg.inv(covariance), np.log(len(own) / len(label)) - 0.5 * np.linalg.slogdet(covariance)[1])
    dice = []
    for i in range(2, CASES):
        test = voxels[i][inside(cohort[i])]
        odds = [prior - 0.5 * np.einsum("ni,ij,nj->n", test - mean, inverse, test - mean) for mean, inverse, prior in scores.values()]
        found = np.isin(np.array(list(scores))[np.argmax(odds, axis=0)], (NECROSIS, ENHANCING))
        truth = core(cohort[i])[inside(cohort[i])]
        dice.append(2 * (found & truth).sum() / (found.sum() + truth.sum()))
    assert 0.02 < np.mean(dice) < 0.75


def test_appearance_differs_between_patients(cohort):
    medians = np.array([[np.median(case[name][inside(case)]) for name in CHANNELS] for case in cohort])
    assert (medians.max(axis=0) > 1.5 * medians.min(axis=0)).all()
    assert len({tuple(row) for row in np.corrcoef([case["t1"].ravel() for case in cohort]).round(6)}) == CASES


def test_one_seed_is_one_patient_at_every_resolution():
    (coarse, _), (fine, _) = brain.draw(1, 0, (48, 48, 40)), brain.draw(1, 0, (96, 96, 80))
    nearest = fine["seg"][::2, ::2, ::2] > 0
    overlap = 2 * (nearest & (coarse["seg"] > 0)).sum() / (nearest.sum() + (coarse["seg"] > 0).sum())
    assert overlap > 0.7


@pytest.mark.parametrize("seed", range(4))
def test_the_smallest_shape_still_has_a_tumor(seed):
    case, _ = brain.draw(seed, seed, (32, 32, 32))
    assert core(case).sum() >= 1
    assert (case["seg"] == EDEMA).sum() >= 6
