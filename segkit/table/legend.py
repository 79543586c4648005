"""What is said under a table: what is shown, how many cases there are, what is marked, what is published, and what it was made by."""

from collections.abc import Iterator, Sequence

from segkit.statistics.seeds import FEW
from segkit.table.cells import Block, Cell, Filled, uneven
from segkit.table.difference import LEVEL, Difference
from segkit.table.item import percent
from segkit.table.scores import GAP

MARK = "*"
UNVERIFIED = "†"
CASES = {"training": "training cases", "validation": "validation cases", "test": "test cases", GAP: "training minus test"}
TESTS = {
    "sign-flip": "exact sign-flip test",
    "signed-rank": "exact Wilcoxon signed-rank test",
    "signed-rank, normal": "Wilcoxon signed-rank test, normal approximation",
}
FEWEST = 6  # cases: of 5 the smallest p is 2 / 2^5, above LEVEL
MOST_LEFT_OUT = 8  # cells named, of those with values that are not applicable


def title(block: Block) -> str:
    """`tumor_core, test cases, only the largest part kept`."""
    return f"{block.structure}, {CASES[block.view.split]}" + ", only the largest part kept" * block.view.largest


def notes(filled: Filled) -> list[str]:
    """What is said under the table, a sentence each."""
    cells = [cell for block in filled.blocks for cell in block.cells.values()]
    return [
        *_what_is_shown(filled, cells),
        *_how_many_cases(filled),
        *_left_out(filled),
        *_what_is_marked(filled, cells),
        *_what_is_published(filled),
        *filled.table.spec.notes,
        _made_by(filled),
    ]


def _what_is_shown(filled: Filled, cells: Sequence[Cell]) -> Iterator[str]:
    seeds = filled.table.spec.seeds
    named = ", ".join(map(str, seeds))
    over = f"Mean±standard deviation over {len(seeds)} seeds ({named}), each the mean over cases" if len(seeds) > 1 else None
    yield f"{over or f'Mean over cases, one seed ({named})'}; fractions in percent."
    if any(cell.means and not cell.complete for cell in cells):
        yield f"[k]: only k of the {len(seeds)} seeds are done."
    if any(cell.means and cell.mean is None for cell in cells):
        yield "n/a (k): in k of the seeds no case has a value."
    if any(cell.best for cell in cells):
        yield "Bold: the best mean of a column, of those with all seeds."
    if any(uneven(column) for block in filled.blocks if block.view.split not in ("training", GAP) for column in _columns(filled, block)):
        yield "Nothing is bold in a column whose rows have different numbers of cases without a value."


def _columns(filled: Filled, block: Block) -> Iterator[list[Cell]]:
    spec = filled.table.spec
    for fraction in spec.fractions:
        for metric in spec.metrics:
            yield [block.cells[row, fraction, metric] for row in spec.rows]


def _how_many_cases(filled: Filled) -> Iterator[str]:
    """Scored, per split; trained on, per share."""
    spec = filled.table.spec
    for split in spec.splits:
        if split == "training":  # all that were trained on
            continue
        counts = {fraction: filled.cases[split, fraction] for fraction in spec.fractions if (split, fraction) in filled.cases}
        if counts:
            same = len(set(counts.values())) == 1
            text = (
                str(next(iter(counts.values()))) if same else ", ".join(f"{count} at {percent(share)}" for share, count in counts.items())
            )
            yield f"{CASES[split].capitalize()}: {text}."
    trained = {item.fraction: result.training_cases for item, result in filled.done}
    if trained:
        yield (
            "Training cases: " + ", ".join(f"{trained[share]} at {percent(share)}" for share in spec.fractions if share in trained) + "."
        )


def _left_out(filled: Filled) -> Iterator[str]:
    for block in filled.blocks:
        found = [
            f"{filled.table.spec.label(row)}, {percent(fraction)}, {metric}: {cell.left_out} of {cell.cases * len(cell.means)}"
            for (row, fraction, metric), cell in block.cells.items()
            if cell.left_out
        ]
        if found:
            more = f"; and {len(found) - MOST_LEFT_OUT} more cells" if len(found) > MOST_LEFT_OUT else ""
            yield f"Not applicable and in no mean ({title(block)}): {'; '.join(found[:MOST_LEFT_OUT])}{more}."


def _what_is_marked(filled: Filled, cells: Sequence[Cell]) -> Iterator[str]:
    found = [cell.difference for cell in cells if cell.difference is not None]
    if not found:
        return
    spec, paired = filled.table.spec, [each.paired for each in found]
    seeds = len(spec.seeds)
    tests = " or ".join(dict.fromkeys(TESTS[each.test] for each in paired if each.test is not None)) or "no test was possible"
    fewest, most = min(each.n for each in paired), max(each.n for each in paired)
    n = str(most) if fewest == most else f"{fewest} to {most}"
    if seeds == 1:
        how = f"{tests}, two-sided, paired by case (n = {n}), seeds averaged first, Holm's correction over the rows of a column"
    else:
        how = (
            f"both over cases ({tests}, paired, n = {n}, seeds averaged first) and over seeds "
            f"(Welch's t-test of the means of {seeds} each), two-sided, each with Holm's correction over the rows of a column"
        )
    said = "; ".join(_what_no_mark_means(found, seeds))
    pairs = "; ".join(f"{spec.label(name)} against {spec.label(row.against)}" for name, row in spec.rows.items() if row.against)
    yield f"{MARK} differs from its counterpart at {percent(LEVEL)}: {how}. {said[0].upper()}{said[1:]}. {pairs}."


def _what_no_mark_means(found: Sequence[Difference], seeds: int) -> Iterator[str]:
    if min(each.paired.n for each in found) < FEWEST:
        yield f"of fewer than {FEWEST} cases none can be marked"
    if seeds == 1:
        yield "what other seeds would change is not in the test"
    elif seeds <= FEW:
        yield "with so few seeds the test over them has little power, and a missing mark is no proof of equality"
    else:
        yield "a missing mark is no proof of equality"
    if seeds > 1 and any(each.p_seeds is None and each.paired.n for each in found):
        yield "where neither row's seeds differ in their mean none can be marked"
    if any(each.paired.dropped for each in found):
        yield f"a case without a value in one seed is left out of {'it' if seeds == 1 else 'both'}"


def _what_is_published(filled: Filled) -> Iterator[str]:
    for published in filled.table.spec.published:
        if published.verified:
            yield f"In brackets: as published in {published.source}."
        else:
            yield f"In brackets with {UNVERIFIED}: as published, but read in a secondary source and not verified: {published.source}."


def _made_by(filled: Filled) -> str:
    """Steps, program and commits."""
    steps = sorted({recipe.train.steps for recipe in filled.table.recipes.values()})
    text = f"Steps: {', '.join(f'{count:,}' for count in steps)}."
    programs = dict.fromkeys(result.segkit for _, result in filled.done)
    commits = dict.fromkeys(short(commit) for _, result in filled.done for commit in result.commits)
    if programs:
        text += f" segkit {', '.join(programs)}" + (f", commit {', '.join(commits)}" if commits else "") + "."
    return text


def short(commit: str) -> str:
    """The first ten digits; `+` where the tree was changed."""
    return commit[:10] + "+" * commit.endswith("+")
