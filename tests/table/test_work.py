"""Working on an item: what it leaves, what is done again, and who may do it."""

import csv
import errno
import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from segkit.config.errors import InputError, WorkError
from segkit.table.data import check
from segkit.table.item import Item, items_of
from segkit.table.work import LargestParts, claimed, set_aside, work

ASKED = ("seeds: [0, 1]", "splits: [test, training]\nlargest_component: true\nseeds: [0]")


def first(table, folder: Path) -> Item:
    return items_of(table, folder)[0]


@pytest.fixture
def done(tiny, tmp_path) -> Item:
    """An item that was worked on."""
    item = first(tiny(ASKED), tmp_path / "out")
    assert work(item) == "done"
    return item


def times(folder: Path) -> dict[str, int]:
    """Of the last change of every file but the lock, which is opened to be held, and the log, which is read and cut where a run goes on."""
    return {
        path.relative_to(folder).as_posix(): path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("lock", "log.jsonl")
    }


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_an_item_leaves_a_run_label_maps_scores_and_its_result(done):
    assert {path.name for path in done.folder.iterdir()} == {
        "run", "test", "training", "test_largest", "training_largest", "data.json", "result.json", "lock",
    }  # fmt: skip
    assert len(list((done.folder / "test").glob("*.nii.gz"))) == 2
    assert len(list((done.folder / "training").glob("*.nii.gz"))) == 2  # half of four
    for split, largest in done.asked.variants:
        rows = rows_of(done.scores(split, largest) / "scores.csv")
        assert [(row["class"], row["metric"]) for row in rows[:9]] == [
            (name, metric) for name in ("core", "edema", "whole") for metric in ("dice", "sensitivity", "precision")
        ]
        assert len(rows) == 2 * 9
    result = done.result()
    assert (result.training_cases, result.steps) == (2, 1)


def test_a_done_item_is_left_as_it_is(done):
    before = times(done.folder)
    assert work(done) == "done"
    assert times(done.folder) == before


@pytest.mark.parametrize("name", ["result.json", "test_largest/scores.csv"])
def test_what_is_missing_is_made_again_from_the_run_with_the_same_scores(done, name):
    scores = {path: path.read_bytes() for path in done.folder.rglob("scores.csv")}
    trained = times(done.run.path)
    maps = {path: path.stat().st_mtime_ns for path in done.folder.glob("*/*.nii.gz")}
    (done.folder / name).unlink()
    assert done.result() is None
    assert work(done) == "done"
    assert {path: path.read_bytes() for path in done.folder.rglob("scores.csv")} == scores
    assert times(done.run.path) == trained
    assert {path: path.stat().st_mtime_ns for path in maps} == maps


def test_another_metric_is_scored_without_training_or_predicting_again(done, tiny, tmp_path):
    before = times(done.run.path)
    maps = {path: path.stat().st_mtime_ns for path in done.folder.glob("*/*.nii.gz")}
    more = first(tiny((ASKED[0], f"metrics: [dice, hd95]\n{ASKED[1]}")), tmp_path / "out")
    assert (more.folder, more.result()) == (done.folder, None)
    work(more)
    assert more.result().asked.metrics == ("dice", "hd95")
    assert {row["metric"] for row in rows_of(more.scores("test", False) / "scores.csv")} == {"dice", "hd95"}
    assert times(done.run.path) == before
    assert {path: path.stat().st_mtime_ns for path in maps} == maps


def test_a_training_goes_on_with_other_intervals_of_checkpoints_and_other_regions(tiny, tmp_path):
    before, after = (("train.steps=2", each) for each in ("train.checkpoint_every=1", "evaluate.regions={both: [core, edema]}"))
    item, again = (first(tiny(ASKED, overrides=each), tmp_path / "out") for each in (before, after))
    assert work(item) == "done"
    trained = times(item.run.path)
    assert (again.folder, again.result()) == (item.folder, None)
    assert work(again) == "done"
    assert {row["class"] for row in rows_of(again.scores("test", False) / "scores.csv")} == {"core", "edema", "both"}
    assert times(item.run.path) == trained


@pytest.fixture
def own_scans(six_scans, tmp_path) -> Path:
    """A copy of the scans that a test may change."""
    return Path(shutil.copytree(six_scans, tmp_path / "scans"))


def without_label(item: Item, side: str) -> None:
    """The first label of a side is emptied in place."""
    path = getattr(item.recipe.dataset.splits(), side)[0].label
    image = nibabel.load(path)
    nibabel.Nifti1Image(np.zeros_like(np.asarray(image.dataobj)), image.affine).to_filename(path)
    os.utime(path, ns=(0, 0))  # another time than before, whatever the clock's resolution is


