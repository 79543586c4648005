"""`segkit analyze`: why a network fails, from its logits, features and training."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segkit.cli.session import AcceptSform, Session, command
from segkit.cli.train import Device

if TYPE_CHECKING:
    from segkit.analysis.external import Maps
    from segkit.analysis.subject import Subject
    from segkit.engine.console import Console


class Analysis(StrEnum):
    """What can be asked for."""

    LOGITS = "logits"
    EMBEDDINGS = "embeddings"
    PROGRESS = "progress"
    PERFORMANCE = "performance"


Runs = Annotated[list[Path] | None, typer.Argument(metavar="[RUN...]", help="Run folders.", show_default=False)]
Only = Annotated[list[Analysis] | None, typer.Option("--only", help="Repeatable; default: all that apply.", show_default=False)]
VOXELS = 2000  # of a case and class in the sample of logits

VoxelCount = Annotated[int, typer.Option("--voxels", min=1, help="Most voxels of a case and class in the sample of logits.")]
Logits = Annotated[
    Path | None, typer.Option("--logits", metavar="DIR", help="CASE_CLASS.nii.gz of a model not trained here.", show_default=False)
]
Probabilities = Annotated[
    Path | None, typer.Option("--probabilities", metavar="DIR", help="The same from its probabilities.", show_default=False)
]
Labels = Annotated[Path | None, typer.Option("--labels", metavar="DIR", help="CASE.nii.gz for --logits.", show_default=False)]
Classes = Annotated[
    Path | None,
    typer.Option("--classes", metavar="FILE", help="YAML of names and label values: {liver: 6, kidneys: [2, 3]}.", show_default=False),
]
SplitFile = Annotated[
    Path | None,
    typer.Option("--split-file", metavar="FILE", help='JSON: {"training": [CASE, ...], "test": [CASE, ...]}.', show_default=False),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="DIR", help="Of --logits; of several runs, what shows them together.", show_default=False),
]


def add_to(app: typer.Typer) -> None:
    """File the command."""

    @command(app, "analyze")
    def analyze(
        session: Session,
        runs: Runs = None,
        only: Only = None,
        voxels: VoxelCount = VOXELS,
        logits: Logits = None,
        probabilities: Probabilities = None,
        labels: Labels = None,
        classes: Classes = None,
        split_file: SplitFile = None,
        accept_sform: AcceptSform = False,
        output: Output = None,
        device: Device = "auto",
    ) -> None:
        """Compare training and test cases: logits, class embeddings, scores; and the course of training. Writes into RUN/analysis."""
        from segkit.analysis.external import Maps, class_map_of
        from segkit.cli.evaluate import class_values
        from segkit.config.errors import InputError

        foreign = {
            "--logits": logits,
            "--probabilities": probabilities,
            "--labels": labels,
            "--classes": classes,
            "--split-file": split_file,
        }
        given = [option for option, value in foreign.items() if value is not None]
        if bool(runs) == bool(given):
            raise InputError(
                "SK-C060",
                "what to analyze is not clear",
                where="segkit analyze",
                expected="either RUN..., or --logits DIR --labels DIR --classes FILE --output DIR",
                got=f"RUN and {', '.join(given)}" if runs else "neither",
            )
        if runs:
            analyze_runs(session, runs, Request(frozenset(only or ()), voxels, accept_sform, output, device))
            return
        if only and set(only) != {Analysis.LOGITS}:
            raise InputError("SK-C061", "of a model not trained here only logits are known", where="--only", expected="logits")
        if device != "auto":
            raise InputError(
                "SK-C067",
                "a model not trained here is not computed, so no device is used",
                where="--device",
                expected="no --device beside --logits or --probabilities",
                got=device,
            )
        folder = logits or probabilities
        if folder is None or labels is None or classes is None or output is None or (logits and probabilities):
            raise InputError(
                "SK-C062",
                "logits of a model not trained here need more options",
                where="segkit analyze",
                expected="either --logits DIR or --probabilities DIR; --labels DIR; --classes FILE; --output DIR",
                got=", ".join([*given, *(["--output"] if output else [])]),
            )
        class_map = class_map_of(class_values(classes), classes)
        maps = Maps(folder, class_map, "logit" if logits else "log_probability", accept_sform)
        analyze_maps(session, maps, labels, split_file, voxels, output)


@dataclass(frozen=True)
class Request:
    """What is asked of runs. only: what was named; nothing is everything."""

    only: frozenset[Analysis]
    voxels: int
    accept_sform: bool
    output: Path | None
    device: str

    @property
    def wanted(self) -> frozenset[Analysis]:
        """The analyses."""
        return self.only or frozenset(Analysis)


def analyze_runs(session: Session, paths: Sequence[Path], request: Request) -> None:
    """What is wanted of each run into its folder, then what shows several of them together into `output`."""
    from segkit.analysis.naming import names_of
    from segkit.cli.findings import Findings
    from segkit.engine.run import Run

    check_runs(paths)
    check_output(paths, request)
    wanted, names = request.wanted, names_of(paths)
    subjects = loaded(paths, names, request, session.console)
    findings, views, measured = Findings(session), [], []
    if Analysis.PROGRESS in wanted:
        for path, name in zip(paths, names, strict=True):
            findings.follow(Run(path), name, must=bool(request.only))
    for subject in subjects:
        if wanted & {Analysis.LOGITS, Analysis.EMBEDDINGS}:
            views += findings.look(subject, request.voxels if Analysis.LOGITS in wanted else None, Analysis.EMBEDDINGS in wanted)
        if Analysis.PERFORMANCE in wanted:
            measured += findings.perform(subject)
    if request.output is not None:
        findings.together(request.output, subjects, views, measured)
    findings.show(views)
    findings.close()


def analyze_maps(session: Session, maps: "Maps", labels: Path, split_file: Path | None, voxels: int, output: Path) -> None:
    """The logits of a model that was not trained here, into `output`."""
    from segkit.analysis.external import read_split, sample_maps
    from segkit.analysis.logits import write_sample
    from segkit.cli.findings import Findings
    from segkit.engine.folders import label_maps

    findings, labeled = Findings(session), label_maps(labels)
    splits = read_split(split_file, labeled)
    if split_file is None:
        findings.console.say("all cases count as test cases, and there is no shift: --split-file says which were trained on")
    sample, failed = sample_maps(maps, labeled, splits, voxels, findings.console)
    name = maps.folder.resolve().name
    findings.note(name, failed)
    output.mkdir(parents=True, exist_ok=True)
    write_sample(output / "logits.npz", sample)
    findings.add([output / "logits.npz"])
    findings.show([findings.render(output, name, sample, sample.classes[1:])])
    findings.close()


def check_runs(paths: Sequence[Path]) -> None:
    """Raises InputError for a run that comes twice."""
    from segkit.config.errors import InputError

    if len({path.resolve() for path in paths}) < len(paths):
        raise InputError("SK-C064", "a run is named twice", where="segkit analyze", got=" ".join(map(str, paths)))


def check_output(paths: Sequence[Path], request: Request) -> None:
    """Raises InputError where nothing would come into `output`."""
    from segkit.config.errors import InputError

    if request.output is not None and (len(paths) == 1 or not request.wanted & {Analysis.LOGITS, Analysis.PERFORMANCE}):
        raise InputError(
            "SK-C065",
            "--output is for logits and performance of several runs together",
            where="--output",
            got=f"{', '.join(sorted(request.wanted))} of {len(paths)} run{'s' * (len(paths) > 1)}",
            remedy="leave it out: what is of one run goes into its folder `analysis`",
        )


def loaded(paths: Sequence[Path], names: Sequence[str], request: Request, console: "Console") -> "list[Subject]":
    """The runs, before anything is computed of any; none where only their logs are read."""
    from segkit.analysis.subject import Subject
    from segkit.engine.device import choose_device

    if request.wanted == {Analysis.PROGRESS}:
        return []
    device = choose_device(request.device)
    subjects = [Subject.load(path, name, device, console, request.accept_sform) for path, name in zip(paths, names, strict=True)]
    if request.output is not None:
        check_alike(subjects)
    return subjects


def check_alike(subjects: "Sequence[Subject]") -> None:
    """Raises InputError where runs that are to be shown together do not have the same classes."""
    from segkit.config.errors import InputError

    for subject in subjects[1:]:
        if subject.classes != subjects[0].classes:
            raise InputError(
                "SK-C066",
                "runs of different classes cannot be shown together",
                where=subject.run.path,
                expected=f"the classes of {subjects[0].run.path}: {', '.join(subjects[0].classes)}",
                got=", ".join(subject.classes),
                remedy="analyze them without --output",
            )
