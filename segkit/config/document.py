"""A recipe as it was written: plain values, and where each of them stands."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Key = tuple[str | int, ...]  # ("losses", 0, "gamma"): keys of mappings, positions in lists

_PART = re.compile(r"\[(?P<index>[0-9]{1,6})\]|(?P<dot>\.?)(?P<name>[^.\[\]=]+)")


@dataclass(frozen=True)
class Origin:
    """Where a value was written.

    source: a file as the user named it, or `command line`. line: from 1, or None. directory: what relative paths start from.
    """

    source: str
    line: int | None
    directory: Path

    @property
    def place(self) -> str:
        """`train.yaml:7`, the form editors and terminals link."""
        return self.source if self.line is None else f"{self.source}:{self.line}"


@dataclass(frozen=True)
class Document:
    """value: the mapping of the whole file. origins: one for every key and list item, and `()` for the document itself."""

    value: dict[str | int, Any]
    origins: dict[Key, Origin]

    @property
    def source(self) -> str:
        """The name of the file, without those it inherits from."""
        return self.origins[()].source

    def origin(self, key: Key) -> Origin:
        """Of this key, or of the nearest one above it that was written."""
        while key and key not in self.origins:
            key = key[:-1]
        return self.origins[key]


def dotted(key: Key) -> str:
    """`losses[0].gamma`, as users write it."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key).removeprefix(".")


def split_key(text: str) -> Key | None:
    """The inverse of `dotted`; None where the text is no key path."""
    parts: list[str | int] = []
    position = 0
    while position < len(text):
        found = _PART.match(text, position)
        if found is None:
            return None
        if found["index"] is not None:
            parts.append(int(found["index"]))
        elif bool(found["dot"]) == bool(parts) and found["name"].strip():  # a dot between parts, none before the first
            parts.append(found["name"].strip())
        else:
            return None
        position = found.end()
    return tuple(parts) if parts and isinstance(parts[0], str) else None


def keys_within(key: Key, value: Any) -> Iterator[Key]:
    """The key of a value, and those of everything in it."""
    yield key
    parts: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for part, item in parts:
        yield from keys_within((*key, part), item)
