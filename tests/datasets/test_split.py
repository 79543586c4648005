"""Splits: sides that never meet, subsets that nest, an order that depends on nothing but seed and names."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from segkit.config.errors import InputError
from segkit.datasets.split import Split, Splits
from segkit.volume.case import CaseFiles


def cases_of(count: int, scans_per_patient: int = 1) -> list[CaseFiles]:
    return [
        CaseFiles(f"case{i:03}", {}, patient=f"patient{i // scans_per_patient:03}" if scans_per_patient > 1 else None) for i in range(count)
    ]


def ids(side: tuple[CaseFiles, ...]) -> list[str]:
    return [case.id for case in side]


def sides(splits: Splits) -> tuple[set[str], set[str], set[str]]:
    return set(ids(splits.training)), set(ids(splits.validation)), set(ids(splits.test))


def written(folder: Path, **lists: object) -> Path:
    path = folder / "split.json"
    path.write_text(json.dumps(lists))
    return path


shares = st.one_of(st.integers(0, 8), st.floats(0, 0.4))
forms = st.one_of(
    st.builds(lambda test, validation, seed: {"test": test, "validation": validation, "seed": seed}, shares, shares, st.integers(0, 9)),
    st.builds(lambda fold, validation: {"fold": fold, "of": 3, "validation": validation}, st.integers(0, 2), shares),
)
many = settings(deadline=None, max_examples=60)


@many
@given(forms, st.integers(30, 60), st.integers(1, 3), st.floats(0.01, 1))
def test_no_case_and_no_patient_is_on_two_sides(form, count, scans, fraction):
    splits = Split(**form).assign(cases_of(count, scans), fraction)
    patients = [{case.patient or case.id for case in side} for side in (splits.training, splits.validation, splits.test)]
    assert sum(map(len, patients)) == len(set.union(*patients))
    assert sum(len(side) for side in sides(splits)) == len(set.union(*sides(splits)))


@many
@given(forms, st.integers(30, 60), st.integers(1, 3), st.floats(0.01, 1), st.floats(0.01, 1))
def test_smaller_fractions_are_prefixes_and_leave_test_and_validation_alone(form, count, scans, one, other):
    cases = cases_of(count, scans)
    small, large = (Split(**form).assign(cases, fraction) for fraction in sorted((one, other)))
    assert ids(large.training)[: len(small.training)] == ids(small.training)
    assert (small.validation, small.test) == (large.validation, large.test)


@many
@given(forms, st.integers(0, 99))
def test_the_order_in_which_files_are_met_does_not_matter(form, shuffle):
    cases = cases_of(30, 2)
    shuffled = random.Random(shuffle).sample(cases, len(cases))
    assert Split(**form).assign(shuffled) == Split(**form).assign(cases)


@many
@given(st.integers(2, 7), st.integers(7, 40), st.integers(1, 3))
def test_every_case_is_tested_in_exactly_one_fold_and_folds_differ_by_at_most_one_patient(of, patients, scans):
    cases = cases_of(patients * scans, scans)
    tests = [Split(fold=fold, of=of).assign(cases).test for fold in range(of)]
    assert sorted(case for test in tests for case in ids(test)) == ids(cases)
    sizes = [len({case.patient or case.id for case in test}) for test in tests]
    assert max(sizes) - min(sizes) <= 1


@many
@given(st.integers(0, 5), st.integers(20, 40))
def test_a_new_case_leaves_the_others_in_their_order(seed, count):
    split = Split(test=0, seed=seed)
    before, after = (ids(split.assign(cases_of(n)).training) for n in (count, count + 1))
    assert [case for case in after if case != f"case{count:03}"] == before


def test_counts_and_fractions_are_exact_where_every_patient_has_one_scan():
    splits = Split(test=0.25, validation=3).assign(cases_of(30), 0.1)
    # 0.25 * 30 = 7.5 -> 8 test cases; n = 22 in the training order; 0.1 * 22 = 2.2 -> 2 training cases
    assert [len(side) for side in sides(splits)] == [2, 3, 8]


def test_a_fraction_holds_out_at_least_one_case_and_trains_on_at_least_one():
    assert [len(side) for side in sides(Split(test=0.01, validation=0.01).assign(cases_of(9), 0.01))] == [1, 1, 1]


def test_the_full_fraction_stops_where_validation_begins():
    assert [len(side) for side in sides(Split(test=2, validation=3).assign(cases_of(10), 1.0))] == [5, 3, 2]


def test_another_seed_is_another_split():
    cases = cases_of(40)
    assert Split(test=10, seed=0).assign(cases).test != Split(test=10, seed=1).assign(cases).test


def test_the_first_test_cases_are_as_the_digests_say():
    # sha256sum of "0 case000" to "0 case005" begins with d0b4, 4673, 2284, 3f6c, 3fd1, 9c6d
    assert ids(Split(test=3).assign(cases_of(6)).test) == ["case002", "case003", "case004"]


def test_the_split_is_the_same_under_another_hash_seed():
    program = (
        "from segkit.datasets.split import Split\n"
        "from segkit.volume.case import CaseFiles\n"
        "print([case.id for case in Split(test=0).assign([CaseFiles(str(i), {}) for i in range(20)]).training])"
    )
    root = Path(__file__).parents[2]
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, cwd=root, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_a_file_gives_test_and_training_order_as_they_stand(tmp_path):
    path = written(tmp_path, test=["case003"], train_order=["case002", "case000", "case001"], note="ignored")
    splits = Split(file=path).assign(cases_of(5), 0.5)  # 0.5 * 3 = 1.5 -> 2
    assert (ids(splits.training), ids(splits.validation), ids(splits.test)) == (["case002", "case000"], [], ["case003"])


def test_beside_a_file_validation_comes_from_the_end_of_its_order(tmp_path):
    path = written(tmp_path, test=[], train_order=["case002", "case000", "case001"])
    splits = Split(file=path, validation=1).assign(cases_of(3))
    assert (ids(splits.training), ids(splits.validation)) == (["case002", "case000"], ["case001"])


@pytest.mark.parametrize("order", [["case000", "case001", "case002"], ["case000", "case002"]])
def test_a_listed_validation_case_never_trains_whether_it_stands_in_the_order_or_not(tmp_path, order):
    splits = Split(file=written(tmp_path, test=[], train_order=order, validation=["case001"])).assign(cases_of(3))
    assert (ids(splits.training), ids(splits.validation)) == (["case000", "case002"], ["case001"])


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        (
            {"test": ["case000", "x"], "train_order": ["case001", "y"]},
            "SK-D040: the split file names cases that the data set does not have: x, y\n  where:    {path}\n"
            "  expected: ids among the 4 of the data set, such as case000",
        ),
        (
            {"test": ["case000", "case001"], "train_order": ["case001", "case002"]},
            "SK-D041: cases on two sides of the split, test and training: case001\n  where:    {path}\n  remedy:   name each case once",
        ),
        (
            {"test": ["case000"], "train_order": ["case001"], "validation": ["case000"]},
            "SK-D041: cases on two sides of the split, test and training: case000\n  where:    {path}\n  remedy:   name each case once",
        ),
        (
            {"test": ["case000"]},
            "SK-D042: the split file's `train_order` cannot be used\n  where:    {path}\n"
            "  expected: a list of different case ids\n  got:      no such key",
        ),
        (
            {"test": ["case000", "case000"], "train_order": []},
            "SK-D042: the split file's `test` cannot be used\n  where:    {path}\n"
            "  expected: a list of different case ids\n  got:      a case twice",
        ),
        (
            {"test": [3], "train_order": []},
            "SK-D042: the split file's `test` cannot be used\n  where:    {path}\n"
            "  expected: a list of different case ids\n  got:      [3]",
        ),
    ],
)
def test_a_split_file_is_held_to_the_cases(tmp_path, lists, message):
    path = written(tmp_path, **lists)
    with pytest.raises(InputError) as error:
        Split(file=path).assign(cases_of(4))
    assert str(error.value) == message.format(path=path)


def test_a_file_must_keep_the_scans_of_a_patient_together(tmp_path):
    path = written(tmp_path, test=["case000"], train_order=["case001", "case002"])  # case000 and case001 are of patient000
    with pytest.raises(InputError, match="SK-D043: patients on two sides of the split, test and training: patient000\n"):
        Split(file=path).assign(cases_of(4, 2))


def test_validation_is_named_once(tmp_path):
    path = written(tmp_path, test=[], train_order=["case000"], validation=["case001"])
    with pytest.raises(InputError, match="SK-D046: validation cases are named twice"):
        Split(file=path, validation=1).assign(cases_of(2))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"test": [], "test": []}', "SK-D021: not valid JSON\n  where:    {path}\n  got:      duplicate key 'test'"),
        ('{"test": NaN}', "SK-D021: not valid JSON\n  where:    {path}\n  got:      NaN is no JSON number"),
        ("[1]", "SK-D022: the file holds the wrong kind of value\n  where:    {path}\n  expected: a JSON object\n  got:      list"),
    ],
)
def test_a_split_file_is_strict_json(tmp_path, text, message):
    path = tmp_path / "split.json"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        Split(file=path).assign(cases_of(2))
    assert str(error.value) == message.format(path=path)


def test_a_split_file_must_be_there(tmp_path):
    with pytest.raises(InputError, match="SK-D020: cannot read the file: No such file or directory"):
        Split(file=tmp_path / "none.json").assign(cases_of(2))


def test_more_folds_than_patients_are_refused():
    with pytest.raises(InputError) as error:
        Split(fold=0, of=5).assign(cases_of(8, 2))
    assert str(error.value) == (
        "SK-D044: more folds than patients\n  where:    dataset.split\n  expected: at least 5 patients\n"
        "  got:      4 (8 cases)\n  remedy:   lower dataset.split.of"
    )


def test_something_must_be_left_to_train_on():
    with pytest.raises(InputError) as error:
        Split(test=3, validation=2).assign(cases_of(4))
    assert str(error.value) == (
        "SK-D045: no case is left for training\n  where:    dataset.split\n  expected: fewer test and validation cases\n"
        "  got:      4 cases: 3 for test, 1 for validation\n  remedy:   change dataset.split"
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "expected exactly one of {test: ...}, {file: ...} and {fold: ..., of: ...}"),
        ({"test": 1, "fold": 0, "of": 2}, "expected exactly one of {test: ...}, {file: ...} and {fold: ..., of: ...}"),
        ({"fold": 0}, "expected fold and of together"),
        ({"fold": 3, "of": 3}, "fold: expected int from 0 to 2, got 3"),
        ({"file": "split.json", "seed": 1}, "seed: expected none beside a file, which has its own order, got 1"),
    ],
)
def test_a_split_has_one_form(fields, message):
    with pytest.raises(ValidationError) as error:
        Split.model_validate(fields)
    assert str(error.value.errors()[0]["ctx"]["error"]) == message


@pytest.mark.parametrize("share", [1.0, -1, -0.1, True, "3"])
def test_a_share_is_a_count_or_a_fraction_below_one(share):
    with pytest.raises(ValidationError):
        Split(test=share)


@pytest.mark.parametrize("fields", [{"test": 0.25, "validation": 2, "seed": 3}, {"file": "a.json"}, {"fold": 1, "of": 5}])
def test_a_split_survives_being_written_and_read(fields):
    split = Split.model_validate(fields)
    assert Split.model_validate(json.loads(split.model_dump_json())) == split
