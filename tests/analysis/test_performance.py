"""Performance on training and test cases: its table, when it is measured again, and what else runs differ in."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from segkit.analysis.performance import HEADER, Performance, differences, read_performance, write_performance
from segkit.analysis.performance_figure import draw_line, draw_performance, prepare_axes, title
from segkit.config.overrides import apply_values
from segkit.config.yaml import loads
from segkit.recipe import Recipe, resolve

LINE = Performance("r", 0.1, 15, "training", "core", "dice", 0.5, None, 1, 2, "abc")
RECIPE = """
dataset: {name: brats, root: data, channels: [flair], classes: {tumor: [1, 2, 4]}, split: {test: 1}}
sampling: {patch_shape: [9, 9, 9]}
model: deepmedic_tiny
losses: [cross_entropy]
train: {steps: 3}
"""


def recipe(**values) -> Recipe:
    return resolve(apply_values(loads(RECIPE, "r.yaml"), {key.replace("__", "."): value for key, value in values.items()}))


def test_the_table_by_hand(tmp_path):
    write_performance(tmp_path / "p.csv", [LINE, replace(LINE, split="test", mean=None, cases=0, left_out=3)])
    assert (tmp_path / "p.csv").read_text().splitlines() == [
        "run,train_fraction,training_cases,split,class,metric,mean,std,cases,left_out,mark",
        "r,0.1,15,training,core,dice,0.5,,1,2,abc",
        "r,0.1,15,test,core,dice,,,0,3,abc",
    ]


def test_a_table_that_is_written_reads_as_it_was(tmp_path):
    entries = [LINE, replace(LINE, run="a, b", mean=1 / 3, std=0.1 + 0.2), replace(LINE, mean=None, cases=0)]
    write_performance(tmp_path / "p.csv", entries)
    assert read_performance(tmp_path / "p.csv", "abc") == entries


def test_a_table_of_other_weights_or_of_incomplete_cases_is_measured_again(tmp_path):
    path = tmp_path / "p.csv"
    assert read_performance(path, "abc") is None
    write_performance(path, [LINE])
    assert read_performance(path, "other") is None
    write_performance(path, [LINE, replace(LINE, mark="")])
    assert read_performance(path, "abc") is None


@pytest.mark.parametrize("text", ["", ",".join(HEADER), "case,class\na,b\n", ",".join(HEADER) + "\nr,x,15,test,core,dice,,,0,3,abc\n"])
def test_a_table_that_cannot_be_read_is_measured_again(tmp_path, text):
    (tmp_path / "p.csv").write_text(text)
    assert read_performance(tmp_path / "p.csv", "abc") is None


def test_seeds_and_amounts_of_data_are_no_difference_of_their_own():
    assert differences([recipe(), recipe(train__seed=3, dataset__train_fraction=0.5)]) == []


def test_other_differences_of_recipes_are_named():
    others = [recipe(train__steps=5), recipe(losses=["dice"]), recipe(dataset__split={"test": 2})]
    assert differences([recipe(), *others]) == ["losses", "dataset.split", "train.steps"]


def entries_of(amounts, value=0.5):
    return [
        replace(
            LINE, run=f"{amount}-{seed}", training_cases=amount, split=split, metric=metric, mean=value + seed / 10, cases=4, left_out=0
        )
        for amount, seeds in amounts.items()
        for seed in range(seeds)
        for split in ("training", "test")
        for metric in ("dice", "sensitivity", "precision")
    ]


@pytest.mark.parametrize(("amounts", "scale"), [([15, 100], "linear"), ([15, 150], "log")])
def test_the_axis_is_logarithmic_where_it_spans_a_decade(amounts, scale):
    axes = Figure().add_subplot()
    prepare_axes(axes, "dice", amounts)
    assert axes.get_xscale() == scale
    assert [label.get_text() for label in axes.get_xticklabels()] == [str(amount) for amount in amounts]


def test_a_line_goes_through_the_means_of_seeds_and_a_dot_is_a_run():
    axes = Figure().add_subplot()
    chosen = [entry for entry in entries_of({15: 1, 5: 3}) if (entry.split, entry.metric) == ("test", "dice")]
    draw_line(axes, [*chosen, replace(LINE, mean=None)], "black", "o", "-", filled=True)
    line, dots = axes.get_lines()
    np.testing.assert_allclose(line.get_xydata(), [[5, 0.6], [15, 0.5]])
    np.testing.assert_allclose(dots.get_xydata(), [[5, 0.5], [5, 0.6], [5, 0.7], [15, 0.5]])


def test_a_class_without_a_value_has_no_line():
    axes = Figure().add_subplot()
    draw_line(axes, [replace(LINE, mean=None)], "black", "o", "-", filled=True)
    assert list(axes.get_lines()) == []


def test_the_title_counts_runs_and_test_cases():
    assert title(entries_of({5: 3, 15: 1})) == "runs: 3 with 5, 1 with 15 training cases; test cases: 4"


def test_the_figure_is_drawn_with_names_that_look_like_mathematics(tmp_path):
    entries = [replace(entry, structure=name) for name in ("core$_1", "$x") for entry in entries_of({5: 2, 60: 1})]
    draw_performance(tmp_path / "p.png", entries, ["core$_1", "$x"], "the runs differ in train.steps too")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
