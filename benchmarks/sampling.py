"""Patches a second on the CPU, beside MONAI and TorchIO, from volumes in memory.

    python benchmarks/sampling.py [--data FOLDER] [--repeats 5] [--only TEXT]
    python benchmarks/sampling.py --shape 128 128 100 --repeats 1 --seconds 0.1     a try

--data: BRATS 2015 in DeepMedic's example layout; without it, phantoms of the same size are written to a temporary folder first.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import Stream, copy_speed, machine, quartiles, rates, say, table
from torch.utils.data import DataLoader, Dataset

from segkit.config.yaml import loads
from segkit.engine.cohort import gather as bring_together
from segkit.engine.cohort import resident
from segkit.engine.console import Console
from segkit.models.base import Lattice
from segkit.recipe import resolve
from segkit.sampling.augment import Augment, Drawn, Intensity, Warp
from segkit.sampling.balance import Balance, Voxels
from segkit.sampling.gather import gather
from segkit.sampling.loader import Loader, Resident, Sampling
from segkit.sampling.patch import Place

RECIPE = """
dataset: {{{source}, channels: [flair, t1c], split: {{test: 0}}}}
preprocess: {{crop: none, store: {store}}}
sampling: {{patch_shape: [32, 32, 32]}}
model: {{name: unet3d}}
losses: [cross_entropy]
train: {{steps: 1}}
"""
REAL = "name: brats, edition: 2015, root: {root}, classes: {{tumor: [1, 2, 3, 4]}}"
PHANTOM = "name: phantom, cases: 4, shape: {shape}, root: {root}, classes: {{tumor: [1, 2, 4]}}"
FULL = Augment(flip=("x", "y", "z"), rotation=15, scale=0.1, intensity=Intensity(shift=0.1, scale=0.1, noise=0.1))
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Data:
    """Volumes in memory: as segkit holds them, and as float32 tensors for the others."""

    residents: list[Resident]
    balance: Balance
    images: list[torch.Tensor]  # [2, X, Y, Z]
    labels: list[torch.Tensor]  # [1, X, Y, Z]


def load(folder: Path | None, scratch: Path, shape: Sequence[int]) -> Data:
    """Four cases, whole, z-scored in the brain. shape: of phantoms, where no folder is given."""
    source = REAL.format(root=folder) if folder else PHANTOM.format(root=scratch / "phantom", shape=list(shape))
    recipe = resolve(loads(RECIPE.format(source=source, store=scratch / "store"), "sampling.py"))
    cohort = bring_together(recipe, recipe.model.build(2, 2), Console("quiet"))
    cases = [cohort.store.case(files.id) for files in cohort.training][:4]
    residents = [resident(case, "host", CPU) for case in cases]
    voxels = [Voxels(np.array(case.voxels), case.offsets, case.native.network_shape) for case in cases]
    return Data(
        residents,
        Balance(voxels, ("background", "tumor"), {"background": 0.5, "tumor": 0.5}),
        [case.image.float() for case in residents],
        [case.label[None].clone() for case in residents],
    )


def ours(data: Data, size: int, batch: int, augment: Augment, workers: int) -> Iterator[int]:
    """segkit's loader."""
    shape = (size, size, size)
    settings = Sampling(patch_shape=shape, augment=augment, keep_inside=True)
    lattices = (Lattice(1, shape, (0, 0, 0)),)
    loader = Loader(settings, data.residents, data.balance, lattices, seed=0, count=batch, device=CPU, threads=workers)
    for step in range(10**9):
        yield len(loader.batch(step).label)


class Endless(Dataset):
    """As many items as are asked for: `make` of a random case."""

    def __init__(self, make: Callable[[int], Any], cases: int) -> None:
        self.make, self.cases = make, cases

    def __len__(self) -> int:
        return 10**7

    def __getitem__(self, index: int) -> Any:
        return self.make(int(torch.randint(self.cases, ())))


