"""Prediction: from a case's files to a label map in the scan's own geometry."""

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from scipy import ndimage

from segkit.config.errors import InputError, SegkitError
from segkit.config.heap import freed_memory, give_back
from segkit.engine.cohort import preparer, reach
from segkit.engine.device import Precision, choose_precision
from segkit.engine.exact import EXACT_TILE
from segkit.engine.index import Facts, Index
from segkit.engine.pipeline import one_by_one, pipelined
from segkit.engine.slabs import Slab, View, slabs
from segkit.engine.weights import Trained, load_weights
from segkit.models.base import Network, Shape
from segkit.recipe import Recipe
from segkit.volume import nifti
from segkit.volume.case import Case, CaseFiles
from segkit.volume.geometry import Native
from segkit.volume.labels import ClassMap
from segkit.volume.nifti import Volume

Written = TypeVar("Written")
BATCH = {"cpu": 1, "cuda": 8}  # overlapping tiles and their flips computed at once


@dataclass(frozen=True)
class Prediction:
    """One predicted case.

    indices: class indices uint8 on the native grid. probabilities: float32 [C, x, y, z] on the network's grid, if they were asked for;
    `native` is the way back.
    notices: what the reader took in one of several ways.
    """

    case: str
    indices: np.ndarray
    probabilities: np.ndarray | None
    native: Native
    seconds: float
    notices: tuple[str, ...] = ()


def tile_for(network: Network, recipe: Recipe) -> Shape:
    """The tile a network infers with: as the recipe says, else 45^3 for exact networks and the training patch for others."""
    if recipe.infer.tile_shape != "auto":
        return recipe.infer.tile_shape
    return EXACT_TILE if network.exact else recipe.sampling.patch_shape


def mirrored_axes(recipe: Recipe, wish: bool | None = None) -> tuple[int, ...]:
    """Axes along which mirrored passes are averaged: those that training mirrored, since a network fails on a view it never met.

    wish: None is as the recipe says. Raises InputError where mirrored passes are wanted and training mirrored no axis.
    """
    if not (recipe.infer.mirror if wish is None else wish):
        return ()
    axes = tuple(index for index, axis in enumerate("xyz") if axis in recipe.sampling.augment.flip)
    if not axes:
        raise InputError(
            "SK-I011",
            "mirrored passes of a network that never saw a mirrored patch",
            where="sampling.augment.flip",
            expected="the axes that training mirrors",
            got="none",
            remedy="predict without --mirror and infer.mirror, or train with flips",
        )
    return axes


def view_of(network: Network, recipe: Recipe, device: torch.device, mirror: bool | None = None) -> View:
    """How a network trained by a recipe looks at volumes on a device. mirror: of `mirrored_axes`."""
    return View(network, tile_for(network, recipe), recipe.infer.overlap, mirrored_axes(recipe, mirror), BATCH[device.type])


def predict_case(
    views: Sequence[View],
    recipe: Recipe,
    case: Case,
    device: torch.device,
    precision: Precision,
    *,
    with_probabilities: bool = False,
) -> Prediction:
    """Mean of the views' probabilities, the most probable class, the parts that the recipe keeps, and back to the native grid."""
    began = time.perf_counter()
    image = torch.from_numpy(np.array(case.image)).to(device)
    roi = np.asarray(case.roi)
    shares = np.empty((views[0].network.classifier.out_channels, *roi.shape), dtype=np.float32) if with_probabilities else None

    def noted() -> Iterator[Slab]:
        for slab in slabs(views, image, roi, precision):
            if shares is not None:
                shares[:, slab.rows] = slab.probabilities.cpu().numpy()
            yield slab

    if case.native.ratio is None:
        labels = np.empty(roi.shape, dtype=np.uint8)
        for slab in noted():
            labels[slab.rows] = slab.labels()
        indices = case.native.label_to_native(labels)
    else:
        indices = case.native.probabilities_to_native_labels(slab.probabilities.cpu().numpy() for slab in noted())
    for name in recipe.infer.keep_largest:
        keep_largest(indices, recipe.structures()[name])
    return Prediction(case.id, indices, shares, case.native, time.perf_counter() - began, case.notices)


def keep_largest(indices: np.ndarray, members: tuple[int, ...]) -> None:
    """Turn all but the largest 26-connected part of the union of class indices `members` into background, in place."""
    parts, count = ndimage.label(np.isin(indices, members), structure=np.ones((3, 3, 3)))
    if count > 1:
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        indices[(parts > 0) & (parts != sizes.argmax())] = 0


