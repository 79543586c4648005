"""Folders of label maps: matched by case id with other folders or a data set, and scored."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from segkit.config.errors import InputError, SegkitError, WorkError
from segkit.datasets.base import Dataset, datasets
from segkit.engine.evaluate import Row, Scoring, score_all
from segkit.metrics.base import metrics
from segkit.recipe import Recipe
from segkit.volume import nifti
from segkit.volume.case import CaseFiles
from segkit.volume.labels import IGNORED, ClassMap

Scores = tuple[list[Row], list[tuple[str, SegkitError]]]  # and the cases that could not be scored
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
            raise InputError(
                "SK-E011", "two label maps of one case", where=folder, got=f"{found[case].name} and {path.name}", remedy="remove one"
            )
        found[case] = path
    if not found:
        raise InputError("SK-E012", "no label maps here", where=folder, expected="files that end in .nii.gz or .nii")
    return found


def match(
    predictions: Mapping[str, Path], labels: Mapping[str, Path]
) -> tuple[list[tuple[str, Path, Path]], list[tuple[str, SegkitError]]]:
    """(case, prediction, label) of every labelled case, and an error for each label without a prediction."""
    matched = [(case, predictions[case], label) for case, label in sorted(labels.items()) if case in predictions]
    missing: list[tuple[str, SegkitError]] = [
        (case, WorkError("SK-E013", "no prediction of this case", where=label, remedy="predict it, or leave its label out"))
        for case, label in sorted(labels.items())
        if case not in predictions
    ]
    return matched, missing


def score_folders(
    predictions: Path,
    labels: Path,
    classes: Mapping[str, Sequence[int]] | None = None,
    names: Sequence[str] = DEFAULT_METRICS,
    accept_sform: bool = False,
) -> Scores:
    """Scores of two folders. Without `classes` every value but 0 that occurs in a label map is a class of its own name."""
    matched, missing = match(label_maps(predictions), label_maps(labels))
    if classes is None:
        classes = {str(value): [value] for value in occurring_values([path for _, *pair in matched for path in pair], accept_sform)}
        if len(classes) >= IGNORED:
            expected, remedy = f"at most {IGNORED - 1} classes", "name the classes; are these label maps?"
            raise InputError("SK-E015", "too many label values", where=labels, expected=expected, got=f"{len(classes)}", remedy=remedy)
    class_map = ClassMap({name: tuple(values) for name, values in classes.items()}, background="rest")
    rows, failed = score_all(_scoring(class_map, names), matched, accept_sform)
    return rows, failed + missing


def occurring_values(paths: Sequence[Path], accept_sform: bool = False) -> list[int]:
    """Label values other than 0 in any of the files, ascending. A file that cannot be read counts as empty: scoring it says why."""
    values: set[int] = set()
    for path in paths:
        try:
            values |= {int(value) for value in np.unique(nifti.read_label(path, accept_sform=accept_sform).array)}
        except InputError:
            continue
    return sorted(values - {0})


def score_dataset(predictions: Path, dataset: Dataset, names: Sequence[str] = DEFAULT_METRICS) -> Scores:
    """Scores of a folder of predictions against the labels of a data set: every case that was predicted."""
    found = label_maps(predictions)
    matched, _ = match(found, _with_prediction(found, dataset, predictions))
    return score_all(_scoring(dataset.class_map, names), matched, dataset.accept_sform)


def score_recipe(predictions: Path, recipe: Recipe, split: str | None, accept_sform: bool = False) -> Scores:
    """The same as a recipe says it: the cases of one split, where a case without a prediction is an error, or every case predicted."""
    dataset, found = recipe.dataset, label_maps(predictions)
    labels = _with_prediction(found, dataset, predictions) if split is None else _labels(getattr(dataset.splits(), split))
    matched, missing = match(found, labels)
    rows, failed = score_all(Scoring.of(recipe), matched, accept_sform or dataset.accept_sform)
    return rows, failed + missing


def dataset_in(folder: Path, layout: str, classes: Mapping[str, Sequence[int]] | None = None, accept_sform: bool = False) -> Dataset:
    """A data set with the channels and classes that its layout says. Raises InputError where only a recipe can say them."""
    named = {} if classes is None else {"classes": {name: list(values) for name, values in classes.items()}, "background": "rest"}
    settings = {"name": layout, "root": folder.resolve(), "split": {"test": 0}, "accept_sform": accept_sform, **named}
    try:
        return datasets.build(settings)
    except ValidationError as error:
        problem = error.errors()[0]
        got = ": ".join([*map(str, problem["loc"]), problem["msg"]])
        raise InputError("SK-E016", "this folder needs a recipe", where=folder, got=got, remedy="write a recipe and name that") from None


def _scoring(class_map: ClassMap, names: Sequence[str]) -> Scoring:
    regions = {name: (index,) for index, name in enumerate(class_map.names) if index}
    return Scoring(tuple(metrics.build(name) for name in names), regions, class_map)


def _with_prediction(found: Mapping[str, Path], dataset: Dataset, predictions: Path) -> dict[str, Path]:
    """The labels of the cases of the data set that were predicted. Raises InputError where there are none."""
    labels = {case: path for case, path in _labels(dataset.find()).items() if case in found}
    if not labels:
        got = ", ".join(list(found)[:5])
        raise InputError(
            "SK-E014", "no prediction has a label in this data set", where=predictions, expected=f"case ids of {dataset.root}", got=got
        )
    return labels


def _labels(cases: Sequence[CaseFiles]) -> dict[str, Path]:
    return {files.id: files.label for files in cases if files.label is not None}
