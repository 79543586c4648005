"""Text in columns, never a wrapped line."""

import shutil
import sys

GAP = "  "
Column = list[str]  # the header, then a cell a row


def terminal_width() -> int | None:
    """Characters of a line on the terminal; None, which is endless, where the output goes elsewhere."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def laid_out(left: list[Column], columns: list[Column], width: int | None) -> list[str]:
    """Lines of a table: the columns `left`, of which the first is flush left, then the others; where they are too many for the width, in
    parts below one another, each with `left` and after an empty line."""
    return [line for part in _parts(columns, left, width) for line in ("", *_aligned([*left, *part]))]


def _parts(columns: list[Column], beside: list[Column], width: int | None) -> list[list[Column]]:
    """Columns in groups which, together with those `beside` them, are no wider than `width`; at least one a group."""
    parts: list[list[Column]] = [[]]
    for column in columns:
        if parts[-1] and width is not None and max(map(len, _aligned([*beside, *parts[-1], column]))) > width:
            parts.append([])
        parts[-1].append(column)
    return parts


def _aligned(columns: list[Column]) -> list[str]:
    """Rows of text: the first column to the left, the others to the right; a rule under the header."""
    widths = [max(map(len, column)) for column in columns]
    rows = [
        GAP.join(
            text.ljust(width) if i == 0 else text.rjust(width) for i, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in zip(*columns, strict=True)
    ]
    return [rows[0], "-" * max(map(len, rows)), *rows[1:]]
