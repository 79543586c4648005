"""`segkit evaluate`: scores of label maps against labels."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from segkit.cli.session import Session, command, report


Predictions = Annotated[Path, typer.Argument(metavar="PREDICTIONS", help="A folder of label maps, or a run with --split.", show_default=False)]
Labels = Annotated[Path | None, typer.Argument(metavar="LABELS", help="A folder of label maps with the same names.", show_default=False)]
SplitName = Annotated[Literal["training", "validation", "test"] | None, typer.Option("--split", help="Score a run's predictions of its own cases.", show_default=False)]
Classes = Annotated[Path | None, typer.Option("--classes", metavar="NAMES.yaml", help="Class names and their label values: {liver: 6, kidneys: [2, 3]}.", show_default=False)]
RecipeFile = Annotated[Path | None, typer.Option("--recipe", metavar="RECIPE.yaml", help="Find labels and classes through a recipe's data set.", show_default=False)]
Output = Annotated[Path | None, typer.Option("--output", "-o", metavar="DIR", help="For scores.csv and summary.json; default: beside the predictions.", show_default=False)]


def add_to(app: typer.Typer) -> None:
    """File the command."""

    @command(app, "evaluate")
    def evaluate(
        session: Session,
        predictions: Predictions,
        labels: Labels = None,
        split: SplitName = None,
        classes: Classes = None,
        recipe: RecipeFile = None,
        output: Output = None,
    ) -> None:
        """Score label maps: Dice, sensitivity, precision, HD95, ASSD, NSD."""
        from segkit.config.errors import InputError, WorkError
        from segkit.engine.evaluate import summarize, write_scores
        from segkit.engine.folders import score_folders, score_recipe
        from segkit.engine.run import Run

        if sum(choice is not None for choice in (labels, split, recipe)) != 1:
            raise InputError("SK-C020", "what to score against is not clear", where="segkit evaluate", expected="exactly one of LABELS, --split, --recipe")
        if classes is not None and labels is None:
            raise InputError("SK-C021", "--classes belongs to two folders", where="--classes", remedy="the recipe names the classes already: leave it out")
        if labels is not None:
            rows, failed = score_folders(predictions, labels, _class_values(classes))
            folder = output or predictions
        else:
            from segkit.recipe import read

            source = recipe or Run(predictions).recipe
            maps = predictions if recipe else Run(predictions).predictions
            rows, failed = score_recipe(maps, read(source), split)
            folder = output or predictions
        for _, error in failed:
            report(error)
        write_scores(folder, rows, failed)
        if not session.quiet:
            show(summarize(rows))
        session.console.say(f"scores: {folder / 'scores.csv'}")
        if failed:
            raise WorkError("SK-C022", f"{len(failed)} cases could not be scored", where=folder, got=", ".join(case for case, _ in failed[:10]))


def _class_values(path: Path | None) -> dict[str, tuple[int, ...]] | None:
    if path is None:
        return None
    from segkit.config.errors import InputError
    from segkit.config.yaml import load

    values = {str(name): tuple(value) if isinstance(value, list) else (value,) for name, value in load(path).value.items()}
    if not values or not all(type(number) is int for group in values.values() for number in group):
        raise InputError("SK-C023", "the class names cannot be read", where=path, expected="{name: value or list of values}, whole numbers", got=str(values))
    return values


def show(summary: list) -> None:
    """The table: per class and metric mean, standard deviation, and the number of cases in it and left out."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="mean ± standard deviation over cases (n = cases in the mean)")
    metrics = list(dict.fromkeys(entry.metric for entry in summary))
    units = {entry.metric: entry.unit for entry in summary}
    table.add_column("class")
    for metric in metrics:
        table.add_column(f"{metric} {units[metric]}".strip(), justify="right")
    table.add_column("missed", justify="right")
    table.add_column("spurious", justify="right")
    table.add_column("absent", justify="right")
    for structure in dict.fromkeys(entry.structure for entry in summary):
        entries = {entry.metric: entry for entry in summary if entry.structure == structure}
        first = entries[metrics[0]]
        table.add_row(structure, *(_cell(entries[metric]) for metric in metrics), str(first.missed), str(first.spurious), str(first.absent))
    Console(highlight=False).print(table)


def _cell(entry: object) -> str:
    mean, std, cases, unit = (getattr(entry, name) for name in ("mean", "std", "cases", "unit"))
    if mean is None:
        return "n/a"
    digits = 2 if unit == "mm" else 3
    spread = "" if std is None else f" ± {std:.{digits}f}"
    return f"{mean:.{digits}f}{spread} ({cases})"
