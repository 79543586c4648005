"""The logit shift: values by hand, a planted shift, and what it must not depend on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segkit.analysis.logits import CaseLogits, LogitSample
from segkit.analysis.shift import quantities, shifts, write_shifts
from segkit.statistics.bootstrap import Interval, difference_interval

CLASSES = ("background", "edema", "core")


def case_of(split, case, by_class) -> CaseLogits:
    """by_class: class index -> logits [n, C]."""
    label = np.concatenate([np.full(len(rows), index, np.uint8) for index, rows in by_class.items()])
    return CaseLogits(split, case, label, np.concatenate(list(by_class.values())).astype(np.float32))


def sample_of(cases, scale="logit") -> LogitSample:
    return LogitSample(CLASSES, 100, tuple(cases), scale)


def drawn(split, count, offset=0.0, seed=0, voxels=200):
    """Cases whose core voxels have a margin of 2 + offset on average; cases differ by up to 1 either way, voxels by 1."""
    rng = np.random.default_rng(seed)
    cases = []
    for number, effect in enumerate(np.linspace(-1, 1, count)):
        rows = {index: rng.normal(size=(voxels, 3)) * 0.1 for index in range(3)}
        rows[2][:, 2] += 20 + offset + effect + rng.normal(size=voxels)
        rows[2][:, :2] = [18.0, 0.0]
        cases.append(case_of(split, f"{split}{number}", rows))
    return cases


def found(sample, structure="core", quantity="margin", of=None):
    return one_of(shifts(sample), structure, quantity, of)


def one_of(each, structure="core", quantity="margin", of=None):
    return next(shift for shift in each if (shift.structure, shift.quantity, shift.of) == (structure, quantity, of))


def test_quantities_by_hand():
    logits = np.array([[1.0, 2.0, 6.0], [3.0, 2.0, 1.0], [0.0, 4.0, 4.0]], dtype=np.float32)
    # logits: means of columns; centered: rows less their means 3, 2, 8/3; margin of class 2: 6 - 2, 1 - 3, 4 - 4
    expected = [4 / 3, 8 / 3, 11 / 3, (-2 + 1 - 8 / 3) / 3, (-1 + 0 + 4 / 3) / 3, (3 - 1 + 4 / 3) / 3, 2 / 3, 1 / 3]
    np.testing.assert_allclose(quantities(logits, 2), expected, rtol=1e-12)


def test_a_tie_is_not_over_the_boundary():
    assert quantities(np.array([[4.0, 4.0]]), 1)[-2:].tolist() == [0.0, 0.0]


@given(
    arrays(np.float64, (5, 3), elements=st.integers(-32, 32).map(lambda n: n / 4)),
    arrays(np.float64, (5, 1), elements=st.integers(-256, 256).map(lambda n: n / 4)),
    st.integers(0, 2),
)
def test_a_number_added_to_all_logits_of_a_voxel_moves_raw_logits_alone(logits, constants, index):
    before, after = quantities(logits, index), quantities(logits + constants, index)
    np.testing.assert_array_equal(after[6:], before[6:])  # margin and share: exact, the numbers are dyadic
    np.testing.assert_allclose(after[3:6], before[3:6], rtol=0, atol=1e-12)
    np.testing.assert_allclose(after[:3], before[:3] + constants.mean(), rtol=0, atol=1e-12)


@given(arrays(np.float64, (4, 3), elements=st.floats(-20, 20)), st.integers(0, 2))
def test_the_logarithm_of_softmax_gives_the_margins_of_the_logits(logits, index):
    log_probability = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    np.testing.assert_allclose(quantities(log_probability, index)[3:7], quantities(logits, index)[3:7], rtol=0, atol=1e-9)


def test_a_planted_shift_is_recovered_within_its_interval():
    each = shifts(sample_of(drawn("training", 30) + drawn("test", 20, offset=-1.5, seed=1)))
    margin, raw = one_of(each), one_of(each, quantity="logit", of="core")
    assert margin.difference == pytest.approx(-1.5, abs=0.1)  # 4 standard errors of the voxels; the cases' own mean is 0
    assert margin.interval.low < -1.5 < margin.interval.high < 0
    assert one_of(each, quantity="over_boundary").difference < -0.2
    assert raw.interval.low < -1.5 < raw.interval.high
    assert one_of(each, quantity="logit", of="background").difference == 0
    # a third of what one of three logits loses is taken from all three
    assert one_of(each, quantity="centered", of="core").difference == pytest.approx(2 / 3 * raw.difference)
    assert one_of(each, quantity="centered", of="background").difference == pytest.approx(-1 / 3 * raw.difference)


def test_the_interval_is_that_of_the_means_of_cases():
    sample = sample_of(drawn("training", 9) + drawn("test", 7, seed=1))
    means, margin = {split: [quantities(rows, 2)[6] for rows in sample.of(split, 2)] for split in ("training", "test")}, found(sample)
    assert margin.interval == difference_interval(means["test"], means["training"])
    assert margin.training.mean == pytest.approx(np.mean(means["training"]))
    assert margin.test.std == pytest.approx(np.std(means["test"], ddof=1))


def test_the_same_cases_on_both_sides_have_a_shift_of_exactly_zero():
    both = [CaseLogits(split, each.case, each.label, each.logits) for split in ("training", "test") for each in drawn("test", 6)]
    for shift in shifts(sample_of(both)):
        assert shift.difference == 0
        assert shift.interval.low <= 0 <= shift.interval.high


def test_the_order_of_cases_changes_nothing():
    cases = drawn("training", 5) + drawn("test", 4, seed=1)
    assert shifts(sample_of(cases)) == shifts(sample_of(cases[::-1]))


def test_every_case_counts_the_same_however_many_voxels_it_has():
    many, few = np.tile([0.0, 0.0, 1.0], (90, 1)), np.tile([0.0, 0.0, 4.0], (10, 1))
    shift = found(sample_of([case_of("training", "a", {2: many}), case_of("training", "b", {2: few})]))
    assert (shift.training.mean, shift.training.cases, shift.training.voxels) == (2.5, 2, 100)


def test_a_class_that_no_case_has_counts_zero_cases():
    sample = sample_of([case_of("training", "a", {0: np.zeros((3, 3))}), case_of("test", "b", {0: np.zeros((3, 3))})])
    shift = found(sample)
    assert (shift.training.mean, shift.training.std, shift.training.cases, shift.training.voxels) == (None, None, 0, 0)
    assert (shift.test.cases, shift.difference, shift.interval) == (0, None, None)


def test_a_single_test_case_has_a_shift_and_no_interval():
    shift = found(sample_of(drawn("training", 5) + drawn("test", 1, seed=1)))
    assert shift.difference == shift.test.mean - shift.training.mean
    assert (shift.interval, shift.test.std) == (None, None)


def test_raw_values_of_probabilities_are_not_called_logits():
    names = {shift.quantity for shift in shifts(sample_of(drawn("test", 2), "log_probability"))}
    assert names == {"log_probability", "centered", "margin", "over_boundary"}


def test_the_table_by_hand(tmp_path):
    rows = {"a": [[0.0, 1.0], [0.0, 3.0]], "b": [[0.0, 4.0]], "c": [[2.0, 1.0]]}
    cases = [CaseLogits("test" if case == "c" else "training", case, np.full(len(z), 1, np.uint8), np.array(z)) for case, z in rows.items()]
    write_shifts(tmp_path / "shift.csv", [("r", shifts(LogitSample(("background", "core"), 2, tuple(cases))))])
    header, *lines = (tmp_path / "shift.csv").read_text().splitlines()
    assert header == (
        "run,class,quantity,of,training,training_std,training_cases,training_voxels,test,test_std,test_cases,test_voxels,shift,low,high"
    )
    assert lines[:2] == ["r,background,logit,background,,,0,0,,,0,0,,,", "r,background,logit,core,,,0,0,,,0,0,,,"]
    root = float(np.std([2, 4], ddof=1))
    assert lines[6:] == [
        "r,core,logit,background,0.0,0.0,2,3,2.0,,1,1,2.0,,",
        f"r,core,logit,core,3.0,{root},2,3,1.0,,1,1,-2.0,,",
        f"r,core,centered,background,-1.5,{root / 2},2,3,0.5,,1,1,2.0,,",
        f"r,core,centered,core,1.5,{root / 2},2,3,-0.5,,1,1,-2.0,,",
        f"r,core,margin,,3.0,{root},2,3,-1.0,,1,1,-4.0,,",
        "r,core,over_boundary,,1.0,0.0,2,3,0.0,,1,1,-1.0,,",
    ]


def test_intervals_stand_in_the_table(tmp_path):
    each = shifts(sample_of(drawn("training", 3) + drawn("test", 3, seed=1)))
    write_shifts(tmp_path / "shift.csv", [("r", each)])
    lines = [line.split(",") for line in (tmp_path / "shift.csv").read_text().splitlines()[1:]]
    assert [Interval(float(line[-2]), float(line[-1])) for line in lines] == [shift.interval for shift in each]
