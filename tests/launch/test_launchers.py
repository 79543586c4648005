"""What workers say and how they end, whichever launcher has started them: processes, tasks of Ray, jobs of SLURM."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest

from segkit.config.errors import InputError
from segkit.config.plugins import PREFIX, load_plugin
from segkit.launch import local, ray, slurm
from segkit.launch.event import Event, Launch, Lost, Said
from segkit.launch.request import Request

WORKS = """\
import os
import signal
import time
from pathlib import Path

from segkit.config.errors import InputError
from segkit.config.signals import interruptions


def twice(word):
    yield word
    yield word + word


def killed(word):
    yield word
    if word == "b":
        time.sleep(1)  # Ray loses what is under way
        os.kill(os.getpid(), signal.SIGKILL)
    yield "done"


def refused(word):
    yield word
    raise InputError("SK-X001", "no such word", got=word)


def waiting(word):
    with interruptions() as stopped:
        yield word
        Path(word).write_text("at work")  # one that has just spoken has nothing to bring to an end, and may be ended as it is
        while not stopped:
            time.sleep(0.05)
        Path(word).write_text("stopped")


def here(name):
    yield Path(name).read_text()
"""


@pytest.fixture
def works(tmp_path) -> Iterator[ModuleType]:
    """Kinds of work, in a plug-in file: a worker has to run it before it can tell what is asked for."""
    path = tmp_path / "works.py"
    path.write_text(WORKS)
    yield load_plugin(path)
    sys.modules.pop(f"{PREFIX}works")


@pytest.fixture(params=["local", "ray", "slurm"])
def launch(request, tmp_path, monkeypatch) -> Launch:
    """Each launcher, with two workers."""
    monkeypatch.chdir(tmp_path)
    if request.param == "ray":
        return partial(ray.launch, workers=2, address=request.getfixturevalue("ray_address"))
    if request.param == "slurm":
        request.getfixturevalue("slurm_here")
        monkeypatch.setattr(slurm, "POLL_SECONDS", 0.1)
        return partial(slurm.launch, executor=slurm.cluster(tmp_path, Request(), 2))
    return partial(local.launch, workers=2)


def until(true: Callable[[], bool]) -> None:
    """Wait for it; after half a minute it will not come."""
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def said(events: list[Event]) -> dict[str, list[object]]:
    """The messages of each task."""
    found: dict[str, list[object]] = {}
    for event in events:
        if isinstance(event, Said):
            found.setdefault(event.task, []).append(event.message)
    return found


def lost(events: list[Event]) -> dict[str, str]:
    return {event.task: event.got for event in events if isinstance(event, Lost)}


def test_all_messages_of_a_task_come_in_their_order(launch, works):
    events = list(launch(works.twice, ["a", "b", "c"]))
    assert said(events) == {"a": ["a", "aa"], "b": ["b", "bb"], "c": ["c", "cc"]}
    assert lost(events) == {}


def test_a_killed_worker_costs_its_own_task_and_not_what_it_has_said(launch, works):
    events = list(launch(works.killed, ["a", "b", "c"]))
    assert said(events) == {"a": ["a", "done"], "b": ["b"], "c": ["c", "done"]}
    assert list(lost(events)) == ["b"]


def test_an_error_that_a_user_can_act_on_is_the_last_message(launch, works):
    events = list(launch(works.refused, ["a"]))
    first, error = said(events)["a"]
    assert first == "a"
    assert isinstance(error, InputError)
    assert error.block() == "SK-X001: no such word\n  got:      a"
    assert lost(events) == {}


def test_a_worker_with_a_bug_is_lost_and_its_traceback_is_kept(launch, capfd):
    events = list(launch(iter, [5]))
    assert said(events) == {}
    got = lost(events)[5]
    text = Path(got.rpartition("see ")[2]).read_text() if "see " in got else capfd.readouterr().err
    assert "in messages" in text  # a line of the traceback
    assert "TypeError: 'int' object is not iterable" in text


def test_who_stops_listening_stops_the_workers_in_their_own_way(launch, works, tmp_path):
    with closing(launch(works.waiting, [str(tmp_path / "a"), str(tmp_path / "b")])) as events:
        heard = [next(events), next(events)]
        until(lambda: all((tmp_path / name).exists() for name in "ab"))
    assert {event.message for event in heard} == {str(tmp_path / "a"), str(tmp_path / "b")}
    until(lambda: all((tmp_path / name).read_text() == "stopped" for name in "ab"))  # SLURM counts a job as ended when it is canceled


def test_relative_paths_are_of_the_folder_that_the_command_was_started_in(launch, works, tmp_path):
    (tmp_path / "word").write_text("found")
    assert said(list(launch(works.here, ["word"]))) == {"word": ["found"]}


def test_without_a_task_no_worker_is_asked_for():
    assert list(ray.launch(print, [], workers=2, address="nowhere")) == []
    assert list(slurm.launch(print, [], executor=None)) == []
    assert list(local.launch(print, [], workers=2)) == []


@pytest.mark.parametrize(
    ("nodes", "workers", "cpus"),
    [([8, 8], 3, 4), ([8, 8], 2, 8), ([8], 3, 2), ([8, 2], 2, 4), ([16, 4], 1, 16), ([2], 5, 1), ([], 1, 1), ([0], 1, 1)],
)
def test_workers_have_as_many_cpus_as_leave_room_for_all_of_them(nodes, workers, cpus):
    assert ray.cpus_each(nodes, workers) == cpus
