"""Single values set on top of a recipe: `train.steps=500` from a command line, or a mapping from Python."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from segkit.config import syntax
from segkit.config.document import Document, Key, Origin, dotted, keys_within, split_key
from segkit.config.errors import InputError

COMMAND_LINE = "command line"


def apply(document: Document, overrides: Iterable[str]) -> Document:
    """The document with `key.path=value` set, in order; values are YAML (`[1, 2]`, `{x: 1}`), paths relative to the working directory.

    A list index may be the list's length: that appends. A bare plug-in name that is entered (`losses[0].gamma=2` into `[focal]`) becomes
    `{name: focal}`. Setting `X.name` to another plug-in drops what belonged to the old one, except values set by the same call.
    """
    edit = _Edit(document, Origin(COMMAND_LINE, None, Path.cwd()))
    for override in overrides:
        text, equals, value = override.partition("=")
        where = f"{COMMAND_LINE}: {override}"
        key = split_key(text)
        if not equals or key is None:
            raise InputError(
                "SK-R021", "not an override", where=where, expected="key.path=value, as in train.steps=500 or losses[0].gamma=2"
            )
        if not value.strip():
            raise InputError("SK-R022", "an override without a value", where=where, expected="key.path=value", remedy="write null or ''")
        edit.put(key, _parsed(value, f"{COMMAND_LINE}: {text.strip()}"))
    return edit.document()


def apply_values(document: Document, values: Mapping[str, Any]) -> Document:
    """The same from Python: `{"train.steps": 500}`. Values are taken as they are."""
    edit = _Edit(document, Origin("overrides", None, Path.cwd()))
    for text, value in values.items():
        key = split_key(text)
        if key is None:
            raise InputError("SK-R023", "not a key path", where=f"overrides: {text}", expected="as in train.steps or losses[0].gamma")
        edit.put(key, value)
    return edit.document()


def _parsed(text: str, where: str) -> Any:
    try:
        return syntax.value(text, where)
    except InputError as error:  # a line number says nothing here
        raise InputError(error.code, error.what, where=where, expected=error.expected, got=text, remedy=error.remedy) from None


class _Edit:
    """A copy of a document while values are set in it."""

    def __init__(self, document: Document, origin: Origin) -> None:
        self.value = _copied(document.value)
        self.origins = dict(document.origins)
        self.origin = origin

    def document(self) -> Document:
        return Document(self.value, self.origins)

    def put(self, key: Key, value: Any) -> None:
        """Set a value; mappings and lists on the way are made where there is nothing yet."""
        holder = self.value
        for length in range(1, len(key)):
            holder = self._entered(holder, key[:length], wanted=list if isinstance(key[length], int) else dict)
        if len(key) > 1 and key[-1] == "name" and isinstance(holder, dict) and holder.get("name", value) != value:
            self._drop_fields(holder, key[:-1])
        self._store(holder, key, _copied(value))

    def _entered(self, holder: Any, key: Key, wanted: type) -> Any:
        """What is at `key`, its last part looked up in `holder`, ready to be entered by name or by index."""
        present = self._holds(holder, key)
        child = holder[key[-1]] if present else None
        if child is None:
            child = wanted()
        elif isinstance(child, str) and wanted is dict:
            child = {"name": child}
            self.origins[(*key, "name")] = self.origins[key]
        else:
            return child
        if present:
            holder[key[-1]] = child
        else:
            self._store(holder, key, child)
        return child

    def _store(self, holder: Any, key: Key, value: Any) -> None:
        if self._holds(holder, key):
            self._forget(key, holder[key[-1]])
        if isinstance(holder, list) and key[-1] == len(holder):
            holder.append(value)
        else:
            holder[key[-1]] = value
        self.origins |= dict.fromkeys(keys_within(key, value), self.origin)

    def _drop_fields(self, plugin: dict, key: Key) -> None:
        for name in [name for name in plugin if self.origins[(*key, name)] != self.origin]:
            self._forget((*key, name), plugin.pop(name))

    def _forget(self, key: Key, value: Any) -> None:
        for old in keys_within(key, value):
            self.origins.pop(old, None)

    def _holds(self, holder: Any, key: Key) -> bool:
        """Is there something at `key`? An error where `holder` cannot have such a part."""
        part = key[-1]
        where = f"{self.origin.source}: {dotted(key)}"
        above = dotted(key[:-1])
        if isinstance(part, int) and isinstance(holder, list):
            if part > len(holder):
                expected = f"an index up to {len(holder)}, which appends" if holder else "index 0, which appends"
                raise InputError("SK-R024", f"{above} has {len(holder)} items", where=where, expected=expected, got=str(part))
            return part < len(holder)
        if isinstance(part, int):
            raise InputError("SK-R025", f"{above} is not a list", where=where, expected=f"{above}.key=value")
        if isinstance(holder, list):
            raise InputError("SK-R026", f"{above} is a list", where=where, expected=f"an index, as in {above}[0].{part}")
        if not isinstance(holder, dict):
            raise InputError("SK-R027", f"{above} has no keys", where=where, got=f"{above} is {holder!r}")
        return part in holder


def _copied(value: Any) -> Any:
    """Mappings and sequences copied all the way down, sequences as lists; other values as they are."""
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_copied(item) for item in value]
    return value
