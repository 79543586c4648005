"""Whole volumes through a network: segkit, the same networks written plainly, and MONAI's sliding window.

    python benchmarks/inference.py [--data FOLDER] [--model RUN] [--repeats 5] [--only deepmedic unet stitching]
    python benchmarks/inference.py --repeats 1 --shape 32 32 32 --tile 15 15 15 --deepmedic model.hidden=[8,8] \
        --widths 4 8 --volume 24 24 16 --stitched 24 24 16 --window 16 16 16     a try

deepmedic: the standard DeepMedic over the ROI of one BRATS 2015 case (--data; a phantom of the same size without it), from the
preprocessed image to labels. Its peer is the network as one writes it in PyTorch, tile by tile, each on its own: the three crops of a
tile's output, repeated low-resolution maps, a 3x3x3 layer over all of them. Tiles without ROI voxels are left out, and the tile is as
large as segkit's. MONAI's sliding window cannot run this network: it crops one window of one resolution, and takes what comes out for the
window's own size. A plain tile repeats its border where the 3x3x3 layer looks beyond it; one voxel away from its faces its probabilities
have to be segkit's.

unet: a U-Net with 32 to 320 feature maps (that of configs/btcv) over 144 x 144 x 96 voxels in 96^3 windows that overlap by half, Gaussian
weights, to probabilities. All compute the same windows with the same weights, and have to give the same probabilities.

stitching: 512 x 512 x 200 voxels, 14 classes, 400 windows of 96^3, Gaussian weights, to labels. The network costs next to nothing: the
logit of class c is 2 c x - c^2, in one pass over the window x. The most probable class is the one nearest to x, wherever windows lie.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from brats import add_options, recipe_of, scratch_of
from measure import OURS, Work, best, compare, installed, options
from plain import laid, mixed, plain, with_layouts
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from segkit.config.heap import freed_memory
from segkit.engine.cohort import preparer, reach
from segkit.engine.device import Precision, placed
from segkit.engine.infer import tile_for
from segkit.engine.slabs import Slab, View, probabilities, slabs
from segkit.engine.tiles import Box, bounding_box, disjoint_tiles, needed, shape_of
from segkit.engine.weights import load_weights
from segkit.models import UNet3D
from segkit.models.base import Lattice, Network, Shape
from segkit.sampling.patch import Place, image_of

PACKAGES = ("segkit", "torch", "numpy", "monai")
PRECISIONS: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}
CPU = torch.device("cpu")
PLAIN = "plain tiles"
TOLERANCE = {"fp32": 1e-4, "bf16": 0.02}  # of a probability: the largest difference in fp32, the mean one in bf16
WINDOW = (96, 96, 96)
CLASSES = 14
CHANNELS = 4  # of the U-Net's image
GRID = 15  # cells of strides 3 and 5 begin together at every 15th voxel


@dataclass(frozen=True)
class Scan:
    """One case as the network reads it. image: float32 [M, X, Y, Z]. roi: bool [X, Y, Z]. tile: output voxels."""

    name: str
    network: Network
    image: Tensor
    roi: np.ndarray
    tile: Shape


def scan_of(arguments: argparse.Namespace) -> Scan:
    """The case `arguments.case` of the data, or the first phantom."""
    recipe = recipe_of(arguments, *arguments.deepmedic)
    torch.manual_seed(0)
    network = placed(recipe.model.build(len(recipe.dataset.channel_names), len(recipe.class_names())), CPU).eval()
    if arguments.model:
        trained = load_weights(Path(arguments.model), CPU)
        network, recipe = trained.network, trained.recipe.model_copy(update={"dataset": recipe.dataset})
    files = next(files for files in recipe.dataset.splits().training if not arguments.data or arguments.case in files.id)
    case = preparer(recipe, reach(network, recipe.sampling.patch_shape))(files)
    image = torch.from_numpy(np.array(case.image)).float()
    return Scan(files.id, network, image, np.array(case.roi), shape_of(arguments.tile) if arguments.tile else tile_for(network, recipe))


def labels_of(parts: Iterator[Slab], roi: np.ndarray) -> Tensor:
    """The most probable class of every voxel, uint8 [X, Y, Z], slab by slab."""
    labels = torch.empty(roi.shape, dtype=torch.uint8)
    for slab in parts:
        labels[slab.rows] = torch.from_numpy(slab.labels())
    return labels


def plain_boxes(scan: Scan) -> list[Box]:
    """Whole tiles that hold a ROI voxel, on the grid of cells from which segkit computes."""
    box = bounding_box(scan.roi)
    assert box is not None
    box = replace(box, start=shape_of(GRID * (low // GRID) for low in box.start))
    return [tile for tile in disjoint_tiles(box, scan.tile) if scan.roi[tile.slices].any()]


@torch.inference_mode()
def plain_tiles(network: nn.Module, lattices: Sequence[Lattice], scan: Scan, precision: Precision, layout: torch.memory_format) -> Iterator:
    """Box and logits float32 [C, x, y, z] of every tile, one after the other."""
    for box in plain_boxes(scan):
        views = [image_of(scan.image, lattice, Place(box.start, scan.tile))[None] for lattice in lattices]
        with mixed(precision):
            logits = network(laid(views, layout))[0].float()
        yield box, logits[:, *(slice(size) for size in box.shape)]


def plain_labels(tiles: Callable[[], Iterator], roi: np.ndarray) -> Tensor:
    """As `labels_of`."""
    labels = torch.zeros(roi.shape, dtype=torch.uint8)
    for box, logits in tiles():
        labels[box.slices] = logits.argmax(0).to(torch.uint8)
    return labels.mul_(torch.from_numpy(roi))


def deepmedic(arguments: argparse.Namespace) -> list[Work]:
    """The works of DeepMedic, checked and described unless another process measures memory."""
    scan = scan_of(arguments)
    view, lattices = View(scan.network, scan.tile, 0.5), scan.network.lattices(scan.tile)

    def tiles(precision: Precision, layout: torch.memory_format) -> Callable[[], Iterator]:
        return partial(plain_tiles, plain(scan.network, layout), lattices, scan, precision, layout)

    operations = 0.0 if arguments.memory_of else float(check_deepmedic(scan, view, partial(tiles, layout=torch.channels_last_3d)))
    works = []
    for precision, dtype in PRECISIONS.items():
        ways: dict[str, Callable[[], object]] = {OURS: partial(_ours, view, scan.image, scan.roi, precision)}
        ways |= with_layouts(PLAIN, lambda layout, precision=precision: partial(plain_labels, tiles(precision, layout), scan.roi))
        works.append(Work(f"DeepMedic, {precision}", ways, float(scan.image.nbytes), operations, dtype))
    return works


def _ours(view: View, image: Tensor, roi: np.ndarray, precision: Precision) -> Tensor:
    with freed_memory(kept=True):  # as `segkit predict` holds it over all cases
        return labels_of(slabs([view], image, roi, precision), roi)


def _our_probabilities(view: View, image: Tensor, roi: np.ndarray, precision: Precision) -> Tensor:
    with freed_memory(kept=True):
        return probabilities([view], image, roi, precision)


def check_deepmedic(scan: Scan, view: View, tiles: Callable[[Precision], Callable[[], Iterator]]) -> int:
    """Raises AssertionError unless both give the same probabilities. Says how much is computed. Returns our operations."""
    roi, inner = scan.roi, np.zeros_like(scan.roi)
    found: dict[tuple[str, str], Tensor] = {}
    counts = {}
    for precision in PRECISIONS:
        with FlopCounterMode(display=False) as counter:
            found[OURS, precision] = probabilities([view], scan.image, roi, precision)
        counts[OURS] = counter.get_total_flops()
        theirs = found[PLAIN, precision] = torch.zeros_like(found[OURS, precision])
        with FlopCounterMode(display=False) as counter:
            for box, logits in tiles(precision)():
                theirs[:, *box.slices] = logits.softmax(0)
                inner[tuple(slice(low + 1, high - 1) for low, high in zip(box.start, box.stop, strict=True))] = True
        counts[PLAIN] = counter.get_total_flops()
        check_probabilities(found[OURS, precision][:, roi & inner], theirs[:, roi & inner], precision, PLAIN)
    box = bounding_box(roi)
    assert box is not None
    voxels = {
        OURS: sum(np.prod(part.shape) for part in needed(disjoint_tiles(box, scan.tile), roi)),
        PLAIN: len(plain_boxes(scan)) * np.prod(scan.tile),
    }
    shapes = [" x ".join(map(str, shape)) for shape in (roi.shape, scan.tile)]
    print(f"{scan.name}, {shapes[0]}, ROI {int(roi.sum()):,} voxels, tiles of {shapes[1]}.", end=" ")
    for way, count in counts.items():
        print(f"{way}: {voxels[way] / int(roi.sum()):.2f} voxels computed for one of the ROI, {count / 1e12:.2f} TFLOP.", end=" ")
    labels = {key: values[:, roi].argmax(0) for key, values in found.items()}
    same = [(labels[OURS, "bf16"] == labels[OURS, "fp32"]), (labels[OURS, "fp32"] == labels[PLAIN, "fp32"])]
    print(f"Labels in the ROI that bf16 shares with fp32: {100 * same[0].float().mean():.2f} %;", end=" ")
    print(f"that plain tiles, seams and all, share with segkit: {100 * same[1].float().mean():.2f} %.\n")
    return counts[OURS]


def check_probabilities(ours: Tensor, theirs: Tensor, precision: Precision, name: str) -> None:
    """Raises AssertionError unless they agree: to rounding in fp32, in the mean in bf16."""
    apart = (ours - theirs).abs()
    off = float(apart.max() if precision == "fp32" else apart.mean())
    assert off < TOLERANCE[precision], f"{name}, {precision}: probabilities are off by {off:.2g}"


def unet(arguments: argparse.Namespace) -> list[Work]:
    """The works of the U-Net, likewise."""
    torch.manual_seed(0)
    settings = UNet3D(widths=tuple(arguments.widths))
    network = placed(settings.build(CHANNELS, CLASSES), CPU).eval()
    image, roi = torch.randn(CHANNELS, *arguments.volume), np.ones(arguments.volume, dtype=bool)
    window = shape_of(arguments.window)
    view = View(network, window, 0.5)
    works = []
    for precision, dtype in PRECISIONS.items():
        ways: dict[str, Callable[[], Tensor]] = {OURS: partial(_our_probabilities, view, image, roi, precision)}
        if installed("monai"):
            ways |= with_layouts(
                "MONAI",
                lambda layout, precision=precision: partial(with_monai, plain(network, layout), image, window, precision, layout),
            )
        operations = 0
        if not arguments.memory_of:
            with FlopCounterMode(display=False) as counter:
                ours = ways[OURS]()
            operations = counter.get_total_flops()
            for name, way in ways.items():
                check_probabilities(ours, way(), precision, name)
        works.append(Work(f"U-Net, {precision}", ways, float(image.nbytes + CLASSES * roi.size * 4), float(operations), dtype))
    return works


@torch.inference_mode()
def with_monai(network: nn.Module, image: Tensor, window: Shape, precision: Precision, layout: torch.memory_format) -> Tensor:
    """The mean of probabilities float32 [C, X, Y, Z]; one window at once, which a CPU likes best."""
    from monai.inferers import sliding_window_inference

    def predict(part: Tensor) -> Tensor:
        with mixed(precision):
            logits = network(laid((part,), layout))
        return logits.float().softmax(1)

    return sliding_window_inference(image[None], window, 1, predict, overlap=0.5, mode="gaussian")[0]


class Nearest(Network):
    """The class whose number is nearest to the image's value: logits 2 c x - c^2."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classifier = nn.Conv3d(1, classes, 1)  # tells the number of classes, and is never run
        numbers = torch.arange(classes, dtype=torch.float32).view(1, -1, 1, 1, 1)
        self.register_buffer("slopes", 2 * numbers)
        self.register_buffer("offsets", -numbers.square())

    def lattices(self, output_shape: Shape) -> tuple[Lattice, ...]:
        return (Lattice(1, output_shape, (0, 0, 0)),)

    def forward(self, image: tuple[Tensor, ...]) -> Tensor:
        return torch.addcmul(self.offsets, image[0], self.slopes)


