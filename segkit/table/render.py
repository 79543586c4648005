"""A table as text: Markdown, CSV, LaTeX."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from segkit.table.cells import GAP, LEVEL, Block, Cell, Filled, rounded, uneven, unit_of
from segkit.table.item import percent

MISSING = "-"
MARK = "*"
UNVERIFIED = "†"
CASES = {"training": "training cases", "validation": "validation cases", "test": "test cases", GAP: "training minus test"}
TESTS = {
    "sign-flip": "exact sign-flip test",
    "signed-rank": "exact Wilcoxon signed-rank test",
    "signed-rank, normal": "Wilcoxon signed-rank test, normal approximation",
}
HEADER = (
    "row", "fraction", "split", "largest_component", "class", "metric", "unit", "mean", "std", "seeds", "cases", "left_out",
    "against", "pairs", "difference", "test", "p", "p_holm", "published", "published_verified",
)  # fmt: skip
FEWEST = 6  # cases: of 5 the smallest p is 2 / 2^5, above LEVEL
MOST_LEFT_OUT = 8  # cells named, of those with values that are not applicable


@dataclass(frozen=True)
class Style:
    """How a format writes text, bold numbers and signs."""

    escape: Callable[[str], str]
    bold: Callable[[str], str]
    minus: str
    spread: str
    mark: str
    unverified: str


def markdown(filled: Filled) -> str:
    """A pipe table a block, the legend under the last one."""
    lines = [f"## {MARKDOWN.escape(filled.table.spec.title)}"]
    for block in filled.blocks:
        lines += ["", f"### {MARKDOWN.escape(title(block))}", "", *_pipe_table(filled, block)]
    lines += ["", *(f"- {MARKDOWN.escape(note)}" for note in notes(filled))]
    return "\n".join(lines) + "\n"


def latex(filled: Filled) -> str:
    """A table environment a block, for the package booktabs; the legend under the last one."""
    name, lines = LATEX.escape(filled.table.spec.title), ["% needs \\usepackage{booktabs}"]
    for block in filled.blocks:
        caption = f"\\caption{{{name}: {LATEX.escape(title(block))}.}}"
        lines += ["\\begin{table}", "\\centering", caption, *_tabular(filled, block), "\\end{table}"]
    lines += ["\\begin{itemize}", *(f"\\item{{}} {LATEX.escape(note)}" for note in notes(filled)), "\\end{itemize}"]
    return "\n".join(lines) + "\n"


def csv_lines(filled: Filled) -> str:
    """A line a cell, every digit; fractions as fractions, also published ones. Empty: not known, or not applicable."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    for block in filled.blocks:
        for (row, fraction, metric), cell in block.cells.items():
            test: tuple = (None,) * 6
            if cell.difference is not None:
                found = cell.difference.paired
                test = (filled.table.spec.rows[row].against, found.n, found.difference, found.test, found.p, cell.difference.corrected)
            published = (cell.published.value, str(cell.published.verified).lower()) if cell.published else (None, None)
            place = (row, fraction, block.view.split, str(block.view.largest).lower(), block.structure, metric, cell.unit)
            line = (*place, cell.mean, cell.std, len(cell.means), cell.cases, cell.left_out, *test, *published)
            writer.writerow(["" if value is None else value for value in line])
    return text.getvalue()


FORMATS: Mapping[str, Callable[[Filled], str]] = {"md": markdown, "csv": csv_lines, "latex": latex}


def title(block: Block) -> str:
    """`tumor_core, test cases, only the largest part kept`."""
    return f"{block.structure}, {CASES[block.view.split]}" + ", only the largest part kept" * block.view.largest


def heading(metric: str) -> str:
    """`dice (%)`, `hd95 (mm)`."""
    return f"{metric} ({unit_of(metric) or '%'})"


