"""The rows with the lowest keys: a random sample of bounded size, where keys are random."""

import numpy as np


class Lowest:
    """Of all rows that were added those with the lowest keys, at most `most`; the others are forgotten.

    What is kept depends neither on the order in which rows come nor on the parts they come in, so samples of parts merge into the sample
    of the whole. Between calls up to twice `most` rows are in memory.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.limit = np.inf  # a row whose key is not below it cannot be kept
        self._parts: list[tuple[np.ndarray, ...]] = []
        self._held = 0

    @property
    def empty(self) -> bool:
        """Whether nothing was added."""
        return not self._parts

    def add(self, key: np.ndarray, *columns: np.ndarray) -> None:
        """key: [n]. columns: facts of the same n rows, [n, ...] each, of the same kinds in every call."""
        self._parts.append((key, *columns))
        self._held += len(key)
        if self._held > 2 * self.most:
            self.rows()

    def rows(self) -> tuple[np.ndarray, ...]:
        """key and columns, by ascending key. Something (if only of length 0) must have been added."""
        key, *columns = (np.concatenate(part) for part in zip(*self._parts, strict=True))
        order = np.argsort(key, kind="stable")[: self.most]
        kept = key[order], *(column[order] for column in columns)
        self._parts, self._held = [kept], len(order)
        if self._held == self.most:
            self.limit = float(kept[0][-1])
        return kept
