"""What a worker is sent, wherever it is: its task, and what has to be so before the task makes sense."""

import os
import pickle
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from segkit.config.errors import InputError, SegkitError
from segkit.config.faults import readable
from segkit.config.plugins import FAULTS, PREFIX, load_plugin
from segkit.launch.event import Work


@dataclass(frozen=True)
class Parcel:
    """Plain data. pickled: work and task; they may hold plug-ins, whose files have to be run first. folder: that relative paths are of.

    threads: for torch; None is as many as it takes by itself.
    """

    pickled: bytes
    plugins: tuple[str, ...]
    folder: str
    threads: int | None

    @classmethod
    def of(cls, work: Work, task: Any, threads: int | None = None) -> "Parcel":
        """With the plug-in files and the working directory of this process."""
        plugins = tuple(str(module.__file__) for name, module in list(sys.modules.items()) if name.startswith(PREFIX))
        return cls(pickle.dumps((work, task)), plugins, os.getcwd(), threads)  # noqa: PTH109 - a string travels

    def messages(self) -> Iterator[Any]:
        """Do the work, in a worker's process. What a user can act on is its last message, a bug is raised."""
        try:
            self._enter()
            for plugin in self.plugins:
                load_plugin(Path(plugin))
            if self.threads is not None:
                torch.set_num_threads(self.threads)
            work, task = pickle.loads(self.pickled)
            yield from work(task)
        except (SegkitError, *FAULTS) as error:
            known = readable(error)
            if known is None:
                raise
            yield known

    def _enter(self) -> None:
        try:
            os.chdir(self.folder)
        except OSError as error:
            raise InputError(
                "SK-C070",
                "a worker does not see the folder that the command was started in",
                where=f"{os.uname().nodename}: {self.folder}",
                got=error.strerror,
                remedy="start the command in a folder of a file system that all machines share, under one path",
            ) from None
