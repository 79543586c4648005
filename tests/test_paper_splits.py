"""scripts/paper_splits.py: the papers' rules on names made up by hand."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from segkit.datasets.split import Split
from segkit.volume.case import CaseFiles

SCRIPT = Path(__file__).parents[1] / "scripts" / "paper_splits.py"
HGG = ["Brats17_TCIA_2_1", "Brats17_2013_10_1", "Brats17_2013_2_1", "Brats17_CBICA_A_1", "Brats17_2013_11_1"]
LGG = ["Brats17_TCIA_9_1", "Brats17_2013_0_1"]


@pytest.fixture(scope="module")
def script():
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("paper_splits", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_third_name_of_each_grade_is_a_test_case(script):
    # sorted as text: 2013_10, 2013_11, 2013_2, CBICA_A, TCIA_2; then 2013_0, TCIA_9
    split = script.brats([HGG, LGG])
    assert split["test"] == ["Brats17_2013_10_1", "Brats17_CBICA_A_1", "Brats17_2013_0_1"]
    assert split["train_order"] == ["Brats17_2013_11_1", "Brats17_2013_2_1", "Brats17_TCIA_2_1", "Brats17_TCIA_9_1"]


def test_the_order_in_which_folders_are_found_changes_nothing(script):
    assert script.brats([HGG[::-1], LGG[::-1]]) == script.brats([HGG, LGG])


@pytest.mark.parametrize(("share", "count"), [(0.05, 10), (0.1, 19), (0.2, 38), (0.5, 95), (1.0, 190)])
def test_the_numbers_of_cases_are_the_papers_and_small_sets_are_beginnings_of_high_grade_alone(script, tmp_path, share, count):
    split = script.brats([[f"H{i:03}" for i in range(210)], [f"L{i:03}" for i in range(75)]])
    assert (len(split["test"]), len(split["train_order"])) == (95, 190)
    (tmp_path / "split.json").write_text(json.dumps(split))
    cases = [CaseFiles(name, {}) for name in (*split["test"], *split["train_order"])]
    training = Split(file=tmp_path / "split.json", validation=0).assign(cases, share).training
    assert [case.id for case in training] == split["train_order"][:count]
    if share <= 0.5:
        assert all(case.id.startswith("H") for case in training)


def test_the_last_75_of_atlas_are_test_cases(script):
    names = [f"{number:06}" for number in range(31768, 31988)]
    split = script.atlas(names[::-1])
    assert split["test"] == names[145:]
    assert split["train_order"] == names[:145]
    assert (split["test"][0], split["train_order"][72], split["train_order"][-1]) == ("031913", "031840", "031912")


def call(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True)


def made(root: Path, hgg: int = 210, lgg: int = 75) -> None:
    """Empty case folders."""
    for grade, count in (("HGG", hgg), ("LGG", lgg)):
        for number in range(count):
            (root / grade / f"Brats17_{grade}_{number:03}_1").mkdir(parents=True)


def test_the_command_reads_folders_and_writes_the_file_with_what_was_inferred(tmp_path):
    made(tmp_path)
    (tmp_path / "HGG" / "survival.csv").write_text("")
    (tmp_path / "LGG" / ".cache").mkdir()
    done = call("brats", tmp_path, tmp_path / "split.json")
    assert (done.returncode, done.stderr) == (0, "")
    written = json.loads((tmp_path / "split.json").read_text())
    assert list(written) == ["rule", "inferred", "test", "train_order"]
    assert [len({name for name in written[side] if "HGG" in name}) for side in ("test", "train_order")] == [70, 140]
    assert done.stdout == f"95 test and 190 training cases; inferred: {written['inferred']}\n"


def test_atlas_files_are_read_by_their_names_without_suffix(tmp_path):
    for number in range(31768, 31988):
        (tmp_path / f"{number:06}.nii.gz").touch()
    assert call("atlas", tmp_path, tmp_path / "split.json").stdout.startswith("75 test and 145 training cases; ")
    assert json.loads((tmp_path / "split.json").read_text())["train_order"][:2] == ["031768", "031769"]


def test_a_folder_without_the_grades_is_refused(tmp_path):
    refused = call("brats", tmp_path, tmp_path / "split.json")
    assert refused.returncode == 2
    assert refused.stderr.endswith(f"error: no such folder: {tmp_path}/HGG\n")


@pytest.mark.parametrize(("hgg", "lgg", "wrong"), [(209, 75, "HGG: expected 210, got 209"), (210, 76, "LGG: expected 75, got 76")])
def test_another_number_of_cases_than_the_papers_is_refused(tmp_path, hgg, lgg, wrong):
    made(tmp_path, hgg, lgg)
    refused = call("brats", tmp_path, tmp_path / "split.json")
    assert refused.returncode == 2
    assert refused.stderr.endswith(f"error: not the paper's cases: {tmp_path}/{wrong}\n")
    assert not (tmp_path / "split.json").exists()


def test_another_number_of_atlas_files_is_refused(tmp_path):
    (tmp_path / "1.nii.gz").touch()
    refused = call("atlas", tmp_path, tmp_path / "split.json")
    assert refused.returncode == 2
    assert refused.stderr.endswith(f"error: not the paper's cases: {tmp_path}: expected 220, got 1\n")
    assert not (tmp_path / "split.json").exists()
