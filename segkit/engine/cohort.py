"""The cases a run trains and validates on: split, preprocessed, and resident where the sampler reads them."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from segkit.config.errors import InputError
from segkit.engine.console import Console
from segkit.models.base import Network, Shape
from segkit.recipe import Recipe
from segkit.sampling.balance import Balance, Voxels
from segkit.sampling.loader import Loader, Resident
from segkit.volume.case import Case, CaseFiles
from segkit.volume.preprocess import prepare
from segkit.volume.store import Store, StoredCase

Place = Literal["device", "host", "disk"]
SHARE = 0.6  # of the free memory a data set may take


@dataclass(frozen=True)
class Cohort:
    """Training and validation cases of a run, in the store."""

    training: tuple[CaseFiles, ...]
    validation: tuple[CaseFiles, ...]
    store: Store

    @property
    def data_hash(self) -> str:
        """Of every preprocessed training and validation case."""
        return self.store.digest


def reach(network: Network, shape: Shape) -> int:
    """How far the network's lattices may reach beyond its output, in voxels, whatever the output's shape.

    On the low side a lattice of stride s begins at its offset; on the high side it covers the last cell, up to s - 1 voxels more.
    """
    return max(0, *(lattice.stride - 1 - offset for lattice in network.lattices(shape) for offset in lattice.offset))


def preparer(recipe: Recipe, margin: int) -> Callable[[CaseFiles], Case]:
    """Reads and preprocesses a case as the recipe says; the crop keeps `margin` voxels around the ROI, for the network's lattices."""
    return partial(
        prepare,
        settings=recipe.preprocess,
        roi=recipe.dataset.roi,
        class_map=recipe.dataset.class_map,
        margin=margin,
        accept_sform=recipe.dataset.accept_sform,
    )


def gather(recipe: Recipe, network: Network, console: Console) -> Cohort:
    """Split the data set of a resolved recipe and bring its training and validation cases into the store."""
    assert recipe.preprocess.store is not None, "resolving a recipe names its store"
    splits = recipe.dataset.splits()
    if not splits.training:
        raise InputError("SK-T030", "no training case is left", where="dataset.split", expected="at least one", got="none")
    cases = (*splits.training, *splits.validation)
    settings = {
        "preprocess": recipe.preprocess.model_dump(mode="json", exclude={"store"}),
        "roi": recipe.dataset.roi,
        "classes": {name: list(values) for name, values in recipe.dataset.class_map.classes.items()},
        "background": recipe.dataset.background,
        "ignore": recipe.dataset.ignore,
        "margin": (margin := reach(network, recipe.sampling.patch_shape)),
    }
    with console.track("preprocess", len(cases)) as tracker:
        store = Store.build(
            cases,
            recipe.preprocess.store,
            settings,
            preparer(recipe, margin),
            lambda *_: tracker.advance(),
        )
    check_patch(recipe.sampling.patch_shape, network, [store.case(files.id).native.network_shape for files in splits.training])
    return Cohort(splits.training, splits.validation, store)


def check_patch(patch: Shape, network: Network, volumes: Sequence[Shape]) -> None:
    """Refuse a patch larger along an axis than every volume [X, Y, Z] filled up to the network's multiple: its rim is always outside."""
    most = [-(-max(extents) // factor) * factor for extents, factor in zip(zip(*volumes, strict=True), network.multiple, strict=True)]
    if any(size > limit for size, limit in zip(patch, most, strict=True)):
        raise InputError(
            "SK-T032",
            "the patch is larger than every training volume",
            where="sampling.patch_shape",
            expected=f"at most {most} voxels (X, Y, Z; preprocessed and cropped)",
            got=str(list(patch)),
            remedy="lower sampling.patch_shape",
        )


def make_loader(cohort: Cohort, recipe: Recipe, network: Network, device: torch.device, console: Console) -> Loader:
    """The sampler over the cohort's training cases; says where the volumes live and why."""
    cases = [cohort.store.case(files.id) for files in cohort.training]
    place, reason = choose_residence(recipe.sampling.residence, sum(case.image.nbytes + case.roi.nbytes for case in cases), device)
    console.say(f"training volumes: {place} ({reason})")
    balance = Balance(
        [Voxels(case.voxels, case.offsets, case.native.network_shape) for case in cases],
        recipe.class_names(),
        recipe.proportions(),
        recipe.sampling.case_first,
    )
    rare = frozenset(i for i, name in enumerate(recipe.class_names()) if name in recipe.dataset.rare_classes)
    return Loader(
        recipe.sampling,
        [resident(case, place, device) for case in cases],
        balance,
        network.lattices(recipe.sampling.patch_shape),
        rare=rare,
        seed=recipe.train.seed,
        count=recipe.train.batch_size,
        device=device,
    )


def resident(case: StoredCase, place: Place, device: torch.device) -> Resident:
    """A stored case as tensors: memory-mapped, in RAM, or on the device."""
    assert case.label is not None, "training cases have labels: the split checks it"
    image, label = (torch.from_numpy(array if place == "disk" else np.array(array)) for array in (case.image, case.label))
    if place == "device":
        image, label = image.to(device), label.to(device)
    return Resident(case.id, image, label, case.native.network_spacing_mm)


def choose_residence(wish: str, needed: int, device: torch.device) -> tuple[Place, str]:
    """Where `needed` bytes of training volumes live, and the reason in words. `auto`: the fastest place with room."""
    size = f"{needed / 1e9:.2f} GB"
    if wish == "device" or wish == "host" or wish == "disk":
        return wish, f"{size}, as the recipe says"  # type: ignore[return-value]
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
        if needed <= SHARE * free:
            return "device", f"{size} of {free / 1e9:.1f} GB free on the device"
    free = available_memory()
    if needed <= SHARE * free:
        return "host", f"{size} of {free / 1e9:.1f} GB free memory"
    return "disk", f"{size} is more than {SHARE:.0%} of {free / 1e9:.1f} GB free memory"


def available_memory() -> int:
    """Bytes that can be taken without swapping."""
    facts = Path("/proc/meminfo")
    if facts.exists():
        for line in facts.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def label_paths(cases: Sequence[CaseFiles]) -> dict[str, Path]:
    """Label file by case id, of the cases that have one."""
    return {files.id: files.label for files in cases if files.label is not None}
