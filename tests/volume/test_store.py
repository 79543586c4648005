"""Preprocessed cases on disk: built once, found again, rebuilt when anything changed, never half."""

import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from subprocess import PIPE, Popen

import numpy as np
import pytest

from segkit.config.errors import InputError, WorkError
from segkit.volume import nifti
from segkit.volume.case import Case, CaseFiles, Source
from segkit.volume.geometry import Native
from segkit.volume.labels import IGNORED, ClassMap
from segkit.volume.nifti import Volume
from segkit.volume.preprocess import Preprocess, prepare
from segkit.volume.store import Store, folder_name

SETTINGS = {"preprocess": Preprocess().model_dump(mode="json"), "margin": 1}
SHAPE = (6, 7, 8)


def prepared(files: CaseFiles) -> Case:
    return prepare(files, Preprocess(), roi="none", class_map=ClassMap({"a": (1,), "b": (2,)}, ignore=(9,)), margin=1)


def write_case(folder: Path, name: str, seed: int) -> CaseFiles:
    rng = np.random.default_rng(seed)
    image, label = rng.normal(size=SHAPE).astype(np.float32), rng.choice([0, 0, 1, 2, 9], size=SHAPE).astype(np.uint8)
    for kind, array in (("image", image), ("label", label)):
        nifti.write(folder / f"{name}_{kind}.nii.gz", array, Volume.new(array, np.eye(4)))
    return case_files(folder, name)


def case_files(folder: Path, name: str) -> CaseFiles:
    return CaseFiles(name, {"t1": Source(folder / f"{name}_image.nii.gz")}, folder / f"{name}_label.nii.gz")


@pytest.fixture
def cases(tmp_path) -> list[CaseFiles]:
    (tmp_path / "data").mkdir()
    return [write_case(tmp_path / "data", f"case{i}", i) for i in range(3)]


