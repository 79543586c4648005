"""What a command prints, and where: results and progress to stdout, errors to stderr, nothing when quiet."""

import re

import pytest
import typer

from segkit.cli import session
from segkit.cli.scoreboard import lines
from segkit.config.faults import readable
from segkit.engine.evaluate import Row, summarize


def test_quiet_prints_nothing_on_success(run, place, segkit):
    said = [
        segkit("phantom", "brats", "--output", "more", "--cases", 1, "--shape", 32, 32, 32, "--quiet"),
        segkit("check", "r.yaml", "--quiet"),
        segkit("train", "r.yaml", "--run", "new", "--device", "cpu", "--quiet"),
        segkit("predict", "run", "--split", "test", "--device", "cpu", "--quiet"),
        segkit("evaluate", "run", "--split", "test", "--quiet"),
    ]
    assert [(one.status, one.out, one.err) for one in said] == [(0, "", "")] * 5


def test_quiet_still_tells_errors(place, segkit):
    said = segkit("train", "nowhere.yaml", "--quiet")
    assert (said.status, said.out) == (2, "")
    assert said.err.startswith("SK-R001")


def test_errors_go_to_stderr_alone(place, segkit):
    said = segkit("train", "r.yaml", "--device", "tpu")
    assert said.out == ""
    assert said.err.startswith("SK-T001")


def test_debug_shows_where_an_error_was_raised(place, segkit):
    said = segkit("train", "nowhere.yaml", "--debug")
    assert said.status == 2
    assert said.err.startswith("Traceback (most recent call last):\n")
    assert 'segkit/config/yaml.py", line ' in said.err
    assert said.err.endswith("SK-R001: the file cannot be read\n  where:    nowhere.yaml\n  got:      No such file or directory\n")


def test_without_a_terminal_there_are_plain_timed_lines(place, segkit):
    said = segkit("train", "r.yaml", "--run", "new", "--device", "cpu")
    assert "\x1b" not in said.out
    timed = [line for line in said.out.splitlines() if line.startswith(" ")]
    assert [re.sub(r"[0-9.]+", "0", line) for line in timed] == [
        "      0 s  preprocess 0/0  0/s  0 s left",
        "      0 s  train 0/0  0/s  0 s left  loss 0",
    ]
    assert said.out.splitlines()[-1] == "run: new"


@pytest.mark.parametrize(
    ("error", "block"),
    [
        (
            MemoryError(),
            "SK-C002: out of memory\n  remedy:   lower train.batch_size or sampling.patch_shape to train, infer.tile_shape to predict",
        ),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"),
            "SK-C002: out of memory\n  got:      DefaultCPUAllocator: ",
        ),
        (
            OSError(12, "Cannot allocate memory"),
            "SK-C002: out of memory\n  got:      [Errno 12] Cannot allocate memory\n  remedy:   lower train.batch_size ",
        ),
        (
            PermissionError(13, "Permission denied", "x"),
            "SK-C003: a file cannot be read or written\n  where:    x\n  got:      Permission denied",
        ),
    ],
)
def test_what_the_machine_lacks_is_told_like_any_error(error, block):
    told = readable(error)
    assert told.exit_status == 1
    assert told.block().startswith(block)


def test_an_interruption_is_no_traceback(capsys):
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(typer.Exit) as stop:
        session.with_errors(interrupted, debug=False)
    assert stop.value.exit_code == 130
    assert capsys.readouterr().err == "stopped\n"


def test_a_bug_is_not_dressed_up():
    assert readable(ValueError("shape mismatch")) is None
    assert readable(BrokenPipeError(32, "Broken pipe")) is None


def rows(case: str, structure: str, **values: float | None) -> list[Row]:
    states = {True: "ok", False: "missed"}
    units = {"hd95": "mm"}
    return [
        Row(case, structure, metric, value, units.get(metric, ""), states[None not in values.values()]) for metric, value in values.items()
    ]


TABLE = summarize(
    [
        *rows("a", "liver", dice=0.5, precision=0.25, hd95=10.0),
        *rows("b", "liver", dice=0.0, precision=None, hd95=None),
        *rows("c", "liver", dice=1.0, precision=0.75, hd95=2.0),
        *rows("a", "gallbladder", dice=0.0, precision=None, hd95=None),
        *rows("b", "gallbladder", dice=0.0, precision=None, hd95=None),
        *rows("c", "gallbladder", dice=0.0, precision=None, hd95=None),
    ]
)
LEGEND = [
    "mean±standard deviation over n cases; (k): over the k cases that have a value",
    "m/s/a: cases in which the class is missed, spurious or absent",
]


def test_the_table_by_hand():
    assert lines(TABLE) == [
        *LEGEND,
        "",
        "class        n  m/s/a         dice         prec      hd95 mm",
        "----------------------------------------------------------------",
        "liver        3  1/0/0  0.500±0.500  0.500±0.354 (2)  6.0±5.7 (2)",
        "gallbladder  3  3/0/0  0.000±0.000          n/a          n/a",
    ]


def test_a_narrow_terminal_gets_the_table_in_parts():
    told = lines(TABLE, 55)
    assert max(map(len, told[2:])) <= 55
    assert [line.split() for line in told if line.startswith("class")] == [
        ["class", "n", "m/s/a", "dice", "prec"],
        ["class", "n", "m/s/a", "hd95", "mm"],
    ]


def test_one_case_has_no_spread():
    assert lines(summarize(rows("a", "liver", dice=0.5)))[-1] == "liver  1  0/0/0  0.500"


def test_no_case_at_all_is_no_table():
    assert lines([]) == ["no scores"]
