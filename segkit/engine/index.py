"""`predictions.json` of a folder of label maps: which models made them, what each class is written as, what became of each case."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segkit.config.atomic import atomic
from segkit.config.errors import InputError
from segkit.engine.run import probability_map
from segkit.engine.weights import Trained
from segkit.volume.case import CaseFiles
from segkit.volume.labels import ClassMap

Facts = dict[str, Any]


@dataclass
class Index:
    """Of one folder. It is written after every case, so that a killed process loses none.

    mark: of the weights and settings that predict now; a case that bears another was predicted by something else. makers: by mark, the
    models and the value each class is written as. started: a file was there, so label maps without an entry are ours too (a kill came
    between the two).
    """

    folder: Path
    mark: str
    makers: dict[str, Facts]
    cases: dict[str, Facts]
    started: bool

    @classmethod
    def open(cls, folder: Path, members: Sequence[Trained], settings: Sequence[object], class_map: ClassMap) -> "Index":
        """As it lies in the folder, or an empty one. settings: plain data. Raises InputError where the file is damaged."""
        models = [{"name": member.name, "step": member.step, "sha256": member.sha256} for member in members]
        mark = hashlib.sha256(json.dumps([[member.sha256 for member in members], *settings]).encode()).hexdigest()[:12]
        path = folder / "predictions.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"makers": {}, "cases": {}}
            makers, cases = dict(found["makers"]), dict(found["cases"])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                "SK-I030", "the folder's index is damaged", where=path, got=str(error), remedy="use another folder, or remove it"
            ) from None
        makers[mark] = {"models": models, "values": dict(zip(class_map.names, class_map.written_values, strict=True))}
        return cls(folder, mark, makers, cases, path.exists())

    def label_map(self, case: str) -> Path:
        """Where the label map of a case lies."""
        return self.folder / f"{case}.nii.gz"

    def probability(self, case: str, name: str) -> Path:
        """Where the probability of a class lies."""
        return probability_map(self.folder, case, name)

    def holds(self, case: str, with_probabilities: bool) -> bool:
        """Whether the models that predict now have written all that is asked for."""
        paths = [self.label_map(case), *(self.probability(case, name) for name in self.makers[self.mark]["values"] if with_probabilities)]
        return self.cases.get(case, {}).get("mark") == self.mark and all(path.exists() for path in paths)

    def admit(self, cases: Sequence[CaseFiles], overwrite: bool) -> None:
        """Raises InputError where a label map would replace a file of its own case, or without `overwrite` one of other models."""
        for files in cases:
            path = self.label_map(files.id)
            own = [source.path for source in files.channels.values()] + [other for other in (files.label, files.roi) if other is not None]
            if path.exists() and any(other.exists() and other.samefile(path) for other in own):
                raise InputError(
                    "SK-I031", "the label map would replace a file of the case", where=path, remedy="choose another folder with --output"
                )
        there = [files.id for files in cases if self.label_map(files.id).exists()]
        foreign = [case for case in there if not self.started or self.cases.get(case, {}).get("mark", self.mark) != self.mark]
        if foreign and not overwrite:
            ours = "this model" if len(self.makers[self.mark]["models"]) == 1 else "these models"
            raise InputError(
                "SK-I032",
                f"the folder holds label maps that are not of {ours}",
                where=self.folder,
                got=", ".join(foreign[:10]) + ", ..." * (len(foreign) > 10),
                remedy="choose another folder with --output, or replace them with --overwrite",
            )

    def note(self, case: str, facts: Facts) -> None:
        """What became of a case."""
        self.cases[case] = facts

    def write(self) -> None:
        """Into the folder, at once or not at all."""
        marks = {self.mark, *(facts.get("mark") for facts in self.cases.values())}
        makers = {mark: facts for mark, facts in self.makers.items() if mark in marks}
        content = {"makers": makers, "cases": dict(sorted(self.cases.items()))}
        with atomic(self.folder / "predictions.json") as temporary:
            temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
