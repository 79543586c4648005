"""`segkit evaluate`: scores of label maps against labels."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from segkit.cli.session import AcceptSform, Session, command, report

if TYPE_CHECKING:
    from segkit.engine.folders import Scores

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
        accept_sform: AcceptSform = False,
        output: Output = None,
    ) -> None:
        """Score label maps: Dice, sensitivity, precision, HD95, ASSD, NSD. Writes scores.csv and summary.json."""
        from segkit.cli.scoreboard import show
        from segkit.config.errors import InputError, WorkError
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
        if labels is not None:
            rows, failed = against_labels(predictions, labels, classes, layout, accept_sform)
        else:
            rows, failed = against_recipe(predictions, recipe, split, accept_sform)
        folder = output or predictions
        for case, error in failed:
            report(error, case)
        write_scores(folder, rows, failed)
        if not session.quiet:
            show(summarize(rows))
        session.console.say(f"scores: {folder / 'scores.csv'}")
        if failed:
            cases = len({row.case for row in rows}) + len(failed)
            what = f"{len(failed)} of {cases} cases could not be scored"
            raise WorkError("SK-C022", what, where=folder, got=", ".join(case for case, _ in failed[:10]) + ", ..." * (len(failed) > 10))


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
    from segkit.config.errors import InputError
    from segkit.engine.folders import score_recipe
    from segkit.engine.run import Run
    from segkit.recipe import read

    run = Run(predictions)
    if recipe is not None:
        return score_recipe(run.predictions if run.exists() else predictions, read(recipe), None, accept_sform)
    if not run.recipe.is_file():
        raise InputError(
            "SK-C024",
            "this is no run",
            where=predictions,
            expected=f"a run folder with {run.recipe.name}",
            remedy="name LABELS or --recipe",
        )
    if not run.predictions.is_dir():
        remedy = f"segkit predict {predictions} --split {split}"
        raise InputError("SK-C025", "this run has no predictions", where=run.predictions, remedy=remedy)
    return score_recipe(run.predictions, read(run.recipe), split, accept_sform)


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