def stitching(arguments: argparse.Namespace) -> list[Work]:
    """The work of stitching, likewise."""
    torch.manual_seed(0)
    network = Nearest(CLASSES)
    image = torch.randint(CLASSES, (1, *arguments.stitched)) + 0.8 * torch.rand(1, *arguments.stitched) - 0.4  # never half way
    roi = np.ones(arguments.stitched, dtype=bool)
    window = shape_of(arguments.window)
    ways: dict[str, Callable[[], Tensor]] = {OURS: partial(_ours, View(network, window, 0.5), image, roi, "fp32")}
    if installed("monai"):
        ways["MONAI"] = partial(stitched_by_monai, network, image, window)
    windows = int(np.prod([-(-2 * (size - side) // side) + 1 for size, side in zip(arguments.stitched, window, strict=True)]))
    if not arguments.memory_of:
        for name, way in ways.items():
            off = (way() != image[0].round()).float().mean()
            assert off == 0, f"{name}: {off:.2%} of the voxels have another class"
        part = image[None][:, :, *(slice(side) for side in window)]
        with torch.inference_mode():
            alone = windows * best(lambda: network((part,)))
        print(f"{windows} windows; the network alone takes {alone:.1f} s of each way's time.\n")
    logits = 4.0 * CLASSES * np.prod(window) * windows  # bytes, which are read and added to the sums
    return [Work(f"stitching, {windows} windows, {CLASSES} classes", ways, 3 * logits)]


@torch.inference_mode()
def stitched_by_monai(network: Nearest, image: Tensor, window: Shape) -> Tensor:
    """Labels from the mean of logits, as its users take them: it spares a softmax, and the largest stays the largest."""
    from monai.inferers import sliding_window_inference

    logits = sliding_window_inference(image[None], window, 1, lambda part: network((part,)), overlap=0.5, mode="gaussian")
    return logits[0].argmax(0).to(torch.uint8)


PARTS = {"deepmedic": deepmedic, "unet": unet, "stitching": stitching}


def asked(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The options; None: of the command line."""
    parser = options(__doc__)
    add_options(parser)
    parser.add_argument("--case", default="0005", metavar="TEXT", help="in the name of the case of --data")
    parser.add_argument("--model", metavar="RUN", help="folder of a trained DeepMedic; random weights without it")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--deepmedic", nargs="+", default=[], metavar="KEY=VALUE", help="changes of its recipe")
    parser.add_argument("--tile", type=int, nargs=3, metavar="VOXELS", help="of DeepMedic; default 45 45 45")
    parser.add_argument("--widths", type=int, nargs="+", default=(32, 64, 128, 256, 320), metavar="MAPS", help="of the U-Net's levels")
    parser.add_argument("--volume", type=int, nargs=3, default=(144, 144, 96), metavar="VOXELS", help="of the U-Net")
    parser.add_argument("--stitched", type=int, nargs=3, default=(512, 512, 200), metavar="VOXELS", help="of stitching")
    parser.add_argument("--window", type=int, nargs=3, default=WINDOW, metavar="VOXELS", help="of both")
    return parser.parse_args(words)


def main() -> None:
    """Part by part: make the works, check, measure."""
    arguments = asked()
    sizes = [word for name in ("deepmedic", "tile", "widths", "volume", "stitched", "window") for word in _again(arguments, name)]
    with scratch_of(arguments) as scans:
        for part in arguments.only:
            if not arguments.memory_of:
                print(f"### {part}\n")
            given = [*scans, "--case", arguments.case, *(["--model", arguments.model] if arguments.model else [])]
            again = [__file__, "--only", part, *sizes, *given]
            compare(PARTS[part](arguments), arguments, again, PACKAGES)
            print()


def _again(arguments: argparse.Namespace, name: str) -> list[str]:
    given = getattr(arguments, name)
    return [f"--{name}", *map(str, given)] if given else []


if __name__ == "__main__":
    main()
