"""Items: what their folders are named after, and when they are done."""

import pytest

from segkit.table.item import INCIDENTAL, Asked, items_of, missing, percent

DICE = {"dice": {"a": 0.5}, "sensitivity": {"a": 0.5}, "precision": {"a": 0.5}}


def names(table, tmp_path) -> list[str]:
    return [item.folder.name for item in items_of(table, tmp_path / "out")]


def test_there_is_an_item_for_each_row_share_and_seed_and_its_recipe_has_both(tiny, tmp_path):
    items = items_of(tiny(), tmp_path / "out")
    expected = [(row, share, seed) for seed in (0, 1) for share in (0.5, 1.0) for row in ("plain", "focal")]
    assert [(item.row, item.fraction, item.seed) for item in items] == expected
    assert [(item.recipe.dataset.train_fraction, item.recipe.train.seed) for item in items] == [each[1:] for each in expected]
    assert [item.folder.name.rpartition("_")[0] for item in items[:3]] == ["plain_0.5_0", "focal_0.5_0", "plain_1_0"]
    assert items[3].name == "focal, 100 %, seed 0"
    assert len({item.folder for item in items}) == 8


def test_what_a_network_depends_on_changes_the_folder_of_its_row_alone(tiny, tmp_path):
    before, after = names(tiny(), tmp_path), names(tiny(("gamma: 2.0", "gamma: 4.0")), tmp_path)
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, False] * 4


@pytest.mark.parametrize("override", ["train.steps=2", "dataset.cases=5", "infer.overlap=0.25", "evaluate.convention=brats"])
def test_an_override_changes_every_folder(tiny, tmp_path, override):
    assert not set(names(tiny(), tmp_path)) & set(names(tiny(overrides=(override,)), tmp_path))


INCIDENTALS = {
    "dataset.root": "elsewhere",
    "preprocess.store": "elsewhere",
    "sampling.residence": "disk",
    "train.checkpoint_minutes": "3",
    "train.checkpoint_every": "1",
    "train.monitor": "{every: 1}",
    "evaluate.metrics": "[dice]",
    "evaluate.nsd_tolerance_mm": "2.0",
    "evaluate.regions": "{}",
}


def test_all_that_is_incidental_is_tried():
    assert {*INCIDENTALS, "dataset.split.file"} == set(INCIDENTAL)


@pytest.mark.parametrize(("key", "value"), INCIDENTALS.items())
def test_what_is_incidental_changes_no_folder(tiny, tmp_path, key, value):
    assert names(tiny(), tmp_path) == names(tiny(overrides=(f"{key}={value}",)), tmp_path)


@pytest.mark.parametrize("naming", ["train.best=[whole]", "infer.keep_largest=[whole]"])
def test_a_region_that_a_network_depends_on_changes_every_folder(tiny, tmp_path, naming):
    regions = ("evaluate.regions={whole: [core, edema], other: [core, edema]}", "evaluate.regions={whole: [edema, core]}")
    both, one = (names(tiny(overrides=(naming, each)), tmp_path) for each in regions)
    assert not set(both) & set(one)
    assert names(tiny(overrides=(naming,)), tmp_path) == both


@pytest.mark.parametrize(
    "change",
    [
        ("classes: [core]", "classes: [edema]"),
        ("seeds: [0, 1]", "metrics: [hd95]\nseeds: [0, 1]"),
        ("title: Tiny", "title: Other"),
        ("seeds: [0, 1]", "splits: [training]\nseeds: [0, 1]"),
    ],
)
def test_what_is_read_off_a_trained_network_changes_no_folder(tiny, tmp_path, change):
    assert names(tiny(), tmp_path) == names(tiny(change), tmp_path)


def test_another_content_of_the_split_file_is_another_folder(tiny, tmp_path):
    split, overrides = tmp_path / "split.json", (f"dataset.split={{file: {tmp_path}/split.json}}",)
    found = [names(tiny(overrides=overrides), tmp_path)]
    for order in ('["a", "b"]', '["b", "a"]', '["a", "b"]'):
        split.write_text(f'{{"test": [], "train_order": {order}}}')
        found.append(names(tiny(overrides=overrides), tmp_path))
    split.rename(tmp_path / "moved.json")
    found.append(names(tiny(overrides=(overrides[0].replace("split.json", "moved.json"),)), tmp_path))
    assert found[1] == found[3] == found[4]
    assert len({tuple(each) for each in found}) == 3


def test_an_item_is_done_when_its_result_and_all_its_scores_are_there(tiny, plant, tmp_path):
    item, *others = items_of(tiny(), tmp_path / "out")
    assert missing([item, *others]) == [item, *others]
    plant(item, DICE)
    assert missing([item, *others]) == others
    result = item.result()
    assert (result.asked, result.training_cases, result.steps, result.commits) == (item.asked, 3, 1, ("c0ffee",))
    (item.scores("test", False) / "scores.csv").unlink()
    assert item.result() is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"asked": 3}'])
def test_a_result_that_is_not_whole_is_none(tiny, plant, tmp_path, text):
    item = items_of(tiny(), tmp_path / "out")[0]
    plant(item, DICE)
    item.place.result.write_text(text)
    assert item.result() is None


@pytest.mark.parametrize(
    "change",
    [
        ("seeds: [0, 1]", "metrics: [dice, hd95]\nseeds: [0, 1]"),
        ("seeds: [0, 1]", "splits: [test, training]\nseeds: [0, 1]"),
        ("seeds: [0, 1]", "largest_component: true\nseeds: [0, 1]"),
    ],
)
def test_an_item_is_not_done_once_more_is_asked_of_it(tiny, plant, tmp_path, change):
    item = items_of(tiny(), tmp_path / "out")[0]
    plant(item, DICE)
    again = items_of(tiny(change), tmp_path / "out")[0]
    assert again.folder == item.folder
    assert again.result() is None


@pytest.mark.parametrize("override", ["evaluate.nsd_tolerance_mm=2.0", "evaluate.regions={whole: [core, edema], same: [edema, core]}"])
def test_an_item_is_not_done_once_it_is_scored_by_other_rules(tiny, plant, tmp_path, override):
    item, again = (items_of(tiny(overrides=each), tmp_path / "out")[0] for each in ((), (override,)))
    plant(item, DICE)
    assert again.folder == item.folder
    assert (item.result() is None, again.result() is None) == (False, True)


def test_an_item_stays_done_when_less_is_asked_of_it(tiny, plant, tmp_path):
    plant(items_of(tiny(("seeds: [0, 1]", "splits: [test, training]\nlargest_component: true\nseeds: [0, 1]")), tmp_path / "out")[0], DICE)
    assert items_of(tiny(("seeds: [0, 1]", "metrics: [dice]\nseeds: [0, 1]")), tmp_path / "out")[0].result() is not None


def test_the_variants_are_every_split_as_predicted_and_with_largest_parts():
    asked = Asked(("test", "training"), ("dice",), largest_component=True)
    assert asked.variants == (("test", False), ("test", True), ("training", False), ("training", True))
    assert Asked(("test",), ("dice",)).variants == (("test", False),)


def test_shares_are_told_in_percent():
    assert [percent(share) for share in (0.05, 0.125, 1.0)] == ["5 %", "12.5 %", "100 %"]
