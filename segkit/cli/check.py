"""`segkit check`: integrity of data and recipe, nothing trained."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from segkit.cli.session import AcceptSform, Session, command
from segkit.cli.train import Overrides

if TYPE_CHECKING:
    from segkit.engine.check import Finding, Plan
    from segkit.engine.console import Console

Subject = Annotated[Path, typer.Argument(metavar="RECIPE.yaml|DATA_DIR", help="A recipe, or a folder with --layout.", show_default=False)]
Layout = Annotated[
    Literal["brats", "btcv", "msd", "nnunet", "files"] | None,
    typer.Option("--layout", help="How the folder is laid out; files needs a recipe.", show_default=False),
]
Report = Annotated[Path, typer.Option("--report", metavar="FILE", help="Where all findings are written.")]


def add_to(app: typer.Typer) -> None:
    """File the command."""

    @command(app, "check")
    def check(
        session: Session,
        subject: Subject,
        overrides: Overrides = None,
        layout: Layout = None,
        accept_sform: AcceptSform = False,
        report: Report = Path("integrity.json"),
    ) -> None:
        """Read every file of a data set, and list at once all that training would stumble over."""
        plan = planned(subject, tuple(overrides or ()), layout, accept_sform)
        findings = findings_of(plan, session.console)
        errors = sum(finding.grade == "error" for finding in findings)
        write(report, subject, plan, findings)
        notices = len(findings) - errors
        counted = f"{_counted(len(plan.cases), 'case')} read, {_counted(errors, 'error')}, {_counted(notices, 'notice')}"
        hint = " (--verbose shows the notices)" if notices and not session.verbose else ""
        session.console.say(f"{counted}{hint}: {report}")
        if errors:
            raise typer.Exit(2)


def planned(subject: Path, overrides: tuple[str, ...], layout: str | None, accept_sform: bool) -> "Plan":
    """What is to be read. Raises InputError where neither a recipe nor a folder with its layout was named."""
    from segkit.config.errors import InputError
    from segkit.engine.check import plan
    from segkit.engine.folders import dataset_in
    from segkit.recipe import read

    if layout is not None:
        if overrides:
            raise InputError(
                "SK-C031",
                "overrides belong to a recipe",
                where="segkit check",
                got=" ".join(overrides),
                remedy="leave them or --layout out",
            )
        if subject.is_file():
            raise InputError("SK-C032", "--layout belongs to a folder", where=subject, remedy="a recipe says it already: leave it out")
        return plan(dataset_in(subject, layout, accept_sform=accept_sform))
    if subject.is_dir():
        raise InputError("SK-C030", "the layout of the folder is not given", where=subject, expected="--layout brats, btcv, msd or nnunet")
    if accept_sform:
        raise InputError(
            "SK-C033", "--accept-sform belongs to a folder", where=subject, remedy="for a recipe, set dataset.accept_sform=true instead"
        )
    recipe = read(subject, overrides)
    return plan(recipe.dataset, recipe)


def findings_of(plan: "Plan", console: "Console") -> "list[Finding]":
    """All findings, printed as they come."""
    from segkit.engine.check import check

    findings: list[Finding] = []

    def tell(found: "list[Finding]") -> None:
        findings.extend(found)
        for finding in found:
            if finding.grade == "error":
                typer.echo(finding.block(), err=True)
            else:
                console.detail(finding.block())

    tell(list(plan.findings))
    with console.track("check", len(plan.cases)) as tracker:
        for position, found in enumerate(check(plan)):
            tell(found)
            if position < len(plan.cases):
                tracker.advance()
    return findings


def write(path: Path, subject: Path, plan: "Plan", findings: "list[Finding]") -> None:
    """`integrity.json`."""
    import json

    from segkit.config.atomic import atomic

    errors = sum(finding.grade == "error" for finding in findings)
    content = {"subject": str(subject), "cases": len(plan.cases), "errors": errors, "findings": [finding.facts() for finding in findings]}
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + "s" * (number != 1)
