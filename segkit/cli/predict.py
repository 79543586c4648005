"""`segkit predict`: label maps of new scans, or of a recipe's own cases."""

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from segkit.cli.launching import Address, Launcher, Launching, Slurm, Workers
from segkit.cli.session import AcceptSform, Session, command, report
from segkit.cli.train import Device

if TYPE_CHECKING:
    from segkit.engine.infer import Predictor
    from segkit.volume.case import CaseFiles

Models = Annotated[list[Path], typer.Argument(metavar="MODEL...", help="A run folder; several are an ensemble.", show_default=False)]
Input = Annotated[
    list[Path] | None,
    typer.Option("--input", "-i", metavar="PATH", help="Case folders, NIfTI files, or a folder of either; repeatable.", show_default=False),
]
Channels = Annotated[str | None, typer.Option("--channels", metavar="NAME=FILE,...", help="One case from named files.", show_default=False)]
SplitName = Annotated[
    Literal["training", "validation", "test"] | None, typer.Option("--split", help="The recipe's own cases.", show_default=False)
]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="DIR", help="Default with --split: the run's predictions.", show_default=False)
]
Roi = Annotated[
    Path | None, typer.Option("--roi", metavar="FILE", help="ROI mask of the one case, whatever the recipe says.", show_default=False)
]

RamBudget = Annotated[
    str | None,
    typer.Option("--ram-budget", metavar="8G", help="Memory that may be taken, by each worker; decided beforehand.", show_default=False),
]
VramBudget = Annotated[str | None, typer.Option("--vram-budget", metavar="8G", help="The same of the device's memory.", show_default=False)]


def add_to(app: typer.Typer) -> None:
    """File the command."""

    @command(app, "predict")
    def predict(
        session: Session,
        models: Models,
        input: Input = None,
        channels: Channels = None,
        split: SplitName = None,
        output: Output = None,
        roi: Roi = None,
        probabilities: Annotated[bool, typer.Option("--probabilities", help="Write a map per class too.")] = False,
        mirror: Annotated[
            bool | None, typer.Option("--mirror/--no-mirror", help="Mean over passes mirrored as in training; default: as the recipe says.")
        ] = None,
        accept_sform: AcceptSform = False,
        overwrite: Annotated[bool, typer.Option("--overwrite", help="Predict again what is there already.")] = False,
        ram_budget: RamBudget = None,
        vram_budget: VramBudget = None,
        device: Device = "auto",
        launcher: Launcher = "local",
        workers: Workers = 1,
        address: Address = None,
        slurm: Slurm = None,
    ) -> None:
        """Predict label maps in the scans' own geometry."""
        from contextlib import closing

        from segkit.config.errors import InputError, WorkError
        from segkit.engine.budget import Budget, described, plan
        from segkit.engine.device import choose_device
        from segkit.engine.infer import Predictor, Way, predict_all
        from segkit.engine.run import Run
        from segkit.engine.shares import Share, predict_shares

        if sum(choice is not None for choice in (input or None, channels, split)) != 1:
            raise InputError(
                "SK-C010", "what to predict is not clear", where="segkit predict", expected="exactly one of --input, --channels, --split"
            )
        if output is None and (split is None or len(models) > 1):
            raise InputError("SK-C011", "no place for the label maps", where="segkit predict", expected="--output DIR")
        budget = Budget.of(ram_budget, vram_budget, device)
        folder, console, outcomes = output or Run(models[0]).predictions, session.console, []
        launch = Launching(launcher, workers, address, slurm).launch(folder, device)
        here = "cpu" if launch else device  # where others predict, the models are only looked at
        predictor = Predictor.load(models, choose_device(here), mirror=mirror, accept_sform=accept_sform)
        cases = chosen_cases(predictor, input, channels, split)
        check_mask(roi, len(cases))
        if launch:
            asked = Share(tuple(models), folder, device, mirror, accept_sform, probabilities, roi, budget)
            predicted = predict_shares(predictor, cases, asked, launch, workers, overwrite)
        else:
            way = Way()
            if budget is not None:
                planned = plan(predictor, cases, budget, with_probabilities=probabilities)
                console.say(described(planned, budget, predictor.views))
                predictor.views, way = planned.views, planned.way
            predicted = predict_all(predictor, cases, folder, with_probabilities=probabilities, roi=roi, overwrite=overwrite, way=way)
        with console.track("predict", len(cases)) as tracker, closing(predicted):
            for outcome in predicted:
                outcomes.append(outcome)
                for notice in outcome.notices:
                    console.detail(f"notice, case {outcome.case}: {notice}")
                tracker.advance(outcome.case)
                if outcome.error is not None:
                    report(outcome.error, outcome.case)
        failed = [outcome.case for outcome in outcomes if outcome.error is not None]
        skipped = sum(outcome.skipped for outcome in outcomes)
        already = f", {skipped} were there already (--overwrite predicts them again)" if skipped else ""
        noticed = sum(bool(outcome.notices) for outcome in outcomes)
        hint = f", {noticed} of them with notices (--verbose shows them)" if noticed and not session.verbose else ""
        console.say(f"{len(outcomes) - len(failed) - skipped} of {len(outcomes)} cases predicted{hint}{already}: {folder}")
        if failed:
            got = ", ".join(failed[:10]) + ", ..." * (len(failed) > 10)
            raise WorkError("SK-C012", f"{len(failed)} of {len(outcomes)} cases could not be predicted", where=folder, got=got)


