"""What every command has in common: its messages, plug-in files, and how an error ends it."""

import functools
import inspect
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segkit.config.errors import SegkitError
from segkit.config.faults import readable
from segkit.config.plugins import FAULTS, load_plugin

if TYPE_CHECKING:
    from segkit.engine.console import Console

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Errors only.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Details too.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
AcceptSform = Annotated[bool, typer.Option("--accept-sform", help="Where sform and qform of a file differ, take the sform.")]
Plugin = Annotated[list[Path] | None, typer.Option("--plugin", metavar="FILE", help="A Python file with your own plug-ins; repeatable.")]
COMMON = {"quiet": (Quiet, False), "verbose": (Verbose, False), "debug": (Debug, False), "plugin": (Plugin, None)}


@dataclass(frozen=True)
class Session:
    """Of one command: how talkative it is, and the plug-in files it was given."""

    quiet: bool = False
    verbose: bool = False
    plugins: tuple[Path, ...] = ()

    @property
    def console(self) -> "Console":
        """Where messages go."""
        from segkit.engine.console import Console

        return Console("quiet" if self.quiet else "verbose" if self.verbose else "normal")


def command(app: typer.Typer, name: str, **settings: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorator: file `work(session, ...)` under a name of the app, with the common options; errors become a block and an exit status."""

    def file(work: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(work)
        def run(**options: Any) -> None:
            common = {key: options.pop(key) for key in COMMON}
            with_errors(lambda: _begin(work, common, options), common["debug"])

        given = [p for p in inspect.signature(work).parameters.values() if p.name != "session"]
        extra = [
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
            for key, (kind, default) in COMMON.items()
        ]
        run.__signature__ = inspect.Signature([*given, *extra])  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in (*given, *extra)}
        app.command(name, **settings)(run)
        return work

    return file


def _begin(work: Callable[..., None], common: dict[str, Any], options: dict[str, Any]) -> None:
    plugins = tuple(common["plugin"] or ())
    for path in plugins:
        load_plugin(path)
    work(Session(common["quiet"], common["verbose"], plugins), **options)


def with_errors(work: Callable[[], None], debug: bool) -> None:
    """Run; an error a user can act on is printed as its block and ends with its status, Ctrl-C with 130. A bug keeps its traceback."""
    try:
        work()
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        raise typer.Exit(130) from None
    except (SegkitError, *FAULTS) as error:
        known = readable(error)
        if known is None:
            raise
        if debug:
            traceback.print_exc()
        report(known)
        raise typer.Exit(known.exit_status) from None


def report(error: SegkitError, case: str | None = None) -> None:
    """Print an error; `case` is the one it stopped, where the command goes on."""
    print(f"case {case}: {error.block()}" if case else error.block(), file=sys.stderr)
