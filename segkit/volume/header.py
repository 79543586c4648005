"""What a NIfTI header claims, checked before a voxel is read or memory is allocated.

Format: NIfTI-1.1 (nifti1.h) and NIfTI-2, single files (.nii, .nii.gz).
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.quaternions import fillpositive, quat2mat

from segkit.config.errors import InputError
from segkit.volume.geometry import Shape, same_grid, spacing_of

HEADER_BYTES = 540  # of NIfTI-2; NIfTI-1 has 348
LARGEST_BYTES = 64 * 2**30
DEFLATE_RATIO = 1100  # gzip cannot shrink further than about 1032 times
SHEAR_TOLERANCE = 0.01  # largest cosine between two axes
FARTHEST_MM = 1e7  # beyond it a number is damage, not a place
SPACING_LIMITS_MM = (1e-3, 1e3)

DTYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
REFUSED_TYPES = {1: "1-bit", 32: "complex64", 128: "RGB", 1536: "float128", 1792: "complex128", 2048: "complex256", 2304: "RGBA"}
MAGIC = {348: b"n+1", 540: b"n+2"}


@dataclass(frozen=True)
class Facts:
    """A header that can be relied on.

    components: size of the one further axis, 1 for a plain volume. dtype: as stored, byte order included.
    offset: of the first voxel, in bytes.
    """

    shape: Shape
    components: int
    dtype: np.dtype
    offset: int
    slope: float
    inter: float
    affine: np.ndarray
    header: Nifti1Header
    notices: tuple[str, ...]

    @property
    def data_bytes(self) -> int:
        """Of the voxels, uncompressed."""
        return math.prod(self.shape) * self.components * self.dtype.itemsize


def parse(block: bytes, path: Path, file_bytes: int, accept_sform: bool = False) -> Facts:
    """Facts from the first HEADER_BYTES bytes (uncompressed) of a file that has file_bytes on the disk.

    Raises InputError (SK-V003 to SK-V014) at the first claim that cannot be true or is not supported.
    """
    header = _header(block, path)
    notices: list[str] = []
    shape, components = _dimensions(header, path, notices)
    dtype = _dtype(header, path)
    offset = _offset(header, path)
    _plausible_size(math.prod(shape) * components * dtype.itemsize, offset, path, file_bytes)
    slope, inter = _scaling(header, notices)
    affine = _affine(header, shape, path, notices, accept_sform)
    _usable(affine, path)
    return Facts(shape, components, dtype, offset, slope, inter, affine, header, tuple(notices))


def _header(block: bytes, path: Path) -> Nifti1Header:
    for size, kind in ((348, Nifti1Header), (540, Nifti2Header)):
        for order, endianness in (("little", "<"), ("big", ">")):
            if len(block) >= size and int.from_bytes(block[:4], order) == size:  # type: ignore[arg-type]
                header = kind(block[:size], endianness=endianness, check=False)
                magic = bytes(header["magic"])[:3]
                if magic == MAGIC[size]:
                    return header
                remedy = "convert the .hdr/.img pair to one .nii.gz file" if magic[:2] == b"ni" else None
                expected = f"magic {MAGIC[size]!r}"
                raise InputError("SK-V003", "not a single-file NIfTI", where=path, expected=expected, got=repr(magic), remedy=remedy)
    got = f"{len(block)} bytes" if len(block) < 348 else f"bytes {block[:8]!r} ..."
    raise InputError("SK-V004", "not a NIfTI file", where=path, expected="a NIfTI-1 or NIfTI-2 header", got=got)


def _dimensions(header: Nifti1Header, path: Path, notices: list[str]) -> tuple[Shape, int]:
    ndim, *sizes = (int(size) for size in header["dim"])
    if not 1 <= ndim <= 7 or min(sizes[:ndim]) < 1:
        expected = "3 to 7 sizes, each at least 1"
        raise InputError("SK-V005", "impossible dimensions", where=path, expected=expected, got=f"dim = {[ndim, *sizes]}")
    if ndim < 3:
        remedy = "stack the slices into one volume"
        raise InputError("SK-V006", "not a volume", where=path, expected="3 axes", got=f"{ndim}: {sizes[:ndim]}", remedy=remedy)
    shape: Shape = (sizes[0], sizes[1], sizes[2])
    further = [size for size in sizes[3:ndim] if size > 1]
    if len(further) > 1:
        raise InputError("SK-V007", "more than one axis beyond X, Y, Z", where=path, expected="at most one", got=f"sizes {sizes[:ndim]}")
    if ndim > 3 and not further:
        notices.append(f"sizes {sizes[:ndim]} read as the volume {list(shape)}")
    return shape, further[0] if further else 1


def _dtype(header: Nifti1Header, path: Path) -> np.dtype:
    code = int(header["datatype"])
    if code not in DTYPES:
        raise InputError(
            "SK-V008",
            "voxels of an unsupported type",
            where=path,
            expected="one real number a voxel (8 to 64 bits)",
            got=REFUSED_TYPES.get(code, f"datatype code {code}"),
        )
    return np.dtype(header.endianness + DTYPES[code])


def _offset(header: Nifti1Header, path: Path) -> int:
    smallest = int(header["sizeof_hdr"]) + 4
    offset = float(header["vox_offset"])
    if offset == 0:  # some writers leave it at 0; the voxels then follow the header
        return smallest
    if not math.isfinite(offset) or offset < smallest:
        expected = f"vox_offset of at least {smallest}"
        raise InputError("SK-V009", "impossible place of the voxels", where=path, expected=expected, got=f"{offset:g}")
    return int(offset)


def _plausible_size(data_bytes: int, offset: int, path: Path, file_bytes: int) -> None:
    limit = file_bytes * DEFLATE_RATIO if path.name.endswith(".gz") else file_bytes
    if offset + data_bytes > min(limit, LARGEST_BYTES):
        raise InputError(
            "SK-V010",
            "the header claims more voxels than the file can hold",
            where=path,
            expected=f"at most {min(limit, LARGEST_BYTES):,} bytes in a file of {file_bytes:,} bytes",
            got=f"{offset + data_bytes:,} bytes",
            remedy="the file is truncated or its header is damaged: export it again",
        )


def _scaling(header: Nifti1Header, notices: list[str]) -> tuple[float, float]:
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or math.isnan(slope):  # both mean "not scaled"
        return 1.0, 0.0
    if not math.isfinite(slope) or not math.isfinite(inter):
        notices.append(f"scaling ignored: slope {slope}, intercept {inter}")
        return 1.0, 0.0
    return slope, inter


def _affine(header: Nifti1Header, shape: Shape, path: Path, notices: list[str], accept_sform: bool) -> np.ndarray:
    """sform before qform; a coded one that is no geometry is passed over; both usable and different is an error."""
    coded = {"sform": int(header["sform_code"]) > 0, "qform": int(header["qform_code"]) > 0}
    read = {"sform": _sform(header), "qform": _qform(header)}
    usable = {name: affine for name, affine in read.items() if coded[name] and affine is not None}
    broken = [name for name in coded if coded[name] and read[name] is None]
    if not usable and (broken or _from_spacing(header, shape) is None):
        got = " and ".join(f"an unusable {name}" for name in broken) or "no sform, no qform, and an unusable pixdim"
        raise InputError("SK-V011", "no usable geometry", where=path, expected="a regular, finite sform or qform", got=got)
    if not usable:
        notices.append("neither sform nor qform is coded: spacing from pixdim, orientation assumed LAS")
        return _from_spacing(header, shape)  # type: ignore[return-value]
    name, affine = next(iter(usable.items()))
    if broken:
        notices.append(f"the {broken[0]} is no possible geometry: {name} used")
    difference = same_grid(shape, affine, shape, usable["qform"]) if len(usable) == 2 else None
    if difference and not accept_sform:
        raise InputError(
            "SK-V012",
            "sform and qform disagree",
            where=path,
            expected="one geometry",
            got=f"(sform and qform) {difference}",
            remedy="repair the header; if the sform is right, set dataset.accept_sform: true in the recipe, or pass --accept-sform",
        )
    if difference:
        notices.append(f"sform used although the qform disagrees: {difference}")
    return affine


def _sform(header: Nifti1Header) -> np.ndarray | None:
    return _regular(np.array([header["srow_x"], header["srow_y"], header["srow_z"]], dtype=np.float64))


def _qform(header: Nifti1Header) -> np.ndarray | None:
    spacing = np.array(header["pixdim"][1:4], dtype=np.float64)
    quaternion = np.array([header["quatern_b"], header["quatern_c"], header["quatern_d"]], dtype=np.float64)
    unit = np.abs(quaternion).max() < 1.001 and quaternion @ quaternion < 1 + 1e-6  # False for NaN, as the next
    if not unit or not (spacing.min() > 0 and spacing.max() < FARTHEST_MM):
        return None
    rotation = quat2mat(fillpositive(quaternion, w2_thresh=1e-6)).astype(np.float64)
    spacing[2] *= -1 if header["pixdim"][0] < 0 else 1  # qfac; 0 counts as 1
    origin = np.array([header["qoffset_x"], header["qoffset_y"], header["qoffset_z"]], dtype=np.float64)
    return _regular(np.column_stack([rotation * spacing, origin]))


def _from_spacing(header: Nifti1Header, shape: Shape) -> np.ndarray | None:
    """Axes L, A, S with the origin at the center, as nibabel assumes."""
    spacing = np.array(header["pixdim"][1:4], dtype=np.float64) * (-1, 1, 1)
    if not (np.abs(spacing).max() < FARTHEST_MM and (spacing * (-1, 1, 1)).min() > 0):
        return None
    return _regular(np.column_stack([np.diag(spacing), -spacing * (np.array(shape) - 1) / 2]))


def _regular(rows: np.ndarray) -> np.ndarray | None:
    """4x4 from three rows; None if no geometry: not finite, absurdly far or small, or flat (a voxel under 1e-6 of its edges' product)."""
    if not np.abs(rows).max() < FARTHEST_MM:  # not finite included
        return None
    edges = np.linalg.norm(rows[:, :3], axis=0)
    if edges.min() < 1 / FARTHEST_MM or abs(np.linalg.det(rows[:, :3])) < 1e-6 * np.prod(edges):
        return None
    return np.vstack([rows, (0.0, 0.0, 0.0, 1.0)])


def _usable(affine: np.ndarray, path: Path) -> None:
    spacing = spacing_of(affine)
    low, high = SPACING_LIMITS_MM
    if min(spacing) < low or max(spacing) > high:
        got = " x ".join(f"{value:g}" for value in spacing)
        raise InputError("SK-V013", "impossible voxel spacing", where=path, expected=f"{low:g} to {high:g} mm", got=got)
    directions = affine[:3, :3] / spacing
    shear = float(np.abs(directions.T @ directions - np.eye(3)).max())
    if shear > SHEAR_TOLERANCE:
        raise InputError(
            "SK-V014",
            "the axes are not perpendicular",
            where=path,
            expected=f"cosines up to {SHEAR_TOLERANCE}",
            got=f"{shear:.3g}",
            remedy="resample the scan onto a grid with perpendicular axes (a gantry tilt is corrected like this)",
        )