def _shared(recipe: Recipe) -> dict[str, object]:
    """What the members of an ensemble must have in common. The order of classes is that of the network's outputs."""
    dataset, class_map = recipe.dataset, recipe.dataset.class_map
    return {
        "channels": dataset.channel_names,
        "classes": tuple(class_map.classes.items()),
        "background": class_map.background,
        "ignore": tuple(sorted(class_map.ignore)),
        "roi": dataset.roi,
        "preprocess": recipe.preprocess.model_copy(update={"store": None}),
    }


class Predictor:
    """A trained model, or several as an ensemble, ready for scans.

    mirror: None is as each recipe says. accept_sform: also where the recipe does not say so. `views` may be replaced by lighter ones.
    """

    def __init__(self, members: Sequence[Trained], device: torch.device, *, mirror: bool | None = None, accept_sform: bool = False) -> None:
        self.members, self.device = tuple(members), device
        first = self.members[0].recipe
        for member in self.members[1:]:
            theirs = _shared(member.recipe)
            for what, ours in _shared(first).items():
                if ours != theirs[what]:
                    raise InputError(
                        "SK-I010",
                        "these models cannot be one ensemble",
                        where=member.name,
                        expected=f"the {what} of {self.members[0].name}: {ours}",
                        got=str(theirs[what]),
                        remedy="predict with each and compare them",
                    )
        dataset = first.dataset.model_copy(update={"accept_sform": accept_sform or first.dataset.accept_sform})
        self.recipe: Recipe = first.model_copy(update={"dataset": dataset})
        self.views = tuple(view_of(member.network, member.recipe, device, mirror) for member in self.members)
        self.precision = choose_precision(first.train.precision, device)
        # every member must find what its lattices reach inside the crop
        self._margin = max(reach(member.network, member.recipe.sampling.patch_shape) for member in self.members)

    @classmethod
    def load(cls, paths: Sequence[Path], device: torch.device, *, mirror: bool | None = None, accept_sform: bool = False) -> "Predictor":
        """From run folders."""
        return cls([load_weights(path, device) for path in paths], device, mirror=mirror, accept_sform=accept_sform)

    @property
    def channels(self) -> tuple[str, ...]:
        """Channel names, in the network's order."""
        return self.recipe.dataset.channel_names

    @property
    def class_map(self) -> ClassMap:
        """Class names and the source values they are written as."""
        return self.recipe.dataset.class_map

    def files_of(self, path: Path) -> list[CaseFiles]:
        """The cases in a file or folder, read by the model's layout, else by the common ones."""
        return self.recipe.dataset.find_input(path)

    def read(self, files: CaseFiles, roi: Path | None = None) -> Case:
        """One case, preprocessed. roi: a mask to use, however the recipe finds the ROI.

        Raises InputError where its files are missing, damaged or do not fit one another.
        """
        prepare = preparer(self.recipe, self._margin, "file" if roi else None)
        return prepare(CaseFiles(files.id, files.channels, None, roi or files.roi, files.patient))

    def predict(self, case: Case, *, with_probabilities: bool = False) -> Prediction:
        """What the members say of a case."""
        return predict_case(self.views, self.recipe, case, self.device, self.precision, with_probabilities=with_probabilities)

    def written(self, files: CaseFiles, prediction: Prediction) -> Volume:
        """The label map as it is written: source values, in the geometry of the case's first channel."""
        like = nifti.read_geometry(next(iter(files.channels.values())).path, accept_sform=self.recipe.dataset.accept_sform)
        return Volume(self.class_map.decode(prediction.indices), like.affine, like.header)


@dataclass(frozen=True)
class Outcome:
    """What became of one case. error: what stopped it. skipped: it was there already. notices: of `Prediction`."""

    case: str
    error: SegkitError | None = None
    skipped: bool = False
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Way:
    """How cases are worked through. overlapped: one is read and one written while one is computed; otherwise each takes memory alone.

    frugal: freed memory goes back to the system at once (`freed_memory`).
    refused: cases by id that are not to be read, and why; as any bad case they are reported.
    """

    overlapped: bool = True
    frugal: bool = False
    refused: Mapping[str, SegkitError] = field(default_factory=dict)


