"""Items one after the other and side by side: a failure, however it ends, costs only itself."""

import multiprocessing
import threading
import time
from pathlib import Path

import pytest

from segkit.table.item import items_of, missing
from segkit.table.launch import local
from segkit.table.work import claimed

ONE_SEED = ("seeds: [0, 1]", "seeds: [0]")
TOO_LARGE = ("{losses: [{name: focal, gamma: 2.0}]}", "{sampling: {patch_shape: [64, 64, 64]}}")


@pytest.mark.parametrize("workers", [1, 2])
def test_an_item_that_fails_costs_only_itself(tiny, tmp_path, workers):
    items = items_of(tiny(ONE_SEED, TOO_LARGE, ("fractions: [0.5, 1.0]", "fractions: [1.0]")), tmp_path / "out")
    outcomes = {outcome.item.row: outcome for outcome in local(items, workers)}
    assert outcomes["plain"].error is None
    assert outcomes["focal"].error.code == "SK-T032"
    assert outcomes["focal"].error.remedy == "lower sampling.patch_shape"
    assert [item.row for item in missing(items)] == ["focal"]


def test_an_item_that_another_process_holds_is_busy(tiny, tmp_path):
    items = items_of(tiny(ONE_SEED, ("fractions: [0.5, 1.0]", "fractions: [1.0]")), tmp_path / "out")
    with claimed(items[0]):
        outcomes = {outcome.item.row: outcome for outcome in local(items, 1)}
    assert [(row, each.busy, each.error) for row, each in sorted(outcomes.items())] == [("focal", False, None), ("plain", True, None)]
    assert [outcome.busy for outcome in local(missing(items), 1)] == [False]


LONG = "x" * 1_000_000  # more than a pipe holds


def test_an_error_of_any_length_comes_back_from_another_process(tiny, tmp_path):
    table = tiny(ONE_SEED, ("fractions: [0.5, 1.0]", "fractions: [1.0]"), overrides=(f"dataset.root={tmp_path}/{LONG}",))
    (outcome,) = local(items_of(table, tmp_path / "out")[:1], 2)
    assert LONG in outcome.error.block()


def kill_when_it_trains(log: Path) -> None:
    """The one child process of this one, once the log of its training is there."""
    while not (log.exists() and log.stat().st_size):
        time.sleep(0.02)
    (child,) = multiprocessing.active_children()
    child.kill()


def test_a_process_that_dies_is_an_error_of_its_item(tiny, tmp_path):
    table = tiny(ONE_SEED, ("fractions: [0.5, 1.0]", "fractions: [1.0]"), overrides=("train.steps=100000",))
    item = items_of(table, tmp_path / "out")[0]
    killer = threading.Thread(target=kill_when_it_trains, args=(item.run.log,), daemon=True)
    killer.start()
    (outcome,) = local([item], 2)
    killer.join()
    assert outcome.error.block().splitlines() == [
        "SK-B021: the process of an item ended before it was done",
        f"  where:    {item.folder}",
        "  got:      exit status -9",
        "  remedy:   run the same command again",
    ]
    with claimed(item) as mine:
        assert mine