def test_an_item_is_made_anew_from_changed_data_and_what_was_made_before_is_kept(tiny, own_scans, tmp_path):
    item = first(tiny(ASKED, overrides=(f"dataset.root={own_scans}",)), tmp_path / "out")
    work(item)
    before = {path.relative_to(item.folder): path.read_bytes() for path in item.folder.rglob("*") if path.is_file()}
    without_label(item, "test")
    assert [each.folder for each, _ in check([item]).outdated] == [item.folder]
    assert work(item) == "done"
    aside = item.folder / "outdated_1"
    kept = {path.relative_to(aside): path.read_bytes() for path in aside.rglob("*") if path.is_file()}
    assert kept == {path: content for path, content in before.items() if path.name != "lock"}
    assert check([item]).outdated == []
    ours, theirs = (rows_of(folder / "test/scores.csv") for folder in (item.folder, aside))
    emptied = item.recipe.dataset.splits().test[0].id
    assert {row["state"] for row in ours if row["case"] == emptied} <= {"absent", "spurious"}
    assert {row["state"] for row in theirs if row["case"] == emptied} <= {"ok", "missed"}
    without_label(item, "training")
    work(item)
    assert sorted(path.name for path in item.folder.glob("outdated_*")) == ["outdated_1", "outdated_2"]
    assert not list((item.folder / "outdated_2").glob("outdated_*"))


def test_a_training_that_was_stopped_does_not_go_on_with_changed_data(tiny, own_scans, tmp_path):
    item = first(tiny(ASKED, overrides=(f"dataset.root={own_scans}",)), tmp_path / "out")
    work(item)
    item.place.result.unlink()
    trained = item.run.weights.read_bytes()
    without_label(item, "training")
    assert work(item) == "done"
    assert (item.folder / "outdated_1/run/model.safetensors").read_bytes() == trained


def test_what_a_kill_left_of_setting_aside_is_set_aside_too(done):
    done.place.result.unlink()
    done.predictions("test").rename(done.folder / "gone")
    set_aside(done)
    assert {path.name for path in done.folder.iterdir()} == {"lock", "outdated_1"}
    assert {"run", "data.json", "gone"} <= {path.name for path in (done.folder / "outdated_1").iterdir()}


def test_scores_with_the_largest_part_alone_are_those_of_label_maps_with_that_part_alone(tiny):
    scoring = LargestParts.of(tiny().recipes["plain"])
    found, wanted = np.zeros((2, 12, 8, 8), dtype=np.uint8)
    wanted[0:4], found[0:3], found[6:8] = 1, 1, 1  # core: the larger part lies in the label
    wanted[8:12], found[9:12] = 2, 2  # edema
    rows = {(row.structure, row.metric): row.value for row in scoring.rows("case", found, wanted, (1.0, 1.0, 1.0))}
    assert rows["core", "dice"] == 2 * 3 / (3 + 4)
    assert rows["core", "precision"] == 1.0
    assert rows["edema", "dice"] == 2 * 3 / (3 + 4)
    # the region is cut by itself: slices 0-2 stand alone, 6 and 7 are alone too, since 8 is background; 0-2 and 9-11 are equally large
    assert rows["whole", "sensitivity"] == 3 / 8
    assert (found[6:8] == 1).all()


def test_an_item_that_another_works_on_is_left_to_it(tiny, tmp_path):
    item = first(tiny(ASKED), tmp_path / "out")
    with claimed(item) as mine:
        assert mine
        assert work(item) == "busy"
    assert not item.run.exists()


HOLD = "import fcntl, sys; file = open(sys.argv[1], 'a'); fcntl.flock(file, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()"


def test_the_lock_of_a_killed_process_holds_nobody_up(tiny, tmp_path):
    item = first(tiny(ASKED), tmp_path / "out")
    item.folder.mkdir(parents=True)
    with subprocess.Popen([sys.executable, "-c", HOLD, item.place.lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        with claimed(item) as mine:
            assert not mine
        process.kill()
        process.wait()
        with claimed(item) as mine:
            assert mine


def test_a_split_without_cases_is_told_before_anything_is_trained(tiny, tmp_path):
    item = first(tiny(("seeds: [0, 1]", "splits: [validation]\nseeds: [0]")), tmp_path / "out")
    with pytest.raises(InputError) as error:
        work(item)
    assert error.value.block().splitlines() == [
        "SK-B010: the recipe has no validation cases",
        "  where:    plain, 50 %, seed 0: dataset.split",
        "  expected: at least one",
    ]
    assert not item.run.exists()


def test_a_file_system_without_locks_is_named(tiny, tmp_path, monkeypatch):
    def refuse(file: object, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    item = items_of(tiny(), tmp_path / "out")[0]
    with pytest.raises(WorkError) as caught, claimed(item):
        pass
    assert caught.value.block().splitlines() == [
        "SK-B022: the file system has no locks",
        f"  where:    {item.folder}",
        "  got:      No locks available",
        "  remedy:   choose an output folder on another file system; see docs/scale.md",
    ]
