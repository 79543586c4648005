"""BTCV, the abdomen of "Multi-Atlas Labeling Beyond the Cranial Vault": one CT a case, 13 organs.

Source: Landman et al., MICCAI 2015 challenge, Synapse syn3193805.
"""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from segkit.datasets.base import Contents, Dataset, Roi, datasets, positions
from segkit.datasets.candidate import Candidate, volumes
from segkit.volume.case import CaseFiles, Source

ORGANS = {
    "spleen": 1,
    "right_kidney": 2,
    "left_kidney": 3,
    "gallbladder": 4,
    "esophagus": 5,
    "liver": 6,
    "stomach": 7,
    "aorta": 8,
    "inferior_vena_cava": 9,
    "portal_and_splenic_veins": 10,
    "pancreas": 11,
    "right_adrenal_gland": 12,
    "left_adrenal_gland": 13,
}
CHANNELS = ("ct",)
FOLDERS = (("img", "label"), ("imagesTr", "labelsTr"))  # as downloaded (RawData/Training), and as many tutorials rename it


@datasets.register("btcv")
class Btcv(Dataset):
    """One channel, ct. `root` holds img/img0001.nii.gz and label/label0001.nii.gz; the case's id is 0001."""

    roi: Roi = Field("body", description="where the body is")

    @model_validator(mode="after")
    def _has_one_channel(self) -> Self:
        positions(self.channels or (), CHANNELS)
        return self

    def contents(self) -> Contents:
        """ct, and the 13 organs."""
        return Contents(CHANNELS, {name: (value,) for name, value in ORGANS.items()})

    def tree(self) -> str:
        """`img/img0001.nii.gz` and so on."""
        return "img/img0001.nii.gz and label/label0001.nii.gz (or imagesTr and labelsTr)"

    def locate(self, folder: Path) -> list[Candidate]:
        """The images of img or imagesTr with their labels."""
        return [case for images, labels in FOLDERS for case in _cases(folder / images, folder / labels)]

    def locate_input(self, folder: Path) -> list[Candidate]:
        """Those, and images that lie in the folder itself or in imagesTs."""
        return [*self.locate(folder), *_cases(folder / "imagesTs"), *_cases(folder)]

    def case_id(self, stem: str) -> str:
        """0001 of img0001."""
        number = stem.removeprefix("img")
        return number if number.isdecimal() else super().case_id(stem)


def _cases(images: Path, labels: Path | None = None) -> list[Candidate]:
    numbered = dict(_numbered(labels, "label")) if labels else {}
    return [Candidate(CaseFiles(case, {"ct": Source(path)}, numbered.get(case)), path) for case, path in _numbered(images, "img")]


def _numbered(folder: Path, prefix: str) -> list[tuple[str, Path]]:
    named = ((name.removeprefix(prefix), path) for name, path in volumes(folder) if name.startswith(prefix))
    return [(number, path) for number, path in named if number.isdecimal()]
