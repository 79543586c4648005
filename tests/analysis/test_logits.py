"""The sample of logits: which voxels are in it, what it does not depend on, and its file."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segkit.analysis.logits import CaseLogits, Logits, LogitSample, read_sample, write_sample
from segkit.analysis.observe import Voxels


def voxels_of(label, logits, key) -> Voxels:
    return Voxels(torch.as_tensor(label), torch.zeros(len(label), 1), torch.as_tensor(logits), torch.as_tensor(key))


def case_of(n, seed=0, classes=3):
    rng = np.random.default_rng(seed)
    return rng.integers(classes, size=n), rng.normal(size=(n, classes)).astype(np.float32), rng.random(n)


def watched(parts, most, case="a", split="test"):
    observer = Logits(most)
    observer.begin(split, case)
    for part in parts:
        observer.see(voxels_of(*part))
    observer.end()
    return observer.sample(("background", "edema", "core"))


def cut(case, order, ends):
    """The case in another order of voxels, in parts."""
    label, logits, key = (field[order] for field in case)
    return list(zip(*(np.split(field, ends) for field in (label, logits, key)), strict=True))


def test_of_each_class_the_lowest_keys_are_kept():
    label, logits, key = case_of(500)
    (found,) = watched([(label, logits, key)], 20).cases
    for index in range(3):
        lowest = np.argsort(np.where(label == index, key, np.inf))[:20]
        np.testing.assert_array_equal(found.of(index), logits[lowest])
    np.testing.assert_array_equal(found.label, np.repeat([0, 1, 2], 20))


@settings(max_examples=50)
@given(st.integers(0, 200), st.integers(1, 30), st.integers(0, 2**31), st.lists(st.integers(0, 200), max_size=8).map(sorted))
def test_the_sample_does_not_depend_on_tiles_or_their_order(n, most, seed, ends):
    case = case_of(n, seed)
    whole = watched([case], most).cases[0]
    parts = watched(cut(case, np.random.default_rng(seed).permutation(n), ends), most).cases[0]
    np.testing.assert_array_equal(parts.label, whole.label)
    np.testing.assert_array_equal(parts.logits, whole.logits)


def test_a_hundred_times_as_many_voxels_make_no_larger_sample():
    sizes = [watched([case_of(n)], 50).cases[0].logits.shape for n in (1_000, 100_000)]
    assert sizes == [(150, 3), (150, 3)]


def test_while_a_case_is_seen_at_most_twice_the_sample_is_held():
    observer, case = Logits(50), case_of(20_000)
    observer.begin("test", "a")
    for part in cut(case, np.arange(20_000), range(100, 20_000, 100)):
        observer.see(voxels_of(*part))
        assert all(kept._held <= 100 for kept in observer._kept)


def test_a_case_with_fewer_voxels_of_a_class_gives_what_it_has():
    label = np.array([0, 0, 0, 2])
    sample = watched([(label, np.arange(12, dtype=np.float32).reshape(4, 3), np.array([0.3, 0.1, 0.2, 0.4]))], 2)
    np.testing.assert_array_equal(sample.cases[0].label, [0, 0, 2])
    np.testing.assert_array_equal(sample.cases[0].logits[:, 0], [3, 6, 9])
    assert list(sample.of("test", 1)) == []


def test_a_case_without_a_labeled_voxel_is_a_case_of_the_sample():
    sample = watched([], 5)
    assert sample.holds("test") == ("a",)
    assert [list(sample.of("test", index)) for index in range(3)] == [[], [], []]


def test_what_was_seen_of_a_case_that_did_not_end_is_forgotten():
    observer = Logits(5)
    observer.begin("training", "broken")
    observer.see(voxels_of(*case_of(10, seed=1)))
    observer.begin("training", "whole")
    observer.see(voxels_of(*case_of(10, seed=2)))
    observer.end()
    (found,) = observer.sample(("background", "edema", "core")).cases
    assert found.case == "whole"
    np.testing.assert_array_equal(found.logits, watched([case_of(10, seed=2)], 5).cases[0].logits)


def sample_of(*cases, mark="m") -> LogitSample:
    return LogitSample(("background", "core"), 4, tuple(cases), "logit", mark)


def one(split, case, value):
    return CaseLogits(split, case, np.array([0, 1], np.uint8), np.full((2, 2), value, np.float32))


def test_cases_stand_by_split_and_id_whatever_order_they_come_in():
    cases = [one("test", "b", 1), one("training", "c", 2), one("test", "a", 3), one("training", "a", 4)]
    for order in (cases, cases[::-1]):
        sample = sample_of(*order)
        assert [(each.split, each.case) for each in sample.cases] == [("training", "a"), ("training", "c"), ("test", "a"), ("test", "b")]
        assert (sample.holds("training"), sample.holds("test")) == (("a", "c"), ("a", "b"))


def test_a_sample_that_is_written_reads_as_it_was(tmp_path):
    empty = CaseLogits("test", "e", np.empty(0, np.uint8), np.empty((0, 0), np.float32))
    sample = sample_of(one("training", "näh", 0.1), one("test", "a", -3.0), empty)
    write_sample(tmp_path / "logits.npz", sample)
    again = read_sample(tmp_path / "logits.npz")
    assert (again.classes, again.voxels, again.scale, again.mark) == (sample.classes, 4, "logit", "m")
    assert [(each.split, each.case, len(each.label)) for each in again.cases] == [
        ("training", "näh", 2),
        ("test", "a", 2),
        ("test", "e", 0),
    ]
    for index in (0, 1):
        for split in ("training", "test"):
            np.testing.assert_array_equal(list(again.of(split, index)), list(sample.of(split, index)))


def test_the_same_sample_gives_the_same_bytes(tmp_path):
    for name in ("a.npz", "b.npz"):
        write_sample(tmp_path / name, sample_of(one("test", "a", 1.0)))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize("damage", [lambda content: b"", lambda content: content[:-40], lambda content: b"case,class\n"])
def test_a_file_that_cannot_be_read_is_no_sample(tmp_path, damage):
    path = tmp_path / "logits.npz"
    assert read_sample(path) is None
    write_sample(path, sample_of(one("test", "a", 1.0)))
    path.write_bytes(damage(path.read_bytes()))
    assert read_sample(path) is None
