"""The threshold sweep: what a shift of the rare classes' logits alone would have changed in the scores of a run."""

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segkit.config.errors import InputError, SegkitError
from segkit.engine.console import Console
from segkit.engine.curves import METRICS, SHIFTS, Sweep
from segkit.engine.evaluate import Row, Scoring
from segkit.engine.folders import label_maps, match
from segkit.engine.infer import keep_largest
from segkit.engine.run import Run
from segkit.metrics.voxels import boxes
from segkit.recipe import Recipe
from segkit.volume import nifti
from segkit.volume.geometry import same_grid
from segkit.volume.nifti import Volume


@dataclass(frozen=True, eq=False)
class Duel:
    """Voxel by voxel the most probable shifted class against the most probable other one: all that a shift can decide.

    A shift b of logits makes the label  argmax_j p_j exp(b r_j),  with r_j = 1 for shifted classes and 0 for the others. It leaves the
    order among the shifted classes as it is, and the order among the others, so the best of each side decides for every b.

    shifted, other: these two probabilities, float32 [X, Y, Z]. shifted_class, other_class: whose they are, uint8 [X, Y, Z].
    """

    shifted: np.ndarray
    shifted_class: np.ndarray
    other: np.ndarray
    other_class: np.ndarray

    @classmethod
    def of(cls, fields: Iterable[np.ndarray], shifted: Collection[int]) -> "Duel":
        """fields: the probability of each class [X, Y, Z] by index; they are taken one at a time, and need not be in memory together.

        shifted: class indices; at least one, and not all.
        """
        best: dict[bool, tuple[np.ndarray, np.ndarray]] = {}
        for index, field in enumerate(fields):
            side = index in shifted
            if side in best:
                value, winner = best[side]
                winner[field > value] = index
                best[side] = np.maximum(value, field), winner
            else:
                best[side] = field, np.full_like(field, index, dtype=np.uint8)
        return cls(*best[True], *best[False])

    def at(self, shift: float) -> np.ndarray:
        """Class indices uint8 [X, Y, Z]. The lower index where two tie, as in prediction: shift 0 gives its label map, voxel by voxel."""
        raised = self.shifted * np.float32(math.exp(shift))  # a product, since a probability may be 0 and has no logarithm then
        wins = (raised > self.other) | ((raised == self.other) & (self.shifted_class < self.other_class))
        return np.where(wins, self.shifted_class, self.other_class)

    def inside(self, box: tuple[slice, ...]) -> "Duel":
        """The same in a box."""
        shifted, shifted_class, other, other_class = (
            np.ascontiguousarray(array[box]) for array in (self.shifted, self.shifted_class, self.other, self.other_class)
        )
        return Duel(shifted, shifted_class, other, other_class)


