"""From a document to typed settings, and back to text."""

import os
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from segkit.config.document import Document, Key, dotted
from segkit.config.emission import emitted, flow
from segkit.config.errors import InputError
from segkit.config.mistakes import mistakes

M = TypeVar("M", bound=BaseModel)


def parse(model: type[M], document: Document) -> M:
    """The document as an instance of `model`, its paths absolute.

    A relative path starts from the folder of the file that says it (the working directory for an override); a default path from the
    folder of the document. `~` is the user's home.

    Errors: SK-R030 with all mistakes at once, one a line: `file.yaml:LINE: key.path: expected WHAT, got VALUE`.
    """
    try:
        instance = model.model_validate(document.value)
    except ValidationError as error:
        lines = mistakes(model, document, error)
        count = "1 mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
        raise InputError("SK-R030", "\n".join([f"{count} in {document.source}", *lines])) from None
    return _resolved(instance, (), document, written=True)


def dump(instance: BaseModel) -> str:
    """YAML text which `loads` and `parse` turn into an equal instance; keys in the order of the fields."""
    return emitted(instance.model_dump(mode="json"))


def explain(document: Document, instance: BaseModel) -> list[tuple[str, str, str]]:
    """For every leaf of the resolved recipe: key path, value as YAML on one line, and `file:line`, `command line` or `default`."""
    resolved = instance.model_dump(mode="json")
    return [(dotted(key), flow(value), _source(document, key, resolved)) for key, value in _leaves((), resolved)]


def _resolved(value: Any, key: Key, document: Document, written: bool) -> Any:
    """A value with every relative path in it made absolute. written: by the user, not a field's default."""
    if isinstance(value, Path):
        return _absolute(value, key, document, written)
    if isinstance(value, BaseModel):
        fields = {
            name: _resolved(getattr(value, name), (*key, name), document, written and name in value.model_fields_set)
            for name in type(value).model_fields
        }
        changed = {name: new for name, new in fields.items() if new is not getattr(value, name)}
        return value.model_copy(update=changed) if changed else value
    if isinstance(value, dict):
        entries = {name: _resolved(item, (*key, name), document, written) for name, item in value.items()}
        return entries if any(entries[name] is not value[name] for name in value) else value
    if isinstance(value, tuple):
        items = tuple(_resolved(item, (*key, index), document, written) for index, item in enumerate(value))
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
    return value


def _absolute(path: Path, key: Key, document: Document, written: bool) -> Path:
    origin = document.origin(key) if written else document.origins[()]
    try:
        path = path.expanduser()
    except RuntimeError:
        raise InputError("SK-R031", "no such home folder", where=f"{origin.place}: {dotted(key)}", got=str(path)) from None
    return Path(os.path.normpath(origin.directory / path))  # `..` as the shell reads it; symbolic links stay as they are named


def _leaves(key: Key, value: Any) -> list[tuple[Key, Any]]:
    """Scalars, empty containers, and lists without mappings in them."""
    if isinstance(value, dict) and value:
        parts: Any = value.items()
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        parts = enumerate(value)
    else:
        return [(key, value)]
    return [leaf for part, item in parts for leaf in _leaves((*key, part), item)]


def _source(document: Document, key: Key, resolved: Any) -> str:
    written: Any = document.value
    for depth, part in enumerate(key):
        if isinstance(written, str) and isinstance(resolved, dict) and resolved.get("name") == written and key[depth:] != ("name",):
            return "default"  # a bare plug-in name says nothing of the fields
        if not isinstance(written, dict | list):
            return document.origin(key).place  # a validator made a mapping of one value
        if key[: depth + 1] not in document.origins:
            return "default"
        written, resolved = written[part], resolved[part]  # type: ignore[index]
    return document.origins[key].place
