"""Probabilities of all classes on the network's grid -> a label map on the scan's own grid: segkit, nnU-Net, torch.

    python benchmarks/export.py [--repeats 5] [--classes 14] [--network 100 448 448] [--native 200 512 512]
    python benchmarks/export.py --repeats 1 --classes 3 --network 20 40 40 --native 40 50 50     a try

Random smooth probabilities. All interpolate linearly and take the largest class; labels have to agree but for rounding (fewer than one
voxel in 100,000). nnU-Net: its two ways of resampling logits, by scikit-image class by class and by torch, then torch's argmax, as its
export calls them. The grids' spacings differ by less than 3 times between axes: beyond that nnU-Net takes the nearest slice, which is
another result. torch: all classes at once, by `interpolate`.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from measure import Work, compare, installed, options

from segkit.phantom.fields import smooth, stream
from segkit.volume.geometry import Native, Shape

PACKAGES = ("segkit", "numba", "numpy", "torch", "nnunetv2", "scikit-image")
NATIVE_MM = 0.7  # of every axis
OFF = 1e-5  # share of voxels that rounding may give to another class


def probabilities(classes: int, shape: Shape) -> np.ndarray:
    """float32 [C, x, y, z], each class the most probable one in places of its own."""
    found = np.stack([smooth(stream(0, index), shape, 8) for index in range(classes)])
    np.exp(4 * found, out=found)
    found /= found.sum(axis=0)
    return found


def in_slabs(given: np.ndarray) -> Iterator[np.ndarray]:
    """As inference hands them over: some rows at a time."""
    for start in range(0, given.shape[1], 16):
        yield given[:, start : start + 16]


def ways_of(given: np.ndarray, native: Native) -> dict[str, Callable[[], np.ndarray]]:
    """Each from the same array to labels uint8 [X, Y, Z]."""
    spacings = (native.network_spacing_mm, (NATIVE_MM,) * 3)
    ways: dict[str, Callable[[], np.ndarray]] = {"segkit": lambda: native.probabilities_to_native_labels(in_slabs(given))}
    if installed("nnunetv2"):
        from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape
        from nnunetv2.preprocessing.resampling.resample_torch import resample_torch_fornnunet

        def with_nnunet() -> np.ndarray:
            options = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
            return _largest(torch.from_numpy(resample_data_or_seg_to_shape(given, native.shape, *spacings, **options)))

        def with_nnunet_torch() -> np.ndarray:
            options = {"is_seg": False, "force_separate_z": None, "num_threads": torch.get_num_threads()}
            return _largest(resample_torch_fornnunet(torch.from_numpy(given), native.shape, *spacings, **options))

        ways |= {"nnU-Net": with_nnunet, "nnU-Net, torch": with_nnunet_torch}
    ways["torch"] = lambda: _largest(torch.nn.functional.interpolate(torch.from_numpy(given)[None], native.shape, mode="trilinear")[0])
    return ways


def _largest(values: torch.Tensor) -> np.ndarray:
    return values.argmax(0).to(torch.uint8).numpy()


def check(work: Work) -> None:
    """Raises AssertionError unless all give the same labels, but for rounding."""
    ours = work.ways["segkit"]()
    for name, way in work.ways.items():
        off = np.count_nonzero(way() != ours) / ours.size
        assert off < OFF, f"{name}: {off:.2%} of the voxels have another class"


def main() -> None:
    """Make the probabilities, check, measure."""
    parser = options(__doc__)
    parser.add_argument("--classes", type=int, default=14)
    parser.add_argument("--network", type=int, nargs=3, default=(100, 448, 448))
    parser.add_argument("--native", type=int, nargs=3, default=(200, 512, 512))
    arguments = parser.parse_args()
    shape, network = tuple(arguments.native), tuple(arguments.network)
    spacing_mm = tuple(NATIVE_MM * size / small for size, small in zip(shape, network, strict=True))
    native = Native.plan(shape, np.diag([NATIVE_MM] * 3 + [1.0]), None, spacing_mm)
    given = probabilities(arguments.classes, network)
    sizes = [" x ".join(map(str, size)) for size in (network, shape)]
    name = f"{arguments.classes} classes, {sizes[0]} to {sizes[1]}"
    # two numbers and a product for each of the three axes, as few times as separable interpolation needs
    blends = network[1] * network[2] * shape[0] + network[2] * shape[0] * shape[1] + shape[0] * shape[1] * shape[2]
    work = Work(name, ways_of(given, native), moved=float(given.nbytes + np.prod(shape)), operations=3.0 * arguments.classes * blends)
    if not arguments.memory_of:
        check(work)
    again = [__file__, "--classes", str(arguments.classes), "--network", *map(str, network), "--native", *map(str, shape)]
    compare([work], arguments, again, PACKAGES)


if __name__ == "__main__":
    main()
