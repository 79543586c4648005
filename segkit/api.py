"""segkit from Python: the commands by name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segkit.config.errors import InputError
from segkit.config.overrides import apply_values
from segkit.config.yaml import load as load_yaml
from segkit.engine.console import Console
from segkit.engine.device import choose_device
from segkit.engine.evaluate import Row
from segkit.engine.folders import score_folders
from segkit.engine.infer import Predictor
from segkit.engine.processes import joined
from segkit.engine.run import Run
from segkit.engine.train import train as train_recipe
from segkit.recipe import resolve
from segkit.volume.case import CaseFiles, Source
from segkit.volume.nifti import Volume


def train(
    recipe: str | Path,
    overrides: Mapping[str, Any] | None = None,
    *,
    run: str | Path | None = None,
    resume: bool = False,
    device: str = "auto",
) -> Run:
    """Train by a recipe file with overrides such as {"train.steps": 500}. Default run folder: `runs/<recipe name>`."""
    path = Path(recipe)
    with joined() as processes:
        typed = resolve(apply_values(load_yaml(path), overrides or {}))
        folder = Run(Path(run) if run is not None else Path("runs") / path.stem)
        return train_recipe(typed, folder, resumed=resume, device_name=device, console=Console("quiet"), processes=processes)


@dataclass(frozen=True)
class Model:
    """A trained model, or several as an ensemble."""

    predictor: Predictor

    def predict(self, scan: str | Path | Mapping[str, str | Path], roi: str | Path | None = None) -> Volume:
        """The label map of one scan in its own geometry.

        scan: a NIfTI file (models of one channel), a case folder in the model's layout, or channel name -> NIfTI file. roi: a mask to use,
        however the model finds the ROI.
        Raises InputError where the scan is not one case, misses a channel or cannot be read.
        """
        if isinstance(scan, Mapping):
            files = channel_case("scan", {name: Path(path) for name, path in scan.items()}, self.predictor.channels)
        else:
            cases = self.predictor.files_of(Path(scan))
            if len(cases) != 1:
                raise InputError(
                    "SK-I020", "not one case", where=scan, expected="one case", got=f"{len(cases)} cases", remedy="predict them one by one"
                )
            files = cases[0]
        return self.predictor.written(files, self.predictor.predict(self.predictor.read(files, Path(roi) if roi else None)))


def load(path: str | Path | Sequence[str | Path], device: str = "auto") -> Model:
    """The trained model of a run folder; of several, their ensemble."""
    paths = [path] if isinstance(path, str | Path) else list(path)
    return Model(Predictor.load([Path(p) for p in paths], choose_device(device)))


def evaluate(predictions: str | Path, labels: str | Path, classes: Mapping[str, Sequence[int]] | None = None) -> list[Row]:
    """Scores of two folders of label maps, matched by case id; the rows of `scores.csv`."""
    rows, failed = score_folders(Path(predictions), Path(labels), classes)
    if failed:
        raise failed[0][1]
    return rows


def channel_case(case: str, paths: Mapping[str, Path], channels: Sequence[str]) -> CaseFiles:
    """A case from named files. Raises InputError where the names are not the model's channels, or a file is not there."""
    if set(paths) != set(channels):
        raise InputError(
            "SK-I021",
            "the channels are not the model's",
            where=", ".join(str(path) for path in paths.values()),
            expected=", ".join(channels),
            got=", ".join(paths),
            remedy="name each file by its channel: " + ",".join(f"{name}=FILE" for name in channels),
        )
    for path in paths.values():
        if not path.is_file():
            raise InputError("SK-I022", "no such file", where=path, expected="a NIfTI file")
    return CaseFiles(case, {name: Source(Path(paths[name])) for name in channels})
