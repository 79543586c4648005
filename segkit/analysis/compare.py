"""Methods compared case by case: scores of runs, seeds of one method averaged, and what of their difference is more than chance."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from segkit.analysis.naming import names_of
from segkit.analysis.scored import Quantity, Scored, Scores
from segkit.config.atomic import atomic
from segkit.config.errors import InputError
from segkit.statistics.correction import holm
from segkit.statistics.paired import Paired, compare_pairs
from segkit.statistics.seeds import seeds_p

DEFAULT_METRICS = ("dice", "sensitivity", "precision")
MANY = 10  # names in a message


@dataclass(frozen=True)
class Line:
    """A method beside the reference in one class or region and metric.

    paired: case by case, seeds averaged first; p_seeds: between the means of the seeds, None where there is no such test (see `seeds_p`).
    p_holm, p_seeds_holm: the p of each, corrected for all comparisons of that metric.
    """

    structure: str
    metric: str
    method: str
    paired: Paired
    p_holm: float | None
    p_seeds: float | None
    p_seeds_holm: float | None


def compare(methods: Mapping[str, Sequence[Scores]]) -> list[Line]:
    """Each method with the first one, in every class or region and metric that all have; in the order of the first one's.

    methods: the scores of each method's seeds. p values are corrected by Holm over methods x classes within a metric. A metric is one
    question ("does any method change the Dice of any class?") asked in many places; metrics are several readings of one and the same
    prediction, and each is read by itself. The p over seeds are corrected likewise: they are asked in as many places, and where methods
    are equal but their networks are not, they alone keep false alarms rare.

    Raises ValueError for fewer than two methods, or where a quantity has other cases in one method than in another.
    """
    (reference, seeds), *others = methods.items()
    if not others:
        raise ValueError("expected at least two methods")
    means = {name: averaged(each) for name, each in methods.items()}
    shared = [quantity for quantity in means[reference] if all(quantity in other for other in means.values())]
    lines = []
    for metric in dict.fromkeys(metric for _, metric in shared):
        compared = []
        for structure in (structure for structure, name in shared if name == metric):
            for method, other in others:
                quantity = (structure, metric)
                a, b = means[reference][quantity], means[method][quantity]
                if set(a) != set(b):
                    raise ValueError(f"{structure} {metric}: {method} has other cases than {reference}")
                cases = sorted(a)
                paired = compare_pairs([a[case] for case in cases], [b[case] for case in cases])
                first, second = ([[seed[quantity][case] for case in cases] for seed in each] for each in (seeds, other))
                compared.append((structure, method, paired, seeds_p(first, second)))
        over_cases, over_seeds = holm([paired.p for _, _, paired, _ in compared]), holm([p for *_, p in compared])
        lines += [
            Line(structure, metric, method, paired, p_holm, p_seeds, p_seeds_holm)
            for (structure, method, paired, p_seeds), p_holm, p_seeds_holm in zip(compared, over_cases, over_seeds, strict=True)
        ]
    return lines


def averaged(seeds: Sequence[Scores]) -> dict[Quantity, dict[str, float | None]]:
    """The mean over seeds of each case, in the quantities that all seeds have; None where one of them has no value."""
    means: dict[Quantity, dict[str, float | None]] = {}
    for quantity in (quantity for quantity in seeds[0] if all(quantity in seed for seed in seeds)):
        by_case = {case: [seed[quantity][case] for seed in seeds] for case in seeds[0][quantity]}
        means[quantity] = {case: None if None in values else float(np.mean(values)) for case, values in by_case.items()}  # type: ignore[arg-type]
    return means


@dataclass(frozen=True)
class Method:
    """The seeds of one method. name: the folder of the first one, with as many of those above it as tell the methods apart."""

    name: str
    seeds: tuple[Scored, ...]

    @property
    def scores(self) -> dict[Quantity, dict[str, float | None]]:
        """Averaged over the seeds."""
        return averaged([seed.scores for seed in self.seeds])

    def partial(self) -> dict[Quantity, int]:
        """Cases that have a value in some seeds but not in all, and so none: their number, where there are any."""
        found = {}
        for quantity, means in self.scores.items():
            number = sum(
                mean is None and any(seed.scores[quantity][case] is not None for seed in self.seeds) for case, mean in means.items()
            )
            if number:
                found[quantity] = number
        return found


@dataclass(frozen=True)
class Comparison:
    """Runs compared. methods: the reference first. left_out: classes and regions that are not in every run.

    differing_rules: what the runs' recipes say differently of scoring; where they do, equal names may mean different things.
    """

    methods: tuple[Method, ...]
    lines: tuple[Line, ...]
    units: Mapping[str, str]
    left_out: tuple[str, ...]
    differing_rules: tuple[str, ...]


def compare_runs(folders: Sequence[Path], metrics: Sequence[str] | None = None) -> Comparison:
    """The runs in some folders by their `scores.csv`; the method of the first one is the reference.

    metrics: default those of DEFAULT_METRICS that are there.
    Raises InputError where there is nothing to compare, or where it would not be the same cases.
    """
    runs = [Scored.of(folder) for folder in folders]
    _check_cases(runs)
    methods = _methods(runs)
    shared = [quantity for quantity in runs[0].scores if all(quantity in run.scores for run in runs)]
    names = list(dict.fromkeys(metric for _, metric in shared))
    chosen = [name for name in DEFAULT_METRICS if name in names] if metrics is None else list(dict.fromkeys(metrics))
    if not chosen or not set(chosen) <= set(names):
        raise InputError(
            "SK-A055",
            "not every run has these scores",
            where="--metric" if metrics else "scores.csv",
            expected=f"among {', '.join(names)}" if names else "a class and a metric that all runs have",
            got=", ".join(name for name in metrics or DEFAULT_METRICS if name not in names),
        )
    structures = list(dict.fromkeys(structure for structure, _ in shared))
    left_out = dict.fromkeys(structure for run in runs for structure, _ in run.scores if structure not in structures)
    wanted = [(structure, metric) for metric in chosen for structure in structures if (structure, metric) in shared]
    lines = compare({method.name: [{each: seed.scores[each] for each in wanted} for seed in method.seeds] for method in methods})
    return Comparison(tuple(methods), tuple(lines), runs[0].units, tuple(left_out), _differing_rules(runs, chosen))


def _check_cases(runs: Sequence[Scored]) -> None:
    first = runs[0].cases
    differences = []
    for run in runs[1:]:
        missing, foreign = sorted(first - run.cases), sorted(run.cases - first)
        parts = [f"{word} {_listed(cases)}" for word, cases in (("without", missing), ("with", foreign)) if cases]
        if parts:
            differences.append(f"{run.folder} {' and '.join(parts)}")
    if differences:
        raise InputError(
            "SK-A052",
            "the runs were scored on different cases",
            where=", ".join(str(run.folder) for run in runs),
            expected=f"the {len(first)} cases of {runs[0].folder} in every run",
            got="; ".join(differences),
            remedy="score each of them with segkit evaluate RUN --split test",
        )


def _methods(runs: Sequence[Scored]) -> list[Method]:
    """Runs by method, in their order. Raises InputError for a seed that comes twice, or a single method."""
    groups: list[list[Scored]] = []
    for run in runs:
        group = next((group for group in groups if run.is_seed_of(group[0])), None)
        if group is None:
            groups.append([run])
            continue
        twin = next((other for other in group if other.recipe.train.seed == run.recipe.train.seed), None)
        if twin is not None:
            raise InputError(
                "SK-A053",
                "two runs of one method have the same seed",
                where=f"{twin.folder}, {run.folder}",
                got=f"recipes that differ in nothing that makes a method, train.seed {run.recipe.train.seed} in both",
                remedy="name one of them",
            )
        group.append(run)
    if len(groups) < 2:
        raise InputError(
            "SK-A054",
            "only one method",
            where=", ".join(str(run.folder) for run in runs),
            expected="runs whose recipes differ in more than their seed and where their data lie",
            remedy="name a run of another method too",
        )
    return [Method(name, tuple(group)) for name, group in zip(names_of([group[0].folder for group in groups]), groups, strict=True)]


def _differing_rules(runs: Sequence[Scored], metrics: Sequence[str]) -> tuple[str, ...]:
    """`evaluate.convention: segkit or brats`, for each rule that says different things where it stands."""
    rules = [run.rules(metrics) for run in runs]
    keys = dict.fromkeys(key for each in rules for key in each)
    said = {key: list(dict.fromkeys(each[key] for each in rules if key in each)) for key in keys}
    return tuple(f"{key}: {' or '.join(values)}" for key, values in said.items() if len(values) > 1)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:MANY]) + (f" and {len(names) - MANY} more" if len(names) > MANY else "")


COLUMNS = (
    *("class", "metric", "unit", "reference", "method", "n", "dropped", "mean_reference", "mean_method", "difference", "low", "high"),
    *("test", "p", "p_holm", "p_seeds", "p_seeds_holm", "effect", "higher", "ties", "lower"),
)


def write_comparison(path: Path, comparison: Comparison) -> None:
    """A line a comparison as CSV, at once; an empty value: there is none."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for line in comparison.lines:
        facts = asdict(line.paired) | (asdict(line.paired.interval) if line.paired.interval else {})
        facts |= {"mean_reference": line.paired.mean_a, "mean_method": line.paired.mean_b}
        facts |= {"p_holm": line.p_holm, "p_seeds": line.p_seeds, "p_seeds_holm": line.p_seeds_holm}
        named = {"class": line.structure, "metric": line.metric, "unit": comparison.units[line.metric]}
        writer.writerow(facts | named | {"reference": comparison.methods[0].name, "method": line.method})
    with atomic(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")
