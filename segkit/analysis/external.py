"""Logits or probabilities of models that were not trained here: a NIfTI file a case and class, beside a folder of labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segkit.analysis.logits import CaseLogits, LogitSample, Scale, case_logits
from segkit.analysis.lowest import Lowest
from segkit.analysis.observe import SPLITS, Split, case_keys
from segkit.config.errors import InputError, SegkitError
from segkit.datasets.document import read_object
from segkit.engine.console import Console
from segkit.engine.folders import SUFFIXES
from segkit.volume import nifti
from segkit.volume.geometry import same_grid
from segkit.volume.labels import IGNORED, ClassMap
from segkit.volume.nifti import Volume

SMALLEST = float(np.finfo(np.float32).tiny)  # what a probability of 0 counts as: its logarithm is -87.3
ROUNDING = 1e-3  # that a probability may lie beyond 0 or 1


@dataclass(frozen=True)
class Maps:
    """Where the maps `CASE_CLASS.nii.gz` of a model lie, a file for every class and the background.

    scale: `logit`, or `log_probability` where the files hold probabilities. The logarithm of a softmax probability is the logit less a
    number that all classes of the voxel share, so centered logits, margins and shares over the boundary are those of the logits. A
    probability that was rounded to 0 counts as the smallest normal float32: where there are many of these, margins say how files were
    written rather than what the model thinks.
    """

    folder: Path
    class_map: ClassMap
    scale: Scale = "logit"
    accept_sform: bool = False

    def path(self, case: str, name: str) -> Path:
        """The map of a class. Raises InputError where it is missing."""
        for suffix in SUFFIXES:
            path = self.folder / f"{case}_{name}{suffix}"
            if path.is_file():
                return path
        raise InputError(
            "SK-A010",
            f"no map of the class {name}",
            where=self.folder / f"{case}_{name}{SUFFIXES[0]}",
            expected=f"a map of each of {', '.join(self.class_map.names)}",
            remedy="write the maps of all classes, the background too, or name the classes as the files do with --classes",
        )

    def sampled(self, split: Split, case: str, label_path: Path, voxels: int) -> CaseLogits:
        """The voxels of a case with the lowest keys, `voxels` of each true class: one map at a time is in memory.

        Every voxel of the volume counts, since there is no ROI. Raises InputError where a map is missing, damaged or on another grid.
        """
        paths = [self.path(case, name) for name in self.class_map.names]
        label = nifti.read_label(label_path, accept_sform=self.accept_sform)
        indices = self.class_map.encode(label.array, str(label_path)).ravel()
        keys = case_keys(case, label.array.shape).ravel()
        chosen = {}
        for index in np.setdiff1d(np.unique(indices), [IGNORED]):
            of_class = np.flatnonzero(indices == index)
            kept = Lowest(voxels)
            kept.add(keys[of_class], of_class)
            chosen[int(index)] = kept.rows()[1]
        columns: dict[int, list[np.ndarray]] = {index: [] for index in chosen}
        for path in paths:
            field = self._field(path, label).ravel()
            for index, at in chosen.items():
                columns[index].append(field[at])
        return case_logits(split, case, {index: np.stack(column, axis=1) for index, column in columns.items()})

    def _field(self, path: Path, label: Volume) -> np.ndarray:
        """The logits of a class [X, Y, Z]."""
        volume = nifti.read(path, accept_sform=self.accept_sform)
        differs = same_grid(volume.array.shape, volume.affine, label.array.shape, label.affine)
        if differs:
            raise InputError(
                "SK-A014",
                "map and label are on different grids",
                where=path,
                expected=f"the grid of {label.path}",
                got=differs,
                remedy="write the maps on the grid of the scan that was labeled",
            )
        if self.scale == "logit":
            return volume.array
        low, high = float(volume.array.min()), float(volume.array.max())
        if low < -ROUNDING or high > 1 + ROUNDING:
            raise InputError(
                "SK-A015",
                "values that are no probabilities",
                where=path,
                expected="0 to 1",
                got=f"{low:.6g} to {high:.6g}",
                remedy="name the folder with --logits if these are logits",
            )
        return np.log(np.maximum(volume.array, np.float32(SMALLEST)))


def sample_maps(
    maps: Maps, labels: Mapping[str, Path], splits: Mapping[Split, Sequence[str]], voxels: int, console: Console
) -> tuple[LogitSample, list[tuple[str, SegkitError]]]:
    """The sample of all cases of the splits, and the cases that cannot be read with their errors; the others are in it.

    labels: label maps by case id.
    """
    cases, failed = [], []
    with console.track("analyze", sum(map(len, splits.values()))) as tracker:
        for split, ids in splits.items():
            for case in ids:
                try:
                    cases.append(maps.sampled(split, case, labels[case], voxels))
                except SegkitError as error:
                    failed.append((case, error))
                tracker.advance(case)
    return LogitSample(maps.class_map.names, voxels, tuple(cases), maps.scale), failed


def class_map_of(classes: Mapping[str, Sequence[int]], where: Path) -> ClassMap:
    """Names and label values of the classes; every other value is background. where: the file that says them."""
    if "background" in classes:
        expected = "the other classes: every value that is named nowhere is background"
        raise InputError("SK-A016", "the background is named as a class", where=where, expected=expected)
    return ClassMap({name: tuple(values) for name, values in classes.items()}, background="rest")


def read_split(path: Path | None, labeled: Mapping[str, Path]) -> dict[Split, list[str]]:
    """`{"training": [...], "test": [...]}` from a JSON file; without one every labeled case is a test case.

    Raises InputError where the file cannot be used, or names a case without a label.
    """
    if path is None:
        return {"training": [], "test": sorted(labeled)}
    document = read_object(path)
    lists: dict[Split, list[str]] = {}
    for split in SPLITS:
        ids = document.get(split)
        if not isinstance(ids, list) or not all(isinstance(case, str) for case in ids):
            got = "no such key" if split not in document else repr(ids)[:80]
            raise InputError("SK-A011", f"the split file's `{split}` cannot be used", where=path, expected="a list of case ids", got=got)
        lists[split] = ids
    listed = [case for ids in lists.values() for case in ids]
    twice = sorted({case for case in listed if listed.count(case) > 1})
    if twice:
        raise InputError("SK-A012", "cases that stand twice in the split file", where=path, expected="each case once", got=", ".join(twice))
    unknown = sorted(set(listed) - set(labeled))
    if unknown:
        expected = f"ids among the {len(labeled)} labels, such as {min(labeled)}"
        raise InputError("SK-A013", "the split file names cases without a label", where=path, expected=expected, got=", ".join(unknown))
    return lists
