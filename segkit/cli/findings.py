"""What `segkit analyze` finds of models: files, tables, and the cases that could not be analyzed."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from segkit.cli.session import Session, report

if TYPE_CHECKING:
    from segkit.analysis.logit_figure import View
    from segkit.analysis.logits import LogitSample
    from segkit.analysis.performance import Performance
    from segkit.analysis.subject import Failed, Subject
    from segkit.engine.console import Console
    from segkit.engine.run import Run


@dataclass
class Findings:
    """written: files. bad: (model, case) that could not be analyzed."""

    session: Session
    written: list[Path] = field(default_factory=list)
    bad: dict[tuple[str, str], None] = field(default_factory=dict)

    @cached_property
    def console(self) -> "Console":
        """Where messages go."""
        return self.session.console

    def note(self, name: str, failed: "Failed") -> None:
        """Report the cases of a model that failed, each once."""
        for case, error in failed:
            if (name, case) not in self.bad:
                report(error, f"{case} of {name}")
            self.bad[name, case] = None

    def add(self, paths: Sequence[Path], sha256: str | None = None) -> None:
        """Files that were written. sha256: of the weights they are of; None where they are not of a single network trained here."""
        from segkit.analysis.mark import note_weights

        note_weights(paths, sha256)
        self.written += paths

    def follow(self, run: "Run", name: str, must: bool) -> None:
        """The course of training. must: it was asked for by name; else a run that was not monitored is no mistake."""
        from segkit.analysis.progress import write_progress

        if must or next(run.windows(), None) is not None:
            self.written += write_progress(run)
        else:
            self.console.say(f"no progress of {name}: its training was not monitored (train.monitor)")

    def look(self, subject: "Subject", voxels: int | None, embedded: bool) -> "list[View]":
        """Logits (voxels: most of a case and class; None: none) and embeddings of a run, from one pass over its cases.

        Returns what there is to draw of the logits.
        """
        from segkit.analysis.embeddings import Embeddings, write_embeddings
        from segkit.analysis.subject import drawn

        embeddings = [Embeddings.of(subject.trained)] if embedded else []
        sample, failed = subject.look(voxels, embeddings, self.console)
        self.note(subject.name, failed)
        folder, views = subject.run.analysis, []
        if sample is not None:
            sha256 = subject.trained.sha256
            self.add([subject.archive], sha256)
            views.append(replace(self.render(folder, subject.trained.name, sample, drawn([subject]), sha256), name=subject.name))
        for each in embeddings:
            self.add(write_embeddings(folder, each), subject.trained.sha256)
        return views

    def render(self, folder: Path, name: str, sample: "LogitSample", classes: Sequence[str], sha256: str | None = None) -> "View":
        """Table and figure of one model's logits. classes: to draw. sha256: of the weights, where the model was trained here."""
        from segkit.analysis.logit_figure import View, draw_logits
        from segkit.analysis.shift import shifts, write_shifts

        view = View(name, sample, shifts(sample))
        write_shifts(folder / "shift.csv", [(name, view.shifts)])
        draw_logits(folder / "logits.png", [view], classes)
        self.add([folder / "shift.csv", folder / "logits.png"], sha256)
        return view

    def perform(self, subject: "Subject") -> "list[Performance]":
        """Scores of a run on its training and test cases, measured or as they were measured before."""
        from segkit.analysis.performance import measure, read_performance, write_performance

        path, mark = subject.run.analysis / "performance.csv", subject.mark()
        entries = read_performance(path, mark)
        if entries is None:
            entries, failed = measure(subject.trained, subject.cases, subject.device, mark, self.console)
            self.note(subject.name, failed)
            path.parent.mkdir(exist_ok=True)
            write_performance(path, entries)
        else:
            self.console.say(f"performance of {subject.name}: as measured before")
        self.add([path], subject.trained.sha256)
        return [replace(entry, run=subject.name) for entry in entries]

    def together(self, folder: Path, subjects: "Sequence[Subject]", views: "Sequence[View]", measured: "Sequence[Performance]") -> None:
        """Tables and figures of several runs."""
        from segkit.analysis.logit_figure import draw_logits
        from segkit.analysis.performance import differences, write_performance
        from segkit.analysis.performance_figure import draw_performance
        from segkit.analysis.shift import write_shifts
        from segkit.analysis.subject import drawn

        folder.mkdir(parents=True, exist_ok=True)
        if views:
            write_shifts(folder / "shift.csv", [(view.name, view.shifts) for view in views])
            draw_logits(folder / "logits.png", views, drawn(subjects))
            self.add([folder / "shift.csv", folder / "logits.png"])
        if measured:
            write_performance(folder / "performance.csv", measured)
            self.add([folder / "performance.csv"])
            if len({entry.training_cases for entry in measured}) > 1:
                others = differences([subject.trained.recipe for subject in subjects])
                note = f"the runs differ in {', '.join(others)} too" if others else ""
                draw_performance(folder / "performance.png", measured, drawn(subjects), note)
                self.add([folder / "performance.png"])
            else:
                self.console.say("no figure of performance: all runs have the same number of training cases")

    def show(self, views: "Sequence[View]") -> None:
        """The tables of logit shifts, where there are any."""
        from segkit.cli.shift_table import show

        if views and not self.session.quiet:
            show(views)

    def close(self) -> None:
        """Say where the files are. Raises WorkError where a case failed."""
        from segkit.config.errors import WorkError

        folders: dict[Path, list[str]] = {}
        for path in self.written:
            folders.setdefault(path.parent, []).append(path.name)
        for folder, names in folders.items():
            self.console.say(f"analysis: {folder}: {', '.join(names)}")
        if self.bad:
            cases = [f"{case} of {name}" for name, case in self.bad]
            got = ", ".join(cases[:10]) + ", ..." * (len(cases) > 10)
            raise WorkError(
                "SK-C063", f"{len(cases)} case{'s' * (len(cases) != 1)} could not be analyzed; what was written is of the others", got=got
            )
