"""`segkit list`: what can be named in a recipe."""

from enum import StrEnum
from importlib import import_module
from typing import Annotated

import typer

from segkit.cli.session import Session, command


class Shelf(StrEnum):
    """Shelves by their folder."""

    DATASETS = "datasets"
    LOSSES = "losses"
    METRICS = "metrics"
    MODELS = "models"
    OPTIMIZERS = "optimizers"
    REGULARIZERS = "regularizers"
    SCHEDULES = "schedules"


def add_to(app: typer.Typer) -> None:
    """File the command."""

    @command(app, "list")
    def shelf(session: Session, name: Annotated[Shelf, typer.Argument(metavar="SHELF", help="One of: " + ", ".join(Shelf), show_default=False)]) -> None:
        """List the plug-ins of a shelf with their fields and defaults."""
        registry = getattr(import_module(f"segkit.{name}.base"), name.value)
        for plugin in registry.describe():
            typer.echo(f"{plugin.name}: {plugin.summary}")
            for field in plugin.fields:
                default = "required" if field.default is None else f"default {field.default}"
                typer.echo(f"    {field.name}: {field.type}, {default}" + (f"; {field.description}" if field.description else ""))
