"""`segkit phantom`: synthetic data in the original data sets' folder layouts."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from segkit.cli.session import Session, command


def add_to(app: typer.Typer) -> None:
    """File the command."""

    @command(app, "phantom")
    def phantom(
        session: Session,
        kind: Annotated[
            Literal["brats", "btcv"], typer.Argument(help="brats (MR, 4 channels, tumor) or btcv (CT, 13 organs).", show_default=False)
        ],
        output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Where to write.", show_default=False)],
        cases: Annotated[int, typer.Option("--cases", help="How many.")] = 10,
        shape: Annotated[
            tuple[int, int, int] | None, typer.Option("--shape", metavar="X Y Z", help="Voxels; default by kind.", show_default=False)
        ] = None,
        seed: Annotated[int, typer.Option("--seed", help="Another seed gives other cases.")] = 0,
    ) -> None:
        """Write synthetic NIfTI data in the original data set's layout."""
        from segkit.phantom.write import write

        with session.console.track("phantom", cases) as tracker:
            paths = write(kind, output, cases, shape, seed, lambda *_: tracker.advance())
        session.console.say(f"{len(paths)} cases in {output}")
