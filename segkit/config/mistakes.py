"""What pydantic found wrong, as one line a mistake in the user's words: `train.yaml:7: train.steps: expected int > 0, got 'a'`."""

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, core_schema

from segkit.config.document import Document, Key, dotted, split_key
from segkit.config.expectation import expectation, is_union, shown, unwrapped
from segkit.config.registry import Registry

MOST_KEYS = 12  # listed behind an unknown key that resembles none

_RULE = re.compile(r"(?P<field>[A-Za-z_]\w*)(?P<inner>(?:\.\w+|\[\d+\])*)(?: *: *| +)(?P<text>.+)", re.DOTALL)
_PYDANTIC = frozenset({*get_args(core_schema.ErrorType), "path_type"})  # its own kinds of error; a plug-in's have other names


def mistakes(model: type[BaseModel], document: Document, error: ValidationError) -> list[str]:
    """One line each: those of the recipe's own file by line, then those of its bases, then those without a line (overrides)."""
    found = [_Error(details["loc"], details) for details in error.errors(include_url=False)]
    own = document.source
    placed = []
    for mistake in _search(model, (), found, (), document.value):
        origin = document.origin(mistake.key)
        rank = 0 if origin.source == own else 1 if origin.line is not None else 2
        placed.append((rank, origin.source, origin.line or 0, ": ".join(filter(None, (origin.place, dotted(mistake.key), mistake.text)))))
    return list(dict.fromkeys(line for *_, line in sorted(placed, key=lambda entry: entry[:3])))


@dataclass(frozen=True)
class _Mistake:
    key: Key
    text: str


@dataclass(frozen=True)
class _Error:
    """One of pydantic's errors, and the part of its location that is still to be followed."""

    rest: tuple[str | int, ...]
    details: ErrorDetails

    @property
    def kind(self) -> str:
        return self.details["type"]

    def inner(self) -> "_Error":
        return _Error(self.rest[1:], self.details)


def _search(annotation: Any, metadata: tuple, errors: Sequence[_Error], key: Key, value: Any) -> Iterator[_Mistake]:
    """Follow types, the value and the errors' locations down together."""
    kind, metadata = unwrapped(annotation, metadata)
    shelf = next((item for item in metadata if isinstance(item, Registry)), None)
    members = [member for member in get_args(kind) if member is not type(None)] if is_union(kind) else []
    here = [error for error in errors if not error.rest]
    deeper = [error for error in errors if error.rest]
    if deeper:  # pydantic calls a list too short when its items are wrong
        here = [error for error in here if error.kind != "too_short"]
    if shelf is not None:
        yield from (_plugin_mistake(shelf, error, key, value) for error in here if error.kind.startswith("plugin_"))
        here = [error for error in here if not error.kind.startswith("plugin_")]
        name = value.get("name") if isinstance(value, dict) else value
        kind, metadata = (shelf[name] if isinstance(name, str) and name in shelf else kind), ()
    if len(members) == 1:
        yield from _search(members[0], metadata, errors, key, value)
    elif members:
        yield from _union_mistakes(kind, metadata, errors, key, value)
    elif get_origin(kind) is tuple and any(error.kind == "missing" and len(error.rest) == 1 for error in deeper):
        yield _Mistake(key, f"expected {expectation(kind, metadata)}, got {shown(value)}")
    else:
        yield from (_mistake_here(kind, metadata, error, key, value) for error in here)
        for part in dict.fromkeys(error.rest[0] for error in deeper):
            inner = [error.inner() for error in deeper if error.rest[0] == part]
            yield from _part_mistakes(kind, part, inner, key, value)


def _part_mistakes(kind: Any, part: str | int, errors: list[_Error], key: Key, value: Any) -> Iterator[_Mistake]:
    """Of one field, item or entry of a value of type `kind`."""
    here = (*key, part)
    child = _child(value, part, errors[0])
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        field = kind.model_fields.get(str(part))
        if field is None:
            yield _Mistake(here, _unknown_key(str(part), kind))
        elif errors[0].kind == "missing" and not errors[0].rest:
            yield _Mistake(here, f"missing; expected {expectation(field.annotation, tuple(field.metadata))}")
        else:
            yield from _search(field.annotation, tuple(field.metadata), errors, here, child)
        return
    arguments = get_args(kind)
    if get_origin(kind) is dict:
        if errors[0].rest == ("[key]",):
            yield _Mistake(here, f"expected a key that is {expectation(arguments[0])}, got {shown(part)}")
        else:
            yield from _search(arguments[1], (), errors, here, child)
    elif arguments and isinstance(part, int):
        fixed = get_origin(kind) is tuple and Ellipsis not in arguments
        yield from _search(arguments[part] if fixed else arguments[0], (), errors, here, child)
    else:
        yield from (_Mistake((*here, *error.rest), error.details["msg"]) for error in errors)


