"""Two folders of label maps: matched by case id, scored."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from segkit.config.errors import InputError, SegkitError, WorkError
from segkit.engine.evaluate import Row, Scoring, score_all
from segkit.metrics.base import metrics
from segkit.recipe import Recipe
from segkit.volume import nifti
from segkit.volume.labels import ClassMap

SUFFIXES = (".nii.gz", ".nii")
DEFAULT_METRICS = ("dice", "sensitivity", "precision", "hd95", "assd", "nsd")


def label_maps(folder: Path) -> dict[str, Path]:
    """NIfTI files of a folder by case id, the name without its suffix. Raises InputError where there are none, or two of one id."""
    if not folder.is_dir():
        raise InputError("SK-E010", "no such folder", where=folder, expected="a folder of label maps")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        suffix = next((suffix for suffix in SUFFIXES if path.name.endswith(suffix)), None)
        if suffix is None or not path.is_file() or path.name.startswith("."):
            continue
        case = path.name.removesuffix(suffix)
        if case in found:
            raise InputError("SK-E011", "two label maps of one case", where=folder, got=f"{found[case].name} and {path.name}", remedy="remove one")
        found[case] = path
    if not found:
        raise InputError("SK-E012", "no label maps here", where=folder, expected="files that end in .nii.gz or .nii")
    return found


def match(predictions: Mapping[str, Path], labels: Mapping[str, Path]) -> tuple[list[tuple[str, Path, Path]], list[tuple[str, SegkitError]]]:
    """(case, prediction, label) of every labelled case, and an error for each label without a prediction."""
    matched = [(case, predictions[case], label) for case, label in sorted(labels.items()) if case in predictions]
    missing: list[tuple[str, SegkitError]] = [
        (case, WorkError("SK-E013", "no prediction of this case", where=label, remedy="predict it, or leave its label out"))
        for case, label in sorted(labels.items())
        if case not in predictions
    ]
    return matched, missing


def score_folders(
    predictions: Path, labels: Path, classes: Mapping[str, Sequence[int]] | None = None, names: Sequence[str] = DEFAULT_METRICS
) -> tuple[list[Row], list[tuple[str, SegkitError]]]:
    """Scores of two folders. Without `classes` every value but 0 that occurs in a label is a class of its own name."""
    matched, missing = match(label_maps(predictions), label_maps(labels))
    if classes is None:
        classes = {str(value): [value] for value in occurring_values([label for _, _, label in matched])}
    class_map = ClassMap({name: tuple(values) for name, values in classes.items()}, background="rest")
    regions = {name: (index,) for index, name in enumerate(class_map.names) if index}
    scoring = Scoring(tuple(metrics.build(name) for name in names), regions, class_map)
    rows, failed = score_all(scoring, matched)
    return rows, failed + missing


def occurring_values(paths: Sequence[Path]) -> list[int]:
    """Label values other than 0 in any of the files, ascending. A file that cannot be read counts as empty: scoring it reports the error."""
    values: set[int] = set()
    for path in paths:
        try:
            values |= {int(value) for value in np.unique(nifti.read_label(path).array)}
        except InputError:
            continue
    return sorted(values - {0})


def score_recipe(predictions: Path, recipe: Recipe, split: str | None) -> tuple[list[Row], list[tuple[str, SegkitError]]]:
    """Scores of a folder of predictions against a recipe's data set: the cases of one split, or without one every case predicted."""
    dataset = recipe.dataset
    cases = getattr(dataset.splits(), split) if split else dataset.find()
    labels = {files.id: files.label for files in cases if files.label is not None}
    found = label_maps(predictions)
    if split is None:
        labels = {case: path for case, path in labels.items() if case in found}
        if not labels:
            raise InputError("SK-E014", "no prediction has a label in this data set", where=predictions, expected=f"case ids of {dataset.root}", got=", ".join(list(found)[:5]))
    matched, missing = match(found, labels)
    rows, failed = score_all(Scoring.of(recipe), matched, dataset.accept_sform)
    return rows, failed + missing
