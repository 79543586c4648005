"""Counter-based randomness: a draw depends on what it is for, never on what was drawn before."""

from enum import IntEnum

import numpy as np
import torch


class Purpose(IntEnum):
    """What a stream of numbers is for. The values are part of every run's random numbers: never renumber."""

    CENTER = 1
    AUGMENT = 2
    NOISE = 3
    STEP = 4  # dropout, and what regularizers draw for a whole batch
    WEIGHTS = 5


def host(seed: int, step: int, index: int, purpose: Purpose) -> np.random.Generator:
    """A Philox stream for sample `index` (in the global batch) of step `step`; the same whatever ran before."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, purpose], dtype=np.uint64), counter=[0, 0, index, step]))


class Stream:
    """What `host` gives, ten times as fast: one generator that is led from key to key. It serves one thread, and one key at a time."""

    def __init__(self, seed: int) -> None:
        self._seed, self._generator = seed, host(seed, 0, 0, Purpose.CENTER)
        self._start = dict(self._generator.bit_generator.state)

    def at(self, step: int, index: int, purpose: Purpose) -> np.random.Generator:
        """The stream of a key, from its beginning; that of the last key ends here."""
        self._start["state"] = {"counter": (0, 0, index, step), "key": (self._seed, purpose)}
        self._generator.bit_generator.state = self._start
        return self._generator


def fast_seed(seed: int, step: int, index: int, purpose: Purpose) -> int:
    """A 63-bit seed for torch's generators from the same key, where many numbers a voxel are needed."""
    return int(host(seed, step, index, purpose).integers(2**63))


def fast(seed: int, step: int, index: int, purpose: Purpose, device: torch.device) -> torch.Generator:
    """A torch generator on `device`, seeded from the key."""
    return torch.Generator(device=device).manual_seed(fast_seed(seed, step, index, purpose))
