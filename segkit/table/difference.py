"""A row of a table against its counterpart: the test of a column, its correction, and when a difference is marked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from segkit.statistics.correction import holm
from segkit.statistics.paired import Paired, compare_pairs
from segkit.statistics.seeds import seeds_p
from segkit.table.scores import ByCase, mean_of
from segkit.table.spec import Spec

LEVEL = 0.05  # of the tests, after correction
Key = tuple[str, float, str]  # row, fraction, metric: a cell of a block


@dataclass(frozen=True)
class Difference:
    """A row (method B) against its counterpart (A), of so many seeds each.

    paired: case by case, seeds averaged first; p_seeds: between the means of the seeds. corrected, seeds_corrected: their p by Holm over
    the rows of a column; None where no test was possible.
    """

    paired: Paired
    corrected: float | None
    seeds: int
    p_seeds: float | None
    seeds_corrected: float | None

    @property
    def significant(self) -> bool:
        """At LEVEL, after correction: over cases and, with several seeds, over seeds too.

        The one alone says that these networks differ on other cases, the other one that networks of other seeds differ on these cases.
        Each is corrected: a row whose method is no better but whose networks are is kept from a mark by its p over seeds alone.
        """
        needed = (self.corrected,) if self.seeds == 1 else (self.corrected, self.seeds_corrected)
        return all(p is not None and p < LEVEL for p in needed)


def differences(spec: Spec, values: Mapping[Key, Mapping[int, ByCase]], column: Sequence[Key]) -> dict[Key, Difference]:
    """Of the rows of a column that have a counterpart, where all seeds of both are done. values: of each cell, by seed."""
    tests: dict[Key, tuple[Paired, float | None]] = {}
    for row, fraction, metric in column:
        against = spec.rows[row].against
        if against is None:
            continue
        ours, theirs = (row, fraction, metric), (against, fraction, metric)
        if len(values[ours]) == len(values[theirs]) == len(spec.seeds):
            before, after = _over_seeds(values[theirs]), _over_seeds(values[ours])
            cases = dict.fromkeys([*before, *after])
            paired = compare_pairs([before.get(case) for case in cases], [after.get(case) for case in cases])
            first, second = ([[seed.get(case) for case in cases] for seed in values[key].values()] for key in (theirs, ours))
            tests[ours] = (paired, seeds_p(first, second))
    over_cases, over_seeds = holm([paired.p for paired, _ in tests.values()]), holm([p for _, p in tests.values()])
    return {
        key: Difference(paired, corrected, len(spec.seeds), p_seeds, seeds_corrected)
        for (key, (paired, p_seeds)), corrected, seeds_corrected in zip(tests.items(), over_cases, over_seeds, strict=True)
    }


def _over_seeds(seeds: Mapping[int, ByCase]) -> ByCase:
    """The mean over seeds of each case; None where it has no value in one of them."""
    cases = dict.fromkeys(case for found in seeds.values() for case in found)
    by_case = {case: [found.get(case) for found in seeds.values()] for case in cases}
    return {case: None if None in values else mean_of(values) for case, values in by_case.items()}
