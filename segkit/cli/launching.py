"""The options that say who does the work, and where."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from segkit.launch.event import Launch

Kind = Literal["local", "ray", "slurm"]
Launcher = Annotated[Kind, typer.Option("--launcher", help="Where the workers are: on this machine, a Ray cluster, or SLURM.")]
Workers = Annotated[int, typer.Option("--workers", min=1, help="At a time. On one machine they divide the threads.")]
Address = Annotated[
    str | None,
    typer.Option("--address", metavar="HOST:PORT", help="Of a Ray cluster, or auto; default: one on this machine.", show_default=False),
]
Slurm = Annotated[
    str | None,
    typer.Option(
        "--slurm",
        metavar="KEY=VALUE,...",
        help="What a job asks for: partition, account, qos, constraint, exclude, time, mem, cpus, gpus.",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class Launching:
    """As the options say."""

    kind: Kind
    workers: int
    address: str | None
    slurm: str | None

    def launch(self, folder: Path, device: str = "auto") -> "Launch | None":
        """None: this process does the work. folder: for the files of jobs; it has to be one that all machines share. device: of a worker.

        Raises InputError where an option belongs to another launcher, or the launcher or the device is not to be had.
        """
        from segkit.config.errors import InputError
        from segkit.engine.device import device_named

        kind, number = device_named(device)
        gpus = kind != "cpu"
        if number and self.kind != "local":
            raise InputError(
                "SK-C081",
                "a cluster gives each worker a device of its own",
                where="--device",
                expected=f"auto, cpu or cuda with --launcher {self.kind}",
                got=device,
            )

        for option, given, owner in (("--address", self.address, "ray"), ("--slurm", self.slurm, "slurm")):
            if given is not None and self.kind != owner:
                raise InputError(
                    "SK-C080", f"{option} belongs to another launcher", where=option, expected=f"--launcher {owner}", got=self.kind
                )
        if self.kind == "ray":
            from segkit.launch import ray
            from segkit.launch.extra import extra

            extra("ray", "ray")
            return partial(ray.launch, workers=self.workers, address=self.address, gpus=gpus)
        if self.kind == "slurm":
            from segkit.launch import slurm
            from segkit.launch.request import Request

            request = Request.read(self.slurm or "")
            return partial(slurm.launch, executor=slurm.cluster(folder, request, self.workers, gpus), threads=request.cpus)
        from segkit.launch import local

        return partial(local.launch, workers=self.workers) if self.workers > 1 else None

    def options(self) -> list[str]:
        """The same as words of a command."""
        words = ["--launcher", self.kind] if self.kind != "local" else []
        words += ["--workers", str(self.workers)] if self.workers > 1 else []
        words += ["--address", self.address] if self.address is not None else []
        return [*words, *(["--slurm", self.slurm] if self.slurm is not None else [])]
