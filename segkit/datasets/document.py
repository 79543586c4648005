"""A JSON object from a file, read strictly: no duplicate keys, no NaN, nothing but an object."""

import json
from pathlib import Path
from typing import Any

from segkit.config.errors import InputError


def read_object(path: Path) -> dict[str, Any]:
    """The object in a UTF-8 JSON file. Raises InputError where the file cannot be read or holds anything else."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise InputError("SK-D020", f"cannot read the file: {reason}", where=path, expected="a JSON file") from None
    try:
        value = json.loads(text, object_pairs_hook=_distinct, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InputError("SK-D021", "not valid JSON", where=path, got=reason) from None
    if not isinstance(value, dict):
        raise InputError(
            "SK-D022", "the file holds the wrong kind of value", where=path, expected="a JSON object", got=type(value).__name__
        )
    return value


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    twice = sorted({key for key in keys if keys.count(key) > 1}) if len(set(keys)) < len(keys) else []
    if twice:
        raise ValueError(f"duplicate key {', '.join(repr(key) for key in twice)}")
    return dict(pairs)


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is no JSON number")
