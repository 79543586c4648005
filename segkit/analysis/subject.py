"""A run under analysis: its network, its training and test cases, and the one pass over them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from segkit.analysis.logits import Logits, LogitSample, read_sample, write_sample
from segkit.analysis.mark import mark_of
from segkit.analysis.noted import noted_cases
from segkit.analysis.observe import Observer, Split, observe
from segkit.config.errors import InputError, SegkitError
from segkit.datasets.document import read_object
from segkit.engine.cohort import reach, store_settings
from segkit.engine.console import Console
from segkit.engine.run import Run
from segkit.engine.weights import Trained, load_weights
from segkit.volume.case import CaseFiles
from segkit.volume.store import Store

Failed = list[tuple[str, SegkitError]]  # cases with what stopped them


@dataclass(frozen=True)
class Subject:
    """name: for figures and tables, different in each of several runs."""

    name: str
    run: Run
    trained: Trained
    cases: Mapping[Split, tuple[CaseFiles, ...]]
    device: torch.device

    @classmethod
    def load(cls, path: Path, name: str, device: torch.device, console: Console, accept_sform: bool = False) -> "Subject":
        """From a run folder. Its training cases are those that it was trained on, whatever the data folder holds by now.

        Raises InputError where it has no weights, its data set is not where the recipe says, or the sides of the split are no longer those
        of the training.
        """
        trained = load_weights(path, device)
        cases = _cases(Run(path), trained, console)
        if accept_sform:
            dataset = trained.recipe.dataset.model_copy(update={"accept_sform": True})
            trained = replace(trained, recipe=trained.recipe.model_copy(update={"dataset": dataset}))
        return cls(name, Run(path), trained, cases, device)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names by index, the background first."""
        return self.trained.recipe.class_names()

    @property
    def archive(self) -> Path:
        """Where the sample of logits lies."""
        return self.run.analysis / "logits.npz"

    def mark(self, *settings: object) -> str:
        """What an analysis of this run with such settings (plain data) is made from."""
        return mark_of(self.trained, self.cases, self.device, *settings)

    def look(self, voxels: int | None, others: Sequence[Observer], console: Console) -> tuple[LogitSample | None, Failed]:
        """Show the cases to the sample of logits and to other observers, in one pass; none where nobody has to see them.

        voxels: of each case and class in the sample; None: no sample is asked for. A sample is written into the run, and taken from there
        where it was made from the same weights, settings and files.
        """
        mark = self.mark(voxels)
        kept = None if voxels is None else self._kept(mark)
        if kept is not None:
            console.say(f"logits of {self.name}: as sampled before")
        logits = [Logits(voxels)] if voxels is not None and kept is None else []
        watching: list[Observer] = [*logits, *others]
        failed = observe(self.trained, self.cases, watching, self.device, console) if watching else []
        for each in logits:
            kept = each.sample(self.classes, mark)
            self.run.analysis.mkdir(exist_ok=True)
            write_sample(self.archive, kept)
        return kept, failed

    def _kept(self, mark: str) -> LogitSample | None:
        """The sample that was written before, if it is this one and whole."""
        sample = read_sample(self.archive)
        whole = sample is not None and all(set(sample.holds(split)) == {files.id for files in each} for split, each in self.cases.items())
        return sample if whole and sample is not None and sample.mark == mark else None


def _cases(run: Run, trained: Trained, console: Console) -> dict[Split, tuple[CaseFiles, ...]]:
    """Those that the run was trained on, as it noted them, and the test cases of its recipe, none of which it may have seen."""
    dataset = trained.recipe.dataset
    splits, noted = dataset.splits(), noted_cases(run)
    if noted is None:
        facts = read_object(run.provenance) if run.provenance.exists() else {}
        margin = reach(trained.network, trained.recipe.sampling.patch_shape)
        seen = (*splits.training, *splits.validation)
        if facts.get("data") != Store.locate(seen, Path(), store_settings(trained.recipe, margin)).digest:
            console.say(
                f"notice: {run.path} does not say which cases it was trained on, and the data or their place have changed since:"
                " those that its recipe trains on today count as its training cases"
            )
        return {"training": splits.training, "test": splits.test}
    leaked = sorted({files.id for files in splits.test} & {*noted["training"], *noted["validation"]})
    if leaked:
        raise InputError(
            "SK-A017",
            "cases that the run was trained or validated on are test cases now",
            where=dataset.root,
            expected="the split of the training",
            got=", ".join(leaked),
            remedy="restore the data folder, or the split file, of the training",
        )
    there = {files.id: files for files in dataset.find() if files.label is not None}
    gone = [case for case in noted["training"] if case not in there]
    if gone:
        raise InputError(
            "SK-A018",
            "cases that the run was trained on are gone, or have no label",
            where=dataset.root,
            expected=f"all {len(noted['training'])} training cases",
            got=f"none of the name {', '.join(gone)}",
            remedy="bring them back",
        )
    return {"training": tuple(there[case] for case in noted["training"]), "test": splits.test}


def drawn(subjects: Sequence[Subject]) -> list[str]:
    """The classes that figures of runs show: those that are rare in any of them; where none is, all but the background."""
    names = subjects[0].classes[1:]
    rare = {name for subject in subjects for name in subject.trained.recipe.dataset.rare_classes}
    return [name for name in names if name in rare] or list(names)
