"""Stopping a run from outside: Ctrl-C and SIGTERM end it after a checkpoint."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from segkit.config.errors import SegkitError
from segkit.config.faults import readable
from segkit.config.plugins import FAULTS
from segkit.engine.progress import Progress
from segkit.engine.run import Run


class Interrupted(SegkitError):
    """Ctrl-C or SIGTERM: a checkpoint was written, unless there is a `cause`, and the run can be resumed. Exit status 130 or 143.

    complete: it came after the last checkpoint was due, so the run has all its steps and files; what would follow it is not to begin.
    """

    def __init__(self, signal_number: int, run: Run, done: int, cause: SegkitError | None = None, complete: bool = False) -> None:
        what, got = f"stopped after step {done}; a checkpoint was written", None
        remedy: str | None = "go on with the same command and --resume"
        if cause is not None:
            what = f"stopped after step {done}; no checkpoint could be written"
            got = ": ".join(str(fact) for fact in (cause.code, cause.what, cause.where, cause.got) if fact is not None)
            remedy = f"{remedy}, from the checkpoint before"
        elif complete:
            what, remedy = f"stopped after step {done}, the last one; the run is complete", None
        super().__init__("SK-T040", what, where=run.path, got=got, remedy=remedy)
        self.exit_status = 128 + signal_number


@contextmanager
def heeding(stopped: Sequence[int], run: Run, progress: Progress) -> Iterator[None]:
    """Whatever fails after a signal, such as the checkpoint on a full disk, ends the block as an interruption all the same."""
    try:
        yield
    except Interrupted:
        raise
    except (SegkitError, *FAULTS) as error:
        if isinstance(error.__context__, Interrupted):  # only what came after the checkpoint has failed
            raise error.__context__ from None
        known = readable(error)
        if not stopped or known is None:
            raise
        raise Interrupted(stopped[0], run, progress.step, known) from error
