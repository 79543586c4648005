"""`segkit compare`: the table, what stands below it, the file, and one chain from training on."""

import csv
import shutil
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from segkit.cli import compare as verb
from segkit.engine.evaluate import Row, write_scores

app = typer.Typer()
app.callback()(lambda: None)  # with it, the one command keeps its name
verb.add_to(app)


def compare(*arguments: object):
    """`segkit compare ...` in this process."""
    result = CliRunner().invoke(app, ["compare", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def scored(trained, tmp_path, monkeypatch):
    """`scored("name", {("tumor", "dice"): values}, seed=1, **MORE_STEPS)`: a run folder with these scores and a changed recipe."""
    monkeypatch.chdir(tmp_path)

    def make(name: str, scores: dict, seed: int = 0, old: str = "", new: str = "") -> Path:
        folder, text = Path(name), (trained / "recipe.yaml").read_text()
        assert old in text
        rows = [
            Row(f"case_{number}", structure, metric, value, "mm" if metric == "hd95" else "", "ok")
            for (structure, metric), values in scores.items()
            for number, value in enumerate(values)
        ]
        write_scores(folder, rows)
        (folder / "recipe.yaml").write_text(
            text.replace(old, new, 1).replace("\n  seed: 0\n  deterministic", f"\n  seed: {seed}\n  deterministic")
        )
        return folder

    return make


DICE, HD95 = ("tumor", "dice"), ("tumor", "hd95")
MORE_STEPS = {"old": "  steps: 3", "new": "  steps: 4"}
CE = (0.5, 0.25, 0.625, 0.75, 0.5, 0.375, None)
BETTER = (0.5, 0.5, 0.75, 0.8125, 0.4375, 0.5, 0.5)


@pytest.fixture
def two(scored) -> tuple[Path, Path, Path]:
    """Two seeds of a method, one of another."""
    return (
        scored("ce_0", {DICE: CE, HD95: (3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0)}),
        scored("ce_1", {DICE: (*CE[:3], None, *CE[4:]), HD95: (3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0)}, seed=1),
        scored("more_steps", {DICE: BETTER, HD95: (2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)}, **MORE_STEPS),
    )


def test_the_table_and_what_stands_below_it(two):
    result = compare(*two, "--metric", "dice", "--metric", "hd95")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert [" ".join(line.split()) for line in lines[1:2] + lines[3:5]] == [
        "class metric B n out mean A mean B B - A [low, high] p p Holm effect h/t/l test",
        "tumor dice more_steps 5 2 0.450 0.537 +0.087 [-0.050, +0.225] 0.2500 0.2500 +0.80 3/1/1 sign-flip",
        "tumor hd95 mm more_steps 7 0 6.00 5.00 -1.00 [-1.00, -1.00] 0.0156 0.0156 -1.00 0/0/7 sign-flip",
    ]
    assert lines[5:] == [
        "",
        "A, the reference: ce_0 (mean of 2 seeds within each case: ce_0, ce_1)",
        "B: more_steps (more_steps)",
        "n: cases with a value in A and in B; out: cases left out since one of them has none",
        "  out: where A or B found nothing, or had nothing to find; means are over the cases that both found, usually the easier ones",
        "  ce_0 has no dice in some seed, and so none, in cases: tumor 1",
        "[low, high]: 95 % interval of the mean difference, from 10,000 resamples of the cases",
        "  for other cases and these networks: what other seeds would change is not in it",
        "  of fewer than 6 cases it says less than that: it cannot reach beyond the smallest and the largest difference",
        "p: two-sided; how often differences without a direction would be as one-sided as these",
        "  sign-flip: exact test of the mean difference over all choices of signs; for up to 12 differences other than 0",
        "  of these networks: two seeds of one method differ as clearly at times; a claim about methods needs several seeds of each",
        "  caution: a method has one seed, and p does not tell the method from its seed",
        "p Holm: corrected for all classes and methods of a metric",
        "effect: matched-pairs rank-biserial correlation, -1 where B is always lower, 1 where it is always higher",
        "h/t/l: cases in which B is higher than, equal to, lower than A",
        "mm: a distance; lower is better",
    ]


@pytest.fixture
def four(scored) -> tuple[Path, ...]:
    """Two seeds of two methods; the seeds of HD95 do not vary."""
    distances = {HD95: (3.0, 4.0, 5.0, 6.0, 7.0, 8.0)}
    return tuple(
        scored(f"{name}_{seed}", {DICE: [value + seed / 64 for value in values]} | distances, seed=seed, **change)
        for name, values, change in (("ce", CE[:6], {}), ("more", [value + 0.25 for value in CE[:6]], MORE_STEPS))
        for seed in (0, 1)
    )


def test_methods_of_several_seeds_have_two_more_columns_and_that_is_explained(four, tmp_path):
    lines = compare(*four, "--metric", "dice", "--metric", "hd95", "--output", "out.csv").stdout.splitlines()
    # dice: the means of a method's seeds are 1/64 apart, v = 1/128^2; t^2 = (1/4)^2 / (2/128^2) = 512, f = 2, p = 1 - 1 / sqrt(1 + 2 / t^2)
    assert [" ".join(line.split()) for line in lines[1:2] + lines[3:5]] == [
        "class metric B n out mean A mean B B - A [low, high] p p Holm p seeds p seeds Holm effect h/t/l test",
        "tumor dice more_0 6 0 0.508 0.758 +0.250 [+0.250, +0.250] 0.0312 0.0312 0.0019 0.0019 +1.00 6/0/0 sign-flip",
        "tumor hd95 mm more_0 6 0 5.50 5.50 +0.00 [+0.00, +0.00] 1.0000 1.0000 - - +0.00 0/6/0 sign-flip",
    ]
    said = "\n".join(lines)
    assert (
        "p Holm: corrected for all classes and methods of a metric\n"
        "p seeds, p seeds Holm: Welch's t-test of the means of the seeds, each over the n cases; and corrected as p Holm is\n"
        "  p speaks of other cases, p seeds of other seeds: a difference between methods needs both below 0.05 after correction\n"
        "  2 or 3 seeds show only differences well beyond their scatter: a large p seeds is no proof of equality\n"
        "  -: one seed, no case with a value in all seeds, or seeds of A and of B that do not vary: there is no such test\n"
        "effect: "
    ) in said
    assert "caution: a method has one seed" not in said
    with (tmp_path / "out.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert float(first["p_seeds"]) == float(first["p_seeds_holm"]) == pytest.approx(1 - (1 + 2 / 512) ** -0.5)
    assert (second["p_seeds"], second["p_seeds_holm"]) == ("", "")


def test_no_more_is_said_of_seeds_than_applies(four, scored):
    more = [scored(f"{name}_{seed}", {DICE: [value + 0.01 * seed**2 + by for value in CE[:6]]}, seed=seed, **change)
            for name, by, change in (("ce", 0, {}), ("more", 0.25, MORE_STEPS)) for seed in range(2, 4)]  # fmt: skip
    said = compare(*four, *more, "--metric", "dice").stdout
    assert "p seeds, p seeds Holm: " in said
    assert "no proof of equality" not in said
    assert "there is no such test" not in said


def test_without_a_second_seed_of_two_methods_nothing_is_said_of_a_test_over_seeds(two):
    assert "p seeds" not in compare(*two).stdout


def test_the_columns_stand_under_one_another(two):
    lines = compare(*two, "--metric", "dice", "--metric", "hd95").stdout.splitlines()
    table = lines[1:2] + lines[3:5]
    assert len({len(line) for line in table}) == 1
    assert {line.index("more_steps") for line in table[1:]} == {table[0].index("B ")}
    assert set(lines[2]) == {"-"}


def test_many_cases_are_tested_by_ranks_and_the_tests_that_were_taken_are_explained(scored):
    values = [(index * 37 % 61) / 64 for index in range(60)]
    ranks = [value + (1 if index % 3 else -1) * (index + 1) / 1024 for index, value in enumerate(values)]
    few = [value + (1 if index % 3 else -1) / 64 * (index < 30) for index, value in enumerate(values)]
    one = scored("one", {DICE: values, ("tumor", "precision"): values})
    two = scored("two", {DICE: ranks, ("tumor", "precision"): few}, **MORE_STEPS)
    said = compare(one, two).stdout
    assert "  signed-rank: Wilcoxon's test, exact, with ties too; for 13 to 50 differences other than 0\n" in said
    assert "  signed-rank, normal: Wilcoxon's test by its normal approximation; for more than 50 differences other than 0\n" in said
    assert "sign-flip" not in said
    assert "mm:" not in said
    assert "fewer than" not in said
    assert "  out: " not in said


def test_what_rounds_to_nothing_has_no_minus_and_a_tiny_p_is_not_0(scored):
    values = [index / 64 for index in range(20)]
    one = scored("one", {DICE: values})
    two = scored("two", {DICE: [value - (index + 1) / 2**20 for index, value in enumerate(values)]}, **MORE_STEPS)
    assert " ".join(compare(one, two).stdout.splitlines()[3].split()) == (
        "tumor dice two 20 0 0.148 0.148 +0.000 [+0.000, +0.000] <0.0001 <0.0001 -1.00 0/0/20 signed-rank"
    )


def test_one_case_has_no_interval_and_no_p_and_that_is_said(scored):
    one = scored("one", {DICE: [0.5]})
    two = scored("two", {DICE: [0.75]}, **MORE_STEPS)
    said = compare(one, two).stdout
    assert " ".join(said.splitlines()[3].split()) == "tumor dice two 1 0 0.500 0.750 +0.250 - - - 1/0/0 -"
    assert "-: fewer than 2 cases have no interval, no p and no effect\n" in said
    assert "[low, high]: " not in said


def test_classes_left_out_and_other_rules_are_said(scored):
    one = scored("one", {DICE: CE, ("edema", "dice"): CE})
    two = scored("two", {DICE: BETTER}, old="convention: segkit", new="convention: brats")
    said = compare(one, two).stdout
    assert said.endswith(
        "left out, since not every run has them: edema\n"
        "caution, the runs' recipes score by different rules: evaluate.convention: segkit or brats\n"
    )


def test_a_case_that_no_method_has_a_value_of_leaves_a_line_without_numbers(scored):
    one = scored("one", {DICE: (0.5, 0.25), ("edema", "dice"): (None, None)})
    two = scored("two", {DICE: (0.5, 0.5), ("edema", "dice"): (0.5, 0.5)}, **MORE_STEPS)
    lines = [" ".join(line.split()) for line in compare(one, two).stdout.splitlines()]
    assert "edema dice two 0 2 n/a n/a n/a - - - 0/0/0 -" in lines


def test_quiet_prints_nothing_and_the_file_is_written(two, tmp_path):
    result = compare(*two, "--quiet", "--output", "out.csv")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    with (tmp_path / "out.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["class"], row["metric"], row["method"], row["n"], row["dropped"]) == ("tumor", "dice", "more_steps", "5", "2")
    assert compare(*two, "--output", "again.csv").stdout.endswith("\ncomparison: again.csv\n")


def test_other_cases_end_the_command_with_status_2_and_write_nothing(two, scored, tmp_path):
    third = scored("third", {DICE: CE[:5]}, old="  steps: 3", new="  steps: 5")
    result = compare(*two, third, "--output", "out.csv")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "SK-A052: the runs were scored on different cases\n"
        "  where:    ce_0, ce_1, more_steps, third\n"
        "  expected: the 7 cases of ce_0 in every run\n"
        "  got:      third without case_5, case_6\n"
        "  remedy:   score each of them with segkit evaluate RUN --split test\n"
    )
    assert not (tmp_path / "out.csv").exists()


def test_a_run_without_scores_names_the_commands_that_make_them_and_they_do(run, place, segkit):
    result = compare("run", "run")
    assert result.exit_code == 2
    assert result.stderr == (
        "SK-A051: this run has no scores\n"
        "  where:    run/scores.csv\n"
        "  remedy:   segkit predict run --split test && segkit evaluate run --split test\n"
    )
    shutil.copytree("run", "other")
    recipe = place / "other/recipe.yaml"
    recipe.write_text(recipe.read_text().replace("keep_largest: []", "keep_largest: [tumor]"))
    for name in ("run", "other"):
        assert segkit("predict", name, "--split", "test", "--device", "cpu").status == 0
        assert segkit("evaluate", name, "--split", "test", "--quiet").status == 0
    result = compare("run", "other")
    assert (result.exit_code, result.stderr) == (0, "")
    assert [line.split()[:4] for line in result.stdout.splitlines() if line.startswith("tumor")] == [
        ["tumor", metric, "other", "1"] for metric in ("dice", "sensitivity", "precision")
    ]
