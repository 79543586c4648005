"""`segkit table`: many runs as one table, and the work to fill it."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from segkit.cli.launching import Address, Launcher, Launching, Slurm, Workers
from segkit.cli.session import Session, command, report
from segkit.cli.train import Overrides

if TYPE_CHECKING:
    from segkit.engine.console import Console
    from segkit.launch.event import Launch
    from segkit.table.data import Check
    from segkit.table.item import Item

Spec = Annotated[Path, typer.Argument(metavar="SPEC.yaml", help="The table: rows, columns, seeds.", show_default=False)]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="DIR", help="Where runs and scores go; default runs/tables/<name of the table>.", show_default=False
    ),
]
MOST_NAMED = 5  # items in a message


def add_to(app: typer.Typer) -> None:
    """File the command."""

    @command(app, "table")
    def table(
        session: Session,
        spec: Spec,
        overrides: Overrides = None,
        run: Annotated[bool, typer.Option("--run", help="Train, predict and score what is missing first.")] = False,
        launcher: Launcher = "local",
        workers: Workers = 1,
        address: Address = None,
        slurm: Slurm = None,
        format: Annotated[Literal["md", "csv", "latex"], typer.Option("--format", help="Of the table.")] = "md",
        output: Output = None,
    ) -> None:
        """Compare recipes in a table: mean and spread over seeds, tests, published values. Exit status 1 while cells are missing."""
        import sys
        from contextlib import redirect_stdout

        from segkit.config.errors import WorkError
        from segkit.engine.console import Console
        from segkit.table.cells import fill
        from segkit.table.data import check
        from segkit.table.item import items_of
        from segkit.table.render import FORMATS
        from segkit.table.spec import read

        launching = Launching(launcher, workers, address, slurm)
        asked = read(spec, tuple(overrides or ()))
        folder = output or Path("runs/tables") / asked.name
        items, console = items_of(asked, folder), Console(session.console.verbosity, sys.stderr)  # the table may be sent elsewhere
        checked = check(items)
        if run:
            with redirect_stdout(sys.stderr):  # Ray tells of lost workers there, and the table may be sent elsewhere
                fill_missing(items, checked, launching.launch(folder), console)
            checked = check(items)
        filled = fill(asked, [item for item in items if not checked.concerns(item)])
        typer.echo(FORMATS[format](filled), nl=False)
        for reason, number in checked.unchecked.items():
            console.say(f"the data of {number} of {len(items)} items could not be checked: {reason}")
        again = ["segkit", "table", str(spec), *(overrides or ()), *(["--output", str(output)] if output else [])]
        again += [word for plugin in session.plugins for word in ("--plugin", str(plugin))]
        again += [*launching.options(), "--run"]
        errors: list[WorkError] = []
        if checked.outdated:
            errors.append(checked.error(len(items), shlex.join(again)))
        if filled.missing:
            names = "; ".join(item.name for item in filled.missing[:MOST_NAMED]) + "; ..." * (len(filled.missing) > MOST_NAMED)
            what = f"{len(filled.missing)} of {len(items)} items are missing"
            errors.append(WorkError("SK-C040", what, where=folder, got=names, remedy=shlex.join(again)))
        for error in errors[:-1]:
            report(error)
        if errors:
            raise errors[-1]


def fill_missing(items: "Sequence[Item]", checked: "Check", launch: "Launch | None", console: "Console") -> None:
    """Work on the items that are not done, or out of date; those that fail are reported, and the others go on."""
    from contextlib import closing

    from segkit.table.item import missing
    from segkit.table.launch import outcomes

    outdated = [item for item, _ in checked.outdated]
    todo = [*outdated, *missing([item for item in items if not checked.concerns(item)])]
    seen: dict[str, str] = {}
    for item, changed in checked.outdated:
        console.say(f"{item.name}: {changed[0]}: made anew; what was made before is kept in {item.folder}, as outdated_N")
    console.say(f"{len(items) - len(todo)} of {len(items)} items are done")
    with console.track("items", len(todo)) as tracker, closing(outcomes(todo, launch)) as ended:
        for outcome in ended:
            if outcome.error is not None:
                block = outcome.error.block()
                if block in seen:
                    console.say(f"{outcome.item.name}: {outcome.error.code}, as {seen[block]}")
                else:
                    seen[block] = outcome.item.name
                    report(outcome.error, outcome.item.name)
            elif outcome.busy:
                console.say(f"{outcome.item.name}: another process works on it")
            tracker.advance(outcome.item.name)
