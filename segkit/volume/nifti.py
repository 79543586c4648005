"""Reading and writing NIfTI volumes: what is wrong with a file is said, never repaired in silence."""

import zlib
from contextlib import ExitStack
from dataclasses import dataclass, replace
from gzip import BadGzipFile, GzipFile
from pathlib import Path
from typing import IO, cast

import numpy as np
from isal.igzip import IGzipFile
from isal.igzip_lib import IsalError
from nibabel.nifti1 import Nifti1Header

from segkit.config.atomic import atomic
from segkit.config.errors import InputError, WorkError
from segkit.volume.geometry import Shape, spacing_of
from segkit.volume.header import HEADER_BYTES, Facts, parse

NEAR_INTEGER = 1e-3  # a float label this near to an integer means the integer
PIECE = 2**20  # bytes unpacked at once: what is copied is still in the processor's cache
FURTHER = 2**24  # bytes behind the voxels that are unpacked to reach the checksum; a file with more of them is none of ours, or a bomb
BROKEN_GZIP: tuple[type[Exception], ...] = (EOFError, BadGzipFile, zlib.error, cast(type[Exception], IsalError))
DAMAGED = "the file is damaged or was not copied to its end: get it again"


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels and where they are. array: [X, Y, Z], or [X, Y, Z, M] of a file with M components. affine: voxel -> RAS+ mm, float64.

    notices: what was taken in one of several ways, for the log.
    """

    array: np.ndarray
    affine: np.ndarray
    header: Nifti1Header
    path: Path | None = None
    notices: tuple[str, ...] = ()

    @classmethod
    def new(cls, array: np.ndarray, affine: np.ndarray) -> "Volume":
        """A volume that comes from no file: sform and qform coded 1 (scanner), mm."""
        header = Nifti1Header()
        header.set_data_shape(array.shape)
        header.set_sform(affine, code=1)
        header.set_qform(affine, code=1)
        header.set_xyzt_units("mm")
        return cls(array, np.array(affine, dtype=np.float64), header)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance of neighboring voxels along X, Y, Z."""
        return spacing_of(self.affine)


def read(path: Path, *, accept_sform: bool = False) -> Volume:
    """One value a voxel: [X, Y, Z] in the stored dtype, or float32 where the header scales it.

    A .nii.gz is read to its checksum, so a cut or a flipped bit is found. Raises InputError naming the file; more than one component is
    refused (SK-V015).
    """
    volume = read_components(path, accept_sform=accept_sform)
    if volume.array.shape[3] != 1:
        raise InputError(
            "SK-V015",
            "a 4D file where one volume was expected",
            where=path,
            expected="one value a voxel",
            got=f"{volume.array.shape[3]} components",
            remedy="use a data set layout that names the components as channels (msd), or split the file",
        )
    return replace(volume, array=volume.array[..., 0])


def read_components(path: Path, *, accept_sform: bool = False) -> Volume:
    """All components of a file, 3D or 4D: [X, Y, Z, M]. Otherwise as `read`."""
    path = Path(path)
    with ExitStack() as stack:
        stream, facts = _open(path, stack, accept_sform)
        try:
            buffer = _voxels(stream, facts, path)
        except BROKEN_GZIP as error:
            raise _gzip_error(path, error) from None
        except OSError as error:
            raise _unreadable(path, error) from None
    array = buffer.view(facts.dtype).reshape((*facts.shape, facts.components), order="F")
    array = _scaled(array.astype(facts.dtype.newbyteorder("="), copy=False), facts)
    _all_finite(array, path)
    return Volume(array, facts.affine, facts.header, path, facts.notices)


def read_label(path: Path, *, accept_sform: bool = False) -> Volume:
    """A label map [X, Y, Z] of integers. Floats within 1e-3 of an integer are rounded, with a notice; others are refused (SK-V016)."""
    volume = read(path, accept_sform=accept_sform)
    if volume.array.dtype.kind in "iu":
        return volume
    rounded = np.rint(volume.array)
    notices = volume.notices
    moved = np.count_nonzero(rounded != volume.array)
    if moved:
        distance = np.abs(volume.array - rounded)
        _near_integers(volume, distance, path)
        notices += (f"{moved} label voxels rounded to integers, by at most {distance.max():.2g}",)
    largest = max(rounded.max(), -rounded.min())
    if largest > np.iinfo(np.int32).max:
        raise InputError("SK-V017", "label values too large", where=path, expected="32-bit integers", got=f"{largest:.6g}")
    return replace(volume, array=rounded.astype(np.int32), notices=notices)


