"""`segkit report`: a run on one HTML page that needs nothing else."""

from pathlib import Path
from typing import Annotated

import typer

from segkit.cli.session import Session, command


def add_to(app: typer.Typer) -> None:
    """File the command."""

    @command(app, "report")
    def report_run(
        session: Session,
        run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, or of an item of a table.", show_default=False)],
        output: Annotated[
            Path | None, typer.Option("--output", "-o", metavar="FILE", help="Default: report.html in the run.", show_default=False)
        ] = None,
    ) -> None:
        """One HTML page: training curves, scores, best and worst cases in pictures, analyses, provenance. It loads nothing."""
        from segkit.engine.item_folder import run_at
        from segkit.report.page import write_report

        reported = run_at(run)
        path = output or reported.report
        size = write_report(reported, path, session.console)
        session.console.say(f"report: {path} ({size})")
