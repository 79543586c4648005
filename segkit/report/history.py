"""What the log of a run says of its training, as columns: a value a step, and the scores of each validation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from segkit.config.errors import InputError
from segkit.engine.run import Record, Run

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
    steps: list[Record] = []
    validations: list[Record] = []
    events: list[str] = []
    try:
        for record in run.records():
            events.append(record["event"])
            if record["event"] == "step":
                steps.append(record)
            elif record["event"] == "validate":
                validations.append({name: record[name] for name in ("step", "dice", "cases")})
        names = dict.fromkeys(name for record in steps for name in record if name not in BESIDE)
        values = {name: np.array([record.get(name) for record in steps], dtype=np.float64) for name in names}
        numbers = np.array([record["step"] for record in steps], dtype=np.int64)
    except (ValueError, KeyError, TypeError) as error:
        remedy = "restore it, or move it away: the report is then made without curves"
        raise InputError(
            "SK-W010", "the log is damaged", where=run.log, expected="one record a line", got=str(error), remedy=remedy
        ) from None
    return History(numbers, values, tuple(validations), "end" in events, events.count("begin"))
