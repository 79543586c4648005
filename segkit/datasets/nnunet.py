"""nnU-Net's raw layout, read in place: a file per channel, numbered as dataset.json says.

Source: Isensee et al., Nature Methods 2021; the data set format pages of nnU-Net, versions 1 and 2.
"""

from dataclasses import replace
from pathlib import Path

from segkit.config.errors import InputError
from segkit.datasets.base import Contents, datasets
from segkit.datasets.candidate import ENDINGS, Candidate, volumes
from segkit.datasets.description import FILE_NAME, Described, read_description
from segkit.datasets.inputs import numbered


@datasets.register("nnunet")
class NnUNet(Described):
    """imagesTr/<case>_0000.nii.gz, imagesTr/<case>_0001.nii.gz, ... and labelsTr/<case>.nii.gz under `root`, beside dataset.json."""

    def contents(self) -> Contents:
        """What dataset.json says. Raises InputError where its files are not NIfTI."""
        description = read_description(self.root)
        ending = description.document.get("file_ending", ".nii.gz")
        if ending not in ENDINGS:
            raise InputError(
                "SK-D035",
                "the data set's files are not NIfTI",
                where=description.path,
                expected=f"`file_ending`: {' or '.join(ENDINGS)}",
                got=repr(ending),
            )
        return super().contents()

    def tree(self) -> str:
        """`imagesTr/<case>_0000.nii.gz` and so on."""
        return f"{FILE_NAME}, imagesTr/<case>_0000.nii.gz and so on by channel, labelsTr/<case>.nii.gz"

    def locate(self, folder: Path) -> list[Candidate]:
        """The cases of imagesTr with their labels."""
        return self._numbered(folder / "imagesTr", folder / "labelsTr")

    def locate_input(self, folder: Path) -> list[Candidate]:
        """Those, and the cases of imagesTs or of the folder itself (such as imagesTs)."""
        return [*self.locate(folder), *self._numbered(folder / "imagesTs"), *self._numbered(folder)]

    def _numbered(self, images: Path, labels: Path | None = None) -> list[Candidate]:
        found = dict(volumes(labels)) if labels else {}
        cases = numbered(images, self.channel_positions(), len(self.all_channels()))
        return [replace(case, files=replace(case.files, label=found.get(case.files.id))) for case in cases]
