"""A well-formed NIfTI file to damage."""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

AFFINE = np.array([[-2.0, 0, 0, 30], [0, 1.5, 0, -20], [0, 0, 3, 7], [0, 0, 0, 1]])
VOXELS = np.arange(210, dtype=np.int16).reshape(5, 6, 7) - 100


@pytest.fixture
def scan_file(tmp_path) -> Callable[..., Path]:
    """Writes a .nii or .nii.gz made by nibabel (int16 5 x 6 x 7, sform and qform coded), after header fields were overwritten.

    changes: (place in bytes, struct format, values). cut: bytes dropped at the end, before compression.
    """

    def write(*changes, array=VOXELS, affine=AFFINE, kind=nibabel.Nifti1Image, qform=True, name="scan.nii", cut=0, level=1) -> Path:
        image = kind(array, affine, dtype=array.dtype)
        image.header.set_xyzt_units("mm")
        image.set_sform(affine, code=2)
        if qform:
            image.set_qform(affine, code=1)
        data = bytearray(image.to_bytes())
        for place, form, values in changes:
            struct.pack_into("<" + form, data, place, *values)
        data = data[: len(data) - cut]
        path = tmp_path / name
        path.write_bytes(gzip.compress(data, level) if name.endswith(".gz") else data)
        return path

    return write
