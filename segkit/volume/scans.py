"""The files of a case as read, and the proof that they lie on one grid."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segkit.config.errors import InputError
from segkit.volume import nifti
from segkit.volume.case import CaseFiles, Source
from segkit.volume.geometry import same_grid
from segkit.volume.nifti import Volume


@dataclass(frozen=True, eq=False)
class Scans:
    """Channels in the recipe's order, label and ROI mask where there are any: all [X, Y, Z] on one grid."""

    channels: tuple[Volume, ...]
    label: Volume | None
    mask: Volume | None

    @property
    def notices(self) -> tuple[str, ...]:
        """What the reader took in one of several ways, each with the file's name."""
        volumes = [volume for volume in (*self.channels, self.label, self.mask) if volume is not None]
        return tuple(dict.fromkeys(f"{volume.path}: {notice}" for volume in volumes for notice in volume.notices))


def read_scans(files: CaseFiles, *, label: bool, mask: bool, accept_sform: bool = False) -> Scans:
    """Reads what is asked for. A 4D file that holds several channels is read once.

    Raises InputError where a file cannot be relied on, lies on another grid than the first channel (SK-V061), has no such component
    (SK-V060), or holds values beyond float32 (SK-V062).
    """
    opened: dict[Path, Volume] = {}
    channels = tuple(_channel(name, source, opened, accept_sform) for name, source in files.channels.items())
    scans = Scans(
        channels=channels,
        label=nifti.read_label(files.label, accept_sform=accept_sform) if label and files.label else None,
        mask=nifti.read(files.roi, accept_sform=accept_sform) if mask and files.roi else None,
    )
    for other in (*channels[1:], scans.label, scans.mask):
        if other is not None:
            _agree(channels[0], other)
    return scans


def _channel(name: str, source: Source, opened: dict[Path, Volume], accept_sform: bool) -> Volume:
    if source.component is None:
        volume = nifti.read(source.path, accept_sform=accept_sform)
    else:
        if source.path not in opened:
            opened[source.path] = nifti.read_components(source.path, accept_sform=accept_sform)
        whole = opened[source.path]
        count = whole.array.shape[3]
        if not 0 <= source.component < count:
            what = f"no component for channel {name!r}"
            raise InputError(
                "SK-V060", what, where=source.path, expected=f"component {source.component}", got=f"components 0 to {count - 1}"
            )
        volume = Volume(whole.array[..., source.component], whole.affine, whole.header, whole.path, whole.notices)
    largest = np.finfo(np.float32).max
    if volume.array.dtype == np.float64 and (volume.array.max() > largest or volume.array.min() < -largest):
        got = f"{volume.array.min():.6g} to {volume.array.max():.6g}"
        raise InputError("SK-V062", "intensities too large", where=source.path, expected="values that float32 holds", got=got)
    return volume


def _agree(first: Volume, other: Volume) -> None:
    difference = same_grid(first.array.shape, first.affine, other.array.shape, other.affine)
    if difference:
        raise InputError(
            "SK-V061",
            "the files of a case are not on one grid",
            where=other.path,
            expected=f"the grid of {first.path}",
            got=difference,
            remedy="register and resample the files of a case onto one grid",
        )
