"""scripts/study.py: means over folds and seeds, a line of the table, and which code trained the runs; values by hand."""

import json
from pathlib import Path

import pytest

from segkit.config.overrides import apply_values
from segkit.config.yaml import load
from segkit.recipe import resolve

CONFIGS = Path(__file__).parents[1] / "configs"
ANTERIOR = {"dice": 0.5, "sensitivity": 0.25, "precision": 1.0}
POSTERIOR = {"dice": 0.75, "sensitivity": 0.5, "precision": 0.5}


@pytest.fixture
def study(scripts):
    return scripts("study")


def test_the_mean_over_folds_by_hand(study):
    folds = [{"a": ANTERIOR, "b": POSTERIOR}, {"a": POSTERIOR, "b": POSTERIOR}]
    assert study.over_folds(folds) == {"a": {"dice": 0.625, "sensitivity": 0.375, "precision": 0.75}, "b": POSTERIOR}


def test_one_fold_is_its_own_mean(study):
    assert study.over_folds([{"a": ANTERIOR}]) == {"a": ANTERIOR}


NOTHING = {"dice": None, "sensitivity": None, "precision": None}


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ({"a": ANTERIOR | {"precision": None}}, {"a": ANTERIOR | {"precision": None}}),
        ({"a": {"dice": 0.5, "sensitivity": 0.25}}, {"a": ANTERIOR | {"precision": None}}),
        ({}, {"a": NOTHING}),
        ({"a": ANTERIOR, "b": POSTERIOR}, {"a": ANTERIOR, "b": NOTHING}),
    ],
    ids=["a value", "a metric", "a class", "a class of the first fold"],
)
def test_what_one_fold_lacks_the_mean_lacks(study, other, expected):
    assert study.over_folds([{"a": ANTERIOR}, other]) == expected


def test_a_line_of_one_seed_has_every_class_and_then_their_mean_in_percent(study):
    line = study.line("focal", [{"a": ANTERIOR, "b": POSTERIOR}])
    assert line == "| focal | 50.0 | 25.0 | 100.0 | 75.0 | 50.0 | 50.0 | 62.5 | 37.5 | 75.0 |"


def test_the_spread_is_the_standard_deviation_over_seeds(study):
    # 0.5 and 0.75: sqrt(2) * 0.125 = 0.1768; 0.25 and 0.5 as well; 1 and 0.5: 0.3536
    cells = "62.5±17.7 | 37.5±17.7 | 75.0±35.4"
    assert study.line("focal", [{"a": ANTERIOR}, {"a": POSTERIOR}]) == f"| focal | {cells} | {cells} |"


def test_seeds_without_a_value_are_counted_and_give_the_mean_over_classes_none_either(study):
    seeds = [{"a": ANTERIOR | {"precision": None}, "b": POSTERIOR}, {"a": ANTERIOR, "b": POSTERIOR}]
    line = study.line("focal", seeds)
    assert line == "| focal | 50.0±0.0 | 25.0±0.0 | n/a (1) | 75.0±0.0 | 50.0±0.0 | 50.0±0.0 | 62.5±0.0 | 37.5±0.0 | n/a (1) |"


def test_a_run_is_found_by_what_its_recipe_resolves_to_and_by_nothing_else(study, tmp_path):
    def folder(path: Path, **values: object) -> Path:
        return study.folder_of(resolve(apply_values(load(path), {"train.seed": 3} | values)), "row", tmp_path)

    recipe = CONFIGS / "phantom" / "core" / "cross_entropy.yaml"
    copy = recipe.parent / "dice.yaml"
    assert folder(recipe).name.startswith("row_3_")
    assert len(folder(recipe).name) == len("row_3_") + 8
    assert folder(recipe) == folder(copy, losses=["cross_entropy"])
    assert folder(recipe) != folder(copy)


def test_the_commits_of_runs_are_counted_and_changed_code_and_resumed_runs_are_seen(study, tmp_path):
    old, new = "3569e3cb4299cd9b", "b21e0f7a15dcbe02"
    origins = [
        {"commit": old},
        {"commit": new + "+"},
        {"commit": old, "resumed": [{"commit": old}]},
        {"commit": old, "resumed": [{"commit": new}, {"commit": new}]},
        {"commit": None},
    ]
    folders = [tmp_path / str(number) for number in range(len(origins))]
    for folder, facts in zip(folders, origins, strict=True):
        (folder / "run").mkdir(parents=True)
        (folder / "run" / "provenance.json").write_text(json.dumps(facts))
    line = "Trained by: 3569e3c (2 runs), b21e0f7+ (1 run), 3569e3c then b21e0f7 (1 run), no commit (1 run)"
    assert study.commits(folders) == line
