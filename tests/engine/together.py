"""Started by torchrun: what `test_processes` lets several processes do. Not a test by itself.

together.py train FOLDER   trains FOLDER/*.yaml into FOLDER/together/NAME, or goes on with what is there
together.py call FOLDER ARGUMENT...   the command line; how each process ends goes to FOLDER/status.RANK

A signal reaches the last process in the third step of recipes named `stopped*`. Those named `*_resumed` then go on at once.
"""

import os
import signal
import sys
from pathlib import Path

from segkit.cli.main import app
from segkit.engine import train as module
from segkit.engine.console import Console
from segkit.engine.interruption import Interrupted
from segkit.engine.processes import Processes, joined
from segkit.engine.run import Run
from segkit.recipe import read

QUIET = Console("quiet")


def train(processes: Processes, recipe: Path) -> None:
    run = Run(recipe.parent / "together" / recipe.stem)
    module.train(read(recipe), run, resumed=run.exists(), device_name="cpu", console=QUIET, processes=processes)


def train_until_a_signal(processes: Processes, recipe: Path) -> None:
    original = module.step

    def step(progress, *arguments):
        if progress.step == 2 and processes.rank == processes.count - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(progress, *arguments)

    module.step = step
    try:
        train(processes, recipe)
    except Interrupted as error:
        recipe.with_suffix(f".{processes.rank}").write_text(f"{error.exit_status} {error.what}")
    module.step = original


def train_all(processes: Processes, folder: Path) -> None:
    for recipe in sorted(folder.glob("*.yaml")):
        stopped = recipe.stem.startswith("stopped")
        if stopped:
            train_until_a_signal(processes, recipe)
        if not stopped or recipe.stem.endswith("_resumed"):
            train(processes, recipe)


def call(folder: Path, arguments: list[str]) -> None:
    try:
        app(arguments)
    except SystemExit as end:
        (folder / f"status.{os.environ['RANK']}").write_text(str(end.code))
        raise


def gloo_threads() -> list[str]:
    """Names of this process's threads that belong to a group of processes. None where there is no /proc."""
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    return [name for name in names if "gloo" in name]


if __name__ == "__main__":
    what, folder, *arguments = [argument for argument in sys.argv[1:] if argument != "--"]
    if what == "call":
        call(Path(folder), arguments)
    else:
        with joined() as processes:
            train_all(processes, Path(folder))
        assert not gloo_threads(), "they would crash the end of the process, now and then"