@dataclass(frozen=True)
class Sweeper:
    """How a case is swept. shifted: class indices. kept: unions of class indices of which the largest part is kept, as in prediction."""

    scoring: Scoring
    shifted: tuple[int, ...]
    kept: tuple[tuple[int, ...], ...] = ()

    @classmethod
    def of(cls, recipe: Recipe) -> "Sweeper":
        """As the recipe says: its rare classes, or all classes but the background where it names none."""
        names, structures = recipe.class_names(), recipe.structures()
        shifted = tuple(names.index(name) for name in recipe.dataset.rare_classes or names[1:])
        return cls(Scoring.of(recipe).only(*METRICS), shifted, tuple(structures[name] for name in recipe.infer.keep_largest))

    def label_map(self, duel: Duel, shift: float) -> np.ndarray:
        """What prediction would have written, as class indices uint8."""
        indices = duel.at(shift)
        for members in self.kept:
            keep_largest(indices, members)
        return indices

    def rows(self, case: str, duel: Duel, label: np.ndarray, spacing_mm: tuple[float, float, float]) -> dict[float, list[Row]]:
        """Scores at every shift. label: class indices uint8 on the grid of the duel."""
        # no shift gives a class to more voxels than the largest one: beyond this box nothing is ever predicted or labeled
        _, box = boxes(((label != 0) | (duel.at(max(SHIFTS)) != 0)).view(np.uint8), 2)
        around = box or (slice(None),) * 3
        near, wanted = duel.inside(around), np.ascontiguousarray(label[around])
        return {shift: self.scoring.rows(case, self.label_map(near, shift), wanted, spacing_mm) for shift in SHIFTS}

    def score_files(
        self, case: str, written: Path, probabilities: Sequence[Path], label: Path, accept_sform: bool = False
    ) -> dict[float, list[Row]]:
        """The same from files: the label map as written, a probability map per class by index, and the label.

        Raises InputError where they are not on one grid, or where the label map was not made from these probabilities.
        """
        theirs = nifti.read_label(label, accept_sform=accept_sform)
        ours = on_grid(nifti.read_label(written, accept_sform=accept_sform), theirs)
        duel = Duel.of((on_grid(nifti.read(path, accept_sform=accept_sform), theirs) for path in probabilities), self.shifted)
        encode = self.scoring.class_map.encode
        differ = int(np.count_nonzero(self.label_map(duel, 0.0) != encode(ours, str(written))))
        if differ:
            raise InputError(
                "SK-E022",
                "the label map was not made from these probabilities",
                where=written,
                expected=f"the most probable classes of {probabilities[0].parent}",
                got=f"{differ} voxels of another class",
                remedy="predict again with --probabilities --overwrite",
            )
        return self.rows(case, duel, encode(theirs.array, str(label)), theirs.spacing_mm)


def on_grid(volume: Volume, label: Volume) -> np.ndarray:
    """The voxels of a volume. Raises InputError where it is on another grid than the label."""
    differs = same_grid(volume.array.shape, volume.affine, label.array.shape, label.affine)
    if differs:
        raise InputError(
            "SK-E021",
            "prediction and label are on different grids",
            where=volume.path,
            expected=f"the grid of {label.path}",
            got=differs,
            remedy="predict again on the labeled scan",
        )
    return volume.array


def sweep_run(run: Run, recipe: Recipe, split: str, console: Console, accept_sform: bool = False) -> Sweep:
    """Sweep a run's predictions of its own cases, one case in memory at a time.

    Raises InputError where probabilities are missing, before any case is read. A case that cannot be swept is kept with its error, and
    the others go on.
    """
    cases = getattr(recipe.dataset.splits(), split)
    if not cases:
        raise InputError("SK-E023", f"the recipe has no {split} cases", where="dataset.split", expected="at least one")
    matched, failed = match(label_maps(run.predictions), {files.id: files.label for files in cases if files.label is not None})
    names, sweeper = recipe.class_names(), Sweeper.of(recipe)
    # where nothing of the split was predicted, the probabilities are what to ask for
    predicted = [case for case, *_ in matched] or [files.id for files in cases]
    maps = {case: [run.probability(case, name) for name in names] for case in predicted}
    missing = [path for paths in maps.values() for path in paths if not path.exists()]
    if missing:
        raise InputError(
            "SK-E020",
            "the probabilities of a class are missing",
            where=missing[0],
            expected=f"a map of every class of every {split} case",
            got=f"{len(missing)} of {len(maps) * len(names)} maps are missing",
            remedy=f"segkit predict {run.path} --split {split} --probabilities",
        )
    rows: dict[float, list[Row]] = {shift: [] for shift in SHIFTS}
    with console.track("sweep", len(matched)) as tracker:
        for case, written, label in matched:
            try:
                found = sweeper.score_files(case, written, maps[case], label, accept_sform or recipe.dataset.accept_sform)
            except SegkitError as error:
                failed.append((case, error))
            else:
                for shift in SHIFTS:
                    rows[shift] += found[shift]
            tracker.advance(case)
    return Sweep(split, tuple(names[index] for index in sweeper.shifted), rows, failed)
