"""A row of a table against its counterpart: the test of a column, its correction, and when a difference is marked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from segkit.statistics.correction import holm
from segkit.statistics.paired import Paired, compare_pairs
from segkit.table.scores import ByCase, mean_of
from segkit.table.spec import Spec

LEVEL = 0.05  # of the tests, after correction
Key = tuple[str, float, str]  # row, fraction, metric: a cell of a block


@dataclass(frozen=True)
class Difference:
    """A row (method B) against its counterpart (A). corrected: p by Holm over the rows of its column; None where no test was possible."""

    paired: Paired
    corrected: float | None

    @property
    def significant(self) -> bool:
        """At LEVEL, after correction."""
        return self.corrected is not None and self.corrected < LEVEL


def differences(spec: Spec, values: Mapping[Key, Mapping[int, ByCase]], column: Sequence[Key]) -> dict[Key, Difference]:
    """Of the rows of a column that have a counterpart, where all seeds of both are done. values: of each cell, by seed."""
    tests: dict[Key, Paired] = {}
    for row, fraction, metric in column:
        against = spec.rows[row].against
        if against is None:
            continue
        ours, theirs = (row, fraction, metric), (against, fraction, metric)
        if len(values[ours]) == len(values[theirs]) == len(spec.seeds):
            before, after = _over_seeds(values[theirs]), _over_seeds(values[ours])
            cases = dict.fromkeys([*before, *after])
            tests[ours] = compare_pairs([before.get(case) for case in cases], [after.get(case) for case in cases])
    corrected = holm([test.p for test in tests.values()])
    return {key: Difference(test, p) for (key, test), p in zip(tests.items(), corrected, strict=True)}


def _over_seeds(seeds: Mapping[int, ByCase]) -> ByCase:
    """The mean over seeds of each case; None where it has no value in one of them."""
    cases = dict.fromkeys(case for found in seeds.values() for case in found)
    by_case = {case: [found.get(case) for found in seeds.values()] for case in cases}
    return {case: None if None in values else mean_of(values) for case, values in by_case.items()}
