"""A CSV file, whole or not there."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from segkit.config.atomic import atomic

Cell = str | int | float | None


def write_sheet(path: Path, header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    """A line a row under the header; None is an empty cell, floats have all their digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(["" if cell is None else cell for cell in row] for row in rows)
    with atomic(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")
