"""The one family of errors a user can cause: a code, what, where, expected, got, remedy."""

from pathlib import Path


class SegkitError(Exception):
    """Something a user can read and act on; never a bug of segkit.

    code: stable, `SK-` + letter of the area + three digits, one per raising place. `exit_status` is what the command line ends with.
    """

    exit_status = 1

    def __init__(
        self,
        code: str,
        what: str,
        *,
        where: str | Path | None = None,
        expected: str | None = None,
        got: str | None = None,
        remedy: str | None = None,
    ) -> None:
        self.code, self.what, self.where = code, what, where
        self.expected, self.got, self.remedy = expected, got, remedy
        super().__init__(self.block())

    def block(self) -> str:
        """The message as printed: one line a fact, facts that are unknown left out."""
        facts = {"where": self.where, "expected": self.expected, "got": self.got, "remedy": self.remedy}
        lines = [f"{self.code}: {self.what}"]
        lines += [f"  {name + ':':<9} {value}" for name, value in facts.items() if value is not None]
        return "\n".join(lines)

    def __reduce__(self) -> tuple:
        """Errors cross process borders (workers): rebuild from the facts, not from the rendered text."""
        return _rebuild, (type(self), self.code, self.what, self.where, self.expected, self.got, self.remedy)


def _rebuild(kind: type[SegkitError], code: str, what: str, where: str, expected: str, got: str, remedy: str) -> SegkitError:
    return kind(code, what, where=where, expected=expected, got=got, remedy=remedy)


class InputError(SegkitError):
    """The user's input is wrong: a recipe, a path, an option, a volume. Exit status 2."""

    exit_status = 2


class WorkError(SegkitError):
    """The input was fine but the work failed or is incomplete: disk full, NaN, missing predictions. Exit status 1."""

    exit_status = 1
