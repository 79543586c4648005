"""`segkit table`: an empty table, the work to fill it, interruptions, and the table that is the same in the end."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from segkit.cli import table

RECIPE = """\
dataset:
  name: brats
  root: data
  channels: [flair, t1c]
  classes: {tumor: [1, 2, 4]}
  rare_classes: [tumor]
  split: {test: 2, validation: 0}
sampling: {patch_shape: [9, 9, 9]}
model: deepmedic_tiny
losses: [cross_entropy]
train: {steps: 1, batch_size: 2, precision: fp32}
"""
SPEC = """\
title: Two losses
recipe: small.yaml
rows:
  plain: {}
  focal: {overrides: {losses: [{name: focal, gamma: 2.0}]}, against: plain}
fractions: [0.34, 1.0]
classes: [tumor]
splits: [test, training]
largest_component: true
seeds: [0]
"""
MAIN = """\
import typer
from segkit.cli import table
app = typer.Typer(pretty_exceptions_enable=False)
app.callback()(lambda: None)
table.add_to(app)
if __name__ == "__main__":
    app()
"""
DASHES = "| plain | - | - | - | - | - | - |\n| focal | - | - | - | - | - | - |\n"


@dataclass(frozen=True)
class Said:
    status: int
    out: str
    err: str


@pytest.fixture
def call(place, monkeypatch) -> Callable[..., Said]:
    """`call("table.yaml", "--run")` in a working directory with scans, a recipe and a table of four items."""
    (place / "small.yaml").write_text(RECIPE)
    (place / "table.yaml").write_text(SPEC)
    app = typer.Typer(pretty_exceptions_enable=False)
    app.callback()(lambda: None)
    table.add_to(app)

    def called(*arguments: object) -> Said:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # sums depend on how many threads share them
        result = CliRunner().invoke(app, ["table", *map(str, arguments)])
        torch.set_num_threads(threads)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Said(result.exit_code, result.stdout, result.stderr)

    return called


def items(folder: Path = Path("runs/tables/table")) -> list[str]:
    return sorted(path.name.rpartition("_")[0] for path in folder.iterdir())


def changed(folder: Path = Path("runs/tables/table")) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and path.name != "lock"}


def test_an_empty_table_has_dashes_and_names_the_command_that_fills_it(call):
    said = call("table.yaml", "train.steps=2", "--output", "my tables")
    assert said.status == 1
    assert said.out.count(DASHES) == 6
    assert said.err.splitlines() == [
        "SK-C040: 4 of 4 items are missing",
        "  where:    my tables",
        "  got:      plain, 34 %, seed 0; focal, 34 %, seed 0; plain, 100 %, seed 0; focal, 100 %, seed 0",
        "  remedy:   segkit table table.yaml train.steps=2 --output 'my tables' --run",
    ]
    assert not Path("my tables").exists()


def test_the_command_that_fills_the_table_names_plugins_and_workers(call):
    Path("my own.py").touch()
    Path("other.py").touch()
    try:
        said = call("table.yaml", "--plugin", "my own.py", "--plugin", "other.py", "--workers", 3)
    finally:
        for name in ("segkit_plugin_my own", "segkit_plugin_other"):
            sys.modules.pop(name, None)
    assert said.err.splitlines()[3] == "  remedy:   segkit table table.yaml --plugin 'my own.py' --plugin other.py --workers 3 --run"


def test_run_fills_the_table_and_again_does_nothing(call):
    said = call("table.yaml", "--run")
    assert said.status == 0
    assert said.out.startswith("## Two losses\n\n### tumor, test cases\n\n|  | 34 %: dice (%) | ")
    assert "| - |" not in said.out
    assert "\n- Test cases: 2.\n- Training cases: 1 at 34 %, 3 at 100 %.\n" in said.out
    assert said.err.startswith("0 of 4 items are done\n")
    assert items() == ["focal_0.34_0", "focal_1_0", "plain_0.34_0", "plain_1_0"]
    before = changed()
    again = call("table.yaml", "--run")
    assert (again.status, again.out, again.err) == (0, said.out, "4 of 4 items are done\n")
    assert changed() == before
    assert call("table.yaml") == Said(0, said.out, "")


def test_a_missing_result_is_made_again_and_nothing_else(call):
    whole = call("table.yaml", "--run")
    (gone,) = Path("runs/tables/table").glob("focal_1_0_*")
    (gone / "result.json").unlink()
    before = changed()
    shown = call("table.yaml")
    assert shown.status == 1
    assert "| focal | " in shown.out
    assert shown.err.splitlines()[2] == "  got:      focal, 100 %, seed 0"
    assert call("table.yaml", "--run").out == whole.out
    again = {path for path, when in changed().items() if before.get(path) != when}
    assert gone / "result.json" in again
    assert {path.relative_to(gone).name for path in again} <= {"result.json", "scores.csv", "summary.json", "predictions.json", "log.jsonl"}


def test_data_that_changed_are_told_and_their_items_made_anew(call, place):
    Path("table.yaml").write_text(SPEC.replace("[0.34, 1.0]", "[1.0]"))
    before = call("table.yaml", "--run")
    (record,) = Path("runs/tables/table").glob("plain_*/data.json")
    name = next(name for name in json.loads(record.read_text()) if name.startswith("test/") and name.endswith("/label"))
    scan = place / f"data/{name.split('/')[1]}/{name.split('/')[1]}_seg.nii.gz"
    place.edit(scan, np.zeros_like)
    shown = call("table.yaml")
    assert shown.status == 1
    assert shown.err.splitlines() == [
        "SK-B040: 2 of 2 items are out of date, since their data have changed; they are not in the table",
        "  where:    runs/tables/table",
        f"  got:      plain, 100 %, seed 0 ({name} is another); focal, 100 %, seed 0 ({name} is another)",
        "  remedy:   segkit table table.yaml --run  (what was made from the old data is kept in the item's folder, as outdated_N)",
    ]
    assert shown.out.count("| - | - | - |") == 2 * 6
    anew = call("table.yaml", "--run")
    assert anew.status == 0
    assert anew.err.splitlines()[0].startswith(f"plain, 100 %, seed 0: {name} is another: made anew; what was made before is kept in runs/")
    assert "0 of 2 items are done" in anew.err
    assert "| - |" not in anew.out
    assert anew.out != before.out
    assert len(list(Path("runs/tables/table").glob("*/outdated_1/result.json"))) == 2
    assert call("table.yaml") == Said(0, anew.out, "")


def test_data_that_were_moved_are_found_and_those_that_are_gone_are_said_to_be_unchecked(call):
    Path("table.yaml").write_text(SPEC.replace("[0.34, 1.0]", "[1.0]"))
    before = call("table.yaml", "--run")
    Path("data").rename("elsewhere")
    assert call("table.yaml", "dataset.root=elsewhere") == Said(0, before.out, "")
    gone = call("table.yaml")
    assert (gone.status, gone.out) == (0, before.out)
    assert gone.err == f"the data of 2 of 2 items could not be checked: {Path.cwd()}/data is not there\n"


def test_another_recipe_is_another_item_and_the_old_one_stays(call):
    whole = call("table.yaml", "--run")
    text = Path("table.yaml").read_text()
    Path("table.yaml").write_text(text.replace("gamma: 2.0", "gamma: 3.0"))
    said = call("table.yaml")
    assert (said.status, said.err.splitlines()[0]) == (1, "SK-C040: 2 of 4 items are missing")
    Path("table.yaml").write_text(text)
    assert call("table.yaml").out == whole.out


def test_an_item_that_fails_is_reported_once_and_the_others_go_on(call):
    Path("table.yaml").write_text(SPEC.replace("{losses: [{name: focal, gamma: 2.0}]}", "{sampling: {patch_shape: [64, 64, 64]}}"))
    said = call("table.yaml", "--run")
    assert said.status == 1
    lines = said.err.splitlines()
    assert lines[1] == "case focal, 34 %, seed 0: SK-T032: the patch is larger than every training volume"
    assert [line for line in lines if line.startswith("focal, 100 %")] == ["focal, 100 %, seed 0: SK-T032, as focal, 34 %, seed 0"]
    assert "SK-C040: 2 of 4 items are missing" in lines
    assert "| focal | - | - | - | - | - | - |\n" in said.out
    assert "| plain | - |" not in said.out


@pytest.mark.parametrize("workers", [1, 2])
def test_the_table_is_shown_where_the_disk_failed_an_item(call, workers):
    Path("table.yaml").write_text(SPEC.replace("[0.34, 1.0]", "[1.0]"))
    call("table.yaml", "--run")
    (folder,) = Path("runs/tables/table").glob("focal_*")
    shutil.rmtree(folder)
    folder.write_text("a file where a folder is wanted")
    said = call("table.yaml", "--run", "--workers", workers)
    assert said.status == 1
    assert said.err.splitlines()[1:4] == [
        "case focal, 100 %, seed 0: SK-C003: a file cannot be read or written",
        f"  where:    {folder}",
        "  got:      File exists",
    ]
    assert "| focal | - | - | - |\n" in said.out
    assert "| plain | - |" not in said.out
    assert "SK-C040: 1 of 2 items are missing" in said.err


def test_two_workers_give_the_table_of_one(call):
    Path("table.yaml").write_text(SPEC.replace("[0.34, 1.0]", "[1.0]"))
    alone = call("table.yaml", "--run", "--output", "alone")
    together = call("table.yaml", "--run", "--output", "together", "--workers", 2)
    assert (alone.status, together.status) == (0, 0)
    assert together.out == alone.out


def test_csv_and_latex_are_the_same_table(call):
    call("table.yaml", "--run")
    sheet, tex = call("table.yaml", "--format", "csv"), call("table.yaml", "--format", "latex")
    assert sheet.out.startswith("row,fraction,split,largest_component,class,metric,unit,mean,std,seeds,cases,left_out,")
    assert len(sheet.out.splitlines()) == 1 + 2 * 2 * 3 * 6  # rows, shares, metrics; three splits, twice
    assert tex.out.count("\\begin{tabular}{lrrrrrr}") == 6


def test_items_of_a_table_can_be_compared_and_reported_by_their_folders_or_their_runs(call, segkit):
    Path("table.yaml").write_text(SPEC.replace("[0.34, 1.0]", "[1.0]"))
    call("table.yaml", "--run")
    (plain,), (focal,) = (sorted(Path("runs/tables/table").glob(f"{row}_1_0_*")) for row in ("plain", "focal"))
    by_item, by_run = segkit("compare", plain, focal), segkit("compare", plain / "run", focal / "run")
    assert (by_item.status, by_item.err, by_run.status, by_run.err) == (0, "", 0, "")
    lines = by_item.out.splitlines()
    assert [line.split()[:4] for line in lines if line.startswith("tumor")] == [
        ["tumor", metric, focal.name, "2"] for metric in ("dice", "sensitivity", "precision")
    ]
    assert f"A, the reference: {plain.name} ({plain})" in lines
    assert f"A, the reference: {plain.name}/run ({plain}/run)" in by_run.out.splitlines()
    said = segkit("report", focal)
    assert (said.status, said.err) == (0, "")
    page = (focal / "run/report.html").read_text(encoding="utf-8")
    assert f"<h1>{focal.name}</h1>" in page
    assert page.count('class="plane"') == 6  # two test cases, the worst and the best, in three planes
    assert "2 of the 2 test cases" in page
    assert segkit("report", focal / "run", "--output", "again.html").status == 0
    assert f"<h1>{focal.name}</h1>" in Path("again.html").read_text(encoding="utf-8")
    (focal / "result.json").unlink()
    for refused in (segkit("compare", plain, focal), segkit("compare", plain, focal / "run"), segkit("report", focal)):
        assert (refused.status, refused.out) == (2, "")
        assert refused.err.startswith("SK-E040: this item of a table is not finished\n")
    assert segkit("report", focal / "run").status == 0  # a training under way has a page


def test_a_mistake_in_the_table_ends_with_2(call):
    Path("table.yaml").write_text(SPEC.replace("classes: [tumor]", "classes: [tumour]"))
    said = call("table.yaml", "--run")
    assert (said.status, said.out) == (2, "")
    assert said.err == (
        "SK-B001: 1 mistake in table.yaml\ntable.yaml:7: classes[0]: row plain has no class or region 'tumour'; there are tumor\n"
    )


def heed_interrupts() -> None:
    """A suite that runs in the background ignores SIGINT, and its children would too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def begun(call, place, monkeypatch) -> Callable[..., subprocess.Popen]:
    """The command in a process of its own, the first of its group, on a table of two items."""
    (place / "main.py").write_text(MAIN)
    (place / "table.yaml").write_text(SPEC.replace("[0.34, 1.0]", "[1.0]"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def begin(*arguments: str) -> subprocess.Popen:
        command = [sys.executable, "main.py", "table", "table.yaml", "--run", *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, **pipes, start_new_session=True, preexec_fn=heed_interrupts)

    return begin


def wait_for(pattern: str, count: int, text: str, process: subprocess.Popen) -> None:
    """Until the output folder holds so many files that fit and hold this text."""
    while sum(text in path.read_text(errors="replace") for path in Path("runs/tables/table").glob(pattern)) < count:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


STEPS = ("train.steps=60", "train.checkpoint_every=20")


@pytest.mark.parametrize("pattern", ["*/run/checkpoints/last.pt", "*/result.json"])
def test_after_kill_9_the_same_command_ends_with_the_same_table(call, begun, pattern):
    process = begun(*STEPS)
    wait_for(pattern, 1, "", process)
    process.kill()
    process.communicate()
    kept = {path: when for path, when in changed().items() if path.name == "result.json"}
    again, whole = call("table.yaml", *STEPS, "--run"), call("table.yaml", *STEPS, "--run", "--output", "undisturbed")
    assert (again.status, again.out) == (0, whole.out)
    assert kept.items() <= changed().items()


def children_of(process: subprocess.Popen) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def is_gone(child: int) -> bool:
    """Ended, whether its parent knows already or not."""
    try:
        return Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.parametrize(("number", "workers", "status"), [(signal.SIGINT, 1, 130), (signal.SIGINT, 2, 130), (signal.SIGKILL, 2, -9)])
def test_a_stopped_command_leaves_no_process_behind_and_a_checkpoint_of_every_training(begun, number, workers, status):
    process = begun("train.steps=1000000", "--workers", str(workers))
    wait_for("*/run/log.jsonl", workers, '"event": "step"', process)
    children = children_of(process)
    os.killpg(process.pid, number)  # as Ctrl-C does on a terminal
    said = process.communicate(timeout=120)
    assert process.returncode == status, said
    if number == signal.SIGINT and workers == 1:
        assert "SK-T040" in said[1]
    while not all(map(is_gone, children)):
        time.sleep(0.01)
    logs = [path.read_text() for path in Path("runs/tables/table").glob("*/run/log.jsonl")]
    assert ['"event": "checkpoint"' in log for log in logs] == [True] * workers, said


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stopped_command_begins_no_other_item_where_no_checkpoint_can_be_written(begun, workers):
    process = begun("train.steps=1000000", "--workers", str(workers))
    wait_for("*/run/log.jsonl", workers, '"event": "step"', process)
    for run in Path("runs/tables/table").glob("*/run"):
        (run / "checkpoints/last.pt").mkdir()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, "")
    assert err.count("; no checkpoint could be written\n") == workers
    assert "Traceback" not in err
    assert len(list(Path("runs/tables/table").glob("*/run"))) == workers


@pytest.mark.parametrize("workers", [1, 2])
def test_two_signals_a_few_milliseconds_apart_leave_a_checkpoint_of_every_training(begun, workers):
    process = begun("train.steps=1000000", "--workers", str(workers))
    wait_for("*/run/log.jsonl", workers, '"event": "step"', process)
    children = children_of(process)
    process.send_signal(signal.SIGINT)
    time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    while not all(map(is_gone, children)):
        time.sleep(0.01)
    logs = [path.read_text() for path in Path("runs/tables/table").glob("*/run/log.jsonl")]
    assert ['"event": "checkpoint"' in log for log in logs] == [True] * workers, said


PLUGIN = """\
from segkit.losses.base import losses
from segkit.losses.cross_entropy import CrossEntropy


@losses.register("twice")
class Twice(CrossEntropy):
    def __call__(self, logits, target, rare):
        return 2 * super().__call__(logits, target, rare)
"""


def test_plugins_reach_the_processes_of_the_workers(begun, place):
    (place / "own.py").write_text(PLUGIN)
    process = begun("losses=[twice]", "--plugin", "own.py", "--workers", "2")
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert "| - |" not in out
