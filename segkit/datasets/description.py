"""dataset.json: what a Decathlon or nnU-Net data set says of itself, and the settings both layouts share."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import Field

from segkit.config.errors import InputError
from segkit.datasets.base import Classes, Contents, Dataset, positions
from segkit.datasets.document import read_object

FILE_NAME = "dataset.json"


@dataclass(frozen=True)
class Description:
    """A dataset.json, read. The older form has `modality` and `labels: {"1": name}`, the newer `channel_names` and `labels: {name: 1}`."""

    path: Path
    document: dict[str, Any]

    def channels(self) -> tuple[str, ...]:
        """Their names by number. Raises InputError where they cannot be read or two are the same."""
        names = self.document.get("channel_names", self.document.get("modality"))
        numbers = [str(position) for position in range(len(names))] if isinstance(names, dict) else []
        if (
            not isinstance(names, dict)
            or not numbers
            or set(names) != set(numbers)
            or not all(isinstance(name, str) for name in names.values())
        ):
            raise InputError(
                "SK-D030",
                "the channels cannot be read",
                where=self.path,
                expected='`modality` or `channel_names`: {"0": name, "1": name, ...}',
                got=repr(names)[:80],
            )
        channels = tuple(names[number] for number in numbers)
        if len(set(channels)) < len(channels):
            raise InputError(
                "SK-D031",
                "two channels have the same name",
                where=self.path,
                expected="different names",
                got=", ".join(channels),
                remedy="name them, in this order, under dataset.file_channels",
            )
        return channels

    def labels(self) -> tuple[Classes, tuple[int, ...]]:
        """Classes and ignored values; label 0 is the background, nnU-Net's label `ignore` is ignored. Raises InputError."""
        labels = self.document.get("labels")
        try:
            if not isinstance(labels, dict):
                raise TypeError("no mapping")
            named = [_label(key, value) for key, value in labels.items()]
        except (TypeError, ValueError):
            raise InputError(
                "SK-D032",
                "the labels cannot be read",
                where=self.path,
                expected='`labels`: {"1": name, ...} or {name: 1, ...}',
                got=repr(labels)[:80],
                remedy="name the classes under dataset.classes",
            ) from None
        ignore = tuple(value for name, values in named if name == "ignore" for value in values)
        classes = {name: values for name, values in named if name != "ignore" and values != (0,)}
        if len(classes) + bool(ignore) + sum(values == (0,) for _, values in named) < len(named):
            raise InputError(
                "SK-D036",
                "two labels have the same name",
                where=self.path,
                got=repr(labels)[:80],
                remedy="name the classes under dataset.classes",
            )
        return classes, ignore


def _label(key: str, value: Any) -> tuple[str, tuple[int, ...]]:
    """One entry of `labels`, in either form: name, source values."""
    if isinstance(value, str):
        return value, (int(key),)
    values = tuple(value) if isinstance(value, list) else (value,)
    if not values or not all(type(item) is int for item in values):
        raise TypeError("not integers")
    return key, values


def read_description(root: Path) -> Description:
    """The dataset.json of a folder. Raises InputError where it is absent or no JSON object."""
    return Description(root / FILE_NAME, read_object(root / FILE_NAME))


class Described(Dataset):
    """A data set with a dataset.json: `channels` and `classes` default to what it says; channels that are named must be among its own."""

    file_channels: tuple[str, ...] | None = Field(
        None, min_length=1, description="all channels in the order of the files; null: as dataset.json says"
    )

    def contents(self) -> Contents:
        """What dataset.json says; the channels as `file_channels` says, if it does."""
        return Contents(self.all_channels(), *read_description(self.root).labels())

    @property
    def channel_names(self) -> tuple[str, ...]:
        """The recipe's channels, else all of the files'."""
        return self.channels or self.all_channels()

    def all_channels(self) -> tuple[str, ...]:
        """The channels in the order of the files."""
        return self.file_channels or read_description(self.root).channels()

    def channel_positions(self) -> dict[str, int]:
        """The number each of the recipe's channels has in the files. Raises InputError for a channel that is not there."""
        known = self.all_channels()
        try:
            return positions(self.channel_names, known)
        except ValueError as error:
            raise InputError(
                "SK-D033",
                str(error),
                where=self.root / FILE_NAME,
                expected=f"channels among {', '.join(known)}",
                remedy="change dataset.channels",
            ) from None

    def resolved(self) -> Self:
        """Also with the order of the files' channels written out."""
        return super().resolved().model_copy(update={"file_channels": self.all_channels()})