def _near_integers(volume: Volume, distance: np.ndarray, path: Path) -> None:
    """Raises InputError where a label value is far from an integer. distance: of each voxel's value to the nearest one."""
    far = distance > NEAR_INTEGER
    if far.any():
        examples = ", ".join(f"{value:.6g}" for value in np.unique(volume.array[far])[:3])
        got = f"{int(far.sum())} voxels such as {examples}"
        remedy = "a label map must be resampled with nearest neighbors" if far.mean() < 0.5 else "is this an image?"
        expected = f"integers (within {NEAR_INTEGER})"
        raise InputError("SK-V016", "label values that are no integers", where=path, expected=expected, got=got, remedy=remedy)


def read_grid(path: Path, *, accept_sform: bool = False) -> tuple[Shape, np.ndarray]:
    """Shape (X, Y, Z) and affine from the header alone."""
    facts = read_facts(path, accept_sform=accept_sform)
    return facts.shape, facts.affine


def read_geometry(path: Path, *, accept_sform: bool = False) -> Volume:
    """A file's geometry as a volume [X, Y, Z] of zeros that takes no memory: what `write` wants as `like`. No voxel is read."""
    facts = read_facts(path, accept_sform=accept_sform)
    return Volume(np.broadcast_to(np.uint8(0), facts.shape), facts.affine, facts.header, Path(path), facts.notices)


def read_facts(path: Path, *, accept_sform: bool = False) -> Facts:
    """All that the header says, checked; no voxel is read."""
    with ExitStack() as stack:
        return _open(Path(path), stack, accept_sform)[1]


def write(path: Path, array: np.ndarray, like: Volume) -> None:
    """[X, Y, Z] or [X, Y, Z, M] with the geometry of `like` (sform, qform, their codes, units), the dtype of `array`, no scaling.

    bool is written as uint8, float16 as float32. The file appears whole or not at all; the same voxels give the same bytes.
    Raises WorkError (SK-R090) where it cannot be written, InputError (SK-V001) for another suffix than .nii or .nii.gz.
    """
    path = Path(path)
    _check_suffix(path)
    if array.shape[:3] != like.array.shape[:3]:
        raise ValueError(f"an array of shape {array.shape} has not the grid of a volume of shape {like.array.shape}")
    storable: dict[np.dtype, np.dtype] = {np.dtype(bool): np.dtype(np.uint8), np.dtype(np.float16): np.dtype(np.float32)}
    dtype = storable.get(array.dtype, array.dtype).newbyteorder("<")
    header = like.header.as_byteswapped("<")
    header.set_data_shape(array.shape)
    header.set_data_dtype(dtype)
    header["scl_slope"], header["scl_inter"] = 1, 0
    header["cal_min"], header["cal_max"] = 0, 0  # the display range of the scan is not that of its labels
    header["vox_offset"] = int(header["sizeof_hdr"]) + 4
    with atomic(path) as temporary, ExitStack() as stack:
        stream: IO[bytes] = stack.enter_context(temporary.open("wb"))
        if path.name.endswith(".gz"):
            packed = IGzipFile(filename="", mode="wb", compresslevel=1, fileobj=stream, mtime=0)  # the same bytes each time
            stream = cast(IO[bytes], stack.enter_context(packed))
        stream.write(header.binaryblock + bytes(4))  # four zeros: no extensions
        for plane in np.moveaxis(array.reshape((*array.shape[:2], -1), order="F"), 2, 0):
            stream.write(plane.astype(dtype, copy=False).tobytes(order="F"))


