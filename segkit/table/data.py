"""What an item was made from, by content: recorded before its training, and what of it is another today."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from segkit.config.atomic import atomic
from segkit.config.errors import SegkitError, WorkError
from segkit.datasets.base import Dataset
from segkit.table.item import Item
from segkit.volume.entry import sha256

Record = Mapping[str, tuple[int, int, str]]  # SIDE/CASE/FILE: bytes, time of change in ns, SHA-256
MOST_NAMED = 3  # items in a message, and files of each


@dataclass(frozen=True)
class File:
    """A file of a case as it is now. changed: the time of its last change, in ns."""

    path: Path
    bytes: int
    changed: int

    @classmethod
    def at(cls, path: Path) -> "File":
        """What the system says of it."""
        status = path.stat()
        return cls(path, status.st_size, status.st_mtime_ns)

    def is_as(self, size: int, changed: int, digest: str) -> bool:
        """Whether it is what was recorded; its bytes are read only where they are as many and the time is another."""
        return self.bytes == size and (self.changed == changed or _digest(self) == digest)


def files_of(dataset: Dataset) -> dict[str, File]:
    """Every file of the cases that train, validate and test, by SIDE/CASE/FILE. Raises InputError as `Dataset.splits` does."""
    splits, found = dataset.splits(), {}
    for side in ("training", "validation", "test"):
        for case in getattr(splits, side):
            parts = {f"channel {name}": (source.path, source.component) for name, source in case.channels.items()}
            parts |= {name: (path, None) for name, path in (("label", case.label), ("roi", case.roi)) if path is not None}
            for name, (path, component) in parts.items():
                found[f"{side}/{case.id}/{name}" + (f" {component}" if component is not None else "")] = File.at(path)
    return found


def record(item: Item, files: Mapping[str, File]) -> None:
    """Write `data.json`."""
    facts = {name: (file.bytes, file.changed, _digest(file)) for name, file in files.items()}
    with atomic(item.place.data) as temporary:
        temporary.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def recorded(item: Item) -> Record | None:
    """None where nothing was recorded, as by a version that did not yet, or nothing that can be read."""
    try:
        facts = json.loads(item.place.data.read_text(encoding="utf-8"))
        return {name: (size, changed, digest) for name, (size, changed, digest) in facts.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def changes(before: Record, now: Mapping[str, File]) -> list[str]:
    """What is another, gone or new, a text each; a case that changed its side is gone and new."""
    gone = [f"{name} is gone" for name in before if name not in now]
    new = [f"{name} is new" for name in now if name not in before]
    return [f"{name} is another" for name in before if name in now and not now[name].is_as(*before[name])] + gone + new


@dataclass(frozen=True)
class Check:
    """Items whose data have changed since, with what has; and why others could not be checked, with their number."""

    outdated: Sequence[tuple[Item, Sequence[str]]]
    unchecked: Mapping[str, int]

    def concerns(self, item: Item) -> bool:
        """Whether the data of an item have changed."""
        return any(each.folder == item.folder for each, _ in self.outdated)

    def error(self, count: int, command: str) -> WorkError:
        """Of the items that are out of date, of so many in all. command: makes them anew."""
        named = [f"{item.name} ({'; '.join(_some(changed))})" for item, changed in self.outdated]
        return WorkError(
            "SK-B040",
            f"{len(named)} of {count} items are out of date, since their data have changed; they are not in the table",
            where=self.outdated[0][0].folder.parent,
            got="; ".join(_some(named)),
            remedy=f"{command}  (what was made from the old data is kept in the item's folder, as outdated_N)",
        )


def check(items: Sequence[Item]) -> Check:
    """Compare the data that items were begun with to those of today. Items that were not begun are passed over."""
    today: dict[str, dict[str, File] | str] = {}
    outdated, unchecked = [], Counter[str]()
    for item in items:
        before, dataset = recorded(item), item.recipe.dataset
        if before is None:
            unchecked["they were not recorded"] += item.result() is not None
            continue
        key = dataset.model_dump_json()
        if key not in today:
            today[key] = _today(dataset)
        found = today[key]
        if isinstance(found, str):
            unchecked[found] += 1
        elif changed := changes(before, found):
            outdated.append((item, changed))
    return Check(outdated, +unchecked)


def _today(dataset: Dataset) -> dict[str, File] | str:
    """The files, or why they cannot be had."""
    if not dataset.root.is_dir():  # asked first, since a phantom would be written
        return f"{dataset.root} is not there"
    try:
        return files_of(dataset)
    except SegkitError as error:
        return f"{error.code}: {error.what}"


@cache  # the items of a table share their files
def _digest(file: File) -> str:
    return sha256(file.path)


def _some(texts: Sequence[str]) -> list[str]:
    return [*texts[:MOST_NAMED], *(["..."] if len(texts) > MOST_NAMED else [])]
