"""Items one after the other and side by side: a failure, however it ends, costs only itself."""

import multiprocessing
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from segkit.config.plugins import PREFIX, load_plugin
from segkit.engine.interruption import Interrupted
from segkit.launch import local as processes
from segkit.losses.base import losses
from segkit.table.item import Item, items_of, missing
from segkit.table.launch import Outcome, outcomes
from segkit.table.work import claimed


def local(items: Sequence[Item], workers: int) -> Iterator[Outcome]:
    """On this machine, as the command does it."""
    return outcomes(items, partial(processes.launch, workers=workers) if workers > 1 else None)


ONE_SEED = ("seeds: [0, 1]", "seeds: [0]")
ONE_SHARE = ("fractions: [0.5, 1.0]", "fractions: [1.0]")
TOO_LARGE = ("{losses: [{name: focal, gamma: 2.0}]}", "{sampling: {patch_shape: [64, 64, 64]}}")


@pytest.mark.parametrize("workers", [1, 2])
def test_an_item_that_fails_costs_only_itself(tiny, tmp_path, workers):
    items = items_of(tiny(ONE_SEED, TOO_LARGE, ONE_SHARE), tmp_path / "out")
    outcomes = {outcome.item.row: outcome for outcome in local(items, workers)}
    assert outcomes["plain"].error is None
    assert outcomes["focal"].error.code == "SK-T032"
    assert outcomes["focal"].error.remedy == "lower sampling.patch_shape"
    assert [item.row for item in missing(items)] == ["focal"]


@pytest.fixture
def plugin(tmp_path, monkeypatch) -> Iterator[Callable[[str], Path]]:
    """Writes a plug-in file and loads it; afterwards the shelf of losses and the modules are as before."""
    list(losses)
    monkeypatch.setattr(losses, "_plugins", dict(losses._plugins))

    def load(text: str) -> Path:
        path = tmp_path / "own_loss.py"
        path.write_text(text)
        load_plugin(path)
        return path

    yield load
    sys.modules.pop(f"{PREFIX}own_loss", None)


PLUGIN = """\
from segkit.losses.base import losses
from segkit.losses.cross_entropy import CrossEntropy


@losses.register("fails")
class Fails(CrossEntropy):
    def __call__(self, logits, target, rare):
        if logits.requires_grad:
            raise IndexError("no such voxel")
        return super().__call__(logits, target, rare)
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_a_plugin_that_fails_costs_only_its_item(tiny, plugin, tmp_path, workers, capfd):
    path = plugin(PLUGIN)
    change = ("{losses: [{name: focal, gamma: 2.0}]}", "{losses: [fails]}")
    items = items_of(tiny(ONE_SEED, ONE_SHARE, change), tmp_path / "out")
    outcomes = {outcome.item.row: outcome for outcome in local(items[::-1], workers)}
    assert outcomes["plain"].error is None
    assert outcomes["focal"].error.block().splitlines() == [
        "SK-R054: a plug-in fails",
        f"  where:    {path}:9",
        "  got:      IndexError: no such voxel",
        "  remedy:   mend the plug-in; --debug shows the whole traceback",
    ]
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_that_cannot_be_written_costs_only_its_item(tiny, tmp_path, workers, capfd):
    plain, focal = items_of(tiny(ONE_SEED, ONE_SHARE), tmp_path / "out")
    focal.run.path.mkdir(parents=True)
    focal.run.log.symlink_to(tmp_path / "nowhere/log.jsonl")
    outcomes = {outcome.item.row: outcome for outcome in local([focal, plain], workers)}
    assert outcomes["plain"].error is None
    assert outcomes["focal"].error.block().splitlines() == [
        "SK-C003: a file cannot be read or written",
        f"  where:    {focal.run.log}",
        "  got:      No such file or directory",
    ]
    assert "Traceback" not in capfd.readouterr().err


def test_a_plugin_file_that_is_gone_is_an_error_of_every_item_that_begins_later(tiny, plugin, tmp_path, capfd):
    plugin("").unlink()
    outcomes = list(local(items_of(tiny(ONE_SEED, ONE_SHARE), tmp_path / "out"), 2))
    assert [outcome.error.code for outcome in outcomes] == ["SK-R050", "SK-R050"]
    assert "Traceback" not in capfd.readouterr().err


def test_an_item_that_another_process_holds_is_busy(tiny, tmp_path):
    items = items_of(tiny(ONE_SEED, ONE_SHARE), tmp_path / "out")
    with claimed(items[0]):
        outcomes = {outcome.item.row: outcome for outcome in local(items, 1)}
    assert [(row, each.busy, each.error) for row, each in sorted(outcomes.items())] == [("focal", False, None), ("plain", True, None)]
    assert [outcome.busy for outcome in local(missing(items), 1)] == [False]


SIGNALED = """\
import signal
from pathlib import Path

from segkit.losses.base import losses
from segkit.losses.cross_entropy import CrossEntropy


@losses.register("signaled")
class Signaled(CrossEntropy):
    def __call__(self, logits, target, rare):
        if logits.requires_grad and not Path(__file__).with_name("heard").exists():
            Path(__file__).with_name("heard").touch()
            signal.raise_signal(signal.SIGTERM)
        return super().__call__(logits, target, rare)
"""


def test_a_signal_in_the_last_step_of_an_item_is_the_end_of_the_table_as_well(tiny, plugin, tmp_path):
    plugin(SIGNALED)
    change = ("plain: {}", "plain: {overrides: {losses: [signaled]}}")
    first, second = items_of(tiny(ONE_SEED, ONE_SHARE, change), tmp_path / "out")
    with pytest.raises(Interrupted) as stop:
        list(local([first, second], 1))
    assert (stop.value.exit_status, stop.value.remedy) == (143, "go on with the same command")
    assert first.run.weights.is_file()  # one step was asked for, and it is done
    assert not first.predictions("test").exists()
    assert not second.folder.exists()
    assert [outcome.error for outcome in local([first, second], 1)] == [None, None]
    assert missing([first, second]) == []


LONG = "x" * 1_000_000  # more than a pipe holds


def test_an_error_of_any_length_comes_back_from_another_process(tiny, tmp_path):
    table = tiny(ONE_SEED, ONE_SHARE, overrides=(f"dataset.root={tmp_path}/{LONG}",))
    (outcome,) = local(items_of(table, tmp_path / "out")[:1], 2)
    assert LONG in outcome.error.block()


def kill_when_it_trains(log: Path) -> None:
    """The one child process of this one, once the log of its training is there."""
    while not (log.exists() and log.stat().st_size):
        time.sleep(0.02)
    (child,) = multiprocessing.active_children()
    child.kill()


def test_a_process_that_dies_is_an_error_of_its_item(tiny, tmp_path):
    table = tiny(ONE_SEED, ONE_SHARE, overrides=("train.steps=100000",))
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