def shown(cell: Cell, signed: bool, style: Style) -> str:
    """`58.8±1.2* [2] (58.4†)`: mean and standard deviation, mark of a difference, seeds where some are missing, published value."""
    if not cell.means:
        text = MISSING
    elif cell.mean is None:
        text = f"n/a ({len(cell.means) - len(cell.values)})"
    else:
        number = rounded(cell.mean, cell.unit).replace("-", style.minus)
        text = style.bold(number) if cell.best else f"+{number}" if signed and cell.mean > 0 else number
        text += f"{style.spread}{rounded(cell.std, cell.unit)}" if cell.std is not None else ""
        text += style.mark if cell.difference is not None and cell.difference.significant else ""
    if cell.means and not cell.complete:
        text += f" [{len(cell.means)}]"
    if cell.published is not None:
        text += f" ({rounded(cell.published.value, cell.unit)}{'' if cell.published.verified else style.unverified})"
    return text


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
    tested = [cell.difference.paired for cell in cells if cell.difference is not None]
    if not tested:
        return
    spec = filled.table.spec
    tests = " or ".join(dict.fromkeys(TESTS[each.test] for each in tested if each.test is not None)) or "no test was possible"
    fewest, most = min(each.n for each in tested), max(each.n for each in tested)
    n = str(most) if fewest == most else f"{fewest} to {most}"
    pairs = "; ".join(f"{spec.label(name)} against {spec.label(row.against)}" for name, row in spec.rows.items() if row.against)
    limits = [
        *([f"of fewer than {FEWEST} cases none can be marked"] if fewest < FEWEST else []),
        "what other seeds would change is not in the test",
        *(["a case without a value in one seed is left out of it"] if any(each.dropped for each in tested) else []),
    ]
    said = "; ".join(limits)
    yield (
        f"{MARK} differs from its counterpart at {percent(LEVEL)}: {tests}, two-sided, paired by case (n = {n}), seeds averaged first, "
        f"Holm's correction over the rows of a column. {said[0].upper()}{said[1:]}. {pairs}."
    )


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


def _groups(filled: Filled) -> Iterator[tuple[str | None, list[str]]]:
    """Neighboring rows of one group under its name."""
    for group, rows in groupby(filled.table.spec.rows.items(), key=lambda entry: entry[1].group):
        yield group, [name for name, _ in rows]


def _numbers(filled: Filled, block: Block, row: str, style: Style) -> list[str]:
    spec = filled.table.spec
    return [
        shown(block.cells[row, fraction, metric], block.view.split == GAP, style) for fraction in spec.fractions for metric in spec.metrics
    ]


def _pipe_table(filled: Filled, block: Block) -> Iterator[str]:
    spec, text = filled.table.spec, MARKDOWN.escape
    columns = [f"{percent(fraction)}: {heading(metric)}" for fraction in spec.fractions for metric in spec.metrics]
    yield _piped(["", *columns])
    yield "|---|" + "---:|" * len(columns)
    for group, rows in _groups(filled):
        if group is not None:
            yield _piped([f"*{text(group)}*", *[""] * len(columns)])
        for row in rows:
            yield _piped([text(spec.label(row)), *_numbers(filled, block, row, MARKDOWN)])


def _piped(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _tabular(filled: Filled, block: Block) -> Iterator[str]:
    spec, text = filled.table.spec, LATEX.escape
    wide, columns = len(spec.metrics), len(spec.metrics) * len(spec.fractions)
    yield f"\\begin{{tabular}}{{l{'r' * columns}}}"
    yield "\\toprule"
    yield "".join(f" & \\multicolumn{{{wide}}}{{c}}{{{text(percent(fraction))}}}" for fraction in spec.fractions) + " \\\\"
    yield "".join(f"\\cmidrule(lr){{{2 + wide * i}-{1 + wide * (i + 1)}}}" for i in range(len(spec.fractions)))
    yield "".join(f" & {text(heading(metric))}" for _ in spec.fractions for metric in spec.metrics) + " \\\\"
    yield "\\midrule"
    for group, rows in _groups(filled):
        if group is not None:
            yield f"\\multicolumn{{{columns + 1}}}{{l}}{{\\emph{{{text(group)}}}}} \\\\"
        for row in rows:
            yield " & ".join([text(spec.label(row)), *_numbers(filled, block, row, LATEX)]) + " \\\\"
    yield "\\bottomrule"
    yield "\\end{tabular}"


_MD = str.maketrans({"|": "\\|", "*": "\\*", "\n": " "})
_TEX = str.maketrans(
    {
        "\\": "\\textbackslash{}", "&": "\\&", "%": "\\%", "$": "\\$", "#": "\\#", "_": "\\_", "{": "\\{", "}": "\\}",
        "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "<": "\\textless{}", ">": "\\textgreater{}", "|": "\\textbar{}",
        "±": "$\\pm$", "†": "$\\dagger$", "\n": " ",
    }
)  # fmt: skip
MARKDOWN = Style(lambda text: text.translate(_MD), lambda number: f"**{number}**", "-", "±", "\\*", UNVERIFIED)
LATEX = Style(lambda text: text.translate(_TEX), lambda number: f"\\textbf{{{number}}}", "$-$", "$\\pm$", "$^{*}$", "$^{\\dagger}$")
