"""Where patches are centered: the laws of the draw, and the class that nobody has."""

import numpy as np
import pytest

from segkit.config.errors import InputError
from segkit.sampling.balance import Balance, Voxels

NAMES = ("background", "organ", "lesion")
RNG = np.random.default_rng


def case(*counts: int) -> Voxels:
    """Voxels 0, 1, 2, ... of a 10x10x10 volume, the first counts[0] of class 0 and so on."""
    offsets = (0, *np.cumsum(counts).tolist())
    return Voxels(np.arange(offsets[-1], dtype=np.uint32), offsets, (10, 10, 10))


def shares(balance: Balance, draws: int = 4000) -> np.ndarray:
    rng = RNG(0)
    return np.bincount([balance.draw(rng).index for _ in range(draws)], minlength=3) / draws


def test_classes_come_by_their_shares_however_rare():
    balance = Balance([case(800, 190, 10), case(999, 1, 0)], NAMES, {"background": 0.5, "organ": 0.2, "lesion": 0.3})
    assert shares(balance) == pytest.approx([0.5, 0.2, 0.3], abs=0.03)


def test_foreground_stands_for_all_but_background():
    balance = Balance([case(500, 300, 100)], NAMES, {"background": 0.25, "foreground": 0.75})
    drawn = [balance.draw(rng) for rng in [RNG(1)] for _ in range(4000)]
    classes = np.array([np.ravel_multi_index(center.voxel, (10, 10, 10)) for center in drawn])
    organ, lesion = ((classes >= 500) & (classes < 800)).mean(), ((classes >= 800) & (classes < 900)).mean()
    assert (organ, lesion) == pytest.approx((0.75 * 0.75, 0.75 * 0.25), abs=0.03)
    assert np.bincount([center.index for center in drawn]) / 4000 == pytest.approx([1 - organ - lesion, organ, lesion])


def test_cases_that_hold_the_class_come_equally_often():
    balance = Balance([case(0, 0, 400), case(10, 0, 1), case(10, 0, 0)], NAMES, {"background": 0.0, "organ": 0.0, "lesion": 1.0})
    rng = RNG(2)
    cases = np.bincount([balance.draw(rng).case for _ in range(2000)], minlength=3) / 2000
    assert cases == pytest.approx([0.5, 0.5, 0.0], abs=0.04)


def test_case_first_gives_a_missing_class_to_the_others():
    # both cases come half the time; the second has no lesion, so its share goes to background and organ alike
    balance = Balance([case(10, 10, 10), case(10, 10, 0)], NAMES, dict.fromkeys(NAMES, 1 / 3), case_first=True)
    assert shares(balance) == pytest.approx([1 / 6 + 1 / 4, 1 / 6 + 1 / 4, 1 / 6], abs=0.03)


@pytest.mark.parametrize("case_first", [False, True])
def test_a_draw_takes_the_numbers_that_numpy_s_choice_takes(case_first):
    cases = [case(10, 20, 30), case(40, 50, 0), case(5, 0, 0), case(0, 7, 9)]
    proportions = {"background": 0.3, "organ": 0.1, "lesion": 0.6}
    balance, ours, theirs = Balance(cases, NAMES, proportions, case_first), RNG(4), RNG(4)
    counts = np.array([np.diff(each.offsets) for each in cases])
    for _ in range(500):
        if case_first:
            number = int(theirs.integers(4))
            shares = np.array([0.3, 0.1, 0.6]) * (counts[number] > 0)
            index = int(theirs.choice(3, p=shares / shares.sum()))
        else:
            index = int(theirs.choice(3, p=[0.3, 0.1, 0.6]))
            number = int(theirs.choice(np.flatnonzero(counts[:, index])))
        flat = cases[number].offsets[index] + int(theirs.integers(counts[number, index]))
        center = balance.draw(ours)
        assert (center.case, center.index) == (number, index)
        assert center.voxel == np.unravel_index(flat, (10, 10, 10))


def test_every_voxel_of_a_class_can_be_drawn():
    balance = Balance([case(3, 5, 2)], NAMES, {"background": 0.0, "organ": 1.0, "lesion": 0.0})
    rng = RNG(3)
    assert {balance.draw(rng).voxel for _ in range(300)} == {(0, 0, i) for i in range(3, 8)}


def test_a_class_nobody_has_is_an_error_that_names_it():
    with pytest.raises(InputError) as error:
        Balance([case(10, 5, 0), case(10, 0, 0)], NAMES, dict.fromkeys(NAMES, 1 / 3))
    assert error.value.block() == (
        "SK-S001: no training case holds a voxel of lesion\n"
        "  where:    sampling.proportions\n"
        "  expected: every class with a share to have labelled voxels inside the ROI of a training case\n"
        "  got:      2 training cases without any\n"
        "  remedy:   check dataset.classes against the label files, use more training cases, or give the class the share 0"
    )
