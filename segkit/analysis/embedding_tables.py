"""What class embeddings are written as: a table of classes, a table of channels, and all arrays."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from segkit.analysis.embedding_comparison import GROUPS, READINGS, Comparison
from segkit.analysis.observe import SPLITS
from segkit.analysis.sheet import Cell, write_sheet
from segkit.config.atomic import atomic

CLASSES = (
    "class", "split", "group", "weights", "n", "cases", "n_most",
    "n_used50", "n_used90", "H", "PR", "n_equal", "H_equal", "PR_equal",
    "share_K", "J", "J_chance", "r", "ci_lo", "ci_hi", "gap", "recall",
)  # fmt: skip
CHANNELS = ("class", "group", "weights", "channel", "rank", "F_training", "F_test", "M_training", "M_test", "shift", "ci_lo", "ci_hi")


def write_classes(path: Path, comparison: Comparison) -> None:
    """`embeddings.csv`: a line a class, split, group and reading of the weights.

    n: voxels; of a case at most n_most of the class count. H: diversity, PR: participation ratio, both also from n_equal voxels. J with
    J_chance = K / D. In lines of the test split: r with its interval, and the range gap. In lines of the group `all`: recall. An empty
    cell is not applicable, or without voxels.
    """
    write_sheet(path, CLASSES, _class_rows(comparison))


def _class_rows(comparison: Comparison) -> Iterator[list[Cell]]:
    for index, name in enumerate(comparison.classes):
        for split in SPLITS:
            for group in GROUPS:
                for reading in READINGS:
                    one, match = comparison.portraits[reading, split, group, index], comparison.matches[reading, group, index]
                    between = (match.ratio, *match.ratio_interval, match.range_gap) if split == "test" else (math.nan,) * 4
                    recall = comparison.recall[split, index] if group == "all" else math.nan
                    numbers = (one.used50, one.used90, one.diversity, one.participation)
                    equal = (one.equal, one.equal_diversity, one.equal_participation)
                    values = (*numbers, *equal, one.share, one.overlap, comparison.chance, *between, recall)
                    yield [name, split, group, reading, one.voxels, one.cases, comparison.most[index], *map(_cell, values)]


def write_channels(path: Path, comparison: Comparison) -> None:
    """`embeddings_channels.csv`: a line a class, group, reading of the weights and channel.

    rank: 1 to K where the channel is one of the class's own. F: frequency, M: magnitude. shift: M_test - M_training, with an interval where
    there is a rank; over the channels (raw, all) it adds up to the shift of the mean logit of the class.
    """
    write_sheet(path, CHANNELS, _channel_rows(comparison))


def _channel_rows(comparison: Comparison) -> Iterator[list[Cell]]:
    for index, name in enumerate(comparison.classes):
        for group in GROUPS:
            for reading in READINGS:
                training, test = (comparison.portraits[reading, split, group, index] for split in SPLITS)
                match, top = comparison.matches[reading, group, index], list(comparison.top[reading, index])
                for channel in range(comparison.channels):
                    pairs = ((one.frequency[channel], one.magnitude[channel]) for one in (training, test))
                    (f, m), (f_test, m_test) = pairs
                    rank = top.index(channel) + 1 if channel in top else None
                    values = (f, f_test, m, m_test, match.shift[channel], *match.interval[channel])
                    yield [name, group, reading, channel, rank, *map(_cell, values)]


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """`embeddings.npz`."""
    with atomic(path) as temporary:
        np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]


def _cell(value: float) -> Cell:
    """None where it is not applicable; a number of numpy as one of Python."""
    return None if math.isnan(value) else value if isinstance(value, int) else float(value)
