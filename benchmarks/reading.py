"""Reading a .nii.gz into memory: segkit, nibabel, SimpleITK, MONAI, TorchIO.

    python benchmarks/reading.py [--repeats 5] [--data FOLDER]
    python benchmarks/reading.py --repeats 1 --shape 40 40 30     a try

--data: a folder; the largest .nii.gz files below it are read, at most --files of them. Without it, channels of a brain of
240 x 240 x 155 voxels are drawn and written by nibabel as BRATS 2015 has them, float32 normalized in the brain, and as later editions
have them, int16. Times are from a file that the system has in memory to voxels as an array; all have to give the same voxels. segkit and
Python's gzip, which nibabel, MONAI and TorchIO read with, compare length and checksum. Checks that every voxel is a finite number are
part of segkit's time.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
from measure import Work, compare, installed, options

from segkit.phantom import brain
from segkit.volume import nifti

PACKAGES = ("segkit", "isal", "nibabel", "SimpleITK", "monai", "torchio", "numpy")


def write_phantoms(folder: Path, shape: tuple[int, int, int]) -> None:
    """The default data."""
    volumes, affine = brain.draw(0, 0, shape)
    flair = volumes["flair"]
    inside = flair != 0
    normalized = ((flair - flair[inside].mean()) / flair[inside].std()).astype(np.float32)
    for name, array in (("normalized", normalized), ("flair", flair)):
        nibabel.save(nibabel.Nifti1Image(array, affine), folder / f"{name}.nii.gz")


def with_segkit(path: Path) -> np.ndarray:
    """Ours."""
    return nifti.read(path).array


def with_nibabel(path: Path) -> np.ndarray:
    """In the stored type."""
    return np.asarray(nibabel.load(path).dataobj)


def with_simpleitk(path: Path) -> np.ndarray:
    """A view, axes as nibabel has them."""
    import SimpleITK

    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))).transpose()


def with_monai(path: Path) -> np.ndarray:
    """float32, as MONAI reads."""
    from monai.transforms import LoadImage

    return LoadImage(image_only=True)(path).numpy()


def with_torchio(path: Path) -> np.ndarray:
    """As TorchIO reads."""
    import torchio

    return torchio.ScalarImage(path).data[0].numpy()


WAYS: dict[str, tuple[str, Callable[[Path], np.ndarray]]] = {
    "segkit": ("segkit", with_segkit),
    "nibabel": ("nibabel", with_nibabel),
    "SimpleITK": ("SimpleITK", with_simpleitk),
    "MONAI": ("monai", with_monai),
    "TorchIO": ("torchio", with_torchio),
}


def work_of(path: Path, folder: Path) -> Work:
    """One file."""

    def way(function: Callable[[Path], np.ndarray]) -> Callable[[], np.ndarray]:
        return lambda: function(path)

    array, packed = with_segkit(path), path.stat().st_size
    name = f"{path.relative_to(folder)}, {array.dtype}, {packed / 2**20:.1f} to {array.nbytes / 2**20:.0f} MiB"
    ways = {name: way(function) for name, (package, function) in WAYS.items() if installed(package)}
    return Work(name, ways, moved=float(packed + array.nbytes))


def check(work: Work) -> None:
    """Raises AssertionError unless all read the same voxels."""
    ours = work.ways["segkit"]()
    for name, way in work.ways.items():
        np.testing.assert_allclose(way(), ours, rtol=1e-6, err_msg=f"{name}: {work.name}")


def main() -> None:
    """Draw what is missing, check, measure."""
    parser = options(__doc__)
    parser.add_argument("--data", type=Path, metavar="FOLDER")
    parser.add_argument("--shape", type=int, nargs=3, default=(240, 240, 155), metavar="VOXELS", help="of the phantoms")
    parser.add_argument("--files", type=int, default=4, metavar="N")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.data or Path(temporary)
        if not arguments.data:
            write_phantoms(folder, tuple(arguments.shape))
        found = sorted(folder.rglob("*.nii.gz"), key=lambda path: (-path.stat().st_size, path))
        works = [work_of(path, folder) for path in found[: arguments.files]]
        if not arguments.memory_of:
            for work in works:
                check(work)
        compare(works, arguments, [__file__, "--data", str(folder), "--files", str(arguments.files)], PACKAGES)


if __name__ == "__main__":
    main()
