"""What a folder means to those who read scores: a run, an item of a table, or the run of one."""

from pathlib import Path

import pytest

from segkit.config.errors import InputError
from segkit.engine.item_folder import ItemFolder, run_at
from segkit.engine.run import Run


def touched(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.fixture
def item(tmp_path) -> ItemFolder:
    """An item that is done."""
    made = ItemFolder(tmp_path / "focal_0.5_0_0123abcd")
    touched(made.run.recipe, made.lock, made.result, made.scores("test") / "scores.csv", made.scores("test", True) / "scores.csv")
    return made


def test_an_item_means_its_run_with_the_scores_and_label_maps_of_its_test_cases(item):
    run = run_at(item.path)
    assert (run.path, run.recipe) == (item.path / "run", item.path / "run/recipe.yaml")
    assert (run.predictions, run.scores, run.summary) == (
        item.path / "test",
        item.path / "test/scores.csv",
        item.path / "test/summary.json",
    )
    assert run.name == "focal_0.5_0_0123abcd"


def test_so_does_the_run_of_an_item(item):
    assert run_at(item.path / "run") == run_at(item.path)


@pytest.mark.parametrize(("place", "named"), [("", "."), ("", "run"), ("run", "."), ("run", ".."), ("test", "../run")])
def test_whatever_the_working_directory_is(item, place, named, monkeypatch):
    monkeypatch.chdir(item.path / place)
    run = run_at(Path(named))
    assert (run.scores.resolve(), run.name) == (item.path / "test/scores.csv", "focal_0.5_0_0123abcd")


def test_a_link_to_the_run_of_an_item_is_followed(item, tmp_path):
    (tmp_path / "best").symlink_to(item.path / "run")
    assert run_at(tmp_path / "best").scores == item.path / "test/scores.csv"


def test_a_run_of_an_item_that_was_scored_once_more_has_its_own_scores_and_the_item_keeps_its(item):
    touched(item.path / "run/scores.csv")
    assert run_at(item.path / "run") == Run(item.path / "run")
    assert run_at(item.path).scores == item.path / "test/scores.csv"


def test_any_other_run_has_its_own_label_maps_and_scores(tmp_path):
    touched(tmp_path / "runs/run/recipe.yaml")  # named like that of an item
    run = run_at(tmp_path / "runs/run")
    assert (run.predictions, run.scores, run.name) == (tmp_path / "runs/run/predictions", tmp_path / "runs/run/scores.csv", "run")
    assert ItemFolder.around(tmp_path / "runs") is None
    assert ItemFolder.around(tmp_path / "runs/run") is None


def test_other_folders_of_an_item_are_no_item(item):
    assert ItemFolder.around(item.path / "test") is None


def test_an_item_without_its_result_is_not_finished_and_names_the_command_that_goes_on(item):
    item.result.unlink()
    with pytest.raises(InputError) as error:
        run_at(item.path)
    assert str(error.value) == (
        "SK-E040: this item of a table is not finished\n"
        f"  where:    {item.path}\n"
        "  expected: result.json and test/scores.csv\n"
        "  got:      no result.json\n"
        f"  remedy:   finish it: segkit table SPEC.yaml --output {item.path.parent} --run, with the file of its table"
    )
    assert run_at(item.path / "run") == Run(item.path / "run")  # a training under way can be looked at


def test_an_item_that_was_not_begun_is_not_finished_either(tmp_path):
    touched(tmp_path / "plain_1_0_0123abcd/lock")
    with pytest.raises(InputError, match="SK-E040: this item of a table is not finished"):
        run_at(tmp_path / "plain_1_0_0123abcd")


def test_an_item_of_a_table_without_test_cases_says_what_to_change_in_the_table(item):
    (item.scores("test") / "scores.csv").unlink()
    with pytest.raises(InputError) as error:
        run_at(item.path)
    assert str(error.value) == (
        "SK-E040: this item of a table has no scores of test cases\n"
        f"  where:    {item.path}\n"
        "  expected: result.json and test/scores.csv\n"
        "  got:      no test/scores.csv\n"
        "  remedy:   name test among the splits of its table; then "
        f"segkit table SPEC.yaml --output {item.path.parent} --run, with the file of its table"
    )
