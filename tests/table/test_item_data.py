"""What an item was made from: found where it was moved, found out where it was changed, and never guessed where it is not there."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from segkit.table.data import changes, check, files_of, record, recorded
from segkit.table.item import Item, items_of
from segkit.table.spec import Table

ONE = (("seeds: [0, 1]", "seeds: [0]"), ("fractions: [0.5, 1.0]", "fractions: [0.5]"))


@pytest.fixture
def place(six_scans, tmp_path) -> Path:
    """A copy of the scans that a test may change."""
    return Path(shutil.copytree(six_scans, tmp_path / "scans"))


@pytest.fixture
def table(tiny, place) -> Table:
    """Two rows on two of four training cases, with two test cases."""
    return tiny(*ONE, overrides=(f"dataset.root={place}",))


@pytest.fixture
def item(table, tmp_path) -> Item:
    """Its first item, begun."""
    return begun(items_of(table, tmp_path / "out")[0])


def begun(item: Item) -> Item:
    """With a record of its data."""
    item.folder.mkdir(parents=True, exist_ok=True)
    record(item, files_of(item.recipe.dataset))
    return item


def found(item: Item) -> list[str]:
    """What `check` finds changed of one item."""
    return [text for _, changed in check([item]).outdated for text in changed]


def label_of(item: Item, side: str) -> tuple[str, Path]:
    """Name and path of the label of the first case of a side."""
    case = getattr(item.recipe.dataset.splits(), side)[0]
    return f"{side}/{case.id}/label", case.label


def rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Other content, and another time of change, whatever the clock's resolution is."""
    before = path.stat().st_mtime_ns
    path.write_bytes(change(path.read_bytes()))
    os.utime(path, ns=(before + 10**9, before + 10**9))


def last_byte(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def test_every_file_of_the_cases_that_train_and_test_is_recorded(item):
    splits = item.recipe.dataset.splits()
    cases = {"training": splits.training, "test": splits.test}
    assert {side: len(each) for side, each in cases.items()} == {"training": 2, "test": 2}
    names = {f"{side}/{case.id}/{part}" for side in cases for case in cases[side] for part in ("channel flair", "channel t1c", "label")}
    assert set(recorded(item)) == names
    assert check([item]).outdated == []
    assert check([item]).unchecked == {}


@pytest.mark.parametrize("side", ["training", "test"])
@pytest.mark.parametrize("change", [last_byte, lambda content: content + b"0"], ids=["as large", "larger"])
def test_a_label_that_was_changed_in_place_is_found_out(item, side, change):
    name, path = label_of(item, side)
    rewrite(path, change)
    assert found(item) == [f"{name} is another"]


def test_a_file_that_was_only_written_again_is_the_same(item):
    rewrite(label_of(item, "test")[1], bytes)
    assert found(item) == []


@pytest.mark.parametrize("copy", [shutil.copy, shutil.copy2], ids=["new times", "same times"])
def test_data_that_were_moved_are_the_same(item, tiny, place, tmp_path, copy):
    shutil.copytree(place, tmp_path / "elsewhere", copy_function=copy)
    shutil.rmtree(place)
    (moved, _) = items_of(tiny(*ONE, overrides=(f"dataset.root={tmp_path}/elsewhere",)), tmp_path / "out")
    assert moved.folder == item.folder
    assert (found(moved), check([moved]).unchecked) == ([], {})


def test_cases_that_changed_sides_are_gone_and_new(item):
    now = files_of(item.recipe.dataset.model_copy(update={"split": item.recipe.dataset.split.model_copy(update={"seed": 2})}))
    texts = changes(recorded(item), now)
    assert {text.rpartition(" is ")[2] for text in texts} == {"gone", "new"}
    gone, new = ({text.split("/")[1] for text in texts if text.endswith(end)} for end in (" is gone", " is new"))
    assert gone & new, "no case changed its side"


def test_a_component_of_a_file_is_a_part_of_its_name(tmp_path):
    from segkit.datasets.msd import Msd
    from segkit.datasets.split import Split

    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / folder).mkdir()
        for case in "ab":
            (tmp_path / folder / f"{case}.nii.gz").touch()
    (tmp_path / "dataset.json").write_text(
        '{"modality": {"0": "x", "1": "y"}, "labels": {"0": "background", "1": "organ"}, "training": ['
        + ", ".join(f'{{"image": "./imagesTr/{case}.nii.gz", "label": "./labelsTr/{case}.nii.gz"}}' for case in "ab")
        + "]}"
    )
    names = list(files_of(Msd(root=tmp_path, split=Split(test=1))))
    assert [name.split("/", 2)[2] for name in names] == ["channel x 0", "channel y 1", "label"] * 2


def test_data_that_are_not_there_are_neither_called_changed_nor_written(item, place):
    shutil.rmtree(place)  # of a phantom, which is written where somebody asks for it
    checked = check([item])
    assert (checked.outdated, checked.unchecked) == ([], {f"{place} is not there": 1})
    assert not place.exists()


def test_data_that_cannot_be_found_are_not_called_changed(item, place):
    shutil.copytree(next(place.iterdir()), place / "Phantom_999")  # more cases than the phantom has
    assert check([item]).outdated == []
    (reason,) = check([item]).unchecked
    assert reason.startswith("SK-D0")


@pytest.mark.parametrize("text", [None, "", "[]", '{"a": 3}', "{"])
def test_an_item_without_a_record_is_said_to_be_unchecked_once_it_is_done(item, plant, text):
    item.place.data.unlink() if text is None else item.place.data.write_text(text)
    assert check([item]).unchecked == {}
    plant(item, {"dice": {"a": 0.5}})
    assert (check([item]).outdated, check([item]).unchecked) == ([], {"they were not recorded": 1})


def test_the_error_names_what_is_out_of_date_and_what_makes_it_anew(table, item, tmp_path):
    other = begun(items_of(table, tmp_path / "out")[1])
    (name, path), (second, label) = label_of(item, "training"), label_of(item, "test")
    for each in (path, label):
        rewrite(each, last_byte)
    checked = check([item, other])
    assert checked.concerns(item)
    assert checked.error(4, "segkit table t.yaml --run").block().splitlines() == [
        "SK-B040: 2 of 4 items are out of date, since their data have changed; they are not in the table",
        f"  where:    {tmp_path}/out",
        f"  got:      plain, 50 %, seed 0 ({name} is another; {second} is another); "
        f"focal, 50 %, seed 0 ({name} is another; {second} is another)",
        "  remedy:   segkit table t.yaml --run  (what was made from the old data is kept in the item's folder, as outdated_N)",
    ]


def test_of_many_changed_files_three_are_named(item):
    for case in item.recipe.dataset.splits().test:
        for path in (case.label, *(source.path for source in case.channels.values())):
            rewrite(path, last_byte)
    assert len(found(item)) == 6
    (got,) = [line for line in check([item]).error(1, "x").block().splitlines() if "got:" in line]
    assert got.count("is another") == 3
    assert got.endswith("; ...)")


def test_a_change_that_keeps_size_and_time_is_not_seen(item):
    path = label_of(item, "test")[1]
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    path.write_bytes(last_byte(path.read_bytes()))
    os.utime(path, ns=times)
    assert found(item) == []
