"""The page of a run: whole without a network, escaped, and honest about what is missing."""

import base64
import hashlib
import json
import re
import shutil
from itertools import pairwise

import pytest
import torch

from segkit.analysis.mark import note_weights
from segkit.config.errors import InputError, WorkError
from segkit.engine.console import Console
from segkit.engine.run import Run
from segkit.engine.weights import save_weights, stored_sha256
from segkit.report import size
from segkit.report.figures import PNG
from segkit.report.notation import number, strict_json
from segkit.report.page import examples, gather, render, write_report

EVIL = "<img src=x onerror=alert(1)>&\"'"


@pytest.fixture
def whole(make):
    """A run with everything that a page can show."""
    made = make()
    (made.run.path / "analysis").mkdir()
    (made.run.path / "analysis/logits.png").write_bytes(PNG)
    (made.run.path / "analysis/shift.csv").write_text("class,shift\norgan,0.25\n")
    return made


def test_nothing_is_loaded_from_anywhere(whole, parsed):
    page = parsed(whole.page())
    for tag, attributes in page.tags:
        for name in ("src", "href", "srcset", "action", "data", "poster", "xlink:href"):
            assert attributes.get(name, "#").startswith(("#", "data:image/")), (tag, name)
    assert not {tag for tag, _ in page.tags} & {"link", "iframe", "object", "embed", "base", "form"}
    assert "url(" not in "".join(page.text["style"])
    assert "http" not in "".join(page.text["style"])
    assert not re.search(r"fetch|XMLHttpRequest|WebSocket|sendBeacon|import\(|eval|innerHTML", "".join(page.text["script"]))


def test_the_policy_admits_the_pages_own_style_and_script_and_nothing_else(whole, parsed):
    page = parsed(whole.page())
    (policy,) = [attributes["content"] for tag, attributes in page.tags if attributes.get("http-equiv") == "Content-Security-Policy"]
    style, script = "".join(page.text["style"]), [text for text in page.text["script"] if "use strict" in text]
    style_hash, script_hash = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, *script))
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{style_hash}'; script-src 'sha256-{script_hash}';"
        " base-uri 'none'; form-action 'none'"
    )
    for tag, attributes in page.tags:  # these would need more than the policy admits
        assert "style" not in attributes, tag
        assert not [name for name in attributes if name.startswith("on")], tag


def test_ids_are_unique_and_links_lead_to_them(whole, parsed):
    page = parsed(whole.page())
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {attributes["href"][1:] for tag, attributes in page.tags if tag == "a"} == set(ids)


def test_everything_that_is_seen_has_words_for_those_who_do_not_see_it(whole, parsed):
    page = parsed(whole.page())
    for tag, attributes in page.tags:
        if tag == "img":
            assert attributes["alt"]
        if tag == "svg":
            assert attributes.get("aria-hidden") == "true" or attributes["aria-label"]
        if tag == "th":
            assert attributes["scope"] in ("col", "row")
        if tag == "input" and attributes["type"] == "range":
            assert attributes["aria-label"]
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_scripts_of_data_are_strict_json_of_the_slices(whole, parsed):
    contents = [json.loads(text, parse_constant=pytest.fail) for text in parsed(whole.page()).text["script"] if text.startswith("{")]
    assert len(contents) == 3 * 3  # planes of cases
    for content in contents:
        assert len(content["numbers"]) == len(content["label"]) == len(content["prediction"])
        assert all(len(paths) == 2 for paths in content["label"])  # classes


def test_names_are_text_and_never_markup(make, parsed):
    case = EVIL.replace("/", "")
    made = make(
        moves={case: 1}, dataset__classes={EVIL: 1, "lesion": 2}, evaluate__regions={EVIL + "!": ["lesion"]}, losses=["cross_entropy"]
    )
    text = made.page()
    assert EVIL not in text
    page = parsed(text)
    assert not [tag for tag, attributes in page.tags if "onerror" in attributes]
    assert EVIL in page.text["button"]
    assert case in page.text["th"]
    assert f"Worst case: {case}" not in text


def test_a_script_in_a_log_or_figure_name_stays_text(make, parsed):
    made = make(moves={"a": 0})
    made.run.log.write_text(json.dumps({"event": "step", "step": 1, "loss": 1.0, "</svg><script>alert(1)</script>": 2.0, "x": 1.0}) + "\n")
    page = parsed(made.page())
    assert "</svg><script>alert(1)</script>" in page.text["li"]


