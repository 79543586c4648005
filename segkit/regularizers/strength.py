"""How much more a class is weakened the larger it is."""

from typing import Literal

import torch
from torch import Tensor

Law = Literal["log", "power", "step"]

GAMMA = 0.5  # of the law `power` where none is given


def strengths(law: Law, gamma: float, counts: Tensor, rare: Tensor) -> Tensor:
    """s of each class, [C], from voxels met, float64 [C]; rare: bool [C]."""
    least, most = counts.masked_fill(counts == 0, torch.inf).min(), counts.max()
    if law == "log":
        s = (counts / least).log() / (most / least).log()
    elif law == "power":
        s = 1 - (least / counts) ** gamma
    else:
        s = (~rare).to(counts.dtype)
    return s.masked_fill(~(counts > least), 0.0)
