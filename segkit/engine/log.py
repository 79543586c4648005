"""A log: a JSON object a line, appended while a training runs, and read back as far as its lines are whole."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from segkit.config.errors import InputError

Record = dict[str, Any]


class Log:
    """Appends records to a file. Numbers that are not finite become null, since JSON has none."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")

    def write(self, event: str, **facts: Any) -> None:
        """One line: the event and its facts."""
        self._file.write(line_of({"event": event, **facts}))

    def flush(self) -> None:
        """To the operating system: a killed process loses nothing that was flushed."""
        self._file.flush()

    def sync(self) -> None:
        """To the disk: a machine that loses power loses nothing either."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """To the disk, and close."""
        self.sync()
        self._file.close()


def line_of(facts: Record) -> str:
    """A line with its end; numbers that are not finite are null."""
    return json.dumps(_finite(facts), allow_nan=False) + "\n"


def whole_lines(path: Path) -> Iterator[Record]:
    """The records of a file, in order; none where there is no file, nor of a last line that a kill cut off. Raises InputError (SK-T013)."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if line.endswith("\n"):
                yield _record(line, f"{path}:{number}")


def _record(line: str, where: str) -> Record:
    try:
        record = json.loads(line)
    except ValueError as error:
        record, got = None, str(error)
    else:
        got = type(record).__name__
    if not isinstance(record, dict):
        raise InputError(
            "SK-T013",
            "a line is damaged",
            where=where,
            expected="a JSON object",
            got=got,
            remedy="restore the file, or take the line out",
        )
    return record


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
