"""The file of a table: what it may say, what reaches the recipes, and how mistakes in it are told."""

import pytest

from segkit.config.errors import InputError
from segkit.table.spec import read


def told(path, overrides=()) -> str:
    """The mistakes, without the folder they are in."""
    with pytest.raises(InputError) as error:
        read(path, overrides)
    return str(error.value).replace(f"{path.parent}/", "")


def test_a_row_is_its_recipe_with_the_overrides_of_the_table_the_row_and_the_command_line_on_top(tiny):
    table = tiny(
        ("rows:", "overrides: {train: {steps: 2, batch_size: 3}, evaluate: {nsd_tolerance_mm: 2.0}}\nrows:"),
        ("{losses: [{name: focal, gamma: 2.0}]}", "{losses: [{name: focal, gamma: 2.0}], train: {batch_size: 4}}"),
        overrides=("evaluate.nsd_tolerance_mm=3",),
    )
    plain, focal = table.recipes["plain"], table.recipes["focal"]
    assert [(row.train.steps, row.train.batch_size, row.evaluate.nsd_tolerance_mm) for row in (plain, focal)] == [(2, 3, 3.0), (2, 4, 3.0)]
    assert [loss.name for loss in (*plain.losses, *focal.losses)] == ["cross_entropy", "focal"]
    assert plain.train.precision == "fp32"


def test_a_row_may_have_a_recipe_of_its_own(spec_file, tmp_path):
    path = spec_file(("plain: {}", "plain: {recipe: sub/own.yaml}"))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/own.yaml").write_text("base: ../tiny.yaml\ntrain: {steps: 7}\n")
    assert [recipe.train.steps for recipe in read(path).recipes.values()] == [7, 1]


def test_paths_start_at_the_file_that_says_them(spec_file, tmp_path, monkeypatch):
    path = spec_file(("rows:", "overrides: {dataset: {root: scans}, preprocess: {store: kept}}\nrows:"))
    monkeypatch.chdir("/")
    recipe = read(path, ("preprocess.store=elsewhere",)).recipes["plain"]
    assert recipe.dataset.root == tmp_path / "scans"
    assert str(recipe.preprocess.store) == "/elsewhere"


def test_a_table_may_build_on_another(spec_file, tmp_path):
    spec_file()
    (tmp_path / "more.yaml").write_text("base: table.yaml\ntitle: More\nrows: {dice: {overrides: {losses: [dice]}}}\nseeds: [5]\n")
    table = read(tmp_path / "more.yaml")
    assert (table.name, table.spec.title, list(table.spec.rows), table.spec.seeds) == ("more", "More", ["plain", "focal", "dice"], (5,))


def test_wrong_types_are_told_with_their_lines(spec_file):
    path = spec_file(
        ("title: Tiny", "titel: Tiny"), ("fractions: [0.5, 1.0]", "fractions: [0.5, 1.5]"), ("against: plain", "gainst: plain")
    )
    assert told(path).splitlines() == [
        "SK-R030: 4 mistakes in table.yaml",
        "table.yaml: title: missing; expected string that is not empty",
        "table.yaml:1: titel: unknown key; did you mean 'title'?",
        "table.yaml:7: rows.focal.gainst: unknown key; did you mean 'against'?",
        "table.yaml:8: fractions[1]: expected number > 0 and <= 1, got 1.5",
    ]


PUBLISHED = """\
classes: [core, both]
means: {both: [core, edema]}
metrics: [dice, dicee]
published:
  - source: a paper
    values:
      - {row: nobody, fraction: 0.5, structure: core, scores: {dice: 50.0}}
      - {row: plain, fraction: 0.2, structure: core, scores: {dice: 50.0}}
      - {row: plain, fraction: 0.5, structure: edema, scores: {dice: 50.0}}
      - {row: plain, fraction: 0.5, structure: both, scores: {dice: 50.0, hd95: 1.0}}
      - {row: plain, fraction: 0.5, structure: both, scores: {dice: 51.0}}
"""