class Counted:
    """`prepared`, and which cases it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, files: CaseFiles) -> Case:
        self.asked.append(files.id)
        return prepared(files)


def build(cases, folder, settings=SETTINGS) -> tuple[Store, list[str]]:
    counted = Counted()
    store = Store.build(cases, folder, settings, counted)
    return store, sorted(counted.asked)


def test_a_stored_case_is_the_case(cases, tmp_path):
    store, _ = build(cases, tmp_path / "store")
    for files in cases:
        stored, case = store.case(files.id), prepared(files)
        for name in ("image", "label", "roi"):
            assert isinstance(getattr(stored, name), np.memmap)
            assert getattr(stored, name).dtype == getattr(case, name).dtype
            np.testing.assert_array_equal(getattr(stored, name), getattr(case, name))
        assert (stored.native, stored.classes, stored.outside, stored.notices) == (case.native, 3, 0, ())
        assert stored.as_case().native == case.native


def test_voxels_are_sorted_by_class_and_lie_in_the_region(cases, tmp_path):
    stored = build(cases, tmp_path / "store")[0].case("case1")
    assert stored.voxels.dtype == np.uint32
    assert len(stored.offsets) == 4
    assert stored.offsets[-1] == len(stored.voxels) == (stored.label != IGNORED).sum()
    for index in range(3):
        found = stored.voxels[stored.offsets[index] : stored.offsets[index + 1]]
        np.testing.assert_array_equal(found, np.flatnonzero(stored.label == index))


def test_voxels_by_hand(tmp_path):
    label = np.array([2, 0, IGNORED, 2, 0, 2], np.uint8).reshape(6, 1, 1)
    roi = np.array([1, 1, 1, 1, 1, 0], bool).reshape(6, 1, 1)
    case = Case("a", np.zeros((1, 6, 1, 1), np.float16), label, roi, Native.plan((6, 1, 1), np.eye(4)), classes=4)
    stored = Store.build([CaseFiles("a", {})], tmp_path, {}, lambda _: case).case("a")
    assert stored.voxels.tolist() == [1, 4, 0, 3]
    assert stored.offsets == (0, 2, 2, 4, 4)


def test_an_unlabeled_case_is_stored_without_a_label(cases, tmp_path):
    files = CaseFiles("x", cases[0].channels)
    stored = build([files], tmp_path)[0].case("x")
    assert stored.label is None
    assert len(stored.voxels) == 0
    assert stored.offsets == (0, 0, 0, 0)


def test_a_second_build_prepares_nothing(cases, tmp_path):
    first, asked = build(cases, tmp_path / "store")
    assert asked == ["case0", "case1", "case2"]
    second, asked = build(cases, tmp_path / "store")
    assert asked == []
    assert second.digest == first.digest


def test_a_touched_file_is_read_again(cases, tmp_path):
    first, _ = build(cases, tmp_path / "store")
    write_case(tmp_path / "data", "case1", seed=7)
    second, asked = build(cases, tmp_path / "store")
    assert asked == ["case1"]
    np.testing.assert_array_equal(second.case("case1").image, prepared(cases[1]).image)
    assert second.digest != first.digest
    os.utime(cases[0].label, ns=(1, 1))
    assert build(cases, tmp_path / "store")[1] == ["case0"]


def test_other_settings_live_beside(cases, tmp_path):
    first, _ = build(cases, tmp_path / "store")
    second, asked = build(cases, tmp_path / "store", SETTINGS | {"margin": 2})
    assert len(asked) == 3
    assert second.folder.parent == first.folder.parent
    assert first.verify() == second.verify() == []
    assert build(cases, tmp_path / "store")[1] == []


def test_the_order_of_classes_is_a_setting(cases, tmp_path):
    first, _ = build(cases, tmp_path / "store", {"classes": {"a": [1], "b": [2]}})
    second, asked = build(cases, tmp_path / "store", {"classes": {"b": [2], "a": [1]}})
    assert len(asked) == 3
    assert first.digest != second.digest


def test_cases_of_the_same_ids_elsewhere_live_beside(cases, tmp_path):
    (tmp_path / "other").mkdir()
    others = [write_case(tmp_path / "other", f"case{i}", i + 10) for i in range(3)]
    first, _ = build(cases, tmp_path / "store")
    second, asked = build(others, tmp_path / "store")
    assert asked == ["case0", "case1", "case2"]
    for store, side in ((first, cases), (second, others)):
        for files in side:
            np.testing.assert_array_equal(store.case(files.id).image, prepared(files).image)
        assert build(side, tmp_path / "store")[1] == []


def test_the_same_files_as_other_channels_live_beside(cases, tmp_path):
    one, two = cases[0].channels["t1"], cases[1].channels["t1"]
    sides = [CaseFiles("x", {"t1": one, "t2": two}), CaseFiles("x", {"t2": two, "t1": one}), CaseFiles("x", {"t1": two, "t2": one})]
    stores = [build([files], tmp_path / "store")[0] for files in sides]
    assert len({store.path_of("x") for store in stores}) == 3
    for store, files in zip(stores, sides, strict=True):
        np.testing.assert_array_equal(store.case("x").image, prepared(files).image)


def test_a_changed_file_leaves_no_outdated_case_behind(cases, tmp_path):
    store, _ = build(cases, tmp_path / "store")
    os.utime(cases[0].label, ns=(1, 1))
    build(cases, tmp_path / "store")
    assert len(list(store.folder.iterdir())) == 3


def test_a_store_is_located_without_a_trace(cases, tmp_path):
    located = Store.locate(cases, tmp_path / "store", SETTINGS)
    assert located.verify() == []
    assert not (tmp_path / "store").exists()
    assert build(cases, tmp_path / "store")[0] == located


@pytest.mark.parametrize("harm", ["truncate", "remove", "manifest", "foreign"])
def test_a_damaged_case_is_noticed_and_made_again(cases, tmp_path, harm):
    store, _ = build(cases, tmp_path / "store")
    place = store.path_of("case2")
    if harm == "truncate":
        data = (place / "image.npy").read_bytes()
        (place / "image.npy").write_bytes(data[:-3])
    elif harm == "remove":
        (place / "voxels.npy").unlink()
    elif harm == "manifest":
        (place / "case.json").write_text("{")
    else:
        (place / "case.json").write_text("[]")
    with pytest.raises(WorkError, match="SK-V073: a preprocessed case is damaged"):
        store.case("case2")
    assert build(cases, tmp_path / "store")[1] == ["case2"]
    assert store.case("case2").image.shape == (1, *SHAPE)


def test_verify_finds_a_flipped_bit(cases, tmp_path):
    store, _ = build(cases, tmp_path / "store")
    path = store.path_of("case0") / "image.npy"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    assert store.verify() == [path]


def test_all_bad_cases_are_listed_at_once(cases, tmp_path):
    for files in cases[:2]:
        files.label.write_bytes(b"no gzip")
    with pytest.raises(InputError) as error:
        build(cases, tmp_path / "store")
    assert str(error.value).startswith("SK-V070: 2 of 3 cases cannot be used\n  case0: SK-V032: not a gzip file")
    assert "\n  case1: SK-V032" in str(error.value)
    assert build(cases[2:], tmp_path / "store")[1] == []


def test_a_full_disk_leaves_nothing_half(cases, tmp_path, monkeypatch):
    def full(path, *_, **__):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(WorkError, match="SK-V071: the store cannot be written") as error:
        build(cases, tmp_path / "store")
    assert error.value.got == "No space left on device"
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file()] == []


def test_what_a_dead_process_left_is_removed(cases, tmp_path):
    store, _ = build(cases, tmp_path / "store")
    dead = Popen([sys.executable, "-c", ""])
    dead.wait()
    name = f".tmp-{os.uname().nodename}-{{}}-00ff"
    abandoned, living, elsewhere = (
        store.folder / text for text in (name.format(dead.pid), name.format(os.getpid()), ".tmp-elsewhere-1-00ff")
    )
    for folder in (abandoned, living, elsewhere):
        folder.mkdir()
    build(cases, tmp_path / "store")
    assert [folder.exists() for folder in (abandoned, living, elsewhere)] == [False, True, True]


def test_progress_counts_to_the_end(cases, tmp_path):
    seen = []
    Store.build(cases, tmp_path, SETTINGS, prepared, lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


BUILDER = """
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

