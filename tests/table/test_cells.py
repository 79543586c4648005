"""The numbers of a table, from scores that were written by hand."""

import statistics

import pytest
from scipy.stats import wilcoxon

from segkit.config.errors import InputError
from segkit.engine.evaluate import Row, write_scores
from segkit.table.cells import Filled, fill, rounded
from segkit.table.item import Result, items_of
from segkit.table.scores import GAP, View

TEST = View("test", False)


def cells(filled: Filled, view: View = TEST, structure: str = "core"):
    """row -> cell of the one share and metric."""
    (block,) = [block for block in filled.blocks if (block.structure, block.view) == (structure, view)]
    return {row: cell for (row, *_), cell in block.cells.items()}


def test_a_mean_is_over_cases_first_and_then_over_seeds(planted):
    found = cells(fill(*planted({"plain": [[0.1, 0.3], [0.2, 0.6]], "focal": [[0.5, 0.5], [0.5, 0.5]]})))["plain"]
    assert found.means == (pytest.approx(0.2), pytest.approx(0.4))
    assert found.mean == pytest.approx(0.3)
    assert found.std == pytest.approx(0.1 * 2**0.5)
    assert (found.cases, found.left_out, found.complete) == (2, 0, True)


def test_a_case_without_a_value_is_in_no_mean_and_counted(planted):
    found = cells(fill(*planted({"plain": [[0.1, None, 0.3], [None, None, 0.6]], "focal": [[0.5] * 3] * 2})))["plain"]
    assert found.means == (pytest.approx(0.2), 0.6)
    assert (found.cases, found.left_out) == (3, 3)


def test_a_seed_without_any_value_leaves_no_mean_over_seeds(planted):
    found = cells(fill(*planted({"plain": [[0.1, 0.3], [None, None]], "focal": [[0.5] * 2] * 2})))["plain"]
    assert found.means == (pytest.approx(0.2), None)
    assert (found.mean, found.std, found.complete) == (None, None, True)


def test_seeds_that_are_missing_are_left_out_and_the_cell_is_not_complete(planted):
    filled = fill(*planted({"plain": [[0.1, 0.3], None], "focal": [None, None]}))
    plain, focal = cells(filled).values()
    assert (plain.mean, plain.std, plain.complete) == (pytest.approx(0.2), None, False)
    assert (focal.means, focal.mean, focal.complete) == ((), None, False)
    assert [item.name for item in filled.missing] == ["focal, 50 %, seed 0", "plain, 50 %, seed 1", "focal, 50 %, seed 1"]


def bold(planted, plain: list, focal: list) -> list[str]:
    filled = fill(*planted({"plain": plain, "focal": focal}))
    return [row for row, cell in cells(filled).items() if cell.best]


def test_the_best_mean_is_the_largest_one(planted):
    assert bold(planted, [[0.4], [0.4]], [[0.7], [0.2]]) == ["focal"]


def test_rows_that_show_the_same_number_are_both_the_best(planted):
    assert bold(planted, [[0.4501], [0.4501]], [[0.4504], [0.4504]]) == ["plain", "focal"]
    assert bold(planted, [[0.4501], [0.4501]], [[0.4506], [0.4506]]) == ["focal"]


def test_a_row_with_missing_seeds_is_neither_the_best_nor_makes_another_the_best(planted):
    assert bold(planted, [[0.4], [0.4]], [[0.7], None]) == []


def test_nothing_is_the_best_where_rows_have_different_numbers_of_cases_without_a_value(planted):
    assert bold(planted, [[0.4, 0.4], [0.4, 0.4]], [[0.7, None], [0.7, 0.7]]) == []


def test_where_every_row_lacks_as_many_values_one_is_the_best(planted):
    assert bold(planted, [[0.4, None], [0.4, 0.4]], [[0.7, 0.7], [None, 0.7]]) == ["focal"]


def test_a_row_with_missing_seeds_and_values_leaves_the_others_their_best(planted):
    filled = fill(*planted({"plain": [[0.4, 0.4]] * 2, "focal": [[0.7, 0.7]] * 2, "other": [[None, 0.1], None]}, *THREE_ROWS))
    assert [row for row, cell in cells(filled).items() if cell.best] == ["focal"]