def _open(path: Path, stack: ExitStack, accept_sform: bool) -> tuple[IO[bytes], Facts]:
    """A stream of the file's bytes, unpacked, and the header's facts."""
    _check_suffix(path)
    try:
        if path.is_dir():
            raise InputError("SK-V002", "a folder where a NIfTI file was expected", where=path)
        file_bytes = path.stat().st_size
        stream: IO[bytes] = stack.enter_context(path.open("rb"))
        if path.name.endswith(".gz"):
            with GzipFile(fileobj=stream) as packed:  # of a file that soon ends it gives what there is, and says more exactly what is wrong
                block = packed.read(HEADER_BYTES)
            stream.seek(0)
            stream = cast(IO[bytes], stack.enter_context(IGzipFile(fileobj=stream)))
        else:
            block = stream.read(HEADER_BYTES)
    except BROKEN_GZIP as error:
        raise _gzip_error(path, error) from None
    except OSError as error:
        raise _unreadable(path, error) from None
    return stream, parse(block, path, file_bytes, accept_sform)


def _voxels(stream: IO[bytes], facts: Facts, path: Path) -> np.ndarray:
    """The voxels as bytes, unpacked into the one array that holds them."""
    stream.seek(facts.offset)
    try:
        buffer = np.empty(facts.data_bytes, dtype=np.uint8)
    except MemoryError:
        raise WorkError("SK-V018", "not enough memory for the voxels", where=path, got=f"{facts.data_bytes:,} bytes") from None
    view, filled = buffer.data, 0
    while filled < len(view):
        read_bytes = stream.readinto(view[filled : filled + PIECE])  # type: ignore[attr-defined]
        if not read_bytes:
            expected = f"{len(view):,} bytes"
            raise InputError("SK-V019", "the voxels end early", where=path, expected=expected, got=f"{filled:,}", remedy=DAMAGED)
        filled += read_bytes
    if path.name.endswith(".gz"):
        _to_the_checksum(stream, facts, path)
    return buffer


def _to_the_checksum(stream: IO[bytes], facts: Facts, path: Path) -> None:
    """What follows the voxels is unpacked and dropped, since length and checksum stand at the end and are compared there."""
    further = 0
    while piece := stream.read(PIECE):
        further += len(piece)
        if further > FURTHER:
            raise InputError(
                "SK-V036",
                "the file goes on behind its voxels",
                where=path,
                expected=f"{facts.data_bytes:,} bytes of voxels and at most {FURTHER:,} others",
                got=f"over {facts.data_bytes + FURTHER:,} bytes",
                remedy="the header names fewer voxels than were stored: export it again",
            )


def _scaled(array: np.ndarray, facts: Facts) -> np.ndarray:
    if (facts.slope, facts.inter) == (1.0, 0.0):
        return array
    wide = np.dtype(np.float32 if array.dtype.itemsize <= 2 else np.float64)  # a float32 holds 16-bit integers exactly
    with np.errstate(over="ignore"):  # what overflows is found as not finite
        scaled = array.astype(wide)
        scaled *= facts.slope
        scaled += facts.inter
        return scaled.astype(np.float32, copy=False)


def _all_finite(array: np.ndarray, path: Path) -> None:
    if array.dtype.kind != "f" or np.isfinite((array.min(), array.max())).all():  # both are NaN where a voxel is
        return
    bad = array.size - np.count_nonzero(np.isfinite(array))
    remedy = "replace them (NaN is often meant as background) and write the file again"
    raise InputError("SK-V030", "voxels that are no finite numbers", where=path, got=f"{bad} NaN or infinite voxels", remedy=remedy)


def _check_suffix(path: Path) -> None:
    if not path.name.endswith((".nii", ".nii.gz")):
        raise InputError("SK-V001", "not named as a NIfTI file", where=path, expected="a name ending in .nii or .nii.gz", got=path.name)


def _gzip_error(path: Path, error: Exception) -> InputError:
    if isinstance(error, EOFError):
        return InputError("SK-V031", "the gzip stream is cut off", where=path, remedy=DAMAGED)
    if "Not a gzipped file" in str(error):
        return InputError("SK-V032", "not a gzip file although its name ends in .gz", where=path)
    return InputError("SK-V033", "the gzip stream is damaged", where=path, got=str(error), remedy=DAMAGED)


def _unreadable(path: Path, error: OSError) -> InputError:
    if isinstance(error, FileNotFoundError):
        return InputError("SK-V034", "no such file", where=path)
    return InputError("SK-V035", "the file cannot be read", where=path, got=error.strerror or str(error))
