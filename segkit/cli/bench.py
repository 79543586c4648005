"""`segkit bench`: where a step's time goes, and what its objective costs."""

from pathlib import Path
from typing import Annotated

import typer

from segkit.cli.session import Session, command
from segkit.cli.train import Device, Overrides, Recipe


def add_to(app: typer.Typer) -> None:
    """File the command."""

    @command(app, "bench")
    def bench(
        session: Session,
        recipe: Recipe,
        overrides: Overrides = None,
        steps: Annotated[int, typer.Option("--steps", min=2, help="Steps to measure.")] = 20,
        output: Annotated[Path | None, typer.Option("--output", metavar="FILE", help="The numbers as JSON.", show_default=False)] = None,
        device: Device = "auto",
    ) -> None:
        """Measure the steps of a recipe beside steps of plain cross-entropy."""
        import json
        from dataclasses import asdict

        from segkit.config.atomic import atomic
        from segkit.engine.bench import bench as work
        from segkit.engine.bench import table
        from segkit.recipe import read

        result = work(read(recipe, tuple(overrides or ())), device, steps, session.console)
        lines = table(result)
        width = max(len(what) for what, _ in lines)
        for what, how_much in lines:
            typer.echo(f"{what.ljust(width)}  {how_much}")
        if output is not None:
            with atomic(output) as temporary:
                temporary.write_text(json.dumps(asdict(result), indent=2) + "\n", encoding="utf-8")
