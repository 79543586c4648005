"""What a data set must be able to say: its channels and classes, where its cases are, and which of them train."""

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from segkit.config.errors import InputError
from segkit.config.registry import Registry
from segkit.config.settings import Settings, UserPath
from segkit.datasets.candidate import Candidate, complete, listing, nameable
from segkit.datasets.inputs import in_folder, single
from segkit.datasets.split import Split, Splits
from segkit.volume.case import CaseFiles
from segkit.volume.labels import IGNORED, ClassMap

Classes = dict[str, tuple[int, ...]]


def _as_list(values: object) -> object:
    return (values,) if type(values) is int else values


Values = Annotated[tuple[int, ...], BeforeValidator(_as_list), Field(min_length=1)]  # `4` is short for `[4]`
Roi = Literal["file", "nonzero", "body", "none"]


@dataclass(frozen=True)
class Contents:
    """What a data set says of itself: all its channels in its own order, its classes (none: the recipe must name them)."""

    channels: tuple[str, ...]
    classes: Classes
    ignore: tuple[int, ...] = ()


class Dataset(Settings):
    """Settings of a data set: a plug-in of the shelf. A layout overrides `contents`, `tree`, `locate` and what differs beside them.

    The engine asks `channel_names`, `class_map`, `find()`, `splits()` and, for prediction, `find_input(path)`; no voxel is read here.
    """

    name: ClassVar[str]

    root: UserPath
    channels: tuple[str, ...] | None = Field(
        None, min_length=1, description="in the order of the network's input; null: all, in the data set's order"
    )
    classes: dict[str, Values] | None = Field(
        None, min_length=1, max_length=IGNORED - 1, description="name: source label values; null: the data set's own"
    )
    background: Values | Literal["rest"] = Field((0,), description="source values that are background; rest: all that are named nowhere")
    ignore: tuple[int, ...] = Field((), description="source values that neither train nor count")
    roi: Roi = Field("none", description="where the body is: a mask file, nonzero in any channel, found in the CT, or everywhere")
    rare_classes: tuple[str, ...] = Field((), description="the classes that asymmetric techniques protect")
    split: Split
    train_fraction: float = Field(
        1.0, gt=0, le=1, description="share of the training order that is trained on; smaller ones are nested in larger ones"
    )
    accept_sform: bool = Field(False, description="where sform and qform differ, take the sform")

    def contents(self) -> Contents:
        """What the data set says of itself. May read a description file under `root`."""
        raise NotImplementedError

    def tree(self) -> str:
        """What a folder in this layout holds, in words, for messages."""
        raise NotImplementedError

    def locate(self, folder: Path) -> list[Candidate]:
        """Every case of a folder in this layout, complete or not; empty where nothing looks like one."""
        raise NotImplementedError

    def locate_input(self, folder: Path) -> list[Candidate]:
        """The same for prediction: the layout's test images count too."""
        return self.locate(folder)

    def case_id(self, stem: str) -> str:
        """The id of a case that is one file: its stem, without what the layout or a numbering adds."""
        return stem.removesuffix("_0000")

    def roi_name(self) -> str | None:
        """How the layout names its ROI files; None: it has none."""
        return None

    def hint(self) -> str:
        """What to try when `root` holds no case."""
        return "set dataset.root to the folder described above"

    @property
    def channel_names(self) -> tuple[str, ...]:
        """The channels in the order of the network's input."""
        return self.contents().channels if self.channels is None else self.channels

    @property
    def class_map(self) -> ClassMap:
        """Source label values <-> class indices. Raises InputError where the data set's own classes do not fit the recipe."""
        if self.classes is not None:
            return ClassMap(self.classes, self.background, self.ignore)
        own = self.contents()
        ignore = (*self.ignore, *(value for value in own.ignore if value not in self.ignore))
        mistake = _class_mistake(own.classes, self.background, ignore) or _rare_mistake(self.rare_classes, own.classes)
        if mistake:
            raise InputError(
                "SK-D006",
                "the data set's own classes cannot be used",
                where=self.root,
                got=mistake,
                remedy="name the classes under dataset.classes",
            )
        return ClassMap(own.classes, self.background, ignore)

    def resolved(self) -> Self:
        """The same with channels and classes written out, so that a model can be used where `root` is not."""
        class_map = self.class_map
        return self.model_copy(update={"channels": self.channel_names, "classes": class_map.classes, "ignore": class_map.ignore})

    def find(self) -> list[CaseFiles]:
        """All cases under `root`, sorted by id. Raises InputError: no such folder, no case, all incomplete cases at once, an id twice."""
        if not self.root.is_dir():
            raise InputError(
                "SK-D001",
                "the data set's folder is not there",
                where=self.root,
                expected=self.tree(),
                remedy="set dataset.root; see data/README.md",
            )
        candidates = self.locate(self.root)
        if not candidates:
            raise InputError(
                "SK-D002",
                "no case under the data set's folder",
                where=self.root,
                expected=self.tree(),
                got=listing(self.root),
                remedy=self.hint(),
            )
        roi = self.roi_name() if self.roi == "file" else None
        return complete([candidate.for_training(roi) for candidate in candidates], self.root)

    def find_input(self, path: Path) -> list[CaseFiles]:
        """Cases to predict, sorted by id; labels are optional.

        A folder is read in this layout (of cases, or of one case), else as `<case>_0000.nii.gz` files, else, for one channel, as single
        files; a NIfTI file is a case of a one-channel model. Raises InputError where none of these fits.
        """
        if path.is_dir():
            candidates = self.locate_input(path)
            return complete(candidates, path) if candidates else in_folder(path, self.channel_names, self.tree(), self.case_id)
        if not path.exists():
            raise InputError("SK-D010", "no such file or folder", where=path, expected=f"a NIfTI file, or a folder: {self.tree()}")
        return [single(path, self.channel_names, self.case_id)]

    def splits(self) -> Splits:
        """Training, validation and test cases. Raises InputError as `find` and `Split.assign` do, or listing those without a label."""
        splits = self.split.assign(self.find(), self.train_fraction)
        bare = sorted(case.id for side in (splits.training, splits.validation, splits.test) for case in side if case.label is None)
        if bare:
            raise InputError(
                "SK-D005",
                f"{len(bare)} of the cases to train, validate or test on have no label: {', '.join(bare)}",
                where=self.root,
                expected=self.tree(),
                remedy="add the labels, or leave these cases out with a split file",
            )
        return splits

    @model_validator(mode="after")
    def _names_are_distinct(self) -> Self:
        for field, names in (("channels", self.channels or ()), ("rare_classes", self.rare_classes)):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{field}: expected each name once, got {', '.join(twice)} more than once")
        return self

    @model_validator(mode="after")
    def _classes_are_disjoint(self) -> Self:
        if self.classes is not None:
            mistake = _class_mistake(self.classes, self.background, self.ignore) or _rare_mistake(self.rare_classes, self.classes)
            if mistake:
                raise ValueError(mistake)
        return self

    @model_validator(mode="after")
    def _roi_files_exist(self) -> Self:
        if self.roi == "file" and self.roi_name() is None:
            raise ValueError("roi: expected nonzero, body or none, since this layout has no ROI files, got 'file'")
        return self


