"""BraTS, in the folders of its three namings: a folder a case, a file a channel.

Label values:
2015           1 necrosis, 2 edema, 3 non-enhancing tumor, 4 enhancing tumor
2017 to 2021   1 necrosis and non-enhancing tumor, 2 edema, 4 enhancing tumor
from 2023      1 necrosis and non-enhancing tumor, 2 edema, 3 enhancing tumor, 4 resection cavity (post-treatment sets only)
Sources: Menze et al., IEEE TMI 2015; Bakas et al., arXiv:1811.02629; the data descriptions of the challenges.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from segkit.datasets.base import Classes, Contents, Dataset, Roi, datasets, positions
from segkit.datasets.candidate import Candidate, folder_name, only, subfolders, volumes
from segkit.volume.case import CaseFiles, Source

Files = Sequence[tuple[str, Path]]  # the volumes of a folder, each with its name without .nii.gz


@dataclass(frozen=True)
class Edition:
    """How one naming looks: a pattern per role for the file name without .nii.gz, in lower case."""

    files: dict[str, str]  # channel -> pattern
    label: str
    roi: str | None
    values: tuple[int, ...]
    classes: Classes

    def has_case(self, files: Files) -> bool:
        """One of the files is a channel or a label."""
        return any(matching(files, pattern) for pattern in (*self.files.values(), self.label))

    def has_one(self, files: Files) -> bool:
        """No two files are the same channel."""
        return all(len(matching(files, pattern)) <= 1 for pattern in self.files.values())


def matching(files: Files, pattern: str) -> list[Path]:
    """The files whose name fits, whatever its case."""
    return [path for name, path in files if fnmatchcase(name.lower(), pattern)]


EDITIONS = {
    2015: Edition(
        files={"flair": "flair_*", "t1c": "t1c_*", "t1": "t1_*", "t2": "t2_*"},
        label="otmulticlass",
        roi="brainmask",
        values=(0, 1, 2, 3, 4),
        classes={"necrosis": (1,), "edema": (2,), "non_enhancing": (3,), "enhancing": (4,)},
    ),
    2017: Edition(
        files={"flair": "*_flair", "t1c": "*_t1ce", "t1": "*_t1", "t2": "*_t2"},
        label="*_seg",
        roi=None,
        values=(0, 1, 2, 4),
        classes={"necrosis": (1,), "edema": (2,), "enhancing": (4,)},
    ),
    2023: Edition(
        files={"flair": "*-t2f", "t1c": "*-t1c", "t1": "*-t1n", "t2": "*-t2w"},
        label="*-seg",
        roi=None,
        values=(0, 1, 2, 3, 4),
        classes={"necrosis": (1,), "edema": (2,), "enhancing": (3,)},
    ),
}
CHANNELS = ("flair", "t1c", "t1", "t2")
GRADES = ("hgg", "lgg")  # folders of the editions to 2019
# Where the last number is one of several scans of a patient: BRATS 2015 (brats_tcia_pat101_0001), BraTS from 2023 (BraTS-GLI-00005-000).
_SCAN_OF_PATIENT = re.compile(r"(?P<patient>(?:brats_\w+_pat|BraTS-[\w-]+-)\d+)[_-]\d+", re.IGNORECASE)


@datasets.register("brats")
class Brats(Dataset):
    """Channels flair, t1c, t1, t2, whatever the edition calls them. Case folders lie under `root`, or under HGG and LGG in it.

    `edition` says how files are named and which label values may occur; values are never changed. A case's id is its folder's name.
    """

    edition: Literal[2015, 2017, 2023] = Field(2017, description="2015; 2017 to 2021; 2023 and later")
    roi: Roi = Field("nonzero", description="where the brain is; 2015 has brain masks and defaults to file")

    @model_validator(mode="before")
    @classmethod
    def _masks_of_2015(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("edition") == 2015:
            return {"roi": "file"} | values
        return values

    @model_validator(mode="after")
    def _fits_the_edition(self) -> Self:
        positions(self.channels or (), CHANNELS)
        allowed, lists = (
            EDITIONS[self.edition].values,
            {"ignore": self.ignore} | {f"classes.{name}": values for name, values in (self.classes or {}).items()},
        )
        if self.background != "rest":
            lists["background"] = self.background
        for field, values in lists.items():
            foreign = [value for value in values if value not in allowed]
            if foreign:
                raise ValueError(f"{field}: expected values among {list(allowed)}, the labels of edition {self.edition}, got {foreign}")
        return self

    def contents(self) -> Contents:
        """The four channels, and a class for each label value of the edition but the cavity's."""
        return Contents(CHANNELS, EDITIONS[self.edition].classes)

    def tree(self) -> str:
        """`<case>/*_flair.nii.gz` and so on."""
        edition = EDITIONS[self.edition]
        names = [*(edition.files[channel] for channel in self.channels or CHANNELS), edition.label, *([edition.roi] if edition.roi else [])]
        return f"a folder a case, holding {', '.join(f'{name}.nii.gz' for name in names)}"

    def roi_name(self) -> str | None:
        """The brain mask of 2015."""
        roi = EDITIONS[self.edition].roi
        return f"{roi}.nii.gz" if roi else None

    def hint(self) -> str:
        """The edition whose names the files do have, if one fits."""
        for other in EDITIONS:
            if any(EDITIONS[other].has_case(volumes(folder)) for folder in _folders(self.root)):
                return f"these files are named as in edition {other}: set dataset.edition"
        return super().hint()

    def locate(self, folder: Path) -> list[Candidate]:
        """The folders in it, and under HGG and LGG, that hold a file of a channel or a label; the folder itself, if it is one case."""
        edition = EDITIONS[self.edition]
        found = ((case, volumes(case)) for case in _folders(folder))
        return [self._case(case, files) for case, files in found if edition.has_case(files) and (case != folder or edition.has_one(files))]

    def case_id(self, stem: str) -> str:
        """X of X_flair, for a model of this channel."""
        for channel in self.channel_names:
            pattern = EDITIONS[self.edition].files[channel]
            if pattern.startswith("*") and stem.endswith(pattern[1:]):
                return stem.removesuffix(pattern[1:])
        return super().case_id(stem)

    def _case(self, folder: Path, files: Files) -> Candidate:
        edition, case, channels = EDITIONS[self.edition], folder_name(folder), {}
        problems: list[str] = []
        for channel in self.channels or CHANNELS:
            pattern = edition.files[channel]
            path, problem = only(f"channel {channel}", matching(files, pattern), f"{pattern}.nii.gz", folder)
            problems += problem
            if path is not None:
                channels[channel] = Source(path)
        label, bad_label = _at_most_one("label", files, edition.label, folder)
        roi, bad_roi = _at_most_one("ROI", files, edition.roi, folder) if edition.roi else (None, ())
        scan = _SCAN_OF_PATIENT.fullmatch(case)
        return Candidate(
            CaseFiles(case, channels, label, roi, scan["patient"] if scan else None), folder, tuple(problems), (*bad_label, *bad_roi)
        )


def _folders(root: Path) -> Iterator[Path]:
    yield root
    for folder in subfolders(root):
        yield folder
        if folder.name.lower() in GRADES:
            yield from subfolders(folder)


def _at_most_one(role: str, files: Files, pattern: str, folder: Path) -> tuple[Path | None, tuple[str, ...]]:
    found = matching(files, pattern)
    return only(role, found, f"{pattern}.nii.gz", folder) if found else (None, ())
