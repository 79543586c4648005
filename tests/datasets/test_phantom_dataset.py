"""The phantom as a data set: written once, read like the real one."""

import pytest
from pydantic import ValidationError

from segkit.config.errors import InputError

SMALL = {"cases": 2, "shape": [32, 32, 32]}


@pytest.mark.parametrize(
    ("kind", "roi", "channels", "first"),
    [("brats", "nonzero", ("flair", "t1c", "t1", "t2"), "necrosis"), ("btcv", "body", ("ct",), "spleen")],
)
def test_a_phantom_is_written_at_first_use_and_read_in_its_kind_s_layout(build, tmp_path, kind, roi, channels, first):
    dataset = build("phantom", root=str(tmp_path / "new"), kind=kind, **SMALL)
    assert (dataset.roi, dataset.channel_names, dataset.class_map.names[1]) == (roi, channels, first)
    cases = dataset.find()
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nii.gz")}
    assert len(times) == 2 * (len(channels) + 1)
    assert [case.label.is_file() for case in cases] == [True, True]
    assert dataset.find() == cases
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nii.gz")} == times


def test_reading_input_writes_nothing(build, tree):
    root = tree("in/scan.nii.gz")
    build("phantom", root=str(root / "new"), kind="btcv", **SMALL).find_input(root / "in")
    assert not (root / "new").exists()


def test_other_cases_in_the_phantom_s_folder_are_refused(build, tree):
    root = tree(*(f"Real/Real_{name}.nii.gz" for name in ("flair", "t1", "t1ce", "t2", "seg")))
    with pytest.raises(InputError) as error:
        build("phantom", **SMALL).find()
    assert str(error.value) == (
        f"SK-D060: the phantom's folder holds other cases too\n  where:    {root}\n  expected: 2 cases\n  got:      3 cases\n"
        "  remedy:   set dataset.root to a folder of its own, or dataset.cases to their number"
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "btcv", "channels": ["t1"]}, "channels: no channel is named 't1'; there are ct"),
        ({"classes": {"core": [1, 3]}}, "classes.core: expected values among [0, 1, 2, 4], the labels of edition 2017, got [3]"),
        ({"roi": "file"}, "roi: expected nonzero, body or none, since this layout has no ROI files, got 'file'"),
    ],
)
def test_the_kind_s_rules_hold_for_the_phantom(build, fields, message):
    with pytest.raises(ValidationError) as error:
        build("phantom", **fields)
    assert str(error.value.errors()[0]["ctx"]["error"]) == message
