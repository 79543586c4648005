"""Progress by class: tables by hand, what is missing stays empty, and curves of a real run."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.image import imread

from segkit.analysis.progress import Window, half_steps, write_progress
from segkit.analysis.progress_figure import COLORS, Look, Panel, draw, looks
from segkit.config.errors import InputError
from segkit.config.overrides import apply_values
from segkit.config.yaml import loads
from segkit.engine.console import Console
from segkit.engine.run import Run
from segkit.engine.train import train
from segkit.phantom.write import write
from segkit.recipe import resolve

NAMES = ("background", "organ", "lesion")

RECIPE = """
dataset:
  name: phantom
  root: {root}
  cases: 3
  shape: [32, 32, 32]
  channels: [flair, t1c]
  classes: {{edema: 2, core: [1, 4]}}
  rare_classes: [core]
  split: {{test: 1, validation: 0}}
preprocess: {{store: {root}/store}}
sampling: {{patch_shape: [12, 12, 12]}}
model: {{name: deepmedic_tiny}}
losses: [focal]
train: {{steps: 5, batch_size: 2, precision: fp32, monitor: {{every: 2}}}}
"""


def line(step: int, recall: tuple, *, clean: tuple = (), train: tuple = (), major: tuple[str, ...] = ("background", "organ")) -> dict:
    """A line of progress.jsonl with 10 voxels of each class that has a recall; half of what is missed is absorbed."""
    facts = {
        "step": step,
        "major": list(major),
        "confusion": [],
        "n": {name: 0 if value is None else 10 for name, value in zip(NAMES, recall, strict=True)},
        "recall": dict(zip(NAMES, recall, strict=True)),
        "absorbed": {name: None if value is None else (1 - value) / 2 for name, value in zip(NAMES, recall, strict=True)},
    }
    if clean:
        facts |= {"grad_clean": dict(zip(NAMES, clean, strict=True)), "grad_train": dict(zip(NAMES, train or clean, strict=True))}
    return facts


def noted(folder: Path, *lines: dict) -> Run:
    run = Run(folder)
    for each in lines:
        run.note_window(each)
    return run


def table(run: Run, name: str) -> list[dict[str, str]]:
    with (run.analysis / name).open(newline="") as file:
        return list(csv.DictReader(file))


def test_progress_csv_is_a_line_a_window_and_class(tmp_path):
    run = noted(tmp_path, line(5, (0.5, None, 0.25), clean=(0.1, None, 2.0), train=(0.3, None, 4.0)), line(10, (1.0, 0.5, 0.5)))
    write_progress(run)
    assert (run.analysis / "progress.csv").read_text() == (
        "step,class,n,recall,absorbed,grad_clean,grad_train\n"
        "5,background,10,0.5,0.25,0.1,0.3\n"
        "5,organ,0,,,,\n"
        "5,lesion,10,0.25,0.375,2.0,4.0\n"
        "10,background,10,1.0,0.0,,\n"
        "10,organ,10,0.5,0.25,,\n"
        "10,lesion,10,0.5,0.25,,\n"
    )


def test_spread_and_ratios_by_hand(tmp_path):
    run = noted(
        tmp_path,
        line(5, (0.9, 0.5, 0.2), clean=(1.0, 3.0, 6.0), train=(0.5, 0.5, 4.0)),  # 6 / ((1 + 3) / 2), 4 / ((0.5 + 0.5) / 2)
        line(10, (0.9, None, 0.4), clean=(1.0, None, 6.0)),  # the only major class with voxels
        line(15, (0.9, 0.5, None), clean=(1.0, 3.0, None)),  # no minor class
        line(20, (None, None, None), clean=(None, None, None)),
        line(25, (1.0, 1.0, 1.0), clean=(0.0, 0.0, 6.0)),
    )
    write_progress(run)
    rows = [tuple(row.values()) for row in table(run, "progress_imbalance.csv")]
    assert rows[0] == ("5", "0.7", "3.0", "8.0")
    assert rows[1] == ("10", "0.5", "6.0", "6.0")
    assert rows[2] == ("15", "0.4", "", "")
    assert rows[3] == ("20", "", "", "")
    assert rows[4] == ("25", "0.0", "", "")


def test_a_class_counts_the_same_however_many_voxels_it_has():
    one = line(5, (0.9, 0.5, 0.2), clean=(1.0, 3.0, 6.0))
    other = one | {"n": {"background": 10**9, "organ": 1, "lesion": 7}}
    assert [Window.of(each).ratio(Window.of(each).grad_clean) for each in (one, other)] == [3.0, 3.0]


def test_half_steps_and_lags_by_hand(tmp_path):
    run = noted(tmp_path, line(5, (0.5, 0.1, None)), line(10, (0.4, 0.49, 0.2)), line(15, (0.9, 0.51, 0.3)), line(20, (0.9, 0.3, 0.49)))
    write_progress(run)
    assert (run.analysis / "progress_summary.csv").read_text() == "class,half_step,lag\nbackground,5,0\norgan,15,10\nlesion,,\n"


def test_where_no_class_is_ever_half_learned_there_is_no_lag(tmp_path):
    run = noted(tmp_path, line(5, (0.4, 0.3, None)))
    write_progress(run)
    assert (run.analysis / "progress_summary.csv").read_text() == "class,half_step,lag\nbackground,,\norgan,,\nlesion,,\n"


@given(st.lists(st.tuples(*[st.none() | st.floats(0, 1)] * 3), min_size=1, max_size=8))
def test_before_its_half_step_a_class_has_no_recall_of_a_half_and_there_it_has(recalls):
    windows = [Window.of(line(3 * index, recall)) for index, recall in enumerate(recalls)]
    for name, half in half_steps(windows).items():
        by_step = {window.step: window.recall[name] for window in windows}
        reached = [step for step, value in by_step.items() if value is not None and value >= 0.5]
        assert half == (reached[0] if reached else None)


def test_without_gradients_there_is_no_picture_of_them(tmp_path):
    run = noted(tmp_path, line(5, (0.4, 0.3, None)))
    names = [path.name for path in write_progress(run)]
    assert names == ["progress.csv", "progress_imbalance.csv", "progress_summary.csv", "progress_curves.png"]
    assert sorted(path.name for path in run.analysis.iterdir()) == sorted(names)


def test_gradients_that_are_all_missing_or_zero_are_drawn_as_nothing(tmp_path):
    run = noted(tmp_path, line(5, (0.4, 0.3, None), clean=(0.0, 0.0, None), train=(None, None, None)))
    assert imread(write_progress(run)[-1]).ndim == 3


def test_half_a_last_line_is_left_out(tmp_path):
    run = noted(tmp_path, line(5, (0.5, 0.1, 0.1)), line(10, (0.5, 0.1, 0.1)))
    text = run.progress.read_text()
    run.progress.write_text(text[:-1])
    write_progress(run)
    assert {row["step"] for row in table(run, "progress.csv")} == {"5"}


@pytest.mark.parametrize(("text", "got"), [(None, "no such file"), ("", "no whole line"), ('{"step": 5', "no whole line")])
def test_a_run_that_was_not_monitored_is_refused_with_the_remedy(tmp_path, text, got):
    run = Run(tmp_path)
    if text is not None:
        run.progress.write_text(text)
    with pytest.raises(InputError) as error:
        write_progress(run)
    assert error.value.block() == (
        "SK-A040: this run's training was not monitored\n"
        f"  where:    {tmp_path / 'progress.jsonl'}\n"
        "  expected: a line a window of steps\n"
        f"  got:      {got}\n"
        "  remedy:   train with train.monitor={every: 50, gradients: true}"
    )
    assert not run.analysis.exists()


def test_minor_classes_are_thick_and_take_the_first_colors():
    found = looks(("background", "organ", "lesion", "node"), {"lesion", "node"})
    assert list(found) == ["background", "organ", "lesion", "node"]
    assert [found[name].color for name in ("lesion", "node", "background", "organ")] == list(COLORS[:4])
    assert found["lesion"].width == found["node"].width > found["background"].width == found["organ"].width


def test_as_many_classes_as_a_body_has_organs_all_look_different():
    assert len(set(looks([str(index) for index in range(28)], {"3"}).values())) == 28


def of_color(path: Path, color: str) -> int:
    """Pixels of exactly this color."""
    pixels = np.rint(255 * imread(path)[..., :3]).astype(int)
    return int((pixels == [int(color[i : i + 2], 16) for i in (1, 3, 5)]).all(axis=2).sum())


def test_a_line_goes_past_windows_without_voxels_and_a_single_point_is_seen(tmp_path):
    look = Look("#d55e00", "-", 2.4)
    seen = {}
    for name, values in {"none": [None] * 99, "one": [None, 0.5] + [None] * 97, "two": [0.5] + [None] * 97 + [0.5]}.items():
        draw(tmp_path / f"{name}.png", "", range(99), [Panel("recall", [(look, values)])], {})
        seen[name] = of_color(tmp_path / f"{name}.png", look.color)
    assert seen["none"] == 0
    assert 0 < seen["one"] < 200
    assert seen["two"] > 1000


def test_zeros_are_no_part_of_a_logarithmic_line(tmp_path):
    look = Look("#d55e00", "-", 2.4)
    for name, values in {"with": [1.0, 0.0, 2.0], "without": [1.0, None, 2.0]}.items():
        draw(tmp_path / f"{name}.png", "", range(3), [Panel("gradient", [(look, values)], log=True)], {})
    assert np.array_equal(imread(tmp_path / "with.png"), imread(tmp_path / "without.png"))


def test_a_class_may_be_called_anything(tmp_path):
    run = Run(tmp_path)
    text = (
        json.dumps(line(5, (0.5, 0.1, 0.1), clean=(1.0, 1.0, 1.0), major=("background",))).replace("lesion", "$x^$").replace("organ", "_y")
    )
    run.progress.write_text(text + "\n")
    write_progress(run)
    assert [row["class"] for row in table(run, "progress_summary.csv")] == ["background", "_y", "$x^$"]


def test_a_real_run_is_drawn(tmp_path):
    write("brats", tmp_path / "scans", 3, (32, 32, 32))
    recipe = resolve(apply_values(loads(RECIPE.format(root=tmp_path / "scans"), "tiny.yaml"), {}))
    run = train(recipe, Run(tmp_path / "run"), device_name="cpu", console=Console("quiet"))
    paths = write_progress(run)
    assert [path.relative_to(run.path).as_posix() for path in paths] == [
        "analysis/progress.csv",
        "analysis/progress_imbalance.csv",
        "analysis/progress_summary.csv",
        "analysis/progress_curves.png",
        "analysis/feature_grad.png",
    ]
    rows = table(run, "progress.csv")
    assert [(row["step"], row["class"]) for row in rows] == [(step, name) for step in "245" for name in ("background", "edema", "core")]
    for row in rows:
        assert 0 <= float(row["recall"]) + float(row["absorbed"]) <= 1 + 1e-12
        assert float(row["grad_clean"]) > 0 < float(row["grad_train"])
    assert [window["major"] for window in run.windows()] == [["background", "edema"]] * 3
    for path in paths[-2:]:
        assert of_color(path, COLORS[0]) > 500  # the rare class's line
        assert of_color(path, COLORS[1]) > 200  # the background's


WINDOW = line(5, (0.5, 0.5, 0.5))


@pytest.mark.parametrize(
    ("record", "got"),
    [
        ({"step": 10}, "'n'"),
        (WINDOW | {"step": "late"}, "'str' object cannot be interpreted as an integer"),
        (WINDOW | {"n": 3}, "'int' object is not iterable"),
        (WINDOW | {"recall": {"background": "high"}}, "expected a number or null, got str"),
        (WINDOW | {"recall": {"background": 0.5}}, "not the same classes in all quantities"),
        ({"step": 5, "major": [], "n": {}, "recall": {}, "absorbed": {}}, "other classes than in the first line"),
    ],
)
def test_a_line_that_is_no_window_is_named(tmp_path, record, got):
    run = noted(tmp_path, WINDOW, record)
    with pytest.raises(InputError) as error:
        write_progress(run)
    assert str(error.value) == (
        f"SK-A041: a line of the progress is damaged\n  where:    {run.progress}:2\n"
        f"  expected: what segkit train writes with train.monitor\n  got:      {got}\n"
        "  remedy:   restore the file, or take the line out"
    )
    assert not run.analysis.exists()


def test_a_line_in_the_middle_that_is_no_json_is_named(tmp_path):
    run = noted(tmp_path, WINDOW)
    run.progress.write_text(run.progress.read_text() + '{"step": 1\n' + run.progress.read_text())
    with pytest.raises(InputError, match=r"^SK-T013: a line is damaged\n  where:    .*/progress.jsonl:2\n"):
        write_progress(run)