def positions(channels: tuple[str, ...], known: tuple[str, ...]) -> dict[str, int]:
    """Where each channel stands among those a data set has. Raises ValueError, worded for the field, with the nearest name."""
    for channel in channels:
        if channel not in known:
            raise ValueError(f"channels: {_unknown('channel', channel, known)}")
    return {channel: known.index(channel) for channel in channels}


def _class_mistake(classes: Classes, background: tuple[int, ...] | Literal["rest"], ignore: tuple[int, ...]) -> str | None:
    """What is wrong with a class map, worded for the field, or None."""
    if not classes:
        return "classes: missing; expected {name: source label values}"
    if "background" in classes:
        return "classes: expected names other than 'background', which dataset.background lists"
    unusable = [name for name in classes if not nameable(name)]
    if unusable:
        return f"classes: expected names that a file can bear (no / or \\, no leading dot), got {', '.join(map(repr, unusable))}"
    owners: dict[int, list[str]] = {}
    lists = {f"class {name}": values for name, values in classes.items()} | {
        "background": () if background == "rest" else background,
        "ignore": ignore,
    }
    for owner, values in lists.items():
        for value in values:
            owners.setdefault(value, []).append(owner)
    for value, claimed in owners.items():
        if len(claimed) > 1:
            return f"classes: expected each source value once, got {value} in {' and '.join(claimed)}"
    return None


def _rare_mistake(rare: tuple[str, ...], classes: Classes) -> str | None:
    return next((f"rare_classes: {_unknown('class', name, tuple(classes))}" for name in rare if name not in classes), None)


def _unknown(kind: str, name: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
    return f"no {kind} is named {name!r}; {hint}"


datasets: Registry[Dataset] = Registry("data set", "segkit.datasets")