def _union_mistakes(kind: Any, metadata: tuple, errors: Sequence[_Error], key: Key, value: Any) -> Iterator[_Mistake]:
    """Pydantic reports what is wrong with every member; a user meant one: the one of the value's shape, if there is one."""
    tags = list(dict.fromkeys(error.rest[0] for error in errors if error.rest))
    members = [member for member in get_args(kind) if member is not type(None)]
    if len(tags) == len(members):
        branches = [
            (member, [error.inner() for error in errors if error.rest[:1] == (tag,)]) for member, tag in zip(members, tags, strict=True)
        ]
        meant = [branch for branch in branches if _shaped(branch[0], value)]
        if meant:
            member, inner = max(meant, key=lambda branch: (_shared_keys(branch[0], value), -len(branch[1])))
            yield from _search(member, metadata, inner, key, value)
            return
    yield _Mistake(key, f"expected {expectation(kind, metadata)}, got {shown(value)}")


def _shaped(member: Any, value: Any) -> bool:
    """Both mappings, or both lists."""
    kind, metadata = unwrapped(member)
    if isinstance(value, dict):
        shelf = any(isinstance(item, Registry) for item in metadata)
        return shelf or get_origin(kind) is dict or (isinstance(kind, type) and issubclass(kind, BaseModel))
    return isinstance(value, list) and get_origin(kind) in (tuple, list)


def _shared_keys(member: Any, value: Any) -> int:
    kind, _ = unwrapped(member)
    return len(set(kind.model_fields) & set(value)) if isinstance(kind, type) and issubclass(kind, BaseModel) else 0


def _mistake_here(kind: Any, metadata: tuple, error: _Error, key: Key, value: Any) -> _Mistake:
    if error.kind in ("value_error", "assertion_error"):
        return _rule(kind, str(error.details["ctx"]["error"]), key)
    if error.kind not in _PYDANTIC:
        return _rule(kind, error.details["msg"], key)
    return _Mistake(key, f"expected {expectation(kind, metadata)}, got {shown(value)}")


def _rule(kind: Any, text: str, key: Key) -> _Mistake:
    """A rule in its author's words; where they begin with a field's name, that becomes part of the key."""
    text = " ".join(text.split())
    found = _RULE.fullmatch(text)
    fields = kind.model_fields if isinstance(kind, type) and issubclass(kind, BaseModel) else {}
    if found is not None and found["field"] in fields:
        return _Mistake((*key, *(split_key(found["field"] + found["inner"]) or ())), found["text"])
    if found is not None and key and found["field"] == key[-1] and not found["inner"]:
        return _Mistake(key, found["text"])
    return _Mistake(key, text)


def _plugin_mistake(shelf: Registry, error: _Error, key: Key, value: Any) -> _Mistake:
    if not isinstance(value, dict):
        got = "" if error.kind == "plugin_name" else f", got {shown(value)}"
        return _Mistake(key, error.details["msg"] + got)
    if "name" not in value:
        return _Mistake((*key, "name"), f"missing; expected the name of {shelf.a_kind}")
    got = "" if error.kind == "plugin_name" else f"expected the name of {shelf.a_kind}, got {shown(value['name'])}"
    return _Mistake((*key, "name"), got or error.details["msg"])


def _unknown_key(key: str, model: type[BaseModel]) -> str:
    names = list(model.model_fields)
    near = difflib.get_close_matches(key, names, n=1)
    if near:
        return f"unknown key; did you mean {near[0]!r}?"
    if not names:
        return "unknown key; there are none here"
    return f"unknown key; known keys: {', '.join(names)}" if len(names) <= MOST_KEYS else "unknown key"


def _child(value: Any, part: str | int, error: _Error) -> Any:
    """As written, or as pydantic saw it where a validator changed the shape."""
    if isinstance(value, dict) and part in value:
        return value[part]
    if isinstance(value, list) and isinstance(part, int) and part < len(value):
        return value[part]
    return error.details["input"]