@pytest.mark.parametrize("value", ["</script><script>alert(1)</script>", "<!--", "a & b", {"k": ["<", 1.5, None]}])
def test_strict_json_reads_back_and_cannot_end_its_tag(value):
    text = strict_json(value)
    assert not set("<>&") & set(text)
    assert json.loads(text) == value


def test_strict_json_has_no_nan():
    with pytest.raises(ValueError, match="not JSON compliant"):
        strict_json(float("nan"))


def test_the_page_tells_what_the_run_was(whole, parsed):
    words = parsed(whole.page()).words()
    for told in (
        "2 training, 0 validation, 3 test",
        "scored: 3 of the 3 test cases",
        "40 of 40 steps",
        "weight 1.0, gamma 3.0, asymmetric true",
        "2026-11-21 11:34 UTC, on CPU, 2 threads",
        "segkit train 'my recipe.yaml'",
    ):
        assert told in words


def test_the_recipe_stands_on_the_page_as_it_lies_in_the_run(whole, parsed):
    assert whole.run.recipe.read_text() in "".join(parsed(whole.page()).text["pre"])


def test_the_three_cases_are_the_worst_the_median_and_the_best(whole, parsed):
    page = parsed(whole.page())
    labels = [
        attributes["aria-label"] for tag, attributes in page.tags if tag == "svg" and attributes.get("aria-label", "").startswith("axial")
    ]
    assert [re.search("case (.) with", label).group(1) for label in labels] == ["c", "b", "a"]  # moved by 5, by 2 and not at all


@pytest.mark.parametrize(
    ("count", "chosen"),
    [
        (0, []),
        (1, [("only", 0)]),
        (2, [("worst", 0), ("best", 1)]),
        (3, [("worst", 0), ("median", 1), ("best", 2)]),
        (4, [("worst", 0), ("median", 1), ("best", 3)]),
        (45, [("worst", 0), ("median", 22), ("best", 44)]),
    ],
)
def test_no_case_stands_for_two_places(count, chosen):
    ranking = [(f"case{index}", index / 100) for index in range(count)]
    assert examples(ranking) == [(place, *ranking[index]) for place, index in chosen]


def test_a_run_without_predictions_has_curves_and_the_commands_that_add_the_rest(make, parsed):
    made = make(scored=False)
    shutil.rmtree(made.run.predictions)
    page = parsed(made.page())
    words = page.words()
    assert f"segkit predict {made.run.path} --split test" in words
    assert f"segkit evaluate {made.run.path} --split test" in words
    assert f"segkit analyze {made.run.path}" in words
    assert "Training loss" in words
    assert "segkit train 'my recipe.yaml'" in words


def test_a_run_with_predictions_is_not_told_to_predict_again(make, parsed):
    words = parsed(make(scored=False).page()).words()
    assert "segkit evaluate" in words
    assert "segkit predict" not in words


def test_a_folder_with_a_space_is_quoted_in_the_commands(make, parsed, tmp_path):
    made = make(scored=False)
    moved = made.run.path.rename(tmp_path / "my run")
    assert f"segkit evaluate '{moved}' --split test" in parsed(render(gather(Run(moved), Console("quiet")))).words()


def test_without_the_data_the_page_says_so_and_has_the_scores(whole, parsed):
    shutil.rmtree(whole.root)
    words = parsed(whole.page()).words()
    assert f"No pictures: the data set is not where the recipe says. SK-D001: the data set's folder is not there ({whole.root})" in words
    assert "mean Dice, n = 3" in words


def test_a_case_that_cannot_be_shown_says_why_and_the_others_are_shown(whole, parsed):
    (whole.root / "b" / "t1.nii.gz").write_bytes(b"no scan")
    page = parsed(whole.page())
    assert f"This case cannot be shown: SK-V032: not a gzip file although its name ends in .gz ({whole.root}/b/t1.nii.gz)" in page.words()
    assert len([tag for tag, attributes in page.tags if attributes.get("class") == "plane"]) == 2 * 3


def test_a_scored_case_that_is_in_no_split_is_not_shown(whole, parsed):
    table = whole.run.path / "scores.csv"
    table.write_text(table.read_text().replace("\nc,", "\nelsewhere,"))
    words = parsed(whole.page()).words()
    assert "This case cannot be shown: the data set has no case of this name in its split" in words
    assert "2 of the 3 test cases, 1 of no split" in words


def test_scores_without_dice_choose_no_cases(make, parsed):
    words = parsed(make(evaluate__metrics=["hd95"]).page()).words()
    assert "No case has a Dice score to choose by" in words
    assert "mean HD95 [mm], n = 3" in words
    assert "HD95 [mm] of every case; the mean is over classes" in words


