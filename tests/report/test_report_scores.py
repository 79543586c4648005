"""Scores as tables: ranks, means over classes, the order of cases."""

import pytest

from segkit.engine.evaluate import Row
from segkit.report.scores import WORST, Cell, Scores, title_of


def row(case: str, structure: str, metric: str, value: float | None, state: str = "ok") -> Row:
    return Row(case, structure, metric, value, "mm" if metric == "hd95" else "", state)


ROWS = (
    row("a", "organ", "dice", 0.5),
    row("a", "organ", "hd95", 4.0),
    row("a", "lesion", "dice", 0.0, "missed"),
    row("a", "lesion", "hd95", None, "missed"),
    row("a", "both", "dice", 0.9),
    row("a", "both", "hd95", 1.0),
    row("b", "organ", "dice", 0.75),
    row("b", "organ", "hd95", 2.0),
    row("b", "lesion", "dice", None, "absent"),
    row("b", "lesion", "hd95", None, "absent"),
    row("b", "both", "dice", 0.1),
    row("b", "both", "hd95", 3.0),
    row("0", "organ", "dice", None, "absent"),
    row("0", "organ", "hd95", None, "absent"),
    row("0", "lesion", "dice", None, "absent"),
    row("0", "lesion", "hd95", None, "absent"),
    row("0", "both", "dice", None, "absent"),
    row("0", "both", "hd95", None, "absent"),
)
SCORES = Scores(ROWS, ("organ", "lesion"))


def test_cases_are_ranked_by_the_mean_over_classes_that_have_a_value_without_regions():
    assert SCORES.ranking() == [("a", 0.25), ("b", 0.75)]


def test_every_table_has_the_worst_mean_dice_first_and_cases_without_one_last():
    assert [(table.title, [line.case for line in table.lines]) for table in SCORES.tables()] == [
        ("Dice", ["a", "b", "0"]),
        ("HD95", ["a", "b", "0"]),
    ]


def test_a_line_has_its_mean_and_a_cell_a_class_or_region():
    dice, hd95 = SCORES.tables()
    assert [(line.mean.value, line.counted) for line in dice.lines] == [(0.25, 2), (0.75, 1), (None, 0)]
    assert [(line.mean.value, line.counted) for line in hd95.lines] == [(4.0, 1), (2.0, 1), (None, 0)]
    assert [cell.value for cell in dice.lines[0].cells] == [0.5, 0.0, 0.9]


@pytest.mark.parametrize(
    ("cell", "rank", "shade"),
    [
        (Cell(1.0, "ok", ""), 0.0, 0),
        (Cell(0.25, "ok", ""), 0.75, 4),
        (Cell(0.0, "missed", ""), 1.0, 5),
        (Cell(12.5, "ok", "mm"), 12.5, None),
        (Cell(None, "missed", "mm"), WORST, None),
        (Cell(None, "spurious", ""), WORST, None),
        (Cell(None, "absent", ""), None, None),
    ],
)
def test_the_larger_the_rank_the_worse(cell, rank, shade):
    assert (cell.rank, cell.shade) == (rank, shade)


def test_a_case_in_which_every_class_is_absent_has_no_rank():
    assert SCORES.tables()[0].lines[-1].mean.rank is None


def test_without_dice_nothing_is_ranked_and_the_first_metric_is_told():
    others = Scores(tuple(each for each in ROWS if each.metric != "dice"), ("organ", "lesion"))
    assert (others.ranking(), others.first_metric) == ([], "hd95")
    assert [line.case for line in others.tables()[0].lines] == ["a", "b", "0"]  # as in the file


def test_values_of_a_class_and_of_a_case():
    assert SCORES.values("organ", "dice") == [0.5, 0.75]
    assert (SCORES.of("a", "both", "dice"), SCORES.of("0", "both", "dice")) == ([0.9], [])
    assert SCORES.summary()["lesion"]["dice"].missed == 1


@pytest.mark.parametrize(("metric", "title"), [("dice", "Dice"), ("hd95", "HD95"), ("sensitivity", "Sensitivity"), ("my_own", "My own")])
def test_a_metric_is_named_as_people_write_it(metric, title):
    assert title_of(metric) == title
