"""`segkit compare`: paired statistics between methods on the same cases."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segkit.cli.session import Session, command

if TYPE_CHECKING:
    from segkit.analysis.compare import Comparison, Line, Method

Runs = Annotated[
    list[Path],
    typer.Argument(metavar="RUN...", help="Scored runs, or items of tables; the first one's method is the reference.", show_default=False),
]
Metrics = Annotated[
    list[str] | None,
    typer.Option("--metric", metavar="NAME", help="Repeatable; default: dice, sensitivity, precision.", show_default=False),
]
Output = Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="The numbers as CSV.", show_default=False)]

SEEDS_HEADER = ("p seeds", "p seeds Holm")


def add_to(app: typer.Typer) -> None:
    """File the command."""

    @command(app, "compare")
    def compare(session: Session, runs: Runs, metric: Metrics = None, output: Output = None) -> None:
        """Compare methods case by case. Runs that differ in their seed alone are averaged as one method."""
        from segkit.analysis.compare import compare_runs, write_comparison

        comparison = compare_runs(runs, metric)
        if output is not None:
            write_comparison(output, comparison)
        if not session.quiet:
            for line in [*table(comparison), "", *notes(comparison)]:
                typer.echo(line)
        if output is not None:
            session.console.say(f"comparison: {output}")


def table(comparison: "Comparison") -> list[str]:
    """A line a comparison; on a terminal narrower than that, in parts of as many columns as fit."""
    from segkit.cli.columns import laid_out, terminal_width

    units, seeds = [comparison.units[line.metric] for line in comparison.lines], _tests_seeds(comparison)
    named = list(zip(comparison.lines, units, strict=True))
    names = _beside([("class", "metric", "B"), *((line.structure, f"{line.metric} {unit}".rstrip(), line.method) for line, unit in named)])
    header = ("n", "out", "mean A", "mean B", "B - A [low, high]", "p", "p Holm", *SEEDS_HEADER * seeds, "effect", "h/t/l", "test")
    columns = [list(column) for column in zip(header, *(_cells(line, 2 if unit else 3, seeds) for line, unit in named), strict=True)]
    return laid_out([names], columns, terminal_width())


def _beside(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows of words as one column of texts, each word under the one above."""
    widths = [max(map(len, words)) for words in zip(*rows, strict=True)]
    return ["  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)) for row in rows]


def _tests_seeds(comparison: "Comparison") -> bool:
    """Whether the reference and another method have seeds that can be held against one another."""
    reference, *others = comparison.methods
    return len(reference.seeds) > 1 and any(len(method.seeds) > 1 for method in others)


def _cells(line: "Line", digits: int, seeds: bool) -> tuple[str, ...]:
    pair = line.paired
    mean_a, mean_b = ("n/a" if mean is None else f"{mean:.{digits}f}" for mean in (pair.mean_a, pair.mean_b))
    difference = "n/a" if pair.difference is None else f"{pair.difference:+z.{digits}f}"
    if pair.interval is not None:
        difference += f" [{pair.interval.low:+z.{digits}f}, {pair.interval.high:+z.{digits}f}]"
    effect = "-" if pair.effect is None else f"{pair.effect:+z.2f}"
    counts = f"{pair.higher}/{pair.ties}/{pair.lower}"
    tests = (_p(pair.p), _p(line.p_holm), *((_p(line.p_seeds), _p(line.p_seeds_holm)) if seeds else ()))
    return (str(pair.n), str(pair.dropped), mean_a, mean_b, difference, *tests, effect, counts, pair.test or "-")


def _p(value: float | None) -> str:
    if value is None:
        return "-"
    return "<0.0001" if value < 0.0001 else f"{value:.4f}"


def notes(comparison: "Comparison") -> list[str]:
    """What the columns are, as far as they occur: seeds, cases left out, the interval, the tests."""
    from segkit.statistics.bootstrap import CONFIDENCE, DRAWS, ENOUGH
    from segkit.statistics.paired import EXACT, FEW

    pairs = [line.paired for line in comparison.lines]
    reference, *others = comparison.methods
    texts = {
        "sign-flip": f"exact test of the mean difference over all choices of signs; for up to {FEW} differences other than 0",
        "signed-rank": f"Wilcoxon's test, exact, with ties too; for {FEW + 1} to {EXACT} differences other than 0",
        "signed-rank, normal": f"Wilcoxon's test by its normal approximation; for more than {EXACT} differences other than 0",
    }
    used = {pair.test for pair in pairs}
    said = [_who("A, the reference", reference), *(_who("B", method) for method in others)]
    said.append("n: cases with a value in A and in B; out: cases left out since one of them has none")
    if any(pair.dropped for pair in pairs):
        said.append(
            "  out: where A or B found nothing, or had nothing to find; means are over the cases that both found, usually the easier ones"
        )
    said += [text for method in comparison.methods for text in _partial(method, comparison)]
    if any(pair.interval for pair in pairs):
        said.append(f"[low, high]: {100 * CONFIDENCE:g} % interval of the mean difference, from {DRAWS:,} resamples of the cases")
        said.append("  for other cases and these networks: what other seeds would change is not in it")
    if any(pair.interval and pair.n < ENOUGH for pair in pairs):
        said.append(
            f"  of fewer than {ENOUGH} cases it says less than that: it cannot reach beyond the smallest and the largest difference"
        )
    if any(pair.n < 2 for pair in pairs):
        said.append("-: fewer than 2 cases have no interval, no p and no effect")
    said.append("p: two-sided; how often differences without a direction would be as one-sided as these")
    said += [f"  {name}: {text}" for name, text in texts.items() if name in used]
    said.append(
        "  of these networks: two seeds of one method differ as clearly at times; a claim about methods needs several seeds of each"
    )
    if any(len(method.seeds) < 2 for method in comparison.methods):
        said.append("  caution: a method has one seed, and p does not tell the method from its seed")
    said.append("p Holm: corrected for all classes and methods of a metric")
    said += _of_seeds(comparison)
    said.append("effect: matched-pairs rank-biserial correlation, -1 where B is always lower, 1 where it is always higher")
    said.append("h/t/l: cases in which B is higher than, equal to, lower than A")
    if any(comparison.units[line.metric] for line in comparison.lines):
        said.append("mm: a distance; lower is better")
    if comparison.left_out:
        said.append(f"left out, since not every run has them: {', '.join(comparison.left_out)}")
    said += [f"caution, the runs' recipes score by different rules: {rule}" for rule in comparison.differing_rules]
    return said


def _of_seeds(comparison: "Comparison") -> list[str]:
    """What p over seeds is, and where there is none."""
    from segkit.statistics.seeds import FEW

    if not _tests_seeds(comparison):
        return []
    said = ["p seeds, p seeds Holm: Welch's t-test of the means of the seeds, each over the n cases; and corrected as p Holm is"]
    said.append("  p speaks of other cases, p seeds of other seeds: a difference between methods needs both below 0.05 after correction")
    if any(1 < len(method.seeds) <= FEW for method in comparison.methods):
        said.append("  2 or 3 seeds show only differences well beyond their scatter: a large p seeds is no proof of equality")
    if any(line.p_seeds is None for line in comparison.lines):
        said.append("  -: one seed, no case with a value in all seeds, or seeds of A and of B that do not vary: there is no such test")
    return said


def _who(role: str, method: "Method") -> str:
    folders = ", ".join(str(seed.folder) for seed in method.seeds)
    count = len(method.seeds)
    how = f"mean of {count} seeds within each case: " if count > 1 else ""
    return f"{role}: {method.name} ({how}{folders})"


def _partial(method: "Method", comparison: "Comparison") -> list[str]:
    """Of each metric compared, the cases that one of the seeds left without a value."""
    compared = dict.fromkeys((line.structure, line.metric) for line in comparison.lines)
    by_metric: dict[str, list[str]] = {}
    for quantity, number in method.partial().items():
        if quantity in compared:
            by_metric.setdefault(quantity[1], []).append(f"{quantity[0]} {number}")
    return [f"  {method.name} has no {metric} in some seed, and so none, in cases: {', '.join(p)}" for metric, p in by_metric.items()]
