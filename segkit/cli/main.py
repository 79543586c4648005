"""The entry point: `segkit VERB ...`."""

import typer

from segkit.cli import analyze, bench, check, compare, config, demo, evaluate, phantom, predict, report, shelves, table, train

app = typer.Typer(
    name="segkit",
    help="3D medical image segmentation under class imbalance: from NIfTI volumes to trained networks, label maps and scores.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verb in (train, predict, evaluate, analyze, compare, table, report, check, phantom, shelves, config, bench, demo):
    verb.add_to(app)


@app.callback(invoke_without_command=True)
def version(show: bool = typer.Option(False, "--version", help="Print the version and exit.", is_eager=True)) -> None:
    """Print the version, where it is asked for."""
    if show:
        from importlib.metadata import version

        typer.echo(version("segkit"))
        raise typer.Exit


def run() -> None:
    """What the `segkit` command calls."""
    app()
