"""The two halves of a message in the user's words: expected WHAT (from a type and its bounds), got VALUE (as in YAML)."""

import enum
import types
from pathlib import PurePath
from typing import Annotated, Any, Literal, Protocol, Union, get_args, get_origin, runtime_checkable

from pydantic import BaseModel
from pydantic.fields import FieldInfo

LONGEST = 80  # characters of a value in a message

_SIMPLE = {
    bool: "true or false",
    int: "int",
    float: "number",
    str: "string",
    type(None): "null",
    Any: "any value",
    dict: "mapping",
    list: "list",
}
_PLURALS = {"int": "ints", "number": "numbers", "string": "strings", "path": "paths", "list": "lists", "mapping": "mappings"}
_SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}


@runtime_checkable
class Worded(Protocol):
    """An annotation that says itself what it expects, such as a shelf."""

    @property
    def expectation(self) -> str: ...


def expectation(annotation: Any, metadata: tuple = ()) -> str:
    """`int > 0`, `true or false`, `one of 'auto', 'fp32'`, `3 ints > 0`, `number >= 0 or null`, `mapping`, ..."""
    kind, metadata = unwrapped(annotation, metadata)
    worded = next((item for item in metadata if isinstance(item, Worded)), None)
    if worded is not None:
        return worded.expectation
    origin = get_origin(kind) or kind
    if origin is Literal:
        choices = ", ".join(shown(choice) for choice in get_args(kind))
        return choices if len(get_args(kind)) == 1 else f"one of {choices}"
    if is_union(kind):
        members = sorted(get_args(kind), key=lambda member: member is type(None))  # null last
        return " or ".join(dict.fromkeys(expectation(member, metadata) for member in members))
    if origin in (tuple, list, set, frozenset):
        return _sequence(kind, metadata)
    if origin is dict:
        return _mapping(get_args(kind))
    if isinstance(origin, type) and issubclass(origin, enum.Enum):
        return "one of " + ", ".join(shown(member.value) for member in origin)
    if isinstance(origin, type) and issubclass(origin, PurePath):
        return "path"
    if isinstance(origin, type) and issubclass(origin, BaseModel):
        return "mapping"
    text = _SIMPLE.get(origin, getattr(origin, "__name__", str(origin)))
    return text if text == "null" else _bounded(text, metadata)


def unwrapped(annotation: Any, metadata: tuple = ()) -> tuple[Any, tuple]:
    """The bare type, and all that `Annotated` and `Field` say about it."""
    flat: list[Any] = []
    for item in metadata:
        flat += item.metadata if isinstance(item, FieldInfo) else [item]
    if get_origin(annotation) is Annotated:
        inner, *rest = get_args(annotation)
        return unwrapped(inner, (*rest, *flat))
    return annotation, tuple(flat)


def is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, types.UnionType)


def _bounds(metadata: tuple) -> dict[str, Any]:
    names = (*_SIGNS, "multiple_of", "min_length", "max_length", "pattern")
    return {name: found for item in metadata for name in names if (found := getattr(item, name, None)) is not None}


def _bounded(text: str, metadata: tuple) -> str:
    bounds = _bounds(metadata)
    limits = [f"{sign} {shown(bounds[name])}" for name, sign in _SIGNS.items() if name in bounds]
    if limits:
        text += " " + " and ".join(limits)
    if "multiple_of" in bounds:
        text += f", a multiple of {shown(bounds['multiple_of'])}"
    if text == "string" and bounds.get("min_length") == 1:
        text = "string that is not empty"
    if "pattern" in bounds:
        text += f" of the form {bounds['pattern']}"
    return text


def _sequence(kind: Any, metadata: tuple) -> str:
    items = [item for item in get_args(kind) if item is not Ellipsis]
    fixed = get_origin(kind) is tuple and Ellipsis not in get_args(kind)
    if not items:
        return "list"
    if len(set(map(str, items))) > 1:
        return f"list of {len(items)}: {', '.join(expectation(item) for item in items)}"
    bounds = _bounds(metadata)
    low, high = (len(items), len(items)) if fixed else (bounds.get("min_length"), bounds.get("max_length"))
    count = _count(low, high)
    text = expectation(items[0])
    first, _, rest = text.partition(" ")
    if first in _PLURALS and " or " not in text:
        first = first if low == high == 1 else _PLURALS[first]
        many = f"{first} {rest}".rstrip()
        return f"{count} {many}" if count else f"list of {many}"
    return f"{count} items, each {text}" if count else f"list, each {text}"


def _count(low: int | None, high: int | None) -> str:
    if low == high:
        return "" if low is None else str(low)
    if high is None:
        return f"{low} or more"
    return f"{low} to {high}" if low else f"at most {high}"


def _mapping(arguments: tuple) -> str:
    if not arguments:
        return "mapping"
    key, value = (expectation(argument) for argument in arguments)
    return f"mapping of {key} to {value}"


def shown(value: Any) -> str:
    """A value as YAML would have it on one line, strings in quotes; cut at 80 characters."""
    text = _flow(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def _flow(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        text = repr(value)
        return text.replace("inf", ".inf").replace("nan", ".nan")
    if isinstance(value, list | tuple | set | frozenset):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    return repr(str(value)) if isinstance(value, PurePath) else repr(value)
