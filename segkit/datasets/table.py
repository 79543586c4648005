"""A CSV table with a row a case: where each channel, the label and the ROI are, and whose scan it is."""

import csv
from dataclasses import dataclass
from pathlib import Path

from segkit.config.errors import InputError
from segkit.datasets.base import positions
from segkit.datasets.candidate import Candidate, existing, nameable
from segkit.volume.case import CaseFiles, Source

CASE = "case"
OPTIONAL = ("label", "roi", "patient")


@dataclass(frozen=True)
class CaseTable:
    """channels: the columns that are none of case, label, roi, patient, in their order. rows: cell by column."""

    path: Path
    channels: tuple[str, ...]
    rows: tuple[dict[str, str], ...]

    def candidates(self, channels: tuple[str, ...]) -> list[Candidate]:
        """A case a row with these channels. Raises InputError for a channel without a column."""
        try:
            positions(channels, self.channels)
        except ValueError as error:
            raise InputError("SK-D053", str(error), where=self.path, expected=f"a column among {', '.join(self.channels)}") from None
        return [self._candidate(row, channels) for row in self.rows]

    def _candidate(self, row: dict[str, str], channels: tuple[str, ...]) -> Candidate:
        sources = {}
        problems: list[str] = []
        for channel in channels:
            path = self._path(row, channel)
            found, problem = existing(f"channel {channel}", path)
            problems += problem if path else [f"channel {channel}: the cell is empty"]
            if found:
                sources[channel] = Source(found)
        label, bad_label = existing("label", self._path(row, "label"))
        roi, bad_roi = existing("ROI", self._path(row, "roi"))
        files = CaseFiles(row[CASE], sources, label, roi, row.get("patient") or None)
        return Candidate(files, self.path, tuple(problems), (*bad_label, *bad_roi))

    def _path(self, row: dict[str, str], column: str) -> Path | None:
        cell = row.get(column)
        return self.path.parent / cell if cell else None


def read_table(path: Path) -> CaseTable:
    """The table in a UTF-8, comma-separated file. Raises InputError where it cannot be read, or header or a row is malformed."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [[cell.strip() for cell in line] for line in csv.reader(file, strict=True)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
        raise InputError("SK-D050", f"cannot read the table: {reason}", where=path, expected="a CSV file in UTF-8") from None
    header = lines[0] if lines else []
    channels = tuple(column for column in header if column not in (CASE, *OPTIONAL))
    if CASE not in header or not channels or len(set(header)) < len(header) or "" in header:
        raise InputError(
            "SK-D051",
            "the table's header cannot be used",
            where=path,
            expected="the columns case, one per channel, and perhaps label, roi, patient; each once",
            got=", ".join(header) or "an empty file",
        )
    numbered = [(number, line) for number, line in enumerate(lines[1:], start=2) if any(line)]
    bad = [f"row {number}" for number, line in numbered if len(line) != len(header) or not nameable(line[header.index(CASE)])]
    if bad:
        expected = f"{len(header)} cells, and a case id without / or \\ or a leading dot"
        raise InputError("SK-D052", "rows of the table cannot be used", where=path, expected=expected, got=", ".join(bad))
    return CaseTable(path, channels, tuple(dict(zip(header, line, strict=True)) for _, line in numbered))
