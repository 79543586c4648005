"""What a prediction takes of memory, said before it begins."""

import math
import os
import re
import resource
import weakref
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from segkit.config.errors import InputError
from segkit.engine.device import Precision, autocast
from segkit.engine.slabs import View
from segkit.engine.tiles import Box
from segkit.models.base import Shape
from segkit.recipe import Recipe
from segkit.volume import nifti
from segkit.volume.case import CaseFiles
from segkit.volume.geometry import SLAB_VALUES, Native
from segkit.volume.resample import PLANES_BYTES

KERNELS = 1.6  # what the process takes for a network's tensors and its kernels' own, in sizes of the tensors: 1.3 to 1.7 were measured
HEAP = 2.6  # the same where freed blocks stay in the heap, in pieces: above FIRST_USE, 0.7 to 2.1 were measured of one task
FIRST_USE = 2**28  # bytes that libraries and the heap keep once kernels were used: 160 to 205 MB were measured
CONTEXT = 2**29  # bytes of a CUDA context and its libraries
SPARE = 2**25  # bytes of the host for what is small and not counted: pieces, files on their way
UNITS = {"K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}


@dataclass(frozen=True)
class Need:
    """Bytes that a case takes at most, above what the process holds before the first.

    reading, computing, writing: of the host's memory, in each of the three. device: of a device with memory of its own.
    """

    reading: int
    computing: int
    writing: int
    device: int = 0

    @property
    def alone(self) -> int:
        """Of the host, one after the other."""
        return max(self.reading, self.computing, self.writing)

    @property
    def overlapped(self) -> int:
        """Of the host, while one case is read, one computed and one written."""
        return self.reading + self.computing + self.writing

    def beside(self, other: "Need") -> "Need":
        """What either takes, part by part: of a cohort, whose cases stand beside one another in any order."""
        return Need(*(max(pair) for pair in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True)
class Extent:
    """How large a case is, by its headers. network: on the network's grid, before anything is cut off.

    voxel_bytes: of all its files together, a native voxel, as they are read. widest: of the file that has most.
    """

    native: Shape
    network: Shape
    voxel_bytes: int
    widest: int

    @classmethod
    def of(cls, files: CaseFiles, recipe: Recipe) -> "Extent":
        """Raises InputError where a header cannot be read."""
        paths = dict.fromkeys([*(source.path for source in files.channels.values()), *([files.roi] if files.roi else [])])
        headers = [nifti.read_facts(path, accept_sform=recipe.dataset.accept_sform) for path in paths]
        bytes_of = [max(4, facts.dtype.itemsize) * facts.components for facts in headers]  # 4: what is scaled becomes float32
        shape = headers[0].shape
        plan = Native.plan(shape, headers[0].affine, recipe.preprocess.orientation, recipe.preprocess.spacing_mm)
        return cls(shape, plan.network_shape, sum(bytes_of), max(bytes_of))

    def beside(self, other: "Extent") -> "Extent":
        """As large as both, along every axis and in every number."""
        native, network = (
            tuple(max(pair) for pair in zip(*pairs, strict=True)) for pairs in ((self.native, other.native), (self.network, other.network))
        )
        return Extent(native, network, max(self.voxel_bytes, other.voxel_bytes), max(self.widest, other.widest))  # type: ignore[arg-type]


def need_of(
    extent: Extent,
    recipe: Recipe,
    views: Sequence[View],
    device: torch.device,
    precision: Precision,
    *,
    frugal: bool = False,
    with_probabilities: bool = False,
) -> Need:
    """Of a case of this extent whose ROI fills it. recipe: how cases are read and written. frugal: freed memory is not kept."""
    native, network = float(np.prod(extent.native)), float(np.prod(extent.network))
    channels, classes = len(recipe.dataset.channel_names), len(recipe.class_names())
    image = channels * network * np.dtype(recipe.preprocess.dtype).itemsize
    shares = 4.0 * classes * network if with_probabilities else 0.0
    read = native * (extent.voxel_bytes + 2)
    # a file as stored and as float64 while it is scaled; a channel as it is resampled, clipped, normalized, and the ROI
    reading = read + max(3 * extent.widest * native, 25 * network + image)
    passes = allocated(views, channels, extent.network, recipe.preprocess.dtype, device, precision)
    planes = min(PLANES_BYTES, 4 * classes * math.prod(extent.network[1:]) * (os.cpu_count() or 1))
    resampling = planes + 8 * min(SLAB_VALUES, classes * network)
    back = native * (13 if recipe.infer.keep_largest else 2) + (resampling if recipe.preprocess.spacing_mm else network)
    computing = image + network + back + shares
    if device.type == "cpu":
        computing += (KERNELS if frugal else HEAP) * passes
    writing = native * 11 + shares + (8 * native if with_probabilities else 0)
    on_device = 0 if device.type == "cpu" else KERNELS * passes
    return Need(*(math.ceil(part) for part in (reading + SPARE, computing + FIRST_USE, writing + SPARE, on_device)))


def allocated(views: Sequence[View], channels: int, extent: Shape, dtype: str, device: torch.device, precision: Precision) -> int:
    """Bytes of the tensors that live at once, at the highest moment of inference over an image of this extent, itself among them.

    Found by going through the first rows with tensors that have shapes and no values, and an ROI of one tile.
    """
    corner = np.zeros(extent, dtype=bool)
    corner[*(slice(max(sizes)) for sizes in zip(*(view.tile for view in views), strict=True))] = True
    box = Box((0, 0, 0), extent)
    with FakeTensorMode(allow_non_fake_inputs=True), Allocated() as seen, torch.inference_mode(), autocast(device, precision):
        image = torch.empty((channels, *extent), dtype=getattr(torch, dtype), device=device)
        passes = [view.over(image, corner, box) for view in views]
        edges = min((each.edges for each in passes), key=len)
        for start, stop in list(pairwise(edges))[:2]:
            rows = [each.rows(start, stop) for each in passes]
            rows.append(rows[0] * rows[0])  # what `slabs` makes of them
        del image, passes, rows
    return seen.peak


class Allocated(TorchDispatchMode):
    """Counts the bytes of tensors that operations make inside: `now`, and at the highest moment `peak`.

    What a kernel takes for itself and gives back, such as weights and images in another order, is not seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(self, func: Callable, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._note(tensor.untyped_storage())
        return result

    def _note(self, storage: torch.UntypedStorage) -> None:
        place, size = storage._cdata, storage.nbytes()
        if place not in self._seen:
            self._seen.add(place)
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._gone, place, size)

    def _gone(self, place: int, size: int) -> None:
        self._seen.discard(place)
        self.now -= size


def parse_bytes(text: str, where: str) -> int:
    """`8G` is 8 * 10^9 bytes, `8Gi` 8 * 2^30; K, M and T likewise, with or without a B; a bare number is bytes. Raises InputError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]I?)?B?", text.strip().upper())
    size = int(float(found[1]) * UNITS.get(found[2] or "", 1)) if found else 0
    if size <= 0:
        raise InputError("SK-I050", "an amount of memory that cannot be read", where=where, expected="such as 8G or 7.5GiB", got=text)
    return size


def shown(size: float) -> str:
    """For people."""
    return f"{size / 1e9:.2f} GB"


def held_by_process() -> int:
    """Bytes of memory that this process holds now; where the system does not tell, the most it ever held."""
    pages = Path("/proc/self/statm")
    if pages.exists():
        return int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if os.uname().sysname == "Darwin" else 1024 * most


def held_by_device(device: torch.device) -> int:
    """Bytes of a device's own memory that this process holds now: networks, torch's cache, and CONTEXT; 0 of the CPU."""
    return 0 if device.type == "cpu" else torch.cuda.memory_reserved(device) + CONTEXT
