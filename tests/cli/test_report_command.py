"""`segkit report RUN`: what it writes, what it says, and how it ends."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from segkit.cli import report
from segkit.report.size import volume_of


@pytest.fixture
def report_of():
    """`report_of(run, ...)` is `segkit report RUN ...`: status and both streams."""
    app = typer.Typer()
    app.callback()(lambda: None)  # so that the one command is called by its name
    report.add_to(app)

    def call(*arguments: object) -> tuple[int, str, str]:
        result = CliRunner().invoke(app, ["report", *map(str, arguments)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout, result.stderr

    return call


@pytest.fixture
def scored(run, segkit) -> Path:
    """A run with its test case predicted and scored."""
    assert segkit("predict", run, "--split", "test", "--device", "cpu").status == 0
    assert segkit("evaluate", run, "--split", "test").status == 0
    return run


def test_the_page_lies_in_the_run_and_its_size_is_told(scored, report_of):
    status, out, err = report_of(scored)
    assert (status, err) == (0, "")
    page = (scored / "report.html").read_text(encoding="utf-8")
    assert out.splitlines()[-1] == f"report: {scored}/report.html ({volume_of(page)})"
    assert page.count('class="plane"') == 3
    assert "<strong>deepmedic_tiny</strong>" in page


def test_a_page_may_lie_elsewhere_and_quiet_is_quiet(scored, report_of, place):
    assert report_of(scored, "--output", "pages/one.html", "--quiet") == (0, "", "")
    assert (place / "pages/one.html").is_file()
    assert not (scored / "report.html").exists()


def test_a_run_that_was_only_trained_has_a_page_too(run, report_of):
    status, _, err = report_of(run)
    assert (status, err) == (0, "")
    page = (run / "report.html").read_text(encoding="utf-8")
    assert f"segkit predict {run} --split test\nsegkit evaluate {run} --split test" in page
    assert 'aria-label="Training loss over steps 0 to 3;' in page


def test_a_folder_without_a_run_ends_with_2_and_writes_nothing(place, report_of):
    assert report_of(place / "data") == (
        2,
        "",
        f"SK-W001: this is no run\n  where:    {place / 'data'}\n  expected: a run folder with recipe.yaml\n"
        "  remedy:   name the folder that segkit train --run made\n",
    )
    assert not (place / "data/report.html").exists()


def test_a_damaged_log_costs_the_curves_and_ends_with_1(run, report_of):
    log = run / "log.jsonl"
    log.write_text(log.read_text() + json.dumps({"event": "step"}) + "\n")
    number = len(log.read_text().splitlines())
    status, _, err = report_of(run)
    assert (status, err) == (
        1,
        f"SK-W002: files of the run are damaged; the page was written without them\n  where:    {run}/report.html\n"
        f"  got:      SK-W010: the log is damaged ({log}:{number})\n",
    )
    page = (run / "report.html").read_text(encoding="utf-8")
    assert f"Damaged, and left out: SK-W010: the log is damaged ({log}:{number})" in page
    assert "No step was logged" not in page
    assert "<dt>Training</dt><dd>not known: the log is damaged; to last for 3 steps" in page
    assert "<strong>deepmedic_tiny</strong>" in page


def test_a_folder_in_the_place_of_the_page_ends_with_1(run, report_of):
    (run / "report.html").mkdir()
    status, _, err = report_of(run)
    assert (status, err.splitlines()[0]) == (1, "SK-R090: cannot write")
    assert not list(run.glob(".tmp-*"))