def test_of_distances_the_smallest_is_the_best(tiny, plant, tmp_path):
    table = tiny(("fractions: [0.5, 1.0]", "fractions: [0.5]\nmetrics: [hd95]"), ("seeds: [0, 1]", "seeds: [0]"))
    items = items_of(table, tmp_path / "out")
    for item, value in zip(items, (4.0, 9.0), strict=True):
        plant(item, {"hd95": {"a": value}})
    assert [(row, cell.best, cell.unit) for row, cell in cells(fill(table, items)).items()] == [
        ("plain", True, "mm"),
        ("focal", False, "mm"),
    ]


PLAIN = [0.10, 0.20, 0.30, 0.40, 0.50, 0.60, 0.70]
BETTER = [value + step / 100 for step, value in enumerate(PLAIN, start=1)]


def test_a_row_is_tested_against_its_counterpart_case_by_case(planted):
    filled = fill(*planted({"plain": [PLAIN, PLAIN], "focal": [BETTER, BETTER]}))
    plain, focal = cells(filled).values()
    assert plain.difference is None
    assert (focal.difference.paired.n, focal.difference.paired.higher) == (7, 7)
    assert focal.difference.paired.difference == pytest.approx(0.04)
    assert focal.difference.paired.p == 2 / 2**7  # every difference is positive: of 128 choices of signs two are as extreme
    assert focal.difference.corrected == 2 / 2**7  # of one test


def shifted(values: list[float], by: float) -> list[float]:
    return [value + by for value in values]


def test_a_row_is_tested_against_its_counterpart_seed_by_seed(planted):
    plain, focal = [PLAIN, shifted(PLAIN, 0.002)], [BETTER, shifted(BETTER, 0.002)]
    difference = cells(fill(*planted({"plain": plain, "focal": focal})))["focal"].difference
    # means 0.4, 0.402 and 0.44, 0.442: v = 0.001^2 of either row, t^2 = 0.04^2 / (2 x 0.001^2) = 800, f = 2, p = 1 - 1 / sqrt(1 + 2 / t^2)
    assert difference.p_seeds == pytest.approx(1 - (1 + 2 / 800) ** -0.5)
    assert (difference.seeds_corrected, difference.seeds) == (difference.p_seeds, 2)  # of one test
    assert difference.significant


@pytest.mark.parametrize(
    ("focal", "over_cases", "over_seeds"),
    [
        ([BETTER, shifted(BETTER, 0.002)], True, True),
        ([BETTER, shifted(BETTER, 0.05)], True, False),  # higher in every case, but the seeds are farther apart than the rows
        ([[*PLAIN[:4], *shifted(PLAIN[4:], 0.1)], [*PLAIN[:4], *shifted(PLAIN[4:], 0.102)]], False, True),  # the same networks in 4 cases
        ([[*PLAIN[:6], 0.71], [*PLAIN[:6], 0.69]], False, False),
    ],
)
def test_with_several_seeds_a_mark_needs_both_tests(focal, over_cases, over_seeds, planted):
    difference = cells(fill(*planted({"plain": [PLAIN, PLAIN], "focal": focal})))["focal"].difference
    assert (difference.corrected < 0.05, difference.seeds_corrected < 0.05) == (over_cases, over_seeds)
    assert difference.significant == (over_cases and over_seeds)


def test_rows_whose_seeds_do_not_vary_have_no_test_over_seeds_and_no_mark(planted):
    difference = cells(fill(*planted({"plain": [PLAIN, PLAIN], "focal": [BETTER, BETTER]})))["focal"].difference
    assert (difference.corrected < 0.05, difference.p_seeds, difference.seeds_corrected, difference.significant) == (
        True,
        None,
        None,
        False,
    )


def test_with_one_seed_a_mark_needs_the_test_over_cases_alone(planted):
    difference = cells(fill(*planted({"plain": [PLAIN], "focal": [BETTER]}, ("seeds: [0, 1]", "seeds: [7]"))))["focal"].difference
    assert (difference.seeds, difference.p_seeds, difference.significant) == (1, None, True)


def test_seeds_are_averaged_before_the_test(planted):
    # seed 0 is better and seed 1 as much worse in every case: over the seeds nothing differs
    worse = [2 * plain - better for plain, better in zip(PLAIN, BETTER, strict=True)]
    difference = cells(fill(*planted({"plain": [PLAIN, PLAIN], "focal": [BETTER, worse]})))["focal"].difference
    assert (difference.paired.ties, difference.paired.p, difference.significant) == (7, 1.0, False)