spec = spec_from_file_location("builder", sys.argv[1])
module = module_from_spec(spec)
spec.loader.exec_module(module)
data, folder = Path(sys.argv[2]), Path(sys.argv[3])
cases = [module.case_files(data, f"case{i}") for i in range(3)]
print("ready", flush=True)
sys.stdin.readline()
module.build(cases, folder)
"""


@pytest.mark.parametrize("outdated", [False, True])
def test_two_processes_at_once_are_both_right(cases, tmp_path, outdated):
    if outdated:
        build(cases, tmp_path / "store")
        for files in cases:
            os.utime(files.label, ns=(1, 1))
    command = [sys.executable, "-c", BUILDER, __file__, str(tmp_path / "data"), str(tmp_path / "store")]
    with ExitStack() as stack:
        builders = [stack.enter_context(Popen(command, stdin=PIPE, stdout=PIPE, text=True)) for _ in range(2)]
        assert [builder.stdout.readline() for builder in builders] == ["ready\n"] * 2
        for builder in builders:
            builder.stdin.write("go\n")
            builder.stdin.flush()
        assert [builder.wait(60) for builder in builders] == [0, 0]
    store, asked = build(cases, tmp_path / "store")
    assert asked == []
    assert store.verify() == []
    assert sorted(store.folder.iterdir()) == sorted(store.path_of(f"case{i}") for i in range(3))


@pytest.mark.parametrize("case_id", ["../up", "a/b", "", ".", "..", ".hidden", "a b", "é", "x" * 300, "nul\0", "end.", "CON:"])
def test_unsafe_ids_become_safe_folder_names(case_id, tmp_path):
    name = folder_name(case_id)
    assert len(name) < 100
    (tmp_path / name).mkdir()
    assert (tmp_path / name).resolve().parent == tmp_path.resolve()
    assert not name.startswith(".tmp")


def test_safe_ids_stay_readable_and_different_ids_differ():
    assert folder_name("brats_2013_pat0005_1") == "brats_2013_pat0005_1"
    names = {folder_name(case_id) for case_id in ("a b", "a_b", "a/b", "a  b")}
    assert len(names) == 4


def test_the_manifest_is_strict_json(cases, tmp_path):
    store, _ = build(cases, tmp_path / "store")
    text = (store.path_of("case0") / "case.json").read_text()
    manifest = json.loads(text, parse_constant=lambda token: pytest.fail(token))
    assert set(manifest["files"]) == {"image.npy", "label.npy", "roi.npy", "voxels.npy"}
