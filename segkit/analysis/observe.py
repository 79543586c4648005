"""One pass over a run's cases for all analyses: the labeled voxels of whole volumes, with features, logits and a random key each."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from segkit.config.errors import SegkitError
from segkit.engine.cohort import preparer, reach
from segkit.engine.console import Console
from segkit.engine.device import choose_precision
from segkit.engine.infer import tile_for
from segkit.engine.tap import tapped
from segkit.engine.weights import Trained
from segkit.volume.case import CaseFiles
from segkit.volume.labels import IGNORED

Split = Literal["training", "test"]
SPLITS: tuple[Split, ...] = ("training", "test")


@dataclass(frozen=True)
class Voxels:
    """Labeled ROI voxels of one box of one case.

    label: int64 [n], true class indices. features: float32 [n, D], what the classifier reads. logits: float32 [n, C].
    key: float64 [n] in [0, 1), random and independent of everything else, the same for a voxel whatever network looks at a crop of this
    shape: the voxels of a case with the lowest keys are a random sample, which does not depend on tiles or their order.
    """

    label: Tensor
    features: Tensor
    logits: Tensor
    key: Tensor


class Observer(Protocol):
    """What an analysis keeps of the pass; bounded, however many cases come."""

    def begin(self, split: Split, case: str) -> None:
        """A case comes."""

    def see(self, voxels: Voxels) -> None:
        """A part of it."""

    def end(self) -> None:
        """All of it was seen. Not called for a case that fails: what `see` was given of it is to be forgotten at the next `begin`."""


def observe(
    trained: Trained, cases: Mapping[Split, Sequence[CaseFiles]], observers: Sequence[Observer], device: torch.device, console: Console
) -> list[tuple[str, SegkitError]]:
    """Show every labeled ROI voxel of the cases to the observers once: whole volumes, no augmentation, no mirrored passes.

    Both splits go through the same preprocessing and tiles, so that a difference between them is the network's. Returns the cases that
    cannot be read, with their errors; the others are seen.
    """
    recipe, network = trained.recipe, trained.network.to(device).eval()
    tile, precision = tile_for(network, recipe), choose_precision(recipe.train.precision, device)
    prepare = preparer(recipe, reach(network, recipe.sampling.patch_shape))
    failed = []
    with console.track("analyze", sum(len(each) for each in cases.values())) as tracker:
        for split, each in cases.items():
            for files in each:
                try:
                    case = prepare(files)
                except SegkitError as error:
                    failed.append((files.id, error))
                    tracker.advance(files.id)
                    continue
                assert case.label is not None, "cases of a split have labels"
                image = torch.from_numpy(np.array(case.image)).to(device)
                roi = torch.from_numpy(np.array(case.roi)).to(device)
                label = torch.from_numpy(np.array(case.label)).to(device)
                keys = torch.from_numpy(case_keys(files.id, label.shape)).to(device)
                for observer in observers:
                    observer.begin(split, files.id)
                for tap in tapped(network, image, np.asarray(case.roi), tile, recipe.infer.overlap, precision):
                    counted = roi[tap.box.slices] & (label[tap.box.slices] != IGNORED)
                    features, logits = (field[:, counted].T for field in (tap.features, tap.logits))
                    voxels = Voxels(label[tap.box.slices][counted].long(), features, logits, keys[tap.box.slices][counted])
                    for observer in observers:
                        observer.see(voxels)
                for observer in observers:
                    observer.end()
                tracker.advance(files.id)
    return failed


def case_keys(case: str, shape: Sequence[int]) -> np.ndarray:
    """float64 in [0, 1) for every voxel of a case, from its id alone."""
    seed = int.from_bytes(hashlib.sha256(case.encode()).digest()[:8], "big")
    return np.random.Generator(np.random.Philox(seed)).random(tuple(shape))
