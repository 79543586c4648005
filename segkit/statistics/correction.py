"""Several tests at once: p values corrected so that one false alarm among all of them stays as rare as promised."""

from collections.abc import Sequence

import numpy as np


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction: with p_(1) <= ... <= p_(m) sorted,  p'_(i) = max over j <= i of min(1, (m - j + 1) p_(j)).

    Rejecting where p' <= a keeps the chance of any false rejection at most a, however the tests depend on one another. The order of p is
    kept. None (no test) stays None and does not count in m. Raises ValueError for a p outside 0..1.
    Source: Holm, Scandinavian Journal of Statistics 1979.
    """
    tested = [index for index, value in enumerate(p) if value is not None]
    values = np.array([p[index] for index in tested], dtype=np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError("expected p values in 0..1")
    order = np.argsort(values, kind="stable")
    steps = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)).clip(max=1)
    corrected: list[float | None] = [None] * len(p)
    for position, value in zip(order, steps, strict=True):
        corrected[tested[position]] = float(value)
    return corrected