def predict_all(
    predictor: Predictor,
    cases: Sequence[CaseFiles],
    output: Path,
    *,
    with_probabilities: bool = False,
    roi: Path | None = None,
    overwrite: bool = False,
    way: Way = Way(),
) -> Generator[Outcome, None, None]:
    """Predict cases into a folder; a bad case is reported and the others go on. roi: of `Predictor.read`. What was there comes first.

    Writes `<case>.nii.gz`, with probabilities also `probabilities/<case>_<class>.nii.gz`, and `predictions.json`. What the same models have
    written already is left, unless `overwrite`. Raises InputError, before anything is written, where another's file is in the way.
    """
    index, todo = begin(predictor, cases, output, with_probabilities, roi, overwrite)
    yield from skipped(cases, todo)

    def write(files: CaseFiles, result: Prediction | SegkitError) -> Outcome:
        outcome, facts = written(index, predictor, files, result)
        index.note(outcome.case, facts)
        index.write()
        return outcome

    yield from worked_through(predictor, todo, write, roi, way, with_probabilities=with_probabilities)


def worked_through(
    predictor: Predictor,
    cases: Sequence[CaseFiles],
    write: Callable[[CaseFiles, Prediction | SegkitError], Written],
    roi: Path | None,
    way: Way,
    *,
    with_probabilities: bool,
) -> Iterator[Written]:
    """What `write` gives for the prediction of each case, or for the error that stopped it. roi: of `Predictor.read`."""

    def read(files: CaseFiles) -> Case:
        if files.id in way.refused:
            raise way.refused[files.id]
        return predictor.read(files, roi)

    def compute(case: Case) -> Prediction:
        prediction = predictor.predict(case, with_probabilities=with_probabilities)
        give_back()  # the next case may have another size
        return prediction

    with freed_memory(kept=not way.frugal) if predictor.device.type == "cpu" else nullcontext():
        yield from (pipelined if way.overlapped else one_by_one)(cases, read, compute, write)


def open_index(predictor: Predictor, output: Path, roi: Path | None) -> Index:
    """The index of a folder, as this predictor and its settings write it."""
    mirrored = [view.mirrored for view in predictor.views]
    return Index.open(output, predictor.members, [mirrored, roi and str(roi.resolve())], predictor.class_map)


def begin(
    predictor: Predictor, cases: Sequence[CaseFiles], output: Path, with_probabilities: bool, roi: Path | None, overwrite: bool
) -> tuple[Index, list[CaseFiles]]:
    """The folder's index, written for the first time, and the cases that are to be predicted. See `predict_all`."""
    index = open_index(predictor, output, roi)
    index.admit([replace(files, roi=roi or files.roi) for files in cases], overwrite)
    output.mkdir(parents=True, exist_ok=True)
    index.write()
    return index, [files for files in cases if overwrite or not index.holds(files.id, with_probabilities)]


def skipped(cases: Sequence[CaseFiles], todo: Sequence[CaseFiles]) -> Iterator[Outcome]:
    """Of the cases that were there already."""
    left = {files.id for files in todo}
    return (Outcome(files.id, skipped=True) for files in cases if files.id not in left)


def written(index: Index, predictor: Predictor, files: CaseFiles, result: Prediction | SegkitError) -> tuple[Outcome, Facts]:
    """One case into the index's folder, if it was predicted and can be written; and its entry in any case, which is not noted yet."""
    if not isinstance(result, SegkitError):
        try:
            return Outcome(files.id, notices=result.notices), _write(index, predictor, files, result)
        except SegkitError as error:
            result = error
    return failed(files.id, result)


def failed(case: str, error: SegkitError) -> tuple[Outcome, Facts]:
    """Outcome and entry of a case that could not be predicted."""
    return Outcome(case, error), {"error": error.code, "message": error.what}


def _write(index: Index, predictor: Predictor, files: CaseFiles, prediction: Prediction) -> Facts:
    """One case into the index's folder; the label map last. Returns its entry."""
    volume = predictor.written(files, prediction)
    if prediction.probabilities is not None:
        for name, field in zip(predictor.class_map.names, prediction.probabilities, strict=True):
            path = index.probability(files.id, name)
            path.parent.mkdir(exist_ok=True)
            nifti.write(path, prediction.native.field_to_native(field, float(name == "background")), volume)
    nifti.write(index.label_map(files.id), volume.array, volume)
    return {"mark": index.mark} | facts_of(prediction, predictor.class_map, volume)


def facts_of(prediction: Prediction, class_map: ClassMap, volume: Volume) -> Facts:
    """Seconds, shape and volume per class in ml, for `predictions.json`."""
    voxel_ml = abs(float(np.linalg.det(volume.affine[:3, :3]))) / 1000
    counts = np.bincount(prediction.indices.ravel(), minlength=len(class_map.names))
    return {
        "seconds": round(prediction.seconds, 3),
        "shape": list(prediction.indices.shape),
        "volumes_ml": {name: round(float(count) * voxel_ml, 4) for name, count in zip(class_map.names[1:], counts[1:], strict=False)},
    }
