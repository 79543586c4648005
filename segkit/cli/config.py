"""`segkit config`: the resolved recipe, and where each value comes from."""

import typer

from segkit.cli.session import Session, command
from segkit.cli.train import Overrides, Recipe


def add_to(app: typer.Typer) -> None:
    """File the command."""

    @command(app, "config")
    def config(session: Session, recipe: Recipe, overrides: Overrides = None) -> None:
        """Print the resolved recipe with the origin of each value."""
        from segkit.config.parse import explain
        from segkit.recipe import read_document, resolve

        document = read_document(recipe, tuple(overrides or ()))
        lines = explain(document, resolve(document))
        width = min(60, max(len(f"{key}: {value}") for key, value, _ in lines))
        for key, value, origin in lines:
            typer.echo(f"{f'{key}: {value}':<{width}}  # {origin}")
