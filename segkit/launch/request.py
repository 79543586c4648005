"""What a job asks of a SLURM cluster, in sbatch's own words."""

import re
from dataclasses import dataclass, fields

from segkit.config.errors import InputError

WHERE = "--slurm"


@dataclass(frozen=True)
class Request:
    """What is None is left to the cluster, gpus to a look at the partition. gpus: `1` or `a100:1`, `0` for none. cpus are threads."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    exclude: str | None = None
    time: str | None = None
    mem: str | None = None
    cpus: int | None = None
    gpus: str | None = None

    @classmethod
    def read(cls, text: str) -> "Request":
        """Of `partition=gpu,time=24:00:00`. A comma in a value, as between nodes, is none between two keys."""
        pairs = [part.partition("=") for part in re.split(r",(?=[^,=]+=)", text)] if text else []
        given = {key.strip(): value.strip() for key, _, value in pairs}
        known = [field.name for field in fields(cls)]
        if len(given) < len(pairs) or not all(given.values()):
            raise InputError("SK-C074", "--slurm cannot be read", where=WHERE, expected="partition=gpu,time=24:00:00", got=text)
        unknown = [key for key in given if key not in known]
        if unknown:
            raise InputError("SK-C075", "unknown key", where=WHERE, expected=", ".join(known), got=", ".join(unknown))
        cpus = given.pop("cpus", None)
        if cpus is not None and not re.fullmatch("[1-9][0-9]*", cpus):
            raise InputError("SK-C076", "not a number of CPUs", where=WHERE, expected="1 or more", got=f"cpus={cpus}")
        return cls(**given, cpus=None if cpus is None else int(cpus))

    def flags(self) -> dict[str, str]:
        """Of sbatch."""
        plain = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in ("cpus", "gpus")}
        plain |= {"cpus-per-task": self.cpus, "gres": f"gpu:{self.gpus}" if self.gpus not in (None, "0") else None}
        return {key: str(value) for key, value in plain.items() if value is not None}
