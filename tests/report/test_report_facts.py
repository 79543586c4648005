"""A run in words: its parts, its origin, whose cases were scored."""

import json

import pytest

from segkit.config.errors import InputError
from segkit.datasets.split import Splits
from segkit.engine.run import Run
from segkit.losses.focal import Focal
from segkit.report.facts import Objective, Part, duration, moment, not_scored, predicted_by, read_origin, whose
from segkit.volume.case import CaseFiles


def test_a_part_says_what_it_is_and_all_its_settings():
    part = Part.of(Focal(gamma=3.0))
    assert part.name == "focal"
    assert part.words == "Focal loss: cross-entropy that discounts what is right already; in its asymmetric form never in a rare class."
    assert part.settings == "weight 1.0, gamma 3.0, asymmetric true"


def test_the_objective_is_losses_then_regularizers_in_the_order_of_the_recipe(make):
    made = make(moves={"a": 0}, scored=False, regularizers=[{"name": "large_margin", "margin": 0.5, "asymmetric": True}])
    objective = Objective.of(made.recipe)
    assert [part.name for part in objective.losses] == ["cross_entropy", "focal"]
    assert [part.settings for part in objective.regularizers] == ["margin 0.5, asymmetric true"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (3569, "59 min"), (3571, "1 h 00 min"), (11100, "3 h 05 min")],
)
def test_a_duration_is_told_in_its_largest_units(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2026-11-21T11:34:27+0000", "2026-11-21 11:34 UTC"),
        ("2026-11-21T11:34:27+0100", "2026-11-21 11:34 UTC+01:00"),
        ("2026-11-21T11:34:27", "2026-11-21 11:34"),
        ("", ""),
    ],
)
def test_a_moment_keeps_its_time_zone(text, words):
    assert moment(text) == words


def test_the_origin_is_what_provenance_says(make):
    origin = read_origin(make(moves={"a": 0}, scored=False).run)
    assert (origin.command, origin.started, origin.commit) == ("segkit train 'my recipe.yaml'", "2026-11-21 11:34 UTC", "abc123+")
    assert (origin.cuda, origin.resumed, origin.versions["torch"]) == ("", (), "2.13.0")


def test_a_run_without_provenance_has_no_origin(tmp_path):
    assert read_origin(Run(tmp_path)) is None


@pytest.mark.parametrize(
    ("content", "got"),
    [('{"started": "yesterday"}', "Invalid isoformat string: 'yesterday'"), ('{"versions": 3}', "'int' object is not iterable")],
)
def test_damaged_provenance_is_named(tmp_path, content, got):
    run = Run(tmp_path)
    run.provenance.write_text(content)
    with pytest.raises(InputError) as error:
        read_origin(run)
    assert str(error.value) == (
        f"SK-W012: the provenance is damaged\n  where:    {run.provenance}\n  expected: what segkit train writes\n  got:      {got}"
    )


def test_whose_cases_were_scored_is_counted_by_side():
    cases = {name: CaseFiles(name, {}) for name in "abcd"}
    splits = Splits((cases["a"], cases["b"]), (), (cases["c"], cases["d"]))
    assert whose(["c", "d"], splits) == "2 of the 2 test cases"
    assert whose(["a", "c", "x"], splits) == "1 of the 2 training cases, 1 of the 2 test cases, 1 of no split"
    assert whose(["a"], None) == ""


def test_the_models_of_the_predictions_and_the_cases_without_scores_are_told(tmp_path):
    run = Run(tmp_path)
    assert (predicted_by(run), not_scored(run)) == ([], [])
    run.predictions.mkdir()
    maker = {"models": [{"name": "mine", "step": 7, "sha256": "0123456789abcdef"}], "values": {}}
    (run.predictions / "predictions.json").write_text(json.dumps({"makers": {"m": maker}, "cases": {}}))
    (run.path / "summary.json").write_text(json.dumps({"classes": {}, "failed": {"a": {"error": "SK-E013", "message": "no prediction"}}}))
    assert predicted_by(run) == ["mine, step 7, sha256 0123456789ab"]
    assert not_scored(run) == [("a", "SK-E013: no prediction")]


@pytest.mark.parametrize(
    ("content", "got"),
    [
        ({"makers": [1]}, "'list' object has no attribute 'values'"),
        ({"makers": {"m": 3}}, "'int' object has no attribute 'get'"),
        ({"makers": {"m": {"models": 3}}}, "'int' object is not iterable"),
        ({"makers": {"m": {"models": [3]}}}, "'int' object has no attribute 'get'"),
    ],
)
def test_a_damaged_list_of_predictions_is_named(tmp_path, content, got):
    run = Run(tmp_path)
    run.predictions.mkdir()
    path = run.predictions / "predictions.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError) as error:
        predicted_by(run)
    assert str(error.value) == (
        f"SK-W015: the list of predictions is damaged\n  where:    {path}\n  expected: what segkit predict writes\n  got:      {got}"
    )


@pytest.mark.parametrize(
    ("content", "got"),
    [({"failed": [1]}, "'list' object has no attribute 'items'"), ({"failed": {"a": 3}}, "'int' object has no attribute 'get'")],
)
def test_a_damaged_summary_is_named(tmp_path, content, got):
    path = tmp_path / "summary.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError) as error:
        not_scored(Run(tmp_path))
    assert str(error.value) == (
        f"SK-W016: the summary of the scores is damaged\n  where:    {path}\n  expected: what segkit evaluate writes\n  got:      {got}"
    )
