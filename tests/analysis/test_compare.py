"""Methods compared: plain values by hand, seeds averaged, and runs read, named, grouped and refused."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from segkit.analysis.compare import averaged, compare, compare_runs, write_comparison
from segkit.analysis.scored import Scored
from segkit.config.errors import InputError
from segkit.engine.evaluate import Row, read_scores, write_scores
from segkit.statistics.correction import holm
from segkit.statistics.paired import compare_pairs
from segkit.statistics.seeds import seeds_p

RECIPE = """\
dataset:
  name: brats
  root: /scans
  channels: [flair]
  classes: {core: [1, 4], edema: [2]}
  split: {test: 1, seed: 3}
sampling: {patch_shape: [9, 9, 9]}
model: deepmedic_tiny
losses: [cross_entropy]
train: {steps: 3}
evaluate: {regions: {whole: [core, edema]}}
"""
A = {"a": 0.5, "b": 0.6, "c": 0.7}
B = {"a": 0.75, "b": 0.6, "c": 0.8}


def dice(values: Mapping[str, float | None], structure: str = "core") -> dict:
    return {(structure, "dice"): values}


def run(folder: Path, scores: Mapping, change: tuple[str, str] = ("", ""), seed: int = 0) -> Path:
    """A run folder with a recipe, part of which is replaced, and its scores."""
    assert change[0] in RECIPE
    units = {"hd95": "mm"}
    rows = [
        Row(case, name, metric, value, units.get(metric, ""), "ok")
        for (name, metric), each in scores.items()
        for case, value in each.items()
    ]
    write_scores(folder, rows)
    text = RECIPE.replace(*change, 1).replace("steps: 3", f"steps: 3, seed: {seed}", 1)
    (folder / "recipe.yaml").write_text(text)
    return folder


IOU = ("losses: [cross_entropy]", "losses: [iou]")
UNET = ("model: deepmedic_tiny", "model: unet3d")


def test_every_method_is_compared_with_the_first_one():
    third = {"a": 0.4, "b": 0.5, "c": 0.6}
    lines = compare({"one": [dice(A)], "two": [dice(B)], "three": [dice(third)]})
    assert [(line.structure, line.metric, line.method) for line in lines] == [("core", "dice", "two"), ("core", "dice", "three")]
    assert [line.paired for line in lines] == [compare_pairs(list(A.values()), list(each.values())) for each in (B, third)]


def test_values_are_paired_by_case_whatever_their_order():
    (line,) = compare({"one": [dice(A)], "two": [dice(dict(reversed(B.items())))]})
    assert line.paired == compare_pairs(list(A.values()), list(B.values()))


def test_holm_goes_over_methods_and_classes_of_one_metric():
    cases = "abcdefgh"
    base = dict.fromkeys(cases, 0.5)

    def better(count: int) -> dict[str, float]:
        return {case: 0.5 + (1 if index < count else -1) * (index + 1) / 64 for index, case in enumerate(cases)}

    def method(core: int, edema: int, hd95: int) -> dict:
        return dice(better(core)) | dice(better(edema), "edema") | {("core", "hd95"): better(hd95)}

    reference = dice(base) | dice(base, "edema") | {("core", "hd95"): base}
    lines = compare({"ce": [reference], "iou": [method(8, 7, 6)], "margin": [method(5, 4, 3)]})
    for metric, count in (("dice", 4), ("hd95", 2)):
        found = [line for line in lines if line.metric == metric]
        assert len(found) == count
        assert [line.p_holm for line in found] == holm([line.paired.p for line in found])
    assert lines[0].p_holm == pytest.approx(4 * 2 / 2**8)


def test_only_what_all_methods_have_is_compared():
    lines = compare({"one": [dice(A) | dice(A, "edema")], "two": [dice(B) | dice(B, "whole")]})
    assert [line.structure for line in lines] == ["core"]


def test_plain_values_of_other_cases_or_of_one_method_are_refused():
    with pytest.raises(ValueError, match="core dice: two has other cases than one"):
        compare({"one": [dice(A)], "two": [dice({"a": 0.5})]})
    with pytest.raises(ValueError, match="at least two methods"):
        compare({"one": [dice(A)]})


def seeds_of(*differences: float) -> list[dict]:
    """Seeds that are better than A by so much in every case, in two classes; in the second one twice as much."""
    return [
        dice({case: value + by for case, value in A.items()}) | dice({case: value + 2 * by for case, value in A.items()}, "edema")
        for by in differences
    ]


def test_methods_of_several_seeds_are_also_compared_over_seeds():
    reference, better, worse = seeds_of(0, 0.01, 0.02), seeds_of(0.05, 0.06), seeds_of(-0.1, -0.11, -0.12)
    lines = compare({"ce": reference, "iou": better, "margin": worse})
    values = {name: [list(seed["core", "dice"].values()) for seed in seeds] for name, seeds in (("iou", better), ("margin", worse))}
    own = [list(seed["core", "dice"].values()) for seed in reference]
    assert [(line.structure, line.p_seeds) for line in lines if line.structure == "core"] == [
        ("core", seeds_p(own, values["iou"])),
        ("core", seeds_p(own, values["margin"])),
    ]
    assert lines[0].p_seeds < 0.05
    assert lines[2].p_seeds == pytest.approx(lines[0].p_seeds)  # the other class differs by twice as much, and varies by twice as much


def test_holm_goes_over_the_same_lines_for_p_over_seeds():
    lines = compare(
        {"ce": seeds_of(0, 0.01, 0.02), "iou": seeds_of(0.05, 0.06), "margin": seeds_of(-0.1, -0.11, -0.12), "one": seeds_of(0.3)}
    )
    assert [line.p_seeds_holm for line in lines] == holm([line.p_seeds for line in lines])
    assert [line.p_seeds for line in lines if line.method == "one"] == [None, None]
    assert min(line.p_seeds_holm for line in lines if line.method != "one") == 4 * min(
        line.p_seeds for line in lines if line.method != "one"
    )


def test_seeds_are_compared_on_the_cases_that_all_seeds_of_both_have():
    reference, other = seeds_of(0, 0.01), seeds_of(0.05, 0.08)
    other[1]["core", "dice"]["b"] = None
    line, _ = compare({"ce": reference, "iou": other})
    assert line.paired.n == 2
    assert line.p_seeds == pytest.approx(seeds_p([(0.5, 0.7), (0.51, 0.71)], [(0.55, 0.75), (0.58, 0.78)]))


def test_the_mean_over_seeds_is_taken_within_each_case():
    seeds = [dice({"a": 0.25, "b": None, "c": None}), dice({"a": 0.75, "b": 0.5, "c": None})]
    assert averaged(seeds) == dice({"a": 0.5, "b": None, "c": None})


def test_runs_that_differ_in_their_seed_alone_are_one_method(tmp_path):
    runs = [
        run(tmp_path / "ce_0", dice({"a": 0.25, "b": 0.5, "c": 0.5})),
        run(tmp_path / "iou_0", dice(B), IOU),
        run(tmp_path / "ce_1", dice({"a": 0.75, "b": 0.5, "c": 0.25}), seed=1),
    ]
    comparison = compare_runs(runs)
    assert [(method.name, [seed.folder for seed in method.seeds]) for method in comparison.methods] == [
        ("ce_0", [runs[0], runs[2]]),
        ("iou_0", [runs[1]]),
    ]
    (line,) = comparison.lines
    assert line.paired == compare_pairs((0.5, 0.5, 0.375), list(B.values()))
    assert [method.partial() for method in comparison.methods] == [{}, {}]


def test_a_case_without_a_value_in_one_seed_has_none_and_is_counted(tmp_path):
    runs = [
        run(tmp_path / "ce_0", dice(A | {"d": None})),
        run(tmp_path / "ce_1", dice(A | {"b": None, "d": None}), seed=1),
        run(tmp_path / "iou", dice(B | {"d": 0.5}), IOU),
    ]
    comparison = compare_runs(runs)
    (line,) = comparison.lines
    assert (line.paired.n, line.paired.dropped) == (2, 2)
    assert [method.partial() for method in comparison.methods] == [{("core", "dice"): 1}, {}]  # d has none in any seed


@pytest.mark.parametrize(
    "change",
    [
        ("patch_shape: [9, 9, 9]", "patch_shape: [9, 9, 9], residence: disk"),
        ("train: {steps: 3}", "train: {steps: 3, checkpoint_minutes: 1}"),
        ("train: {steps: 3}", "train: {steps: 3, checkpoint_every: 7}"),
        ("train: {steps: 3}", "train: {steps: 3, monitor: {every: 2}}"),
        ("train: {steps: 3}", "train: {steps: 3, deterministic: true}"),
        ("sampling:", "preprocess: {store: elsewhere}\nsampling:"),
        ("root: /scans", "root: /moved"),
        ("evaluate: {", "evaluate: {metrics: [dice], "),
    ],
)
def test_where_and_how_a_run_was_carried_out_makes_no_method(tmp_path, change):
    one = Scored.of(run(tmp_path / "one", dice(A)))
    assert Scored.of(run(tmp_path / "two", dice(A), change, seed=5)).experiment() == one.experiment()


def test_where_a_split_file_lies_makes_no_method_but_a_split_of_another_form_does(tmp_path):
    one, moved, drawn = (
        Scored.of(run(tmp_path / name, dice(A), ("split: {test: 1, seed: 3}", f"split: {split}")))
        for name, split in (("one", "{file: /one.json}"), ("moved", "{file: /moved.json}"), ("drawn", "{test: 1}"))
    )
    assert one.experiment() == moved.experiment() != drawn.experiment()


def noting(folder: Path, training: str, validation: str = "") -> Path:
    """The run with cases in its provenance, each of one letter."""
    (folder / "provenance.json").write_text(json.dumps({"cases": {"training": [*training], "validation": [*validation]}}))
    return folder


def test_runs_of_moved_data_are_seeds_of_one_method(tmp_path):
    runs = [
        noting(run(tmp_path / "ce_0", dice(A)), "xyz"),
        noting(run(tmp_path / "ce_1", dice(A), ("root: /scans", "root: /moved"), seed=1), "zyx"),
        noting(run(tmp_path / "iou", dice(B), IOU), "xyz"),
    ]
    assert [len(method.seeds) for method in compare_runs(runs).methods] == [2, 1]


@pytest.mark.parametrize("cases", [("xy", "v"), ("wxyz", "v"), ("xyz", "")])
def test_runs_that_were_trained_or_validated_on_other_cases_are_other_methods(tmp_path, cases):
    runs = [noting(run(tmp_path / "all", dice(A)), "xyz", "v"), noting(run(tmp_path / "others", dice(B)), *cases)]
    assert [method.name for method in compare_runs(runs).methods] == ["all", "others"]


def test_a_run_that_does_not_note_its_cases_is_taken_by_its_recipe(tmp_path):
    runs = [noting(run(tmp_path / "ce_0", dice(A)), "xyz"), run(tmp_path / "ce_1", dice(A), seed=1), run(tmp_path / "iou", dice(B), IOU)]
    assert [len(method.seeds) for method in compare_runs(runs).methods] == [2, 1]


@pytest.mark.parametrize(
    "change",
    [
        IOU,
        ("steps: 3", "steps: 4"),
        ("seed: 3", "seed: 4"),  # of the split
        ("evaluate: {", "evaluate: {convention: brats, "),
        ("train: {steps: 3}", "train: {steps: 3, validate_every: 2}"),
        ("train: {steps: 3}", "train: {steps: 3, precision: bf16}"),
        ("name: brats", "name: brats, train_fraction: 0.5"),
        ("evaluate: {", "infer: {mirror: false, overlap: 0.25}\nevaluate: {"),
    ],
)
def test_anything_else_makes_one(tmp_path, change):
    change = (change[0], change[1].replace("brats, train_fraction: 0.5", "brats\n  train_fraction: 0.5"))
    one = Scored.of(run(tmp_path / "one", dice(A)))
    assert Scored.of(run(tmp_path / "two", dice(A), change)).experiment() != one.experiment()


def test_folders_of_one_name_are_told_apart_by_those_above(tmp_path):
    runs = [run(tmp_path / "ce/run", dice(A)), run(tmp_path / "iou/run", dice(B), IOU)]
    assert [method.name for method in compare_runs(runs).methods] == ["ce/run", "iou/run"]


def test_a_method_of_the_working_directory_has_its_name(tmp_path, monkeypatch):
    run(tmp_path / "ce", dice(A))
    run(tmp_path / "iou", dice(B), IOU)
    monkeypatch.chdir(tmp_path / "ce")
    assert [method.name for method in compare_runs([Path(), Path("../iou")]).methods] == ["ce", "iou"]


def test_classes_that_are_not_in_every_run_are_left_out_and_named(tmp_path):
    runs = [
        run(tmp_path / "ce", dice(A) | dice(A, "edema")),
        run(tmp_path / "iou", dice(B, "whole") | dice(B), IOU),
    ]
    comparison = compare_runs(runs)
    assert [line.structure for line in comparison.lines] == ["core"]
    assert comparison.left_out == ("edema", "whole")


def test_metrics_are_those_asked_for_in_that_order(tmp_path):
    names = ("hd95", "precision", "dice")
    scores = {(structure, metric): A for structure in ("core", "edema") for metric in names}
    runs = [run(tmp_path / "ce", scores), run(tmp_path / "iou", scores, IOU)]
    lines = compare_runs(runs).lines
    assert [(line.metric, line.structure) for line in lines] == [
        ("dice", "core"), ("dice", "edema"), ("precision", "core"), ("precision", "edema"),
    ]  # fmt: skip
    comparison = compare_runs(runs, ["hd95", "dice", "hd95"])
    assert [line.metric for line in comparison.lines] == ["hd95", "hd95", "dice", "dice"]
    assert (comparison.units["hd95"], comparison.units["dice"]) == ("mm", "")


def test_recipes_that_score_by_other_rules_are_reported(tmp_path):
    scores = dice(A) | {("core", "nsd"): A}
    change = (
        "evaluate: {regions: {whole: [core, edema]}}",
        "evaluate: {convention: brats, nsd_tolerance_mm: 2, regions: {whole: [edema]}}",
    )
    runs = [run(tmp_path / "ce", scores), run(tmp_path / "iou", scores, change)]
    convention, region = "evaluate.convention: segkit or brats", "label values of whole: [1, 2, 4] or [2]"
    assert compare_runs(runs).differing_rules == (convention, region)
    assert compare_runs(runs, ["nsd"]).differing_rules == (convention, "evaluate.nsd_tolerance_mm: 1.0 or 2.0", region)


def test_a_region_and_a_class_of_the_same_label_values_are_the_same(tmp_path):
    one_class = ("classes: {core: [1, 4], edema: [2]}", "classes: {core: [4, 1]}\n  background: rest")
    binary = run(tmp_path / "binary", dice(A), one_class)
    (binary / "recipe.yaml").write_text((binary / "recipe.yaml").read_text().replace("{whole: [core, edema]}", "{}"))
    parts = ("evaluate: {regions: {whole: [core, edema]}}", "evaluate: {regions: {core: [necrosis, enhancing]}}")
    several = run(tmp_path / "several", dice(B), parts)
    (several / "recipe.yaml").write_text((several / "recipe.yaml").read_text().replace("{core: [1, 4],", "{necrosis: [1], enhancing: [4],"))
    assert compare_runs([binary, several]).differing_rules == ()


def refused(folders, metrics=None) -> str:
    with pytest.raises(InputError) as error:
        compare_runs(folders, metrics)
    assert error.value.exit_status == 2
    return str(error.value)


def test_runs_scored_on_other_cases_are_refused_with_the_cases_that_differ(tmp_path):
    many = {f"x{index:02}": 0.5 for index in range(12)}
    first = run(tmp_path / "ce", dice(A))
    second = run(tmp_path / "iou", dice({"a": 0.5, "d": 0.1}), IOU)
    third = run(tmp_path / "unet", dice(A | many), UNET)
    assert refused([first, second, third]) == (
        "SK-A052: the runs were scored on different cases\n"
        f"  where:    {first}, {second}, {third}\n"
        f"  expected: the 3 cases of {first} in every run\n"
        f"  got:      {second} without b, c and with d; {third} with x00, x01, x02, x03, x04, x05, x06, x07, x08, x09 and 2 more\n"
        "  remedy:   score each of them with segkit evaluate RUN --split test"
    )


def test_a_folder_without_a_run_or_without_scores_is_refused(tmp_path):
    folder = run(tmp_path / "ce", dice(A))
    (folder / "scores.csv").unlink()
    assert refused([folder]) == (
        "SK-A051: this run has no scores\n"
        f"  where:    {folder}/scores.csv\n"
        f"  remedy:   segkit predict {folder} --split test && segkit evaluate {folder} --split test"
    )
    assert refused([tmp_path]) == (f"SK-A050: this is no run\n  where:    {tmp_path}\n  expected: a run folder with recipe.yaml")


def test_one_method_is_nothing_to_compare(tmp_path):
    runs = [run(tmp_path / "ce_0", dice(A)), run(tmp_path / "ce_1", dice(B), seed=1)]
    assert refused(runs) == (
        "SK-A054: only one method\n"
        f"  where:    {runs[0]}, {runs[1]}\n"
        "  expected: runs whose recipes differ in more than their seed and where their data lie\n"
        "  remedy:   name a run of another method too"
    )
    assert refused(runs[:1]).startswith("SK-A054")


def test_a_seed_is_not_counted_twice(tmp_path):
    runs = [run(tmp_path / "ce", dice(A)), run(tmp_path / "again", dice(B)), run(tmp_path / "iou", dice(B), IOU)]
    assert refused(runs) == (
        "SK-A053: two runs of one method have the same seed\n"
        f"  where:    {runs[0]}, {runs[1]}\n"
        "  got:      recipes that differ in nothing that makes a method, train.seed 0 in both\n"
        "  remedy:   name one of them"
    )


def test_a_metric_that_is_not_in_every_run_is_refused(tmp_path):
    runs = [run(tmp_path / "ce", dice(A) | {("core", "assd"): A}), run(tmp_path / "iou", dice(B), IOU)]
    assert refused(runs, ["dice", "assd"]) == (
        "SK-A055: not every run has these scores\n  where:    --metric\n  expected: among dice\n  got:      assd"
    )


def test_runs_without_a_class_in_common_are_refused(tmp_path):
    runs = [run(tmp_path / "ce", dice(A)), run(tmp_path / "iou", dice(B, "edema"), IOU)]
    assert refused(runs) == (
        "SK-A055: not every run has these scores\n"
        "  where:    scores.csv\n"
        "  expected: a class and a metric that all runs have\n"
        "  got:      dice, sensitivity, precision"
    )


def test_scores_are_read_as_they_were_written(tmp_path):
    rows = [Row("a", "core", "dice", 1 / 3, "", "ok"), Row("a", "core", "hd95", None, "mm", "missed")]
    write_scores(tmp_path, rows)
    assert read_scores(tmp_path / "scores.csv") == rows


@pytest.mark.parametrize(
    "text",
    [
        "",
        "case,class,metric\n",
        "case,class,metric,value,unit,state\na,core,dice\n",
        "case,class,metric,value,unit,state\na,core,dice,high,,ok\n",
        "case,class,metric,value,unit,state\na,core,dice,nan,,ok\n",
        "case,class,metric,value,unit,state\na,core,dice,0.5,,ok\na,core,dice,0.6,,ok\n",
        "case,class,metric,value,unit,state\na,core,dice,0.5,,ok\nb,edema,dice,0.6,,ok\n",
        'case,class,metric,value,unit,state\na,core,dice,"0.5,,ok\n',
    ],
)
def test_a_table_that_holds_no_scores_is_refused(tmp_path, text):
    (tmp_path / "scores.csv").write_text(text)
    with pytest.raises(InputError) as error:
        read_scores(tmp_path / "scores.csv")
    assert str(error.value) == (
        "SK-E030: the scores cannot be used\n"
        f"  where:    {tmp_path}/scores.csv\n"
        "  expected: the columns case,class,metric,value,unit,state; each class and metric once for each case; "
        "a value is a number or empty\n"
        "  remedy:   write them again with segkit evaluate"
    )


def test_the_file_holds_a_line_a_comparison_with_all_digits(tmp_path):
    scores = dice(A) | {("core", "hd95"): {"a": 3.0, "b": None, "c": None}}
    runs = [run(tmp_path / "ce", scores), run(tmp_path / "iou", scores | dice(B), IOU)]
    comparison = compare_runs(runs, ["dice", "hd95"])
    write_comparison(tmp_path / "out.csv", comparison)
    with (tmp_path / "out.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    pair = comparison.lines[0].paired
    assert first == {
        "class": "core", "metric": "dice", "unit": "", "reference": "ce", "method": "iou", "n": "3", "dropped": "0",
        "mean_reference": str(pair.mean_a), "mean_method": str(pair.mean_b), "difference": str(pair.difference),
        "low": str(pair.interval.low), "high": str(pair.interval.high), "test": "sign-flip", "p": "0.5", "p_holm": "0.5",
        "p_seeds": "", "p_seeds_holm": "", "effect": "1.0", "higher": "2", "ties": "1", "lower": "0",
    }  # fmt: skip
    assert (second["unit"], second["n"], second["dropped"], second["difference"]) == ("mm", "1", "2", "0.0")
    assert {second[name] for name in ("low", "high", "test", "p", "p_holm", "p_seeds", "p_seeds_holm", "effect")} == {""}
