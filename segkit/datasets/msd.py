"""Medical Segmentation Decathlon: a dataset.json that lists images and labels; several channels are components of one 4D file.

Source: Antonelli et al., Nature Communications 2022; http://medicaldecathlon.com.
"""

from pathlib import Path
from typing import Any

from segkit.config.errors import InputError
from segkit.datasets.base import datasets
from segkit.datasets.candidate import Candidate, existing, stem, volumes
from segkit.datasets.description import FILE_NAME, Described, read_description
from segkit.datasets.inputs import numbered
from segkit.volume.case import CaseFiles, Source


@datasets.register("msd")
class Msd(Described):
    """The cases in `training` of root/dataset.json, read in place. A case's id is its image's name, such as hippocampus_003."""

    def tree(self) -> str:
        """`dataset.json` and so on."""
        return f"{FILE_NAME}, and the images and labels it lists under `training` (imagesTr/<case>.nii.gz, labelsTr/<case>.nii.gz)"

    def locate(self, folder: Path) -> list[Candidate]:
        """The listed training cases; one whose image or label is not there has a problem."""
        components = self._components()
        return [_candidate(components, folder / entry["image"], folder / entry["label"]) for entry in _entries(folder)]

    def locate_input(self, folder: Path) -> list[Candidate]:
        """The listed cases and the images of imagesTs; in a folder without dataset.json, its 4D images."""
        components = self._components()
        if (folder / FILE_NAME).is_file():
            return [*self.locate(folder), *(_candidate(components, path) for _, path in volumes(folder / "imagesTs"))]
        if len(self.all_channels()) == 1 or numbered(folder, {}, len(components)):
            return []
        return [_candidate(components, path) for _, path in volumes(folder)]

    def _components(self) -> dict[str, int | None]:
        """Which component of an image a channel is; None where the image has only one."""
        alone = len(self.all_channels()) == 1
        return {channel: None if alone else position for channel, position in self.channel_positions().items()}


def _candidate(components: dict[str, int | None], image: Path, label: Path | None = None) -> Candidate:
    channels = {channel: Source(image, component) for channel, component in components.items()}
    _, bad_image = existing("image", image)
    label, bad_label = existing("label", label)
    return Candidate(CaseFiles(str(stem(image)), channels, label), image, bad_image, bad_label)


def _entries(folder: Path) -> list[dict[str, str]]:
    """The training list of a folder's dataset.json: image and label, relative to it."""
    description = read_description(folder)
    entries = description.document.get("training")
    if not isinstance(entries, list) or not all(_is_entry(entry) for entry in entries):
        raise InputError(
            "SK-D034",
            "the list of training cases cannot be read",
            where=description.path,
            expected='`training`: [{"image": "NAME.nii.gz", "label": "NAME.nii.gz"}, ...]',
            got="no such key" if entries is None else "other entries" if isinstance(entries, list) else type(entries).__name__,
        )
    return entries


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, dict) and all(isinstance(entry.get(key), str) and stem(Path(entry[key])) for key in ("image", "label"))
