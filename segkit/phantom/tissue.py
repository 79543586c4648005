"""The brain's tissues: how bright each is in each MR channel, and which label value experts give it."""

from typing import NamedTuple

import numpy as np

CHANNELS = ("flair", "t1", "t1ce", "t2")
NECROSIS, EDEMA, ENHANCING = 1, 2, 4  # label values of BraTS 2017


class Tissue(NamedTuple):
    """label: BraTS value. signal: brightness in CHANNELS, white matter in T1 is 0.84. varies: its relative deviation."""

    label: int
    signal: tuple[float, float, float, float]
    varies: float = 0.05


# The overlaps are on purpose: vessels and choroid plexus shine like enhancing tumor in T1ce, white-matter spots look like edema in FLAIR,
# CSF is as bright as necrosis in T2, and a tumor that does not enhance differs from its edema by little.
TISSUES = {
    "outside": Tissue(0, (0.0, 0.0, 0.0, 0.0), 0.0),
    "csf": Tissue(0, (0.25, 0.28, 0.28, 1.30)),
    "gray": Tissue(0, (0.72, 0.64, 0.68, 0.76)),
    "white": Tissue(0, (0.60, 0.84, 0.87, 0.56)),
    "deep gray": Tissue(0, (0.66, 0.72, 0.75, 0.68)),
    "spot": Tissue(0, (0.98, 0.68, 0.70, 0.92), 0.10),
    "vessel": Tissue(0, (0.42, 0.55, 1.30, 0.50), 0.10),
    "choroid plexus": Tissue(0, (0.62, 0.52, 1.12, 0.95), 0.10),
    "edema": Tissue(EDEMA, (0.98, 0.64, 0.66, 1.02), 0.08),
    "enhancing": Tissue(ENHANCING, (0.88, 0.64, 1.25, 0.92), 0.10),
    "necrosis": Tissue(NECROSIS, (0.58, 0.46, 0.50, 1.12), 0.15),
    "non-enhancing": Tissue(NECROSIS, (0.92, 0.55, 0.60, 1.10), 0.10),
}
CODES = {name: code for code, name in enumerate(TISSUES)}
LABELS = np.array([tissue.label for tissue in TISSUES.values()], np.uint8)


def signals(rng: np.random.Generator) -> np.ndarray:
    """Brightness of every tissue in every channel for one patient, float32 [tissue, channel]."""
    mean = np.array([tissue.signal for tissue in TISSUES.values()])
    varies = np.array([[tissue.varies] for tissue in TISSUES.values()])
    return (mean * np.clip(1 + varies * rng.standard_normal(mean.shape), 0.6, 1.4)).astype(np.float32)
