"""The text of a table, from scores that were written by hand."""

import csv
import io
from math import atan, pi

import pytest

from segkit.table.cells import Cell, Value, fill
from segkit.table.render import LATEX, MARKDOWN, csv_lines, latex, markdown, shown

PLAIN = [0.10, 0.20, 0.30, 0.40, 0.50, 0.60, 0.70]
BETTER = [value + step / 100 for step, value in enumerate(PLAIN, start=1)]
FULL = (
    ("title: Tiny", "title: 'Tiny & 50 % | x_1'"),
    ("plain: {}", "plain: {label: 'a|b_c & *d*', group: Baselines}"),
    ("against: plain\n", "against: plain\n    group: Asymmetric\n"),
    (
        "seeds: [0, 1]",
        "seeds: [0, 1]\nnotes: ['Read me: 5 % {of} #1 ~ ^ \\ <$>']\npublished:\n"
        "  - {source: S_1, values: [{row: focal, fraction: 0.5, structure: core, scores: {dice: 50.4}}]}\n"
        "  - {source: T, verified: true, values: [{row: plain, fraction: 0.5, structure: core, scores: {dice: 25.0}}]}",
    ),
)
VALUES = {"plain": [PLAIN, PLAIN], "focal": [BETTER, [value + 0.002 for value in BETTER]]}


@pytest.fixture
def full(planted):
    """Everything that can stand in a table."""
    return fill(*planted(VALUES, *FULL))


def test_markdown_by_hand(full):
    # plain: mean of 0.1 .. 0.7 is 0.4 for both seeds. focal: 0.04 and 0.042 more, mean 0.441, standard deviation 0.002 / sqrt 2 = 0.00141.
    # all 7 differences are positive: p = 2 / 128 < 0.05; over seeds t = 0.041 / 0.001 with one degree of freedom: p = 0.0155 < 0.05
    assert markdown(full).splitlines() == [
        "## Tiny & 50 % \\| x_1",
        "",
        "### core, test cases",
        "",
        "|  | 50 %: dice (%) |",
        "|---|---:|",
        "| *Baselines* |  |",
        "| a\\|b_c & \\*d\\* | 40.0±0.0 (25.0) |",
        "| *Asymmetric* |  |",
        "| focal | **44.1**±0.1\\* (50.4†) |",
        "",
        "- Mean±standard deviation over 2 seeds (0, 1), each the mean over cases; fractions in percent.",
        "- Bold: the best mean of a column, of those with all seeds.",
        "- Test cases: 7.",
        "- Training cases: 3 at 50 %.",
        "- \\* differs from its counterpart at 5 %: both over cases (exact sign-flip test, paired, n = 7, seeds averaged first) and over "
        "seeds (Welch's t-test of the means of 2 each), two-sided, each with Holm's correction over the rows of a column. With so few "
        "seeds the test over them has little power, and a missing mark is no proof of equality. focal against a\\|b_c & \\*d\\*.",
        "- In brackets with †: as published, but read in a secondary source and not verified: S_1.",
        "- In brackets: as published in T.",
        "- Read me: 5 % {of} \\#1 \\~ ^ \\\\ \\<\\$>",
        "- Steps: 1. segkit 0.0.0, commit c0ffee.",
    ]


def test_latex_by_hand_with_everything_escaped(full):
    assert latex(full).splitlines() == [
        "% needs \\usepackage{booktabs}",
        "\\begin{table}",
        "\\centering",
        "\\caption{Tiny \\& 50 \\% \\textbar{} x\\_1: core, test cases.}",
        "\\begin{tabular}{lr}",
        "\\toprule",
        " & \\multicolumn{1}{c}{50 \\%} \\\\",
        "\\cmidrule(lr){2-2}",
        " & dice (\\%) \\\\",
        "\\midrule",
        "\\multicolumn{2}{l}{\\emph{Baselines}} \\\\",
        "a\\textbar{}b\\_c \\& *d* & 40.0$\\pm$0.0 (25.0) \\\\",
        "\\multicolumn{2}{l}{\\emph{Asymmetric}} \\\\",
        "focal & \\textbf{44.1}$\\pm$0.1$^{*}$ (50.4$^{\\dagger}$) \\\\",
        "\\bottomrule",
        "\\end{tabular}",
        "\\end{table}",
        "\\begin{itemize}",
        "\\item{} Mean$\\pm$standard deviation over 2 seeds (0, 1), each the mean over cases; fractions in percent.",
        "\\item{} Bold: the best mean of a column, of those with all seeds.",
        "\\item{} Test cases: 7.",
        "\\item{} Training cases: 3 at 50 \\%.",
        "\\item{} {}* differs from its counterpart at 5 \\%: both over cases (exact sign-flip test, paired, n = 7, seeds averaged first) "
        "and over seeds (Welch's t-test of the means of 2 each), two-sided, each with Holm's correction over the rows of a column. With so "
        "few seeds the test over them has little power, and a missing mark is no proof of equality. "
        "focal against a\\textbar{}b\\_c \\& *d*.",
        "\\item{} In brackets with $\\dagger$: as published, but read in a secondary source and not verified: S\\_1.",
        "\\item{} In brackets: as published in T.",
        "\\item{} Read me: 5 \\% \\{of\\} \\#1 \\textasciitilde{} \\textasciicircum{} \\textbackslash{} \\textless{}\\$\\textgreater{}",
        "\\item{} Steps: 1. segkit 0.0.0, commit c0ffee.",
        "\\end{itemize}",
    ]


