"""A table as text: Markdown, CSV, LaTeX."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from segkit.table.cells import Block, Cell, Filled, rounded, unit_of
from segkit.table.escape import in_latex, in_markdown
from segkit.table.item import percent
from segkit.table.legend import UNVERIFIED, notes, title
from segkit.table.scores import GAP

MISSING = "-"
HEADER = (
    "row", "fraction", "split", "largest_component", "class", "metric", "unit", "mean", "std", "seeds", "cases", "left_out",
    "against", "pairs", "difference", "test", "p", "p_holm", "p_seeds", "p_seeds_holm", "published", "published_verified",
)  # fmt: skip


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
            test: tuple = (None,) * 8
            if cell.difference is not None:
                found = cell.difference.paired
                test = (filled.table.spec.rows[row].against, found.n, found.difference, found.test, found.p, cell.difference.corrected)
                test += (cell.difference.p_seeds, cell.difference.seeds_corrected)
            published = (cell.published.value, str(cell.published.verified).lower()) if cell.published else (None, None)
            place = (row, fraction, block.view.split, str(block.view.largest).lower(), block.structure, metric, cell.unit)
            line = (*place, cell.mean, cell.std, len(cell.means), cell.cases, cell.left_out, *test, *published)
            writer.writerow(["" if value is None else value for value in line])
    return text.getvalue()


FORMATS: Mapping[str, Callable[[Filled], str]] = {"md": markdown, "csv": csv_lines, "latex": latex}


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
    columns = [text(f"{percent(fraction)}: {heading(metric)}") for fraction in spec.fractions for metric in spec.metrics]
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


MARKDOWN = Style(in_markdown, lambda number: f"**{number}**", "-", "±", "\\*", UNVERIFIED)
LATEX = Style(in_latex, lambda number: f"\\textbf{{{number}}}", "$-$", "$\\pm$", "$^{*}$", "$^{\\dagger}$")
