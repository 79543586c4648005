"""The command as a process: signals, exit statuses, full and read-only disks."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

COMMAND = (sys.executable, "-m", "segkit")
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def heed_interrupts() -> None:
    """A suite that runs in the background ignores SIGINT, and its children would too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def begun(*arguments: str) -> subprocess.Popen:
    """The command as a process that hears Ctrl-C."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*COMMAND, *arguments], env=ENVIRONMENT, **pipes, preexec_fn=heed_interrupts)


def steps_of(run: Path) -> list[int]:
    log = run / "log.jsonl"
    lines = log.read_text().splitlines(keepends=True) if log.exists() else []
    return [json.loads(line)["step"] for line in lines if line.endswith("\n") and '"event": "step"' in line]


def stopped(number: int, run: Path, more_than: int, *options: str) -> tuple[int, str, str]:
    """Train until there are more steps than these, send the signal; exit status, stdout, stderr."""
    with begun("train", *options, "--run", str(run), "--device", "cpu") as process:
        while len(steps_of(run)) <= more_than and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(number)
        out, error = process.communicate(timeout=120)
        return process.returncode, out, error


def test_a_signal_stops_after_a_checkpoint_and_the_run_goes_on(place):
    run, options = place / "run", ("r.yaml", "train.steps=100000", "train.validate_every=null")
    status, _, error = stopped(signal.SIGINT, run, 0, *options)
    done = len(steps_of(run))
    assert status == 130
    assert error == (
        "\nstopping after this step, with a checkpoint; once more, after a second, stops at once\n"
        f"SK-T040: stopped after step {done}; a checkpoint was written\n"
        f"  where:    {run}\n"
        "  remedy:   go on with the same command and --resume\n"
    )
    assert (run / "model.safetensors").is_file()  # what was learned so far can be used
    status, out, error = stopped(signal.SIGTERM, run, done, *options, "--resume")
    assert status == 143
    assert out.startswith(f"resumed at step {done}\n")
    steps = steps_of(run)
    assert steps == list(range(1, len(steps) + 1))
    assert f"SK-T040: stopped after step {len(steps)}; a checkpoint was written\n" in error


def test_two_signals_a_few_milliseconds_apart_are_one(place):
    run = place / "run"
    with begun("train", "r.yaml", "train.steps=100000", "train.validate_every=null", "--run", str(run), "--device", "cpu") as process:
        while not steps_of(run) and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)  # of a terminal to the process group
        time.sleep(0.005)
        process.send_signal(signal.SIGINT)  # of a launcher that passes it on
        _, error = process.communicate(timeout=120)
    assert process.returncode == 130
    assert f"SK-T040: stopped after step {len(steps_of(run))}; a checkpoint was written\n" in error


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_also_where_no_checkpoint_can_be_written(place, number, expected):
    run = place / "run"
    with begun("train", "r.yaml", "train.steps=100000", "train.validate_every=null", "--run", str(run), "--device", "cpu") as process:
        while not steps_of(run) and process.poll() is None:
            time.sleep(0.05)
        (run / "checkpoints/last.pt").mkdir()
        process.send_signal(number)
        _, error = process.communicate(timeout=120)
    done = len(steps_of(run))
    assert process.returncode == expected
    assert error == (
        "\nstopping after this step, with a checkpoint; once more, after a second, stops at once\n"
        f"SK-T040: stopped after step {done}; no checkpoint could be written\n"
        f"  where:    {run}\n"
        f"  got:      SK-C003: a file cannot be read or written: {run}/checkpoints/last.pt: Is a directory\n"
        "  remedy:   go on with the same command and --resume, from the checkpoint before\n"
    )


@pytest.fixture
def limit() -> Iterator[Callable[[int], None]]:
    """No file can grow beyond so many bytes: the same error as on a full disk, at a place of our choice."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_while_preprocessing_ends_with_one_and_leaves_no_run(place, limit, segkit):
    limit(4096)
    said = segkit("train", "r.yaml", "--run", "run", "--device", "cpu")
    assert said.status == 1
    assert said.err.startswith(f"SK-V071: the store cannot be written\n  where:    {place.path}/.segkit/store\n")
    assert said.err.endswith("\n  remedy:   free space, or choose another folder as preprocess.store\n")
    assert not (place / "run").exists()
    assert [path for path in (place / ".segkit").rglob("*") if path.is_file()] == []


def test_a_full_disk_while_predicting_leaves_no_half_map(run, place, limit, segkit):
    limit(3000)  # room for the index, not for a map of probabilities
    said = segkit("predict", "run", "--input", "data", "--output", "out", "--probabilities", "--device", "cpu")
    assert said.status == 1
    where = "out/probabilities/Phantom_000_background.nii.gz"
    assert said.err.startswith(f"case Phantom_000: SK-R090: cannot write\n  where:    {where}\n  got:      File too large\n")
    assert [path.name for path in (place / "out").rglob("*") if path.is_file()] == ["predictions.json"]
    json.loads((place / "out/predictions.json").read_text())


def test_a_full_disk_while_training_leaves_no_half_checkpoint(place, limit, segkit):
    options = ("r.yaml", "train.validate_every=null", "train.checkpoint_every=1", "--run", "run", "--device", "cpu")
    assert segkit("train", *options).status == 0
    last = place / "run/checkpoints/last.pt"
    size = last.stat().st_size
    shutil.rmtree(place / "run")
    limit(size - 1)
    said = segkit("train", *options)
    assert said.status == 1
    assert said.err == (
        "SK-R090: cannot write\n"
        "  where:    run/checkpoints/last.pt\n"
        "  got:      File too large\n"
        "  remedy:   free space or choose another folder\n"
    )
    assert not list((place / "run").rglob(".tmp-*"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written_is_named(run, place, segkit):
    (place / "closed").mkdir(mode=0o500)
    said = segkit("predict", "run", "--input", "data", "--output", "closed/out", "--device", "cpu")
    assert (said.status, said.err) == (
        1,
        "SK-C003: a file cannot be read or written\n  where:    closed/out\n  got:      Permission denied\n",
    )


def test_a_file_where_a_folder_is_wanted_is_named(run, place, segkit):
    (place / "taken").write_text("")
    for arguments in (
        ("predict", "run", "--input", "data", "--output", "taken/out", "--device", "cpu"),
        ("train", "r.yaml", "--run", "taken/new"),
    ):
        said = segkit(*arguments)
        assert said.status == 1
        assert said.err.startswith("SK-C003: a file cannot be read or written\n  where:    taken")
        assert said.err.endswith("  got:      Not a directory\n")


def test_a_reader_that_leaves_is_not_told(place):
    with subprocess.Popen([*COMMAND, "config", "r.yaml"], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