def test_csv_has_a_line_a_cell_with_every_digit(full):
    lines = list(csv.DictReader(io.StringIO(csv_lines(full))))
    assert [line["row"] for line in lines] == ["plain", "focal"]
    plain, focal = lines
    place = ("fraction", "split", "largest_component", "class", "metric", "unit", "seeds", "cases", "left_out")
    assert [focal[column] for column in place] == ["0.5", "test", "false", "core", "dice", "", "2", "7", "0"]
    cell = full.blocks[0].cells["focal", 0.5, "dice"]
    assert (float(focal["mean"]), float(focal["std"])) == (cell.mean, cell.std)
    assert (focal["against"], focal["pairs"], focal["test"], focal["p"], focal["p_holm"]) == (
        "plain",
        "7",
        "sign-flip",
        "0.015625",
        "0.015625",
    )
    assert float(focal["difference"]) == cell.difference.paired.difference
    assert float(focal["p_seeds"]) == float(focal["p_seeds_holm"]) == cell.difference.p_seeds == pytest.approx(1 - 2 * atan(41) / pi)
    assert (focal["published"], focal["published_verified"]) == ("0.504", "false")
    assert (plain["against"], plain["p"], plain["p_seeds"], plain["published"], plain["published_verified"]) == ("", "", "", "0.25", "true")


def test_an_empty_table_has_a_dash_in_every_cell_and_says_what_it_would_hold(planted):
    filled = fill(*planted({"plain": [None, None], "focal": [None, None]}))
    assert markdown(filled).splitlines() == [
        "## Tiny",
        "",
        "### core, test cases",
        "",
        "|  | 50 %: dice (%) |",
        "|---|---:|",
        "| plain | - |",
        "| focal | - |",
        "",
        "- Mean±standard deviation over 2 seeds (0, 1), each the mean over cases; fractions in percent.",
        "- Steps: 1.",
    ]
    assert [line["mean"] for line in csv.DictReader(io.StringIO(csv_lines(filled)))] == ["", ""]


def test_a_table_on_the_way_says_how_many_seeds_each_cell_has(planted):
    text = markdown(fill(*planted({"plain": [[0.1, 0.3], None], "focal": [[0.5, None], [None, None]]})))
    assert "| plain | 20.0 [1] |\n| focal | n/a (1) |\n" in text
    assert "- \\[k]: only k of the 2 seeds are done.\n- n/a (k): in k of the seeds no case has a value.\n" in text
    assert "- Not applicable and in no mean (core, test cases): focal, 50 %, dice: 3 of 4.\n" in text


def legend(values, planted, *changes) -> list[str]:
    """What is said of bold numbers and of marks."""
    lines = markdown(fill(*planted(values, *changes))).splitlines()
    return [line for line in lines if "bold" in line.lower() or "differs" in line]


SIX = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]


def higher(values: list[float], *by: float) -> list[list[float]]:
    """A seed for each `by`."""
    return [[value + each for value in values] for each in by]


def test_the_legend_says_what_the_tests_cannot_tell(planted):
    few = {"plain": [[0.1, None, 0.2, 0.3, 0.4, 0.5], [0.1] * 6], "focal": [[0.2] * 6, [0.2] * 6]}
    assert legend(few, planted) == [
        "- Nothing is bold in a column whose rows have different numbers of cases without a value.",
        "- \\* differs from its counterpart at 5 %: both over cases (exact sign-flip test, paired, n = 5, seeds averaged first) and over "
        "seeds (Welch's t-test of the means of 2 each), two-sided, each with Holm's correction over the rows of a column. Of fewer than 6 "
        "cases none can be marked; with so few seeds the test over them has little power, and a missing mark is no proof of equality; a "
        "case without a value in one seed is left out of both. focal against plain.",
    ]


