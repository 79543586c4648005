"""The cases a run trains and validates on: split, preprocessed, and resident where the sampler reads them."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from segkit.config.errors import InputError
from segkit.engine.console import Console
from segkit.engine.processes import ALONE, Processes
from segkit.models.base import Network, Shape
from segkit.recipe import Recipe
from segkit.sampling.balance import Balance, Voxels
from segkit.sampling.loader import Loader, Resident
from segkit.volume.case import Case, CaseFiles
from segkit.volume.preprocess import prepare
from segkit.volume.roi import Roi
from segkit.volume.store import Store, StoredCase

Place = Literal["device", "host", "disk"]
CGROUPS = (  # where they lie, their controller, its files for limit and usage, and what its totals begin with
    ("sys/fs/cgroup", "", "memory.max", "memory.current", ""),
    ("sys/fs/cgroup/memory", "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
)
PLACES: tuple[Place, ...] = ("device", "host", "disk")  # the fastest first
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

    @property
    def ids(self) -> dict[str, list[str]]:
        """Of the cases, by side."""
        return {"training": [files.id for files in self.training], "validation": [files.id for files in self.validation]}


def reach(network: Network, shape: Shape) -> int:
    """How far the network's lattices may reach beyond its output, in voxels, whatever the output's shape.

    On the low side a lattice of stride s begins at its offset; on the high side it covers the last cell, up to s - 1 voxels more.
    """
    return max(0, *(lattice.stride - 1 - offset for lattice in network.lattices(shape) for offset in lattice.offset))


def preparer(recipe: Recipe, margin: int, roi: Roi | None = None) -> Callable[[CaseFiles], Case]:
    """Reads and preprocesses a case as the recipe says; the crop keeps `margin` voxels around the ROI, for the network's lattices.

    roi: how the ROI is found instead of as the recipe says.
    """
    return partial(
        prepare,
        settings=recipe.preprocess,
        roi=roi or recipe.dataset.roi,
        class_map=recipe.dataset.class_map,
        margin=margin,
        accept_sform=recipe.dataset.accept_sform,
    )


def store_settings(recipe: Recipe, margin: int) -> dict[str, Any]:
    """All that a preprocessed case depends on beside its files, as the store wants it."""
    dataset = recipe.dataset
    return {
        "preprocess": recipe.preprocess.model_dump(mode="json", exclude={"store"}),
        "roi": dataset.roi,
        "classes": [[name, list(values)] for name, values in dataset.class_map.classes.items()],  # their order is that of the indices
        "background": dataset.background,
        "ignore": dataset.ignore,
        "accept_sform": dataset.accept_sform,
        "margin": margin,
    }


def gather(recipe: Recipe, network: Network, console: Console, processes: Processes = ALONE) -> Cohort:
    """Split the data set of a resolved recipe and bring its training and validation cases into the store.

    Of several processes the first prepares the cases, and the others find them there.
    """
    assert recipe.preprocess.store is not None, "resolving a recipe names its store"
    splits = recipe.dataset.splits()
    if not splits.training:
        raise InputError("SK-T030", "no training case is left", where="dataset.split", expected="at least one", got="none")
    cases = (*splits.training, *splits.validation)
    margin = reach(network, recipe.sampling.patch_shape)
    with processes.in_turn(), console.track("preprocess", len(cases)) as tracker:
        store = Store.build(
            cases,
            recipe.preprocess.store,
            store_settings(recipe, margin),
            preparer(recipe, margin),
            lambda *_: tracker.advance(),
        )
    check_patch(recipe.sampling.patch_shape, network, [store.case(files.id).native.network_shape for files in splits.training])
    for line in noticed([store.case(files.id) for files in cases]):
        console.say(line)
    return Cohort(splits.training, splits.validation, store)


def noticed(cases: Sequence[StoredCase]) -> list[str]:
    """What preprocessing noticed, in a line a kind: files read in one of several ways, labels outside the crop."""
    read = [case for case in cases if case.notices]
    cut = [case for case in cases if case.outside]
    lines = (
        [f"notice: files of {len(read)} of {len(cases)} cases were read in one of several ways, such as {read[0].notices[0]}"]
        if read
        else []
    )
    if cut:
        outside = sum(case.outside for case in cut)
        lines.append(f"notice: {outside:,} voxels of a class in {len(cut)} of {len(cases)} cases lie outside the crop and train nothing")
    return [f"{line} (segkit check --verbose lists them)" for line in lines]


def check_patch(patch: Shape, network: Network, volumes: Sequence[Shape]) -> None:
    """Refuse a patch larger along an axis than every volume [X, Y, Z].

    Voxels outside a volume are ignored, so the rim of such a patch never trains, and where a later, larger volume lies under the rim of a
    tile, the network answers at random. Only volumes of less than two of the network's multiples may be filled up.
    """
    most = []
    for extents, factor in zip(zip(*volumes, strict=True), network.multiple, strict=True):
        whole = max(extents) // factor
        most.append(factor * (whole if whole >= 2 else -(-max(extents) // factor)))
    if any(size > limit for size, limit in zip(patch, most, strict=True)):
        raise InputError(
            "SK-T032",
            "the patch is larger than every training volume",
            where="sampling.patch_shape",
            expected=f"at most {most} voxels (X, Y, Z; preprocessed and cropped)",
            got=str(list(patch)),
            remedy="lower sampling.patch_shape",
        )


def make_loader(
    cohort: Cohort, recipe: Recipe, network: Network, device: torch.device, console: Console, processes: Processes = ALONE
) -> Loader:
    """The sampler over the cohort's training cases, for the slice of the batch that is this process's.

    Says where the volumes live and why. Every process holds all of them, in the place that all have room in.
    """
    cases = [cohort.store.case(files.id) for files in cohort.training]
    needed = sum(array.nbytes for case in cases for array in (case.image, case.label, case.voxels) if array is not None)
    place, reason = choose_residence(recipe.sampling.residence, needed, device, processes.local_count)
    (slowest,) = processes.most(PLACES.index(place))  # also: nobody takes memory before all have looked
    if PLACES[slowest] != place:
        place, reason = PLACES[slowest], "where another process has room"
    console.say(f"training volumes: {place} ({reason})")
    samples = processes.slice_of(recipe.train.batch_size)
    balance = Balance(
        [Voxels(held(case.voxels, place), case.offsets, case.native.network_shape) for case in cases],
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
        first=samples.start,
        count=len(samples),
        device=device,
    )


def resident(case: StoredCase, place: Place, device: torch.device) -> Resident:
    """A stored case as tensors: memory-mapped, in RAM, or on the device."""
    assert case.label is not None, "training cases have labels: the split checks it"
    image, label = (torch.from_numpy(held(array, place)) for array in (case.image, case.label))
    if place == "device":
        image, label = image.to(device), label.to(device)
    return Resident(case.id, image, label, case.native.network_spacing_mm)


def held(array: np.ndarray, place: Place) -> np.ndarray:
    """A stored array as the host holds it: read into memory, or left mapped where volumes stay on the disk."""
    return np.asarray(array) if place == "disk" else np.array(array)


def choose_residence(wish: str, needed: int, device: torch.device, holders: int = 1) -> tuple[Place, str]:
    """Where `needed` bytes of training volumes live, and the reason in words. `auto`: the fastest place with room.

    holders: processes that share the host's memory, and would hold them each.
    """
    size = f"{needed / 1e9:.2f} GB"
    if wish == "device" and device.type == "cpu":
        return "host", f"{size}, as the recipe says: the device is the CPU"
    if wish == "device" or wish == "host" or wish == "disk":
        return wish, f"{size}, as the recipe says"  # type: ignore[return-value]
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
        if needed <= SHARE * free:
            return "device", f"{size} of {free / 1e9:.1f} GB free on the device"
    free = available_memory() // holders
    if needed <= SHARE * free:
        return "host", f"{size} of {free / 1e9:.1f} GB free memory"
    return "disk", f"{size} is more than {SHARE:.0%} of {free / 1e9:.1f} GB free memory"


def available_memory(root: Path = Path("/")) -> int:
    """Bytes this process can take without swapping or being killed: of the machine, and of its control groups (containers, batch jobs).

    root: where proc and sys lie.
    """
    machine = _numbers(root / "proc/meminfo").get("MemAvailable:")
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if machine is None else machine * 1024
    return min([free, *_cgroup_memory(root)])


def _cgroup_memory(root: Path) -> Iterator[int]:
    """What each control group that limits this process has left, in bytes: version 2, then version 1.

    Files kept in memory count as free, since they are dropped when memory is short.
    """
    membership = root / "proc/self/cgroup"
    own = [line.split(":", 2) for line in membership.read_text().splitlines()] if membership.exists() else []
    for mount, controller, limit, usage, total in CGROUPS:
        for inner in [path.lstrip("/") for _, controllers, path in own if controller in controllers.split(",")]:
            # in a container the path may be that of the host, where only the top is visible
            for folder in (root / mount / inner, *(root / mount / parent for parent in Path(inner).parents)):
                try:
                    most, used = int((folder / limit).read_text()), int((folder / usage).read_text())
                except (OSError, ValueError):  # no such group here, or a limit of "max"
                    continue
                facts = _numbers(folder / "memory.stat")
                yield max(0, most - used + facts.get(f"{total}inactive_file", 0) + facts.get(f"{total}active_file", 0))


def _numbers(path: Path) -> dict[str, int]:
    """The number behind each first word of a file of the kernel; of none, nothing."""
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return {words[0]: int(words[1]) for words in lines}
