"""Memory of batches: used again as soon as nothing reads it any more."""

import weakref
from collections import defaultdict

import numpy as np
import torch
from torch import Tensor


class Memory:
    """Lends tensors whose memory returns when the last tensor over it is gone.

    New memory costs more than filling it: the system clears it and hands it over page by page. A batch is as large as the last one.
    """

    def __init__(self) -> None:
        self._spare = defaultdict[tuple[tuple[int, ...], str], list[np.ndarray]](list)

    def lend(self, shape: tuple[int, ...], dtype: str) -> Tensor:
        """A tensor of a numpy dtype, its values left as they are."""
        spare = self._spare[shape, dtype]
        try:
            block = spare.pop()
        except IndexError:
            block = torch.empty(shape, dtype=getattr(torch, dtype)).numpy()  # aligned for vector code, as numpy's is not
        lent = block.view()  # which torch keeps for as long as any tensor, view or graph reads the memory
        weakref.finalize(lent, spare.append, block).atexit = False
        return torch.from_numpy(lent)