def test_the_legend_says_where_the_seeds_do_not_vary(planted):
    alike = {"plain": [SIX, SIX], "focal": higher(SIX, 0.1, 0.1)}
    assert "no proof of equality; where neither row's seeds differ in their mean none can be marked. focal" in legend(alike, planted)[1]


def test_the_legend_says_no_more_than_applies(planted):
    enough = {"plain": higher(SIX, 0, 0.01, 0.02, 0.03), "focal": higher(SIX, 0.1, 0.11, 0.12, 0.13)}
    assert legend(enough, planted, ("seeds: [0, 1]", "seeds: [0, 1, 2, 3]")) == [
        "- Bold: the best mean of a column, of those with all seeds.",
        "- \\* differs from its counterpart at 5 %: both over cases (exact sign-flip test, paired, n = 6, seeds averaged first) and over "
        "seeds (Welch's t-test of the means of 4 each), two-sided, each with Holm's correction over the rows of a column. A missing mark "
        "is no proof of equality. focal against plain.",
    ]


def test_of_one_seed_the_legend_says_that_seeds_are_not_in_the_test(planted):
    assert legend({"plain": [[*SIX, None]], "focal": [[*SIX[1:], 0.7, 0.5]]}, planted, ("seeds: [0, 1]", "seeds: [4]")) == [
        "- Nothing is bold in a column whose rows have different numbers of cases without a value.",
        "- \\* differs from its counterpart at 5 %: exact sign-flip test, two-sided, paired by case (n = 6), seeds averaged first, Holm's "
        "correction over the rows of a column. What other seeds would change is not in the test; a case without a value in one seed is "
        "left out of it. focal against plain.",
    ]


def test_one_seed_has_no_spread(planted):
    text = markdown(fill(*planted({"plain": [[0.1, 0.3]], "focal": [[0.4, 0.5]]}, ("seeds: [0, 1]", "seeds: [4]"))))
    assert "| plain | 20.0 |\n| focal | **45.0** |\n" in text
    assert "- Mean over cases, one seed (4); fractions in percent.\n" in text


def test_columns_are_the_metrics_of_each_share(tiny):
    text = latex(fill(tiny(("seeds:", "metrics: [dice, hd95]\nseeds:")), []))
    assert " & \\multicolumn{2}{c}{50 \\%} & \\multicolumn{2}{c}{100 \\%} \\\\\n\\cmidrule(lr){2-3}\\cmidrule(lr){4-5}\n" in text
    assert " & dice (\\%) & hd95 (mm) & dice (\\%) & hd95 (mm) \\\\\n" in text
    assert "plain & - & - & - & - \\\\\n" in text


def test_each_class_and_view_is_a_table_of_its_own(tiny):
    table = tiny(("classes: [core]", "classes: [core, whole]"), ("seeds:", "splits: [training, test]\nlargest_component: true\nseeds:"))
    titles = [line for line in markdown(fill(table, [])).splitlines() if line.startswith("###")]
    views = ["training cases", "test cases", "training minus test"]
    kept = [f"{view}, only the largest part kept" for view in views]
    assert titles == [f"### {name}, {view}" for name in ("core", "whole") for view in (*views, *kept)]


@pytest.mark.parametrize(
    ("means", "signed", "in_markdown", "in_latex"),
    [
        ((0.2, 0.2), True, "+20.0±0.0", "+20.0$\\pm$0.0"),
        ((-0.2, -0.2), True, "-20.0±0.0", "$-$20.0$\\pm$0.0"),
        ((0.0, 0.0), True, "0.0±0.0", "0.0$\\pm$0.0"),
        ((0.2,), False, "20.0 [1]", "20.0 [1]"),
        ((), False, "-", "-"),
        ((None, 0.2), False, "n/a (1)", "n/a (1)"),
    ],
)
def test_a_cell_by_hand(means, signed, in_markdown, in_latex):
    cell = Cell(means, 2, 1, 0, "")
    assert (shown(cell, signed, MARKDOWN), shown(cell, signed, LATEX)) == (in_markdown, in_latex)


def test_a_published_value_stands_where_ours_is_missing():
    assert shown(Cell((), 2, 0, 0, "", published=Value(0.588, False)), False, MARKDOWN) == "- (58.8†)"


def test_a_commit_is_shortened_and_keeps_the_sign_of_a_changed_tree(planted):
    table, items = planted({"plain": [[0.1], [0.1]], "focal": [[0.1], [0.1]]})
    for item, commit in zip(items, ("0123456789abcdef", "0123456789abcdef+", "0123456789abcdef", "0123456789abcdef"), strict=True):
        item.place.result.write_text(item.place.result.read_text().replace("c0ffee", commit))
    assert markdown(fill(table, items)).endswith("segkit 0.0.0, commit 0123456789, 0123456789+.\n")
