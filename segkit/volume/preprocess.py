"""From files to a case on the network's grid: oriented, resampled, normalized, cropped."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, PositiveFloat, field_validator

from segkit.config.errors import InputError
from segkit.config.settings import Settings, UserPath
from segkit.volume.case import Case, CaseFiles
from segkit.volume.geometry import Native, Shape
from segkit.volume.intensity import Intensity, ZScore, intensities
from segkit.volume.labels import IGNORED, ClassMap
from segkit.volume.roi import Roi, body, everything, from_mask, nonzero
from segkit.volume.scans import Scans, read_scans

DIRECTIONS = ("LR", "PA", "IS")


class Preprocess(Settings):
    """What is done to a scan before the network sees it."""

    orientation: str | None = Field("RAS", description="axis codes such as RAS or LPS; null keeps the axes as stored")
    spacing_mm: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None = Field(None, description="null keeps the native grid")
    dtype: Literal["float16", "float32"] = Field("float16", description="of the stored images")
    crop: Literal["roi", "nonzero", "none"] = Field("roi", description="the box that is kept, with a margin for the network's border")
    intensity: Annotated[Intensity, intensities] = ZScore()
    store: UserPath | None = Field(None, description="folder of preprocessed cases; null is .segkit/store beside the recipe")

    @field_validator("orientation")
    @classmethod
    def _three_directions(cls, codes: str | None) -> str | None:
        if codes is not None and (len(codes) != 3 or not all(any(code in pair for code in codes) for pair in DIRECTIONS)):
            raise ValueError(f"orientation must have one of L R, one of P A and one of I S, such as 'RAS', got {codes!r}")
        return codes


def prepare(
    files: CaseFiles,
    settings: Preprocess,
    *,
    roi: Roi,
    class_map: ClassMap | None,
    margin: int,
    accept_sform: bool = False,
) -> Case:
    """Reads a case and brings it onto the network's grid.

    roi: how the region of interest is found. class_map: None leaves the label unread. margin: voxels kept around the crop box, as far as
    the volume goes (how far the network's lattices reach beyond its output). Raises InputError naming the file.
    """
    scans = read_scans(files, label=class_map is not None, mask=roi == "file", accept_sform=accept_sform)
    native_region = _region(scans, roi, files)
    shape: Shape = native_region.shape
    whole = Native.plan(shape, scans.channels[0].affine, settings.orientation, settings.spacing_mm)
    region = whole.mask_to_network(native_region)
    if not region.any():
        remedy = "choose a finer preprocess.spacing_mm"
        raise InputError("SK-V053", "nothing of the ROI is left after resampling", where=files.roi or files.id, remedy=remedy)
    native = _crop(whole, region, scans, settings.crop, margin)
    label, outside = _label(scans, class_map, whole, native)
    return Case(
        id=files.id,
        image=_image(scans, settings, region, whole, native),
        label=label,
        roi=region[native.box].copy(),
        native=native,
        classes=0 if class_map is None else len(class_map.names),
        outside=outside,
        notices=scans.notices,
    )


def _region(scans: Scans, roi: Roi, files: CaseFiles) -> np.ndarray:
    if roi == "nonzero":
        return nonzero(scans.channels)
    if roi == "body":
        return body(scans.channels[0])
    if roi == "none":
        return everything(scans.channels)
    if scans.mask is None:
        remedy = "pass --roi PATH, or set dataset.roi to nonzero, body or none"
        raise InputError("SK-V054", "no ROI mask", where=files.id, expected="a mask file (dataset.roi is file)", remedy=remedy)
    return from_mask(scans.mask)


def _crop(whole: Native, region: np.ndarray, scans: Scans, crop: str, margin: int) -> Native:
    """The box around what is to be kept, enlarged by the margin."""
    if crop == "none":
        return whole
    kept = region if crop == "roi" else whole.mask_to_network(nonzero(scans.channels))
    start, stop = [], []
    for axis in range(3):
        occupied = np.flatnonzero(kept.any(axis=tuple({0, 1, 2} - {axis})))
        start.append(max(0, int(occupied[0]) - margin))
        stop.append(min(kept.shape[axis], int(occupied[-1]) + 1 + margin))
    return whole.cropped((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def _label(scans: Scans, class_map: ClassMap | None, whole: Native, native: Native) -> tuple[np.ndarray | None, int]:
    """Class indices in the box, and how many voxels of a class were cut off with the rest."""
    if scans.label is None or class_map is None:
        return None, 0
    label = whole.label_to_network(class_map.encode(scans.label.array, str(scans.label.path)))
    kept = label[native.box].copy()
    return kept, _labeled(label) - _labeled(kept)


def _labeled(label: np.ndarray) -> int:
    return int(((label != 0) & (label != IGNORED)).sum())


def _image(scans: Scans, settings: Preprocess, region: np.ndarray, whole: Native, native: Native) -> np.ndarray:
    """[M, x, y, z] in the stored dtype. Normalized before the cut, so that statistics never depend on the box."""
    image = np.empty((len(scans.channels), *native.network_shape), dtype=settings.dtype)
    largest = float(np.finfo(image.dtype).max)
    for place, channel in zip(image, scans.channels, strict=True):
        try:
            values = settings.intensity(whole.image_to_network(channel.array), region)
        except InputError as error:  # the plug-in knows no file
            raise InputError(
                error.code, error.what, where=channel.path, expected=error.expected, got=error.got, remedy=error.remedy
            ) from None
        extreme = float(np.abs(values).max())
        if not extreme <= largest:
            expected, remedy = f"magnitudes up to {largest:g}", "clip the intensities (percentile_clip) or store float32"
            raise InputError(
                "SK-V055", f"values too large for {image.dtype}", where=channel.path, expected=expected, got=f"{extreme:g}", remedy=remedy
            )
        place[...] = values[native.box]
    return image
