#!/usr/bin/env python
"""As much of SLURM as submitit asks for: sbatch, srun, sacct, scancel and sinfo of one machine that begins every job at once.

It is called under those names; FAKE_SLURM names the folder of its notes, FAKE_GRES what sinfo tells of a partition.
"""

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

NOTES = Path(os.environ["FAKE_SLURM"])


def sbatch(file: str) -> None:
    script = Path(file).read_text()
    if "--partition=nowhere" in script:
        sys.exit("sbatch: error: invalid partition specified: nowhere")
    number = len(list(NOTES.glob("*.sh"))) + 1
    (NOTES / f"{number}.sh").write_text(script)
    array = re.search(r"--array=0-(\d+)%", script)
    for task in range(int(array[1]) + 1) if array else [None]:
        job = str(number) if task is None else f"{number}_{task}"
        of_array = {} if task is None else {"SLURM_ARRAY_JOB_ID": str(number), "SLURM_ARRAY_TASK_ID": str(task)}
        begun = subprocess.Popen(
            ["bash", file],
            env=os.environ | {"SLURM_JOB_ID": str(number), "FAKE_JOB": job} | of_array,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        (NOTES / f"{job}.pid").write_text(str(begun.pid))
    print(f"Submitted batch job {number}")


def srun(*words: str) -> None:
    rest, output = list(words), os.devnull
    while rest[0].startswith("--"):
        if rest.pop(0) == "--output":
            job = os.environ["FAKE_JOB"]
            output = re.sub("%A_%a|%j", job, rest.pop(0)).replace("%t", "0")
    with Path(output).open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        os.execvp(rest[0], rest)


def sacct(*words: str) -> None:
    if "--parsable2" in words:
        print("JobID|State|NodeList")
        for note in NOTES.glob("*.pid"):
            print(f"{note.stem}|{'RUNNING' if runs(int(note.read_text())) else 'FAILED'}|here")


def scancel(job: str) -> None:
    with suppress(ProcessLookupError):
        os.killpg(int((NOTES / f"{job}.pid").read_text()), signal.SIGTERM)


def sinfo(*words: str) -> None:
    print("quick* " + os.environ.get("FAKE_GRES", "(null)"))
    print("large gpu:a100:8" if "--partition=quick" not in words else "")


def runs(process: int) -> bool:
    """Whether it has not ended, be it that nobody has asked for its status."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


COMMANDS = {command.__name__: command for command in (sbatch, srun, sacct, scancel, sinfo)}

if __name__ == "__main__":
    COMMANDS[Path(sys.argv[0]).name](*sys.argv[1:])
