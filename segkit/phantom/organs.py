"""The thirteen organs of BTCV: number, true volume, place and X-ray density.

Millimeters from the body's center in patient coordinates (Right, Anterior, Superior); milliliters; Hounsfield units (HU).
"""

from dataclasses import dataclass

import numpy as np

from segkit.phantom.fields import Vector, ellipsoid, tilt, tube


@dataclass(frozen=True)
class Organ:
    """value: BTCV's number. volume_ml: mean over patients. hu: density early and late after the injection; a patient is between the two.

    path: (Right, Anterior, Superior, radius) along a tube. lobes: (center, radii) of ellipsoids whose union is the organ.
    roams: deviation of its place between patients, mm.
    """

    value: int
    volume_ml: float
    hu: tuple[float, float]
    path: tuple[tuple[float, float, float, float], ...] = ()
    lobes: tuple[tuple[Vector, Vector], ...] = ()
    roams: float = 4.0


# In the order of filling: a later organ takes what earlier ones left, so thin ones come first.
ORGANS = {
    "right adrenal": Organ(12, 4.0, (55, 75), path=((26, -38, 34, 2.5), (30, -40, 50, 2.5), (36, -46, 36, 2))),
    "left adrenal": Organ(13, 4.5, (55, 75), path=((-38, -44, 28, 2), (-32, -36, 46, 2.5), (-26, -42, 30, 2))),
    "gallbladder": Organ(4, 30, (12, 16), lobes=(((50, 38, 8), (15, 26, 15)),), roams=6),
    "esophagus": Organ(5, 20, (40, 60), path=((-2, -26, 150, 8), (-6, -22, 118, 8), (-18, -10, 98, 9)), roams=2),
    "aorta": Organ(8, 80, (290, 150), path=((-12, -36, 150, 12), (-7, -32, 80, 11), (-5, -28, -20, 10), (-4, -26, -85, 9)), roams=2),
    "inferior vena cava": Organ(
        9, 65, (100, 145), path=((20, -10, 105, 11), (20, -22, 60, 11), (18, -26, -10, 10), (14, -28, -85, 10)), roams=2
    ),
    "portal and splenic veins": Organ(
        10, 30, (90, 160), path=((-78, -36, 48, 4), (-42, -16, 36, 5), (2, -2, 22, 7), (24, 4, 42, 7), (48, 6, 56, 5)), roams=2
    ),
    "right kidney": Organ(2, 150, (130, 185), lobes=(((60, -46, -25), (26, 24, 54)),), roams=6),
    "left kidney": Organ(3, 155, (130, 185), lobes=(((-60, -48, -8), (26, 24, 54)),), roams=6),
    "pancreas": Organ(11, 80, (70, 100), path=((26, 0, -12, 14), (18, 10, 12, 13), (-10, 12, 30, 9), (-46, -6, 42, 10), (-70, -24, 48, 8))),
    "spleen": Organ(1, 200, (80, 120), lobes=(((-104, -38, 68), (22, 42, 48)),), roams=5),
    "stomach": Organ(
        7,
        320,
        (30, 45),
        path=((-20, -8, 96, 16), (-62, 8, 92, 32), (-66, 36, 44, 26), (-38, 56, 8, 20), (6, 46, 0, 14), (26, 30, 4, 11)),
        roams=5,
    ),
    "liver": Organ(6, 1500, (65, 112), lobes=(((68, -4, 62), (66, 78, 72)), ((2, 34, 82), (66, 42, 36))), roams=5),
}
SPREADS = {"stomach": 0.30, "gallbladder": 0.35, "spleen": 0.25}  # relative deviation of the volume between patients where it is not 0.15


def reach(rng: np.random.Generator, name: str, at: np.ndarray) -> tuple[float, np.ndarray]:
    """One patient's organ: its volume in ml and its level [...] in mm at the points `at` [3, ...]."""
    organ = ORGANS[name]
    volume_ml = organ.volume_ml * float(np.clip(np.exp(SPREADS.get(name, 0.15) * rng.standard_normal()), 0.6, 1.6))
    shift, turn = organ.roams * np.clip(rng.standard_normal(3), -2, 2), tilt(rng, 6)
    size = np.cbrt(volume_ml / organ.volume_ml)
    if organ.path:
        path = np.array(organ.path)
        bends = np.clip(rng.standard_normal((len(path), 3)), -2, 2)
        return volume_ml, tube(at, path[:, :3] + shift + 0.4 * organ.roams * bends, tuple(size * path[:, 3]))
    levels = [ellipsoid(at, np.asarray(center) + shift, size * np.asarray(radii), turn) for center, radii in organ.lobes]
    return volume_ml, np.minimum.reduce(levels)


def near(name: str, at: np.ndarray, margin: float = 35.0) -> tuple[slice, slice, slice]:
    """The box of voxels within `margin` mm of an organ's mean place. at: undeformed points [3, X, Y, Z] of a box along the axes."""
    organ = ORGANS[name]
    parts = list(organ.lobes) + [(knot[:3], (knot[3],) * 3) for knot in organ.path]
    centers, radii = np.array(parts).swapaxes(0, 1)
    low, high = (centers - radii).min(axis=0) - margin, (centers + radii).max(axis=0) + margin
    along = (at[0, :, 0, 0], at[1, 0, :, 0], at[2, 0, 0, :])
    spans = [np.flatnonzero((line >= low[i]) & (line <= high[i])) for i, line in enumerate(along)]
    x, y, z = (slice(int(span[0]), int(span[-1]) + 1) for span in spans)
    return x, y, z


def voxels(volume_ml: float, spacing_mm: Vector) -> int:
    """How many voxels hold a volume; at least 1, so that no organ is lost on a coarse grid."""
    return max(1, round(1000 * volume_ml / float(np.prod(spacing_mm))))