def test_names_that_do_not_fit_together_are_told_all_at_once_with_their_lines(spec_file):
    path = spec_file(
        ("plain: {}", "plain: {recipe: nowhere.yaml, against: plain}"),
        ("{losses: [{name: focal, gamma: 2.0}]}", "{train: {seed: 3}, dataset: {train_fraction: 0.1}}"),
        ("against: plain\nfractions", "against: nobody\nfractions"),
        ("classes: [core]\n", PUBLISHED),
        ("seeds: [0, 1]", "seeds: [0, 0]"),
    )
    assert told(path).splitlines() == [
        "SK-B001: 12 mistakes in table.yaml",
        "table.yaml:4: rows.plain.recipe: no such file: nowhere.yaml",
        "table.yaml:4: rows.plain.against: expected another row, one of focal, got 'plain'",
        "table.yaml:6: rows.focal.overrides.train.seed: expected nothing, since `seeds` and `fractions` set it",
        "table.yaml:6: rows.focal.overrides.dataset.train_fraction: expected nothing, since `seeds` and `fractions` set it",
        "table.yaml:7: rows.focal.against: expected another row, one of plain, got 'nobody'",
        "table.yaml:11: metrics[1]: no metric is named 'dicee'; there are assd, dice, hd95, nsd, precision, sensitivity, specificity",
        "table.yaml:15: published[0].values[0].row: the table has no such row: nobody; there are plain, focal",
        "table.yaml:16: published[0].values[1].fraction: the table has no such fraction: 0.2; there are 0.5, 1.0",
        "table.yaml:17: published[0].values[2].structure: the table has no such structure: edema; there are core, both",
        "table.yaml:18: published[0].values[3].scores.hd95: the table has no such metric; there are dice, dicee",
        "table.yaml:19: published[0].values[4].scores.dice: published twice",
        "table.yaml:20: seeds: expected each value once, got 0 2 times",
    ]


def test_a_table_without_a_recipe_for_a_row_says_so(spec_file):
    path = spec_file(("recipe: tiny.yaml\n", ""), ("plain: {}", "plain: {recipe: tiny.yaml}"))
    assert (
        told(path) == "SK-B001: 1 mistake in table.yaml\ntable.yaml:4: rows.focal: expected a recipe, here or for the whole table, got none"
    )


def test_a_class_that_a_row_does_not_score_is_told_with_those_it_does(spec_file):
    path = spec_file(("classes: [core]", "classes: [whole, cor, both]\nmeans: {both: [core, liver], core: [core, edema]}"))
    assert told(path).splitlines() == [
        "SK-B001: 3 mistakes in table.yaml",
        "table.yaml:9: classes[1]: row plain has no class or region 'cor'; there are core, edema, whole",
        "table.yaml:10: means.both[1]: row plain has no class or region 'liver'; there are core, edema, whole",
        "table.yaml:10: means.core: expected a name that no class or region has",
    ]


def test_a_mean_is_of_two_classes_or_more(spec_file):
    path = spec_file(("classes: [core]", "classes: [core]\nmeans: {one: [core]}"))
    assert told(path) == "SK-R030: 1 mistake in table.yaml\ntable.yaml:10: means.one: expected 2 or more strings, got ['core']"


def test_a_mistake_in_an_override_is_told_where_it_was_written(spec_file):
    path = spec_file(("{losses: [{name: focal, gamma: 2.0}]}", "{train: {stepps: 3}}"))
    assert told(path) == "SK-R030: 1 mistake in tiny.yaml\ntable.yaml:6: train.stepps: unknown key; did you mean 'steps'?"


@pytest.mark.parametrize(("override", "key"), [("train.seed=3", "train.seed"), ("dataset.train_fraction=0.1", "dataset.train_fraction")])
def test_the_command_line_does_not_set_what_the_table_sets(spec_file, override, key):
    assert told(spec_file(), (override,)).splitlines() == [
        f"SK-B002: the table itself sets {key}",
        "  where:    command line",
        "  remedy:   change `seeds` or `fractions` in the table's file",
    ]


def test_rows_that_are_tested_on_other_cases_or_by_other_rules_are_told(spec_file, tmp_path):
    changes = "{dataset: {split: {test: 3}, classes: {core: 4}}, evaluate: {metrics: [dice], convention: brats, regions: {whole: [core]}}}"
    path = spec_file(("plain: {}", "plain: {}\n  same: {}"), ("{losses: [{name: focal, gamma: 2.0}]}", changes))
    assert told(path).splitlines() == [
        "SK-B001: 4 mistakes in table.yaml",
        "table.yaml:6: rows.focal: tested otherwise than row plain: dataset.classes.core: [1, 4] -> [4]",
        "table.yaml:6: rows.focal: tested otherwise than row plain: dataset.split.test: 2 -> 3",
        "table.yaml:6: rows.focal: tested otherwise than row plain: evaluate.regions.whole: ['core', 'edema'] -> ['core']",
        "table.yaml:6: rows.focal: tested otherwise than row plain: evaluate.convention: segkit -> brats",
    ]


def test_an_override_of_all_rows_may_change_the_cases(spec_file):
    recipes = read(spec_file(), ("dataset.split.test=3", "evaluate.convention=brats")).recipes
    assert [recipe.dataset.split.test for recipe in recipes.values()] == [3, 3]
