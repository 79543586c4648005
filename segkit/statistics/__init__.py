"""Whether a difference is more than chance: paired cases, seeds, intervals, corrections. Free of torch."""

from segkit.statistics.bootstrap import Interval, difference_interval, mean_interval, resampled
from segkit.statistics.correction import holm
from segkit.statistics.paired import Paired, compare_pairs
from segkit.statistics.seeds import seeds_p

__all__ = ["Interval", "Paired", "compare_pairs", "difference_interval", "holm", "mean_interval", "resampled", "seeds_p"]
