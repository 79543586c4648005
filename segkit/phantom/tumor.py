"""A glioma: where it sits, how large its parts are, and how they are nested (necrosis in an enhancing rim in edema)."""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from segkit.phantom.fields import ellipsoid, fill, smooth
from segkit.phantom.tissue import CODES

CORE_SHARE = (0.001, 0.05)  # of the brain's volume; the median is 1.3 %
EDEMA_RATIO = (0.8, 5.0)  # edema volume over core volume, log-uniform
WHOLE_SHARE = 0.16  # of the brain's volume: no tumor is larger than this


class Growth(NamedTuple):
    """A kind of tumor. frequency: of patients. inner: tissue of the core within. share: of the core it takes, uniform in this range."""

    frequency: float
    inner: str
    share: tuple[float, float]


# Where the inner tissue takes nearly all, what enhances is a nodule.
GROWTHS = (
    Growth(0.63, "necrosis", (0.10, 0.60)),  # the ring of a glioblastoma; its thickness follows from the share
    Growth(0.15, "necrosis", (0.00, 0.00)),  # solid enhancing
    Growth(0.12, "non-enhancing", (0.94, 0.99)),  # low grade with a nodule
    Growth(0.10, "non-enhancing", (1.00, 1.00)),  # low grade
)


def grow(rng: np.random.Generator, at: np.ndarray, brain: np.ndarray, white: np.ndarray, kind: tuple[float, float]) -> np.ndarray:
    """Tissue codes of one tumor, uint8 [X, Y, Z], 0 where there is none.

    at: points [3, X, Y, Z] of the cube [-1, 1]^3. brain, white: bool [X, Y, Z]. kind: place among tumors by growth and by size, each 0..1.
    The core keeps one voxel off the brain's surface and has edema on every side; a necrosis has core on every side.
    """
    size = int(brain.sum())
    growth = GROWTHS[np.searchsorted(np.cumsum([growth.frequency for growth in GROWTHS[:-1]]), kind[0], side="right")]
    core_share = CORE_SHARE[0] * (CORE_SHARE[1] / CORE_SHARE[0]) ** (kind[1] ** 0.6)  # fewer small ones than log-uniform
    ratio = np.exp(rng.uniform(*np.log(EDEMA_RATIO)))
    inner_share = rng.uniform(*growth.share)

    level = _level(rng, at, core_share)
    core = fill(level, ndimage.binary_erosion(brain), max(1, round(core_share * size)))
    whole_share = min(core_share * (1 + ratio), WHOLE_SHARE)
    creep = level + 0.6 * smooth(rng, brain.shape, 9) - 1.2 * white  # edema follows the white matter
    whole = fill(np.where(core, -np.inf, creep), brain, round(whole_share * size)) | (ndimage.binary_dilation(core) & brain)

    tumor = np.where(core, CODES["enhancing"], np.where(whole, CODES["edema"], 0)).astype(np.uint8)
    tumor[_inside(rng, core, growth, inner_share)] = CODES[growth.inner]
    return tumor


def _level(rng: np.random.Generator, at: np.ndarray, core_share: float) -> np.ndarray:
    """Level whose lowest `core_share` is the core: distance to three random blobs, in core radii, roughened by two noises."""
    shape = at.shape[1:]
    radius = 0.85 * float(np.cbrt(core_share))  # of a ball of this share of the brain, which fills 2.6 of the cube's 8
    direction = rng.standard_normal(3)
    center = np.array([0.56, 0.68, 0.60]) * direction / np.linalg.norm(direction) * rng.uniform(0.25, 1.0)
    blobs = center + 0.45 * radius * rng.standard_normal((3, 3))
    stretches = np.exp(0.25 * rng.standard_normal((3, 3)))
    reaches = [ellipsoid(at / np.float32(radius), blob / radius, stretch) for blob, stretch in zip(blobs, stretches, strict=True)]
    cells = int(np.clip(1.2 / radius, 5, 16))
    return np.minimum.reduce(reaches) + 0.28 * smooth(rng, shape, cells) + 0.16 * smooth(rng, shape, 2 * cells)


def _inside(rng: np.random.Generator, core: np.ndarray, growth: Growth, share: float) -> np.ndarray:
    """The part of the core that does not enhance: its depths for a ring, all but one nodule for a low-grade tumor."""
    roughness = smooth(rng, core.shape, 12)
    count = round(share * core.sum())
    if growth.inner == "necrosis":
        depth = ndimage.distance_transform_edt(core)
        return fill(-depth * np.exp(0.3 * roughness), depth > 1, count)  # depth 1 touches the outside by a face
    return fill(roughness, core, count)
