"""`segkit list`: what can be named in a recipe."""

from enum import StrEnum
from importlib import import_module
from typing import TYPE_CHECKING, Annotated

import typer

from segkit.cli.session import Session, command

if TYPE_CHECKING:
    from segkit.config.registry import PluginFacts, Registry


class Shelf(StrEnum):
    """Shelves by their folder."""

    DATASETS = "datasets"
    LOSSES = "losses"
    METRICS = "metrics"
    MODELS = "models"
    OPTIMIZERS = "optimizers"
    REGULARIZERS = "regularizers"
    SCHEDULES = "schedules"


Name = Annotated[
    Shelf | None, typer.Argument(metavar="SHELF", help="One of: " + ", ".join(Shelf) + ". None: all, by name.", show_default=False)
]


def add_to(app: typer.Typer) -> None:
    """File the command."""

    @command(app, "list")
    def shelf(session: Session, name: Name = None) -> None:
        """List the plug-ins of a shelf with their fields and defaults."""
        if name is None:
            for every in Shelf:
                typer.echo(f"{every}: {', '.join(registry(every)) or 'none'}")
        else:
            for plugin in registry(name).describe():
                typer.echo("\n".join(described(plugin)))


def registry(shelf: Shelf) -> "Registry":
    """The plug-ins of a shelf."""
    return getattr(import_module(f"segkit.{shelf}.base"), shelf.value)


def described(plugin: "PluginFacts") -> list[str]:
    """A line on a plug-in, then one a field."""
    lines = [f"{plugin.name}: {plugin.line}"]
    for field in plugin.fields:
        default = "required" if field.default is None else f"default {field.default}"
        lines.append(f"    {field.name}: {field.expected}, {default}" + (f"; {field.description}" if field.description else ""))
    return lines
