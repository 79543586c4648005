"""The region of interest: where a brain or a body is, on the native grid."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy import ndimage

from segkit.config.errors import InputError
from segkit.volume.nifti import Volume

Roi = Literal["file", "nonzero", "body", "none"]

AIR_HU = -500.0  # halfway between air (-1000) and water (0)


def from_mask(mask: Volume) -> np.ndarray:
    """bool [X, Y, Z]: above one half, so that a mask of 0.99999997 is a mask. An empty one is an error (SK-V050)."""
    inside = mask.array > 0.5
    if not inside.any():
        got = f"largest value {mask.array.max():g}"
        raise InputError("SK-V050", "the ROI mask is empty", where=mask.path, expected="a voxel above 0.5", got=got)
    return inside


def nonzero(channels: Sequence[Volume]) -> np.ndarray:
    """bool [X, Y, Z]: any channel differs from exactly 0. A scan whose background is another constant is wholly inside."""
    inside = np.any([channel.array != 0 for channel in channels], axis=0)
    if not inside.any():
        raise InputError("SK-V051", "all channels are zero everywhere", where=channels[0].path, expected="a nonzero voxel")
    return inside


def body(ct: Volume) -> np.ndarray:
    """bool [X, Y, Z]: the body in a CT in Hounsfield units.

    The largest 6-connected part above -500 HU, with what it encloses in each axial slice (lungs, bowel gas) filled in.
    """
    dense = ct.array > AIR_HU
    if not dense.any():
        got = f"at most {ct.array.max():g}"
        raise InputError("SK-V052", "no body in the CT", where=ct.path, expected=f"voxels above {AIR_HU:g} HU", got=got, remedy="roi: none")
    parts, _ = ndimage.label(dense)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return _filled(parts == sizes.argmax(), _axial_axis(ct.affine))


def everything(channels: Sequence[Volume]) -> np.ndarray:
    """bool [X, Y, Z]: all voxels."""
    return np.ones(channels[0].array.shape, dtype=bool)


def _axial_axis(affine: np.ndarray) -> int:
    """The voxel axis nearest to the head-foot direction."""
    return int(np.abs(affine[2, :3] / np.linalg.norm(affine[:3, :3], axis=0)).argmax())


def _filled(inside: np.ndarray, axial: int) -> np.ndarray:
    """Holes of each slice filled: what is outside is connected to the slice's border within the slice."""
    within_slice = ndimage.generate_binary_structure(3, 1)
    within_slice[tuple(slice(None) if axis == axial else 1 for axis in range(3))] = False
    within_slice[1, 1, 1] = True
    parts, count = ndimage.label(~inside, within_slice)
    outside = np.zeros(count + 1, dtype=bool)
    for axis in {0, 1, 2} - {axial}:
        outside[np.take(parts, (0, -1), axis)] = True
    outside[0] = False  # part 0 is the body itself
    return ~outside[parts]
