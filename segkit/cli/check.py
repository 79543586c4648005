"""`segkit check`: integrity of data and recipe, nothing trained."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from segkit.cli.session import Session, command
from segkit.cli.train import Overrides

if TYPE_CHECKING:
    from segkit.datasets.base import Dataset
    from segkit.engine.check import Finding
    from segkit.engine.console import Console
    from segkit.volume.preprocess import Preprocess

Subject = Annotated[Path, typer.Argument(metavar="RECIPE.yaml|DATA_DIR", help="A recipe, or a folder with --layout.", show_default=False)]
Layout = Annotated[Literal["brats", "btcv", "msd", "nnunet"] | None, typer.Option("--layout", help="How the folder is laid out.", show_default=False)]


def add_to(app: typer.Typer) -> None:
    """File the command."""

    @command(app, "check")
    def check(
        session: Session,
        subject: Subject,
        overrides: Overrides = None,
        layout: Layout = None,
        report: Annotated[Path | None, typer.Option("--report", metavar="FILE", help="Default: integrity.json beside the recipe.", show_default=False)] = None,
    ) -> None:
        """Read every file of a data set and list all that is wrong with it."""
        import json

        from segkit.config.atomic import atomic
        from segkit.config.errors import InputError
        from segkit.engine.check import default_report
        from segkit.recipe import read
        from segkit.volume.preprocess import Preprocess

        console, margin = session.console, 0
        if subject.is_dir():
            if layout is None:
                raise InputError("SK-C030", "the layout of the folder is not given", where=subject, expected="--layout brats, btcv, msd or nnunet")
            dataset, preprocess = dataset_of(subject, layout), Preprocess()
        else:
            from segkit.engine.cohort import reach

            recipe = read(subject, tuple(overrides or ()))
            network = recipe.model.build(len(recipe.dataset.channel_names), len(recipe.class_names()))
            dataset, preprocess, margin = recipe.dataset, recipe.preprocess, reach(network, recipe.sampling.patch_shape)
            dataset.splits()
        findings = findings_of(dataset, preprocess, margin, console)
        errors = [finding for finding in findings if finding.grade == "error"]
        path = report or default_report(subject)
        with atomic(path) as temporary:
            content = {"subject": str(subject), "errors": len(errors), "findings": [finding.facts() for finding in findings]}
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        console.say(f"{len(errors)} errors, {len(findings) - len(errors)} notices: {path}")
        if errors:
            raise typer.Exit(2)


def dataset_of(folder: Path, layout: str) -> "Dataset":
    """A data set with the classes and channels its layout says. Raises InputError where only a recipe can say them."""
    from pydantic import ValidationError

    from segkit.config.errors import InputError
    from segkit.datasets.base import datasets

    try:
        return datasets.build({"name": layout, "root": folder.resolve(), "split": {"test": 0}})
    except ValidationError as error:
        problem = error.errors()[0]
        remedy = "write a recipe and check that"
        raise InputError("SK-C031", "this folder needs a recipe", where=folder, got=f"{problem['loc']}: {problem['msg']}", remedy=remedy) from None


def findings_of(dataset: "Dataset", preprocess: "Preprocess", margin: int, console: "Console") -> "list[Finding]":
    """All findings over the data set's cases, printed as they come."""
    from functools import partial

    from segkit.engine.check import check_cases
    from segkit.volume.preprocess import prepare

    cases, findings = dataset.find(), []
    ready = partial(prepare, settings=preprocess, roi=dataset.roi, class_map=dataset.class_map, margin=margin, accept_sform=dataset.accept_sform)
    with console.track("check", len(cases)) as tracker:
        for found in check_cases(cases, ready, dataset.class_map.names):
            findings += found
            for finding in found:
                if finding.grade == "error":
                    typer.echo(finding.block(), err=True)
                else:
                    console.detail(finding.block())
            tracker.advance()
    return findings
