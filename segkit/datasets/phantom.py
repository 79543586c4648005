"""Synthetic cases in the folders of BraTS or BTCV: written at first use, then read like the real ones."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from segkit.config.errors import InputError
from segkit.datasets.base import Contents, Dataset, Roi, datasets
from segkit.datasets.brats import Brats
from segkit.datasets.btcv import Btcv
from segkit.datasets.candidate import Candidate
from segkit.phantom.write import write
from segkit.volume.case import CaseFiles

LAYOUTS: dict[str, type[Dataset]] = {"brats": Brats, "btcv": Btcv}


@datasets.register("phantom")
class Phantom(Dataset):
    """`cases` synthetic scans of a kind under `root`; the same seed makes the same scans. What is there already is not written again."""

    kind: Literal["brats", "btcv"] = Field("brats", description="whose folders, channels and labels (BraTS: as in 2017)")
    cases: int = Field(12, gt=0)
    shape: tuple[int, int, int] | None = Field(None, description="voxels; null: the kind's own")
    seed: int = Field(0, ge=0, description="of the scans, not of the split")
    roi: Roi = Field("nonzero", description="where the body is; btcv defaults to body")

    @model_validator(mode="before")
    @classmethod
    def _roi_of_the_kind(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("kind") == "btcv":
            return {"roi": "body"} | values
        return values

    @model_validator(mode="after")
    def _fits_the_kind(self) -> Self:
        try:
            self.layout()
        except ValidationError as error:
            raise ValueError(str(error.errors()[0]["ctx"]["error"])) from None
        return self

    def layout(self) -> Dataset:
        """The data set that reads the files."""
        return LAYOUTS[self.kind](**{field: getattr(self, field) for field in Dataset.model_fields})

    def contents(self) -> Contents:
        """What the kind's layout says."""
        return self.layout().contents()

    def tree(self) -> str:
        """The kind's folders."""
        return self.layout().tree()

    def case_id(self, stem: str) -> str:
        """As the kind's layout does."""
        return self.layout().case_id(stem)

    def find(self) -> list[CaseFiles]:
        """The cases, written first where they are not there. Raises InputError where the folder holds more than these."""
        write(self.kind, self.root, self.cases, self.shape, self.seed)
        cases = super().find()
        if len(cases) != self.cases:
            raise InputError(
                "SK-D060",
                "the phantom's folder holds other cases too",
                where=self.root,
                expected=f"{self.cases} cases",
                got=f"{len(cases)} cases",
                remedy="set dataset.root to a folder of its own, or dataset.cases to their number",
            )
        return cases

    def locate(self, folder: Path) -> list[Candidate]:
        """As the kind's layout does."""
        return self.layout().locate(folder)

    def locate_input(self, folder: Path) -> list[Candidate]:
        """As the kind's layout does."""
        return self.layout().locate_input(folder)