def batches(dataset: Dataset, batch: int, workers: int, together: int) -> Iterator[int]:
    """torch's loader of items that hold `together` patches each, with so many processes; one worker is this process itself."""
    from monai.data import list_data_collate

    for made in DataLoader(dataset, batch // together, num_workers=workers if workers > 1 else 0, collate_fn=list_data_collate):
        yield len(made["image"])


def monai_usual(data: Data, size: int, batch: int, workers: int, full: bool, foreground: bool) -> Iterator[int]:
    """As tutorials write it: cached scans, dictionary transforms, up to 4 patches a visit of a scan."""
    from monai.data import CacheDataset
    from monai.transforms import Compose, EnsureTyped, RandCropByPosNegLabeld, RandSpatialCropSamplesd

    keys, shape, together = ["image", "label"], (size, size, size), min(4, batch)
    crop = (
        RandCropByPosNegLabeld(keys, label_key="label", spatial_size=shape, pos=1, neg=1, num_samples=together)
        if foreground
        else RandSpatialCropSamplesd(keys, roi_size=shape, num_samples=together, random_size=False)
    )
    steps = Compose([EnsureTyped(keys), crop, *(monai_augmentation(shape) if full else [])])
    items = [{"image": image, "label": label} for image, label in zip(data.images, data.labels, strict=True)]
    cached = CacheDataset(items, steps, progress=False)
    return batches(Endless(cached.__getitem__, len(items)), batch, workers, together)


def monai_augmentation(shape: tuple[int, int, int]) -> list[Any]:
    """The counterpart of FULL, on the cropped patch alone, which spares it the corners."""
    from monai.transforms import RandAffined, RandFlipd, RandGaussianNoised, RandScaleIntensityd, RandShiftIntensityd

    keys, angle = ["image", "label"], np.deg2rad(15)
    return [
        RandAffined(
            keys,
            prob=1,
            rotate_range=[angle] * 3,
            scale_range=[0.1] * 3,
            spatial_size=shape,
            mode=["bilinear", "nearest"],
            padding_mode="border",
        ),
        *(RandFlipd(keys, prob=0.5, spatial_axis=axis) for axis in range(3)),
        RandScaleIntensityd(["image"], factors=0.1, prob=1),
        RandShiftIntensityd(["image"], offsets=0.1, prob=1),
        RandGaussianNoised(["image"], prob=1, std=0.1),
    ]


def monai_tuned(data: Data, size: int, batch: int, workers: int, full: bool, foreground: bool) -> Iterator[int]:
    """Without copies of volumes: foreground indices made once, plain tensors, array transforms, a patch a visit."""
    from monai.data import set_track_meta
    from monai.transforms import Compose, RandCropByPosNegLabel, RandSpatialCrop, map_binary_to_indices

    shape = (size, size, size)
    indices = [map_binary_to_indices(label) for label in data.labels] if foreground else []
    by_class, anywhere = RandCropByPosNegLabel(shape, num_samples=1), RandSpatialCrop(shape, random_size=False)
    augmentation = Compose(monai_augmentation(shape) if full else [])

    def make(case: int) -> dict[str, torch.Tensor]:
        set_track_meta(False)
        image, label = data.images[case], data.labels[case]
        if foreground:
            by_class.randomize(label, *indices[case], image)
            return {"image": by_class(image, label, randomize=False)[0], "label": by_class(label, label, randomize=False)[0]}
        patch = {"image": anywhere(image), "label": anywhere(label, randomize=False)}
        return augmentation(patch) if full else patch

    return batches(Endless(make, len(data.images)), batch, workers, 1)


def torchio(data: Data, size: int, batch: int, workers: int, full: bool, foreground: bool) -> Iterator[int]:
    """Its samplers, a batch a visit of a scan, and its transforms on the patch alone; of intensities, it gets noise only."""
    import torchio as tio

    subjects = [
        tio.Subject(image=tio.ScalarImage(tensor=image), label=tio.LabelMap(tensor=label))
        for image, label in zip(data.images, data.labels, strict=True)
    ]
    sampler = tio.data.LabelSampler(size, "label", {0: 0.5, 1: 0.5}) if foreground else tio.data.UniformSampler(size)
    steps = [tio.RandomFlip(axes=(0, 1, 2), flip_probability=0.5), tio.RandomAffine(scales=0.1, degrees=15), tio.RandomNoise(std=(0, 0.1))]
    augmentation = tio.Compose(steps) if full else (lambda patch: patch)

    def make(case: int) -> list[dict[str, torch.Tensor]]:
        patches = [augmentation(patch) for patch in sampler(subjects[case], batch)]
        return [{"image": patch["image"].data, "label": patch["label"].data} for patch in patches]

    return batches(Endless(make, len(subjects)), batch, workers, batch)


PEERS = {"MONAI, as usually written": ("monai", monai_usual), "MONAI, tuned": ("monai", monai_tuned), "TorchIO": ("torchio", torchio)}


def assert_same(data: Data) -> None:
    """Ours are the voxels that MONAI cuts, to the bit, and those it interpolates, to 1e-3: its coordinates count from -1 to 1."""
    from monai.transforms import Resample, SpatialCrop

    case, image, shape = data.residents[0], data.images[0], (37, 37, 37)
    lattices, view, target = (Lattice(1, shape, (0, 0, 0)),), np.empty((2, *shape), np.float32), np.empty(shape, np.uint8)
    gather(*case.arrays, lattices, Place((90, 70, 60), shape), 0, [view], target)
    cropped = SpatialCrop(roi_start=(90, 70, 60), roi_end=(127, 107, 97))
    assert np.array_equal(view, cropped(image))
    assert np.array_equal(target, cropped(data.labels[0])[0])
    turn = np.array([[0.95, 0.2, -0.1], [-0.2, 0.9, 0.15], [0.1, -0.15, 1.05]])
    gather(*case.arrays, lattices, Place((90, 70, 60), shape, Drawn(warp=Warp(turn))), 0, [view], target)
    offsets = np.stack(np.meshgrid(*[np.arange(37) - 18] * 3, indexing="ij"))
    points = np.einsum("ab,bxyz->axyz", turn, offsets) + np.array([108, 88, 78]).reshape(3, 1, 1, 1)
    middle = (np.array(image.shape[1:]) - 1).reshape(3, 1, 1, 1) / 2
    expected = Resample(mode="bilinear", padding_mode="border")(image, torch.from_numpy(points - middle).float())
    np.testing.assert_allclose(view, expected, atol=1e-3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", default="", help="works whose name has this in it")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a turn")
    parser.add_argument("--shape", type=int, nargs=3, default=(240, 240, 155), metavar="VOXELS", help="of the phantoms, from 128 128 100")
    options = parser.parse_args()
    torch.set_num_threads(1)  # each worker has one
    with tempfile.TemporaryDirectory() as scratch:
        data = load(options.data, Path(scratch), options.shape)
    assert_same(data)
    works = [  # name, size, batch, augmented, workers, half of the centers in the foreground
        ("37^3, half foreground, 1 process", 37, 16, False, 1, True),
        ("96^3, plain, 2 workers", 96, 4, False, 2, False),
        ("96^3, affine, flips, intensity, noise, 1 worker", 96, 2, True, 1, False),
        ("96^3, affine, flips, intensity, noise, 2 workers", 96, 2, True, 2, False),
    ]
    installed = {name: peer for name, (package, peer) in PEERS.items() if "not installed" not in machine([package])}
    rows = []
    for name, size, batch, full, workers, foreground in works:
        if options.only not in name:
            continue
        say(name)
        streams: dict[str, Stream] = {"segkit": partial(ours, data, size, batch, FULL if full else Augment(), workers)}
        streams |= {name: partial(peer, data, size, batch, workers, full, foreground) for name, peer in installed.items()}
        found = {peer: quartiles(values) for peer, values in rates(streams, options.repeats, options.seconds).items()}
        median = found["segkit"][1]
        moved = size**3 * (2 * (2 + 4) + 1 + 1)  # bytes: two channels read as halves and written as floats, a label read and written
        cells = [f"{middle:,.1f} ({low:,.1f} to {high:,.1f})" for low, middle, high in found.values()]
        others = [middle for peer, (_, middle, _) in found.items() if peer != "segkit"]
        ratio = f"{median / max(others):.1f}" if others else "-"
        rows.append([name, *cells, ratio, f"{100 * median * moved / copy_speed(workers):.0f} %"])
    print(table(["patches/s, median (quartiles)", "segkit", *installed, "segkit / best peer", "of a memory copy's bytes/s"], rows))
    volumes = f"{len(data.images)} volumes of {tuple(data.images[0].shape)}"
    print(f"\nn = {options.repeats} turns of {options.seconds:g} s each; {volumes}; one thread a worker.")
    print(
        machine(["segkit", "torch", "numpy", "numba", "monai", "torchio", "nnunetv2"])
        + " (nnU-Net is not measured: it is driven by its own files)"
    )


if __name__ == "__main__":
    main()
