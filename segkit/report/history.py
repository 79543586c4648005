"""What the log of a run says of its training, as columns: a value a step, and the scores of each validation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from segkit.config.errors import InputError
from segkit.engine.log import Record
from segkit.engine.run import Run

BESIDE = ("event", "step", "updates")  # what a record of a step holds besides measurements
LEARNING_RATE, SECONDS, GRADIENT_NORM = "learning_rate", "seconds", "gradient_norm"


@dataclass(frozen=True, eq=False)
class History:
    """steps: int [N], as logged. values: by name of the log, float64 [N], NaN where there is none. validations: records, in order.

    ended: the log has its last line. begins: how often the training was started or resumed.
    """

    steps: np.ndarray
    values: Mapping[str, np.ndarray]
    validations: Sequence[Record] = ()
    ended: bool = False
    begins: int = 0

    @property
    def losses(self) -> dict[str, np.ndarray]:
        """The whole loss, then its terms; a single term is the whole, and left out."""
        found = {name: column for name, column in self.values.items() if name not in (LEARNING_RATE, SECONDS, GRADIENT_NORM)}
        return found if len(found) != 2 else dict([next(iter(found.items()))])

    @property
    def last(self) -> int:
        """The last step; 0 where there is none."""
        return int(self.steps[-1]) if len(self.steps) else 0

    @property
    def step_seconds(self) -> float:
        """Wall time of all steps together, without validation and checkpoints."""
        return float(np.nansum(self.values[SECONDS])) if SECONDS in self.values else 0.0


def read_history(run: Run) -> History:
    """From `log.jsonl`; empty where there is none. Raises InputError where a line of it is no record."""
    steps: list[int] = []
    measured: list[dict[str, float]] = []
    validations: list[Record] = []
    events: list[str] = []
    for number, record in enumerate(run.records(), 1):
        try:
            events.append(record["event"])
            if record["event"] == "step":
                steps.append(int(record["step"]))
                measured.append({name: float("nan" if value is None else value) for name, value in record.items() if name not in BESIDE})
            elif record["event"] == "validate":
                validations.append({"step": int(record["step"]), "dice": _scores(record["dice"]), "cases": _scores(record["cases"])})
        except (ValueError, KeyError, TypeError) as error:
            remedy = "restore it, or move it away: the report is then made without curves"
            raise InputError(
                "SK-W010", "the log is damaged", where=f"{run.log}:{number}", expected="one record a line", got=str(error), remedy=remedy
            ) from None
    names = dict.fromkeys(name for each in measured for name in each)
    values = {name: np.array([each.get(name, np.nan) for each in measured], dtype=np.float64) for name in names}
    return History(np.array(steps, dtype=np.int64), values, tuple(validations), "end" in events, events.count("begin"))


def _scores(values: object) -> dict[str, float | int | None]:
    """By class; raises TypeError where they are anything but numbers and nulls."""
    if not isinstance(values, dict) or not all(value is None or isinstance(value, int | float) for value in values.values()):
        raise TypeError("scores that are no numbers")
    return values
