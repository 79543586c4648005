"""The torso around the organs: skin, fat, muscle, ribs, spine, the couch beneath, and the cavity that is left for organs."""

from typing import NamedTuple

import numpy as np

from segkit.phantom.fields import ellipsoid, smooth, tube

AIR, LUNG, FAT, FLUID, MUSCLE, DISK, SPONGY_BONE, BONE = -1000.0, -830.0, -105.0, 10.0, 55.0, 90.0, 220.0, 600.0  # HU
HALF_WIDTH, HALF_DEPTH = 154.0, 108.0  # mm, of the mean patient
COUCH, COUCH_BELOW, COUCH_MM = -250.0, 146.0, 12.0  # HU; mm below the middle of the body; mm thick
VERTEBRA_MM, RIB_MM = 32.0, 27.0  # one vertebra, one rib and the gap to the next


class Body(NamedTuple):
    """hu: density [X, Y, Z]. cavity: where organs may be, bool. chest: the part of the cavity above the diaphragm, bool."""

    hu: np.ndarray
    cavity: np.ndarray
    chest: np.ndarray


def body(rng: np.random.Generator, at: np.ndarray, still: np.ndarray) -> Body:
    """One patient's frame. at: deformed points [3, X, Y, Z] in mm; still: the same before the deformation, for the couch."""
    x, y, z = at
    fat_mm, wall_mm = rng.uniform(6, 26), rng.uniform(9, 14)
    skin = (1 - np.sqrt((x / HALF_WIDTH) ** 2 + (y / HALF_DEPTH) ** 2)) * np.sqrt(HALF_WIDTH * HALF_DEPTH)  # mm inward, nearly
    wall = (skin - fat_mm) / wall_mm  # 0 on its outside, 1 on its inside
    hu = np.where(skin > 0, FAT, AIR).astype(np.float32)
    hu[(skin > 0) & (skin < 2.5)] = 0.0
    hu[(wall > 0) & (wall < 1)] = MUSCLE
    slant = (z - 0.8 * y + 0.2 * np.abs(x)) / RIB_MM
    ribs = (np.abs(wall - 0.55) < 0.3) & (np.abs(slant % 1 - 0.5) < 0.22) & (z > -20 + 0.6 * y)
    hu[ribs] = BONE
    solid = _paint_back(at, hu)
    hollow = still[1] + COUCH_BELOW - 0.0006 * np.square(still[0])  # mm above the couch, which is bent up at its sides
    hu[(np.abs(hollow) < COUCH_MM / 2) & (skin < 0) & (np.abs(still[0]) < 165)] = COUCH
    cavity = (wall > 1) & ~solid
    dome = 126 - 0.008 * ((np.abs(x) - 60) ** 2 + y**2) + 5 * smooth(rng, z.shape, 4)
    return Body(hu, cavity, cavity & (z > dome))


def _paint_back(at: np.ndarray, hu: np.ndarray) -> np.ndarray:
    """Muscles of the back, psoas and spine into `hu`; returns where they are, bool."""
    x, y, z = np.abs(at[0]), at[1], at[2]
    half = np.stack([x, y, z])
    back = np.hypot((x - 34) / 30, (y + 80) / 20) < 1
    psoas = tube(half, np.array([[28, -58, 20], [36, -54, -60], [58, -40, -170]]), (8, 18, 24)) < 0
    vertebra = np.hypot(x / 23, (y + 58) / 18)
    spine = vertebra < 1
    arch = (ellipsoid(np.stack([x, y, 0 * z]), (0, -86, 0), (26, 14, 30)) < 0) | ((x < 4) & (y < -86) & (y > -104))
    canal = np.hypot(x / 10, (y + 80) / 8) < 1
    hu[back | psoas] = MUSCLE
    hu[arch] = SPONGY_BONE + 120
    hu[spine] = np.where(vertebra[spine] > 0.85, BONE, SPONGY_BONE)
    hu[spine & (np.abs(z / VERTEBRA_MM % 1 - 0.5) < 0.11)] = DISK
    hu[canal] = FLUID
    return back | psoas | spine | arch | canal
