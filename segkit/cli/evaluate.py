"""`segkit evaluate`: scores of label maps against labels."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from segkit.cli.session import AcceptSform, Session, command, report

if TYPE_CHECKING:
    from segkit.config.errors import SegkitError
    from segkit.engine.folders import Scores
    from segkit.engine.run import Run

Predictions = Annotated[Path, typer.Argument(metavar="PREDICTIONS", help="A folder of label maps, or a run.", show_default=False)]
Labels = Annotated[Path | None, typer.Argument(metavar="LABELS", help="A folder of label maps of the same names.", show_default=False)]
SplitName = Annotated[
    Literal["training", "validation", "test"] | None,
    typer.Option("--split", help="Score a run's predictions of its own cases.", show_default=False),
]
Classes = Annotated[
    Path | None,
    typer.Option("--classes", metavar="FILE", help="YAML of names and label values: {liver: 6, kidneys: [2, 3]}.", show_default=False),
]
Layout = Annotated[
    Literal["brats", "btcv", "msd", "nnunet"] | None,
    typer.Option("--layout", help="LABELS is a data set in this layout.", show_default=False),
]
RecipeFile = Annotated[
    Path | None, typer.Option("--recipe", metavar="FILE", help="Labels and classes of a recipe's data set.", show_default=False)
]
Sweep = Annotated[
    bool, typer.Option("--sweep", help="Dice, sensitivity and precision over decision thresholds instead; needs predict --probabilities.")
]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="DIR", help="Default: where the predictions are.", show_default=False)
]


def add_to(app: typer.Typer) -> None:
    """File the command."""

    @command(app, "evaluate")
    def evaluate(
        session: Session,
        predictions: Predictions,
        labels: Labels = None,
        split: SplitName = None,
        classes: Classes = None,
        layout: Layout = None,
        recipe: RecipeFile = None,
        sweep: Sweep = False,
        accept_sform: AcceptSform = False,
        output: Output = None,
    ) -> None:
        """Score label maps: Dice, sensitivity, precision, HD95, ASSD, NSD. Writes scores.csv and summary.json."""
        from segkit.cli.scoreboard import show
        from segkit.config.errors import InputError
        from segkit.engine.evaluate import summarize, write_scores

        if sum(choice is not None for choice in (labels, split, recipe)) != 1:
            raise InputError(
                "SK-C020",
                "what to score against is not clear",
                where="segkit evaluate",
                expected="exactly one of LABELS, --split, --recipe",
            )
        for option, value in (("--classes", classes), ("--layout", layout)):
            if value is not None and labels is None:
                raise InputError("SK-C021", f"{option} belongs to LABELS", where=option, remedy="the recipe says it already: leave it out")
        folder = output or predictions
        if sweep:
            sweep_split(session, predictions, split, accept_sform, folder)
            return
        if labels is not None:
            rows, failed = against_labels(predictions, labels, classes, layout, accept_sform)
        else:
            rows, failed = against_recipe(predictions, recipe, split, accept_sform)
        for case, error in failed:
            report(error, case)
        write_scores(folder, rows, failed)
        if not session.quiet:
            show(summarize(rows))
        session.console.say(f"scores: {folder / 'scores.csv'}")
        check_complete(failed, len({row.case for row in rows}), folder)


def check_complete(failed: Sequence[tuple[str, "SegkitError"]], scored: int, folder: Path) -> None:
    """Raises WorkError where there are cases that could not be scored."""
    from segkit.config.errors import WorkError

    if failed:
        what = f"{len(failed)} of {scored + len(failed)} cases could not be scored"
        raise WorkError("SK-C022", what, where=folder, got=", ".join(case for case, _ in failed[:10]) + ", ..." * (len(failed) > 10))


def sweep_split(session: Session, path: Path, split: str | None, accept_sform: bool, folder: Path) -> None:
    """The scores of a run's own cases over decision thresholds: files, and a table."""
    from segkit.cli.scoreboard import show_sweep
    from segkit.config.errors import InputError
    from segkit.engine.curves import write_sweep
    from segkit.engine.sweep import sweep_run
    from segkit.recipe import read

    if split is None:
        expected = "segkit evaluate RUN --split validation --sweep"
        raise InputError("SK-C026", "--sweep belongs to --split", where="--sweep", expected=expected)
    run = predicted_run(path, f"segkit predict {path} --split {split} --probabilities")
    sweep = sweep_run(run, read(run.recipe), split, session.console, accept_sform)
    for case, error in sweep.failed:
        report(error, case)
    write_sweep(folder, sweep)
    if not session.quiet:
        show_sweep(sweep)
    session.console.say(f"sweep: {folder / 'sweep.csv'}")
    check_complete(sweep.failed, len({row.case for row in sweep.rows[0]}), folder)


def against_labels(predictions: Path, labels: Path, classes: Path | None, layout: str | None, accept_sform: bool) -> "Scores":
    """Scores against a folder of label maps, or with `layout` against a data set. A run stands for the folder of its predictions."""
    from segkit.engine.folders import dataset_in, score_dataset, score_folders
    from segkit.engine.run import Run

    run = Run(predictions)
    maps = run.predictions if run.exists() else predictions
    values = None if classes is None else class_values(classes)
    if layout is None:
        return score_folders(maps, labels, values, accept_sform=accept_sform)
    return score_dataset(maps, dataset_in(labels, layout, values, accept_sform))


def against_recipe(predictions: Path, recipe: Path | None, split: str | None, accept_sform: bool) -> "Scores":
    """Scores against the data set of a recipe, or of the run itself: the cases of a split, or those that were predicted."""
    from segkit.engine.folders import score_recipe
    from segkit.engine.run import Run
    from segkit.recipe import read

    run = Run(predictions)
    if recipe is not None:
        return score_recipe(run.predictions if run.exists() else predictions, read(recipe), None, accept_sform)
    run = predicted_run(predictions, f"segkit predict {predictions} --split {split}")
    return score_recipe(run.predictions, read(run.recipe), split, accept_sform)


def predicted_run(path: Path, remedy: str) -> "Run":
    """The run in a folder. Raises InputError where there is none, or none with predictions; `remedy` makes them."""
    from segkit.config.errors import InputError
    from segkit.engine.run import Run

    run = Run(path)
    if not run.recipe.is_file():
        raise InputError(
            "SK-C024", "this is no run", where=path, expected=f"a run folder with {run.recipe.name}", remedy="name LABELS or --recipe"
        )
    if not run.predictions.is_dir():
        raise InputError("SK-C025", "this run has no predictions", where=run.predictions, remedy=remedy)
    return run


def class_values(path: Path) -> dict[str, tuple[int, ...]]:
    """Class names and their label values from a YAML file. Raises InputError where it holds anything else."""
    from segkit.config.errors import InputError
    from segkit.config.yaml import load

    values = {str(name): tuple(value) if isinstance(value, list) else (value,) for name, value in load(path).value.items()}
    if not values or not all(type(number) is int for group in values.values() for number in group):
        got = ", ".join(f"{name}: {list(group)}" for name, group in values.items()) or "nothing"
        raise InputError(
            "SK-C023", "the class names cannot be read", where=path, expected="{name: value or list of values}, whole numbers", got=got
        )
    return values
