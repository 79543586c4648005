"""scripts/strengths.py: strengths set in recipes, means of runs and of threshold sweeps, the picture; values by hand."""

from pathlib import Path

import pytest

from segkit.config.parse import parse
from segkit.config.yaml import load
from segkit.engine.curves import Sweep
from segkit.engine.evaluate import Row
from segkit.recipe import Recipe

CONFIGS = Path(__file__).parents[1] / "configs"
PLAIN = {"dice": 0.5, "sensitivity": 0.4, "precision": 0.8}


@pytest.fixture
def strengths(scripts):
    return scripts("strengths")


@pytest.mark.parametrize("technique", ["large_margin", "focal", "adversarial", "mixup"])
@pytest.mark.parametrize("form", ["", "_asymmetric"])
def test_a_strength_is_set_in_its_own_plugin_and_nothing_else_changes(strengths, technique, form):
    section, field, ladder = strengths.LADDERS[technique]
    for name in (technique + form, "combination" + form):
        recipe = parse(Recipe, load(CONFIGS / "brats" / "core" / f"{name}.yaml"))
        stronger = strengths.with_strength(recipe, technique, ladder[-1] + 1)
        plugins = {plugin.name: plugin for plugin in getattr(stronger, section)}
        assert getattr(plugins[technique], field) == ladder[-1] + 1
        (before,) = [getattr(plugin, field) for plugin in getattr(recipe, section) if plugin.name == technique]
        assert stronger != recipe
        assert strengths.with_strength(stronger, technique, before) == recipe


def test_a_point_is_the_mean_over_classes_and_then_over_seeds(strengths):
    first = {"a": PLAIN, "b": {"dice": 0.7, "sensitivity": 0.6, "precision": 1.0}}
    second = {"a": {"dice": 0.2, "sensitivity": 0.1, "precision": 0.3}, "b": {"dice": 0.4, "sensitivity": 0.5, "precision": 0.5}}
    assert strengths.point([first, second]) == pytest.approx({"dice": 0.45, "sensitivity": 0.4, "precision": 0.65})


def test_a_point_has_no_value_where_a_class_of_a_seed_has_none(strengths):
    lacking = {"a": PLAIN, "b": PLAIN | {"precision": None}}
    assert strengths.point([{"a": PLAIN, "b": PLAIN}, lacking]) == PLAIN | {"precision": None}


def row(case: str, structure: str, metric: str, value: float | None) -> Row:
    return Row(case, structure, metric, value, "", "ok" if value is not None else "missed")


def test_the_means_of_a_sweep_are_over_the_cases_that_have_a_value_at_that_shift(strengths):
    rows = {
        shift: [
            *(row(case, "a", "dice", value) for case, value in zip("xy", dice, strict=True)),
            *(row(case, "a", "sensitivity", value) for case, value in zip("xy", sensitivity, strict=True)),
            *(row(case, "a", "precision", value) for case, value in zip("xy", precision, strict=True)),
        ]
        for shift, dice, sensitivity, precision in [
            (-1.0, (0.0, 0.0), (0.0, 0.0), (None, None)),
            (0.0, (0.0, 0.5), (0.0, 0.5), (None, 0.5)),
            (1.0, (0.5, 1.0), (1.0, 1.0), (0.25, 0.75)),
        ]
    }
    assert strengths.by_shift(Sweep("validation", ("a",), rows)) == {
        -1.0: {"a": {"dice": 0.0, "sensitivity": 0.0, "precision": None}},
        0.0: {"a": {"dice": 0.25, "sensitivity": 0.25, "precision": 0.5}},
        1.0: {"a": {"dice": 0.75, "sensitivity": 1.0, "precision": 0.5}},
    }


def test_the_picture_has_the_thresholds_of_cross_entropy_in_every_panel_and_its_frame_from_the_dots(strengths):
    curves = {
        "focal": {2.0: PLAIN, 4.0: {"dice": 0.4, "sensitivity": 0.3, "precision": 0.7}},
        "mixup_asymmetric": {0.2: PLAIN | {"precision": None}, 1.0: {"dice": 0.6, "sensitivity": 0.6, "precision": 0.6}},
    }
    thresholds = {
        -4.0: {"dice": 0.0, "sensitivity": 0.0, "precision": None},
        0.0: PLAIN,
        4.0: {"dice": 0.2, "sensitivity": 1.0, "precision": 0.1},
    }
    title = "30 validation cases"
    without, figure = (strengths.drawing(curves, PLAIN, swept, title) for swept in ({}, thresholds))
    assert [axis.get_title() for axis in figure.axes] == ["focal: gamma", "mixup: alpha"]
    for panel, dots in zip(figure.axes, ([[0.8, 0.4], [0.7, 0.3]], [[0.6, 0.6]]), strict=True):
        *techniques, cross, line = panel.get_lines()
        assert [each.get_xydata().tolist() for each in techniques] == [dots]
        assert cross.get_xydata().tolist() == [[0.8, 0.4]]
        assert line.get_xydata().tolist() == [[0.8, 0.4], [0.1, 1.0]]
        assert (line.get_label(), line.get_color()) == ("cross-entropy, other thresholds", "grey")
        assert (panel.get_xlim(), panel.get_ylim()) == (without.axes[0].get_xlim(), without.axes[0].get_ylim())
    (legend,) = figure.legends
    names = ["all classes", "cross-entropy", "cross-entropy, other thresholds", "rare classes only"]
    assert sorted(text.get_text() for text in legend.get_texts()) == names