def test_the_order_of_cases_is_told_where_dice_was_scored(whole, parsed):
    words = parsed(whole.page()).words()
    for title in ("Dice", "Sensitivity", "HD95 [mm]"):
        assert f"{title} of every case, the worst mean Dice first; the mean is over classes" in words


def test_a_page_that_would_be_too_large_has_fewer_slices(make, monkeypatch):
    sources = gather(make().run, Console("quiet"))
    usual = render(sources)
    monkeypatch.setattr(size, "LIMIT", len(usual) - 1)
    small = render(sources)
    assert len(small) < len(usual)
    assert small.count('class="plane"') == usual.count('class="plane"')


def test_the_page_tells_its_size(whole):
    page = whole.page()
    assert f"This page is {size.volume_of(page)} and needs" in page


def test_a_folder_without_a_run_is_an_error(tmp_path):
    with pytest.raises(InputError) as error:
        gather(Run(tmp_path), Console("quiet"))
    assert str(error.value) == (
        f"SK-W001: this is no run\n  where:    {tmp_path}\n  expected: a run folder with recipe.yaml\n"
        "  remedy:   name the folder that segkit train --run made"
    )


def test_a_page_is_written_whole_or_not_at_all(whole, tmp_path):
    output = tmp_path / "new folder" / "page.html"
    size = write_report(whole.run, output, Console("quiet"))
    assert output.read_text(encoding="utf-8").endswith("</html>")
    assert size in output.read_text(encoding="utf-8")
    assert [path.name for path in output.parent.iterdir()] == ["page.html"]


@pytest.mark.parametrize(("value", "unit", "text"), [(None, "", "–"), (0.12345, "", "0.123"), (12.345, "mm", "12.3"), (1.0, "", "1.000")])
def test_fractions_have_three_digits_and_millimeters_one(value, unit, text):
    assert number(value, unit) == text


def test_analyses_of_other_weights_are_left_out_with_the_command_that_makes_them_again(whole, parsed):
    assert parsed(whole.page()).words().count("Which weights it was made from is not known.") == 2
    files = [whole.run.analysis / name for name in ("logits.png", "shift.csv")]
    save_weights(whole.run, torch.nn.Linear(2, 2), 1)
    note_weights(files[:1], stored_sha256(whole.run))
    note_weights(files[1:], "0123")
    page = parsed(whole.page())
    left_out = "Left out, since the run has other weights than they were made from: shift.csv. To make them again:"
    assert left_out in page.text["p"]
    assert f"segkit analyze {whole.run.path}" in page.text["pre"]
    assert [attributes["alt"] for tag, attributes in page.tags if tag == "img"] == ["Logits on training and test cases (logits.png)"]
    assert "Logit shift" not in page.words()
    assert "Which weights" not in page.words()
    note_weights(files[:1], "0123")
    words = parsed(whole.page()).words()
    assert "made from: logits.png, shift.csv." in words
    assert "has not been analyzed yet" not in words


@pytest.mark.parametrize(
    ("name", "content", "what", "gone"),
    [
        ("scores.csv", "nonsense", "SK-E030: the scores cannot be used", "Mean ± standard deviation"),
        ("summary.json", "[]", "SK-D022: the file holds the wrong kind of value", "cases could not be scored"),
        ("predictions/predictions.json", '{"makers": 3}', "SK-W015: the list of predictions is damaged", "Predicted by"),
        ("provenance.json", '{"started": "then"}', "SK-W012: the provenance is damaged", "Commit"),
        ("analysis/logits.png", "no image", "SK-W013: a figure is damaged", "(logits.png)"),
        ("analysis/shift.csv", "", "SK-W014: a table is damaged", "Logit shift"),
        ("analysis/made_from.json", "[]", "SK-D022: the file holds the wrong kind of value", "Logit shift"),
    ],
)
def test_a_damaged_file_costs_its_section_and_the_rest_is_rendered(whole, parsed, tmp_path, name, content, what, gone):
    path = whole.run.path / name
    path.write_text(content)
    with pytest.raises(WorkError) as error:
        write_report(whole.run, tmp_path / "page.html", Console("quiet"))
    assert str(error.value) == (
        "SK-W002: files of the run are damaged; the page was written without them\n"
        f"  where:    {tmp_path / 'page.html'}\n  got:      {what} ({path})"
    )
    page = parsed((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert page.text["p"].count(f"Damaged, and left out: {what} ({path})") == 1
    assert gone not in page.words()
    assert {"Training", "Scores", "Cases", "Analysis", "Provenance"} <= set(page.text["h2"])
    assert "cross_entropy" in page.words()
