"""Curves: thinning by hand, what is drawn and what is left out."""

import numpy as np
import pytest

from segkit.report.curves import BINS, HEIGHT, WIDTH, Chart, charts, thin
from segkit.report.history import History

NAN = float("nan")


def history(validations=(), **columns: list[float]) -> History:
    length = max((len(column) for column in columns.values()), default=0)
    return History(np.arange(1, length + 1), {name: np.array(column, dtype=float) for name, column in columns.items()}, validations)


def chart(found: list[Chart], title: str) -> Chart:
    return next(each for each in found if each.title == title)


def test_each_bin_is_the_mean_and_the_ends_of_its_values():
    mean, low, high = thin(np.array([1.0, 3.0, NAN, 5.0, NAN, NAN, 8.0]), 2)
    np.testing.assert_array_equal(mean, [2.0, 5.0, NAN, 8.0])
    np.testing.assert_array_equal(low, [1.0, 5.0, NAN, 8.0])
    np.testing.assert_array_equal(high, [3.0, 5.0, NAN, 8.0])


def test_one_value_a_bin_is_the_value_itself():
    values = np.array([3.0, NAN, 1.0])
    for column in thin(values, 1):
        np.testing.assert_array_equal(column, values)


@pytest.mark.parametrize("steps", [1, BINS, BINS + 1, 70_000])
def test_a_long_training_is_drawn_with_no_more_points_than_a_short_one(steps):
    loss = chart(charts(history(loss=list(np.linspace(2, 1, steps)))), "Training loss")
    (line,) = loss.lines
    assert 1 <= line.path.count("L") + line.path.count("M") <= BINS
    assert bool(line.band) == (steps > BINS)
    assert loss.note == ("" if steps <= BINS else f"Each point is the mean of {-(-steps // BINS)} steps; "
                         "the shaded band runs from the smallest to the largest.")  # fmt: skip


def test_the_ends_of_a_line_lie_at_the_ends_of_the_frame():
    rate = chart(charts(history(learning_rate=[0.0, 1.0])), "Learning rate")
    x, y, width, height = rate.frame
    (first, last) = rate.lines[0].marks
    assert first[0] == pytest.approx(x + width / 2)  # step 1 of 2
    assert last[0] == pytest.approx(x + width)
    margin = 0.04 / 1.08 * height
    assert first[1] == pytest.approx(y + height - margin, abs=0.1)
    assert last[1] == pytest.approx(y + margin, abs=0.1)


def test_a_value_that_is_missing_is_a_gap():
    (line,) = chart(charts(history(loss=[1.0, 2.0, NAN, 3.0])), "Training loss").lines
    assert [letter for letter in line.path if letter in "ML"] == ["M", "L", "M"]


def test_what_was_not_logged_is_not_drawn():
    assert [each.title for each in charts(history(loss=[1.0, 2.0], seconds=[0.1, 0.2]))] == ["Training loss", "Time of a step"]
    assert charts(history()) == []
    assert charts(history(loss=[NAN, NAN])) == []


def test_a_logarithmic_axis_leaves_out_what_has_no_logarithm():
    (line,) = chart(charts(history(seconds=[0.1, 0.0, 10.0])), "Time of a step").lines
    assert len(line.marks) == 2


@pytest.mark.parametrize("value", [0.0, 1.0, -3.0])
def test_a_constant_line_is_drawn_inside_the_frame(value):
    for each in charts(history(loss=[value] * 3, learning_rate=[value] * 3, seconds=[abs(value) + 1] * 3)):
        for line in each.lines:
            assert all(0 < x < WIDTH and 0 < y < HEIGHT for x, y in line.marks)


def test_ticks_of_a_logarithmic_axis_lie_where_their_values_are():
    time = chart(charts(history(seconds=[0.1, 1.0, 10.0])), "Time of a step")
    places = {tick.text: tick.at for tick in time.y_ticks}
    assert list(places) == ["0.1", "0.2", "0.5", "1", "2", "5", "10"]
    assert places["1"] == pytest.approx((places["0.1"] + places["10"]) / 2)


def test_validation_is_a_line_a_class_between_0_and_1():
    records = [
        {"step": 10, "dice": {"a": 0.25, "b": None}, "cases": {"a": 2, "b": 0}},
        {"step": 20, "dice": {"a": 0.5, "b": 1.0}, "cases": {"a": 2, "b": 1}},
    ]
    dice = chart(charts(history(records, loss=[1.0] * 20)), "Validation Dice")
    assert [(line.name, len(line.marks)) for line in dice.lines] == [("a", 2), ("b", 1)]
    assert (dice.y_ticks[0].text, dice.y_ticks[-1].text) == ("0", "1")
    assert dice.summary == "Validation Dice over steps 0 to 20; at the end: a 0.5, b 1."
    assert dice.note == "Mean over the validation cases that have a value, at most 2: whole volumes, on the scans' own grids."
