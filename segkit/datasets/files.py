"""Any list of files: a CSV table with a row a case, or templates with `{case}` in them."""

import glob
import re
from pathlib import Path, PurePosixPath
from typing import Self

from pydantic import Field, model_validator

from segkit.datasets.base import Contents, Dataset, datasets, positions
from segkit.datasets.candidate import Candidate, existing
from segkit.datasets.table import read_table
from segkit.volume.case import CaseFiles, Source

CASE = "{case}"


@datasets.register("files")
class Files(Dataset):
    """Cases in any folders, from a CSV `table` or from templates of file names (`images`, `labels`, `rois`).

    The table has the columns case, one per channel, and perhaps label, roi, patient (paths relative to the CSV). Templates are relative to
    `root`, `images: {t1c: "images/{case}_t1c.nii.gz"}`; the cases are those that the template of the first channel finds.
    All channels of the table or the templates unless `channels` names some; `classes` must be named.
    """

    table: str | None = Field(None, description="the CSV file, relative to root")
    images: dict[str, str] | None = Field(None, min_length=1, description="channel: template, relative to root")
    labels: str | None = Field(None, description="template of the label, relative to root")
    rois: str | None = Field(None, description="template of the ROI mask, relative to root")

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.table is None) == (self.images is None) or (self.table is not None and (self.labels or self.rois)):
            raise ValueError("expected either table, or images with perhaps labels and rois")
        if self.classes is None:
            raise ValueError("classes: missing; expected {name: source label values}")
        if self.images is not None:
            positions(self.channels or (), tuple(self.images))
        for field, template in self._templates().items():
            path = PurePosixPath(template)
            if CASE not in template or re.search(r"[{}]", template.replace(CASE, "")) or path.is_absolute() or ".." in path.parts:
                raise ValueError(f"{field}: expected a path below root with {CASE} in it, got {template!r}")
        return self

    def _templates(self) -> dict[str, str]:
        named = {f"images.{channel}": template for channel, template in (self.images or {}).items()}
        return named | {field: template for field, template in (("labels", self.labels), ("rois", self.rois)) if template is not None}

    def contents(self) -> Contents:
        """The channels of the templates, or the table's columns; no classes."""
        return Contents(tuple(self.images) if self.images else read_table(self.root / str(self.table)).channels, {})

    def tree(self) -> str:
        """The table's or the templates' names."""
        return ", ".join(self._templates().values()) or f"{self.table}, a CSV file"

    def roi_name(self) -> str | None:
        """The template, or the column of the table."""
        return self.rois if self.images else "a path in the column roi"

    def locate(self, folder: Path) -> list[Candidate]:
        """A case a row of the table, or one for each file of the first channel's template."""
        if self.table is not None:
            table = read_table(folder / self.table)
            return table.candidates(self.channels or table.channels)
        templates = {channel: str((self.images or {})[channel]) for channel in self.channel_names}
        return [self._case(folder, case, templates) for case in _matches(folder, next(iter(templates.values())))]

    def locate_input(self, folder: Path) -> list[Candidate]:
        """The same; a folder without the table is in another layout."""
        if self.table is not None and not (folder / self.table).is_file():
            return []
        return self.locate(folder)

    def _case(self, folder: Path, case: str, templates: dict[str, str]) -> Candidate:
        found = {f"channel {channel}": folder / template.replace(CASE, case) for channel, template in templates.items()}
        problems = tuple(problem for role, path in found.items() for problem in existing(role, path)[1])
        label, roi = (existing("", folder / template.replace(CASE, case))[0] if template else None for template in (self.labels, self.rois))
        files = CaseFiles(case, dict(zip(templates, map(Source, found.values()), strict=True)), label, roi)
        return Candidate(files, next(iter(found.values())), problems)


def _matches(folder: Path, template: str) -> list[str]:
    """The case ids for which the template names a file."""
    first, *more = (re.escape(part) for part in template.split(CASE))
    pattern = re.compile(first + r"(?P<case>[^/]+)" + "(?P=case)".join(more))
    paths = (path for path in folder.glob("*".join(glob.escape(part) for part in template.split(CASE))) if path.is_file())
    found = (pattern.fullmatch(path.relative_to(folder).as_posix()) for path in paths)
    return sorted(match["case"] for match in found if match and not match["case"].startswith("."))
