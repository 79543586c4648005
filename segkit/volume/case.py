"""One case: first as files, then as arrays on the network's grid."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segkit.volume.geometry import Native


@dataclass(frozen=True)
class Source:
    """Where one channel is: a file, or one component of a 4D file."""

    path: Path
    component: int | None = None


@dataclass(frozen=True)
class CaseFiles:
    """What a data set knows of a case before anything is read.

    patient: cases that share it stay on one side of every split.
    """

    id: str
    channels: Mapping[str, Source]  # in the recipe's order
    label: Path | None = None
    roi: Path | None = None
    patient: str | None = None


@dataclass(frozen=True)
class Case:
    """A case on the network's grid, and the way back.

    classes: how many the label's map counts, the background included; 0 without a map. outside: voxels of a class that lie outside the box
    and train nothing (they are scored all the same). notices: what the reader took in one of several ways.
    """

    id: str
    image: np.ndarray  # [M, X, Y, Z], the stored dtype
    label: np.ndarray | None  # uint8 [X, Y, Z] class indices, IGNORED where none
    roi: np.ndarray  # bool [X, Y, Z]
    native: Native
    classes: int = 0
    outside: int = 0
    notices: tuple[str, ...] = ()
