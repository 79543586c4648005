"""The log of a run as columns."""

import json

import numpy as np
import pytest

from segkit.config.errors import InputError
from segkit.engine.run import Run
from segkit.report.history import read_history


def logged(path, *records: object) -> Run:
    run = Run(path)
    run.log.write_text("".join(json.dumps(record) + "\n" for record in records))
    return run


def step(number: int, **facts: float | None) -> dict[str, object]:
    return {"event": "step", "step": number, "updates": number, **facts}


def test_a_column_holds_a_value_a_step_and_nan_where_there_is_none(tmp_path):
    run = logged(
        tmp_path,
        {"event": "begin", "step": 0, "steps": 3},
        step(1, loss=2.0, seconds=0.5),
        step(2, loss=None, seconds=0.25),
        {"event": "validate", "step": 2, "dice": {"a": 0.5}, "cases": {"a": 2}},
        step(3, loss=1.0, seconds=0.25, gradient_norm=7.0),
    )
    history = read_history(run)
    np.testing.assert_array_equal(history.steps, [1, 2, 3])
    np.testing.assert_array_equal(history.values["loss"], [2.0, np.nan, 1.0])
    np.testing.assert_array_equal(history.values["gradient_norm"], [np.nan, np.nan, 7.0])
    assert [record["dice"] for record in history.validations] == [{"a": 0.5}]
    assert (history.last, history.step_seconds, history.ended, history.begins) == (3, 1.0, False, 1)


def test_the_only_term_of_a_loss_is_left_out_since_it_is_the_loss(tmp_path):
    one = read_history(logged(tmp_path, step(1, loss=1.0, cross_entropy=1.0, learning_rate=0.1, seconds=1.0)))
    assert list(one.losses) == ["loss"]
    two = read_history(logged(tmp_path, step(1, loss=3.0, cross_entropy=1.0, dice=2.0, gradient_norm=1.0)))
    assert list(two.losses) == ["loss", "cross_entropy", "dice"]


def test_a_run_without_a_log_has_no_steps(tmp_path):
    history = read_history(Run(tmp_path))
    assert (history.last, history.step_seconds, history.losses) == (0, 0.0, {})


def test_a_last_line_cut_off_by_a_kill_is_left_out(tmp_path):
    run = logged(tmp_path, step(1, loss=1.0))
    run.log.write_text(run.log.read_text() + '{"event": "step", "st')
    assert read_history(run).last == 1


@pytest.mark.parametrize(
    ("line", "got"),
    [
        ('{"step": 3}', "'event'"),
        ('{"event": "step"}', "'step'"),
        ('{"event": "validate", "step": 1}', "'dice'"),
        ('{"event": "validate", "step": 1, "dice": 3, "cases": {}}', "scores that are no numbers"),
        ('{"event": "validate", "step": 1, "dice": {"organ": "high"}, "cases": {}}', "scores that are no numbers"),
        ('{"event": "step", "step": 1, "loss": "high"}', "could not convert string to float: 'high'"),
    ],
)
def test_a_damaged_log_is_named(tmp_path, line, got):
    run = Run(tmp_path)
    run.log.write_text('{"event": "begin"}\n' + line + "\n")
    with pytest.raises(InputError) as error:
        read_history(run)
    assert str(error.value) == (
        f"SK-W010: the log is damaged\n  where:    {run.log}:2\n  expected: one record a line\n  got:      {got}\n"
        "  remedy:   restore it, or move it away: the report is then made without curves"
    )


@pytest.mark.parametrize(
    ("line", "got"), [("{nonsense}", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"), ("[1]", "list")]
)
def test_a_line_that_is_no_record_is_named(tmp_path, line, got):
    run = Run(tmp_path)
    run.log.write_text('{"event": "begin"}\n' + line + '\n{"event": "end"}\n')
    with pytest.raises(InputError) as error:
        read_history(run)
    assert str(error.value) == (
        f"SK-T013: a line is damaged\n  where:    {run.log}:2\n  expected: a JSON object\n  got:      {got}\n"
        "  remedy:   restore the file, or take the line out"
    )
