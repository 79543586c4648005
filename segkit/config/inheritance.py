"""What `base:` means: which values of the other file stay."""

from typing import Any

from segkit.config.document import Document, Key, Origin, keys_within


def merged(parent: Document, child: Document) -> Document:
    """The child on top of its parent: mappings merge deeply, everything else replaces. Each value keeps its origin.

    Below the top level, a mapping that names another plug-in (`name` on both sides, and different) replaces the parent's whole:
    fields of the one mean nothing to the other.
    """
    origins: dict[Key, Origin] = {(): child.origins[()]}
    value = _merged(parent, child, (), (parent.value, child.value), origins)
    return Document(value, origins)


def _merged(parent: Document, child: Document, key: Key, sides: tuple[dict, dict], origins: dict[Key, Origin]) -> dict[str | int, Any]:
    under, over = sides
    value: dict[str | int, Any] = {}
    for name in under | over:  # the parent's order first
        here = (*key, name)
        if name in under and name in over and _merge(under[name], over[name]):
            origins[here] = child.origins[here]
            value[name] = _merged(parent, child, here, (under[name], over[name]), origins)
        else:
            side, document = (over, child) if name in over else (under, parent)
            value[name] = side[name]
            origins |= {at: document.origins[at] for at in keys_within(here, side[name])}
    return value


def _merge(under: Any, over: Any) -> bool:
    if not (isinstance(under, dict) and isinstance(over, dict)):
        return False
    return "name" not in under or "name" not in over or under["name"] == over["name"]