def chosen_cases(predictor: "Predictor", paths: list[Path] | None, channels: str | None, split: str | None) -> "list[CaseFiles]":
    """The cases the options name. Raises InputError where an id stands twice."""
    from segkit.api import channel_case
    from segkit.config.errors import InputError

    if channels is not None:
        named = files_by_channel(channels)
        first = min(named, key=lambda name: predictor.channels.index(name) if name in predictor.channels else len(named))
        return [channel_case(case_id(predictor, first, named[first]), named, predictor.channels)]
    if split is not None:
        cases = list(getattr(predictor.recipe.dataset.splits(), split))
        if not cases:
            raise InputError("SK-C013", f"the recipe has no {split} cases", where="dataset.split", expected="at least one")
    else:
        cases = [files for path in paths or () for files in predictor.files_of(path)]
    twice = sorted(case for case, number in Counter(files.id for files in cases).items() if number > 1)
    if twice:
        raise InputError(
            "SK-C014", "two cases of one id", where="--input", got=", ".join(twice), remedy="predict them into different folders"
        )
    return cases


def check_mask(roi: Path | None, cases: int) -> None:
    """Raises InputError where --roi is no file, or is given for several cases."""
    from segkit.config.errors import InputError

    if roi is not None and cases != 1:
        raise InputError("SK-C015", "--roi belongs to one case", where="--roi", expected="one case", got=f"{cases}")
    if roi is not None and not roi.is_file():
        raise InputError("SK-C017", "no such ROI mask", where=roi, expected="a NIfTI file")


def files_by_channel(channels: str) -> dict[str, Path]:
    """`t1c=a.nii.gz,flair=b.nii.gz` as a mapping. A comma in a path is none between two channels."""
    from segkit.config.errors import InputError

    pairs = [part.partition("=") for part in re.split(r",(?=[^,=/]+=)", channels)]
    named = {name.strip(): Path(path.strip()).expanduser() for name, _, path in pairs}
    if not all(name.strip() and path.strip() for name, _, path in pairs) or len(named) < len(pairs):
        raise InputError("SK-C016", "--channels cannot be read", where="--channels", expected="t1c=a.nii.gz,flair=b.nii.gz", got=channels)
    return named


def case_id(predictor: "Predictor", channel: str, path: Path) -> str:
    """The id of a case of named files: the name of one of them, without suffix and channel, as the layout or the recipe calls it."""
    stem = path.name.removesuffix(".gz").removesuffix(".nii")
    bare = stem.removesuffix(channel).rstrip("_-.")
    return predictor.recipe.dataset.case_id(stem) if bare in ("", stem) else bare
