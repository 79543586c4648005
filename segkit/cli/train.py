"""`segkit train`: train by a recipe."""

from pathlib import Path
from typing import Annotated

import typer

from segkit.cli.session import Session, command

Recipe = Annotated[Path, typer.Argument(metavar="RECIPE.yaml", help="The recipe.", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Values that replace the recipe's, as in train.steps=500.", show_default=False),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]


def add_to(app: typer.Typer) -> None:
    """File the command."""

    @command(app, "train")
    def train(
        session: Session,
        recipe: Recipe,
        overrides: Overrides = None,
        run: Annotated[
            Path | None, typer.Option("--run", metavar="DIR", help="The run's folder; default runs/<recipe name>.", show_default=False)
        ] = None,
        resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint, exactly.")] = False,
        device: Device = "auto",
    ) -> None:
        """Train a network by a recipe."""
        from segkit.engine.processes import joined
        from segkit.engine.run import Run
        from segkit.engine.train import train as work
        from segkit.recipe import read

        with joined() as processes:
            typed, folder = read(recipe, tuple(overrides or ())), Run(run or Path("runs") / recipe.stem)
            work(typed, folder, resumed=resume, device_name=device, console=session.console, processes=processes)
            if processes.first:
                session.console.say(f"run: {folder.path}")