def test_a_case_without_a_value_in_one_seed_of_either_row_is_no_pair(planted):
    plain, focal = [[None, *PLAIN[1:]], PLAIN], [BETTER, [*BETTER[:-1], None]]
    difference = cells(fill(*planted({"plain": plain, "focal": focal})))["focal"].difference
    assert (difference.paired.n, difference.paired.dropped) == (5, 2)


def test_rows_with_missing_seeds_are_not_tested(planted):
    assert cells(fill(*planted({"plain": [PLAIN, None], "focal": [BETTER, BETTER]})))["focal"].difference is None


def test_with_many_cases_the_test_is_wilcoxons(planted):
    plain, better = [step / 100 for step in range(20)], [step / 100 + (-1) ** step * (step + 1) ** 2 / 1000 for step in range(20)]
    difference = cells(fill(*planted({"plain": [plain, plain], "focal": [better, better]})))["focal"].difference
    assert difference.paired.test == "signed-rank"
    assert difference.paired.p == pytest.approx(wilcoxon(better, plain).pvalue)


THREE_ROWS = (("against: plain\n", "against: plain\n  other:\n    overrides: {train: {steps: 2}}\n    against: plain\n"),)


def test_the_p_values_of_a_column_are_corrected_together(planted):
    nearly = [*BETTER[:-1], PLAIN[-1] - 0.001]  # one small difference of the other sign
    values = {"plain": [PLAIN, PLAIN], "focal": [BETTER, BETTER], "other": [nearly, nearly]}
    found = cells(fill(*planted(values, *THREE_ROWS)))
    focal, other = found["focal"].difference, found["other"].difference
    assert (focal.paired.p, other.paired.p) == (2 / 128, 4 / 128)
    assert (focal.corrected, other.corrected) == (4 / 128, 4 / 128)  # Holm: 2 x the smaller one, then 1 x the larger one


def test_the_p_values_over_seeds_of_a_column_are_corrected_together(planted):
    values = {row: [shifted(PLAIN, by), shifted(PLAIN, by + 0.002)] for row, by in (("plain", 0), ("focal", 0.04), ("other", 0.008))}
    found = cells(fill(*planted(values, *THREE_ROWS)))
    focal, other = found["focal"].difference, found["other"].difference
    assert focal.p_seeds == pytest.approx(1 - (1 + 2 / 800) ** -0.5)
    assert other.p_seeds == pytest.approx(1 - (1 + 2 / 32) ** -0.5)  # 0.008 instead of 0.04: t^2 = 800 / 25
    assert other.p_seeds < 0.05
    assert (focal.seeds_corrected, other.seeds_corrected) == (2 * focal.p_seeds, other.p_seeds)


def test_a_column_of_rows_that_are_all_alike_but_for_their_seeds_has_no_marks(planted):
    # cases say that the networks differ, each in every case; a seed of one row is as far from its other one
    values = {"plain": [PLAIN, shifted(PLAIN, 0.01)], "focal": [shifted(PLAIN, 0.002), shifted(PLAIN, 0.02)]}
    values["other"] = [shifted(PLAIN, -0.01), shifted(PLAIN, 0.005)]
    found = [cell.difference for cell in cells(fill(*planted(values, *THREE_ROWS))).values() if cell.difference is not None]
    assert [each.corrected < 0.05 for each in found] == [True, True]
    assert not any(each.significant for each in found)


@pytest.mark.parametrize("kept", ["plain", "focal"])
def test_a_case_that_only_one_of_two_rows_has_a_line_for_is_no_pair_but_counted(tiny, tmp_path, kept):
    table = tiny(("fractions: [0.5, 1.0]", "fractions: [0.5]\nmetrics: [dice]"), ("seeds: [0, 1]", "seeds: [0]"))
    items = items_of(table, tmp_path / "out")
    for item in items:
        rows = [Row(case, "edema", "dice", 0.5, "", "ok") for case in "abc"]
        rows += [Row(case, "core", "dice", 0.5, "", "ok") for case in ("abc" if item.row == kept else "ab")]
        write_scores(item.scores("test", False), rows)
        item.place.result.write_text(item.write(Result(item.asked, 1, 1, "0", ())))
    difference = cells(fill(table, items))["focal"].difference
    assert (difference.paired.n, difference.paired.dropped) == (2, 1)


