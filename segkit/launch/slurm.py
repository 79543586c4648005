"""Workers that are jobs of a SLURM cluster, submitted by submitit."""

import os
import pickle
import shutil
import signal
import subprocess
import time
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from segkit.config.errors import InputError
from segkit.config.signals import interruptions
from segkit.launch.event import Event, Lost, Said, Work
from segkit.launch.extra import extra
from segkit.launch.parcel import Parcel
from segkit.launch.request import Request

POLL_SECONDS = 1.0
STOP_SECONDS = 40.0  # by default a job has 30 from scancel until it is killed


@dataclass(eq=False)
class _Job:
    """Messages come through a file, so that those of a job that is killed are not lost. read: bytes of it; heard: messages."""

    task: Any
    job: Any
    read: int = 0
    heard: int = 0

    def said(self) -> list[Said]:
        """What is new. The file is opened anew each time, which is when a network file system looks what others have written."""
        try:
            with _said(self.job.paths).open("rb") as file:
                file.seek(self.read)
                events = []
                with suppress(EOFError, pickle.UnpicklingError):  # within a message that is being written
                    while True:
                        events.append(Said(self.task, pickle.load(file)))
                        self.read = file.tell()
        except FileNotFoundError:
            return []
        self.heard += len(events)
        return events


def launch(work: Work, tasks: Sequence[Any], executor: Any, threads: int | None = None) -> Generator[Event, None, None]:
    """A `Launch` on a SLURM cluster, as one array of jobs. executor: of submitit; its folder is removed when all have gone well.

    A lost job is not submitted again: whoever asks again goes on from what it left. Closing the generator early cancels the jobs and waits
    up to 40 s for their checkpoints.
    """
    if not tasks:
        return
    utils = extra("submitit.core.utils", "slurm")
    executor.folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # what is read from here is unpickled
    try:
        with executor.batch():
            jobs = [executor.submit(_work, Parcel.of(work, task, threads)) for task in tasks]
    except (utils.FailedJobError, utils.FailedSubmissionError) as error:
        got = " ".join(str(error).split())
        raise InputError("SK-C077", "SLURM does not take the jobs", where="sbatch", got=got, remedy="see --slurm") from None
    running = [_Job(task, job) for task, job in zip(tasks, jobs, strict=True)]
    well = True
    try:
        while running:
            for each in list(running):
                done = each.job.done()  # asked first: what was said before the end is in the file then
                yield from each.said()
                if done:
                    running.remove(each)
                    events = _rest(each)
                    well = well and not any(isinstance(event, Lost) for event in events)
                    yield from events
            if running:
                time.sleep(POLL_SECONDS)
    finally:
        with interruptions():  # a signal that comes twice must leave no job uncanceled
            well = well and not running
            _stop(running)
        if well:
            shutil.rmtree(executor.folder, ignore_errors=True)
            with suppress(OSError):  # others are in there
                executor.folder.parent.rmdir()


def cluster(folder: Path, request: Request, workers: int, gpus: bool = True) -> Any:
    """An executor of submitit for jobs as requested, at most so many at a time. Their files go to a folder of their own in `folder`/slurm.

    A job has a GPU where its partition has any and the request does not say otherwise, unless `gpus` is False.

    Raises InputError where submitit or SLURM is not here.
    """
    submitit = extra("submitit", "slurm")
    needed = [command for command in ("sbatch", "srun", "sacct", "scancel", "sinfo") if shutil.which(command) is None]
    if needed:
        remedy = "start the command on a machine of the cluster that submits jobs"
        raise InputError("SK-C078", "SLURM is not here", where="--launcher slurm", got=f"no {', '.join(needed)}", remedy=remedy)
    _printed("sacct", "--noheader", "--allocations")
    if request.gpus is None:
        partition = [f"--partition={request.partition}"] if request.partition else []
        lines = _printed("sinfo", "--noheader", "--format=%P %G", *partition).splitlines() if gpus else []
        there = any("gpu" in line for line in lines if partition or "*" in line)  # the default partition has a star
        request = replace(request, gpus="1" if there else "0")
    made = submitit.SlurmExecutor(folder / "slurm" / f"{time.strftime('%Y-%m-%d_%H-%M-%S')}_{os.getpid()}")
    made.update_parameters(
        job_name="segkit",
        time=None,  # the partition's; submitit's own would be 5 minutes
        wckey=None,
        array_parallelism=workers,
        stderr_to_stdout=True,
        additional_parameters=request.flags(),
        srun_args=[f"--cpus-per-task={request.cpus}"] if request.cpus else None,  # from 22.05 on srun does not take sbatch's
    )
    return made


def _printed(*command: str) -> str:
    """What a command of SLURM prints. Raises InputError where it fails: without sacct a killed job would be waited for without end."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        got = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        raise InputError("SK-C079", f"{command[0]} of SLURM fails", where=" ".join(command), got=got)
    return done.stdout


def _work(parcel: Parcel) -> int:
    """In a job: the messages into their file. Returns how many there are."""
    paths = extra("submitit", "slurm").JobEnvironment().paths
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # submitit leaves it unheeded; a training has its own way
    signal.signal(signal.SIGUSR2, lambda number, frame: signal.raise_signal(signal.SIGTERM))  # 90 s before the time is over
    count = 0
    with _said(paths).open("ab") as file:
        for message in parcel.messages():
            file.write(pickle.dumps(message))
            file.flush()
            os.fsync(file.fileno())
            count += 1
    return count


def _said(paths: Any) -> Path:
    return paths.folder / f"{paths.job_id}_said.pickle"


def _rest(each: _Job) -> list[Event]:
    """What is left to be heard of a job that has ended: it may take a while until this machine sees it."""
    error = each.job.exception()
    if error is not None:
        log = each.job.paths.stdout
        return [*each.said(), Lost(each.task, f"job {each.job.job_id}: {each.job.state}; see {log}")]
    events: list[Event] = []
    count = each.job.result()
    while each.heard < count:
        events += each.said()
        if each.heard < count:
            time.sleep(POLL_SECONDS)
    return events


def _stop(running: Sequence[_Job]) -> None:
    for each in running:
        each.job.cancel(check=False)
    left, end = list(running), time.monotonic() + STOP_SECONDS
    while left and time.monotonic() < end:
        if left[0].job.done(force_check=True):
            left.pop(0)
        else:
            time.sleep(POLL_SECONDS)