def test_rows_that_were_scored_on_different_cases_are_not_compared(planted):
    table, items = planted({"plain": [[0.1, 0.3], [0.1, 0.3]], "focal": [[0.5, 0.5], [0.5, 0.5, 0.5]]})
    with pytest.raises(InputError) as error:
        fill(table, items)
    assert str(error.value).splitlines() == [
        "SK-B030: two items were scored on different test cases",
        f"  where:    {items[3].folder}/test",
        f"  expected: the 2 cases of {items[0].folder}/test",
        "  got:      +case2",
        "  remedy:   remove the folder of the item whose data are out of date, and run again",
    ]


def test_the_first_of_the_cases_that_differ_are_named(planted):
    with pytest.raises(InputError) as error:
        fill(*planted({"plain": [[0.1] * 7, None], "focal": [[0.5], None]}))
    assert error.value.got == "-case1, -case2, -case3, -case4, -case5, ..."


MEAN = (("classes: [core]", "classes: [both]\nmeans: {both: [core, edema]}"),)


def test_a_mean_of_classes_is_taken_case_by_case_over_those_that_have_a_value(tiny, tmp_path):
    table = tiny(("fractions: [0.5, 1.0]", "fractions: [0.5]\nmetrics: [dice]"), ("seeds: [0, 1]", "seeds: [0]"), *MEAN)
    items = items_of(table, tmp_path / "out")
    rows = [("a", "core", 0.2), ("a", "edema", 0.4), ("b", "core", None), ("b", "edema", 0.7), ("c", "core", None), ("c", "edema", None)]
    for item in items:
        write_scores(item.scores("test", False), [Row(case, name, "dice", value, "", "ok") for case, name, value in rows])
        item.place.result.write_text(item.write(Result(item.asked, 1, 1, "0", ())))
    found = cells(fill(table, items), structure="both")["plain"]
    assert found.mean == pytest.approx((0.3 + 0.7) / 2)
    assert (found.cases, found.left_out) == (3, 1)


def test_the_gap_is_training_minus_test_seed_by_seed(tiny, tmp_path):
    table = tiny(
        ("fractions: [0.5, 1.0]", "fractions: [0.5]\nmetrics: [dice]"), ("seeds: [0, 1]", "seeds: [0, 1]\nsplits: [test, training]")
    )
    items = items_of(table, tmp_path / "out")
    for item in items:
        for split, value in (("test", 0.5), ("training", 0.7 + 0.2 * item.seed)):
            write_scores(item.scores(split, False), [Row("a", "core", "dice", value, "", "ok")])
        item.place.result.write_text(item.write(Result(item.asked, 1, 1, "0", ())))
    filled = fill(table, items)
    assert [block.view.split for block in filled.blocks] == ["test", "training", GAP]
    gap = cells(filled, View(GAP, False))["plain"]
    assert gap.means == (pytest.approx(0.2), pytest.approx(0.4))
    assert (gap.best, gap.difference) == (False, None)
    assert not any(cell.best for cell in cells(filled, View("training", False)).values())


PUBLISHED = (
    "seeds: [0, 1]",
    "seeds: [0, 1]\npublished:\n  - {source: a, values: [{row: focal, fraction: 0.5, structure: core, scores: {dice: 50.4}}]}\n"
    "  - {source: b, verified: true, values: [{row: plain, fraction: 0.5, structure: core, scores: {dice: 25.0}}]}",
)


def test_published_values_stand_beside_the_scores_of_test_cases_as_predicted(planted):
    filled = fill(*planted({"plain": [[0.4], [0.4]], "focal": [None, None]}, PUBLISHED, ("seeds:", "largest_component: true\nseeds:")))
    plain, focal = cells(filled).values()
    assert (plain.published.value, plain.published.verified) == (0.25, True)
    assert (focal.published.value, focal.published.verified) == (0.504, False)
    assert {cell.published for cell in cells(filled, View("test", True)).values()} == {None}


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(0.58849, "", "58.8"), (1.0, "", "100.0"), (12.34, "mm", "12.3"), (-0.0001, "", "0.0"), (-0.001, "", "-0.1")],
)
def test_fractions_are_shown_in_percent_and_distances_in_mm_with_one_decimal(value, unit, text):
    assert rounded(value, unit) == text


def test_the_standard_deviation_is_that_of_a_sample(planted):
    seeds = ("seeds: [0, 1]", "seeds: [0, 1, 2]")
    found = cells(fill(*planted({"plain": [[0.1], [0.2], [0.6]], "focal": [[0.5]] * 3}, seeds)))["plain"]
    assert found.std == pytest.approx(statistics.stdev([0.1, 0.2, 0.6]))
