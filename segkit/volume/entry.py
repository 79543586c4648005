"""One preprocessed case on disk: a folder of .npy arrays and a manifest that can prove them."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from segkit.config.atomic import sync
from segkit.config.errors import WorkError
from segkit.volume.case import Case
from segkit.volume.geometry import Native
from segkit.volume.labels import IGNORED

MANIFEST = "case.json"
Fingerprint = dict[str, Any]


@dataclass(frozen=True, eq=False)
class StoredCase:
    """A case whose arrays are mapped from disk, copy on write: opening it reads nothing, and nothing done to them reaches the disk.

    voxels: uint32, flat C-order indices into [X, Y, Z] of the labeled voxels inside the ROI, sorted by class, then by place.
    offsets: class c's are voxels[offsets[c] : offsets[c + 1]]; one number more than there are classes.
    """

    id: str
    image: np.ndarray
    label: np.ndarray | None
    roi: np.ndarray
    voxels: np.ndarray
    offsets: tuple[int, ...]
    native: Native
    classes: int
    outside: int
    notices: tuple[str, ...]

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Raises WorkError (SK-V073) where a file is missing or has not the size it was written with; `damaged` also reads the bytes."""
        manifest = read_manifest(folder)
        if manifest is None or not intact(folder, manifest):
            raise WorkError(
                "SK-V073", "a preprocessed case is damaged", where=folder, remedy="build the store again (train and predict do)"
            )
        arrays = {
            name: np.load(folder / f"{name}.npy", mmap_mode="c") for name in ("image", "label", "roi", "voxels") if _has(manifest, name)
        }
        return cls(
            id=manifest["id"],
            image=arrays["image"],
            label=arrays.get("label"),
            roi=arrays["roi"],
            voxels=arrays["voxels"],
            offsets=tuple(manifest["offsets"]),
            native=Native.from_json(manifest["native"]),
            classes=manifest["classes"],
            outside=manifest["outside"],
            notices=tuple(manifest["notices"]),
        )

    def as_case(self) -> Case:
        """The same arrays, still mapped, as a case."""
        return Case(self.id, self.image, self.label, self.roi, self.native, self.classes, self.outside, self.notices)


def write_entry(folder: Path, case: Case, fingerprint: Fingerprint) -> None:
    """Fills an empty folder, each file flushed to the disk, the manifest last."""
    voxels, offsets = voxels_by_class(case)
    arrays = {"image": case.image, "label": case.label, "roi": case.roi, "voxels": voxels}
    for name, array in arrays.items():
        if array is not None:
            np.save(folder / f"{name}.npy", np.ascontiguousarray(array), allow_pickle=False)
            sync(folder / f"{name}.npy")
    manifest = {
        "id": case.id,
        "fingerprint": fingerprint,
        "files": {path.name: {"bytes": path.stat().st_size, "sha256": sha256(path)} for path in sorted(folder.glob("*.npy"))},
        "offsets": offsets,
        "native": case.native.to_json(),
        "classes": case.classes,
        "outside": case.outside,
        "notices": case.notices,
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, allow_nan=False), encoding="utf-8")
    sync(folder / MANIFEST)
    sync(folder)


def voxels_by_class(case: Case) -> tuple[np.ndarray, list[int]]:
    """Where the voxels of each class are: (voxels, offsets) as StoredCase holds them.

    A class without a voxel in the ROI has an empty range.
    """
    if case.label is None:
        return np.empty(0, dtype=np.uint32), [0] * (case.classes + 1)
    if case.label.size > np.iinfo(np.uint32).max:
        raise WorkError(
            "SK-V074", "a volume too large for the store", where=case.id, expected="fewer than 2^32 voxels", got=f"{case.label.size:,}"
        )
    flat = np.flatnonzero(case.roi & (case.label != IGNORED)).astype(np.uint32)
    classes = case.label.ravel()[flat]
    counts = np.bincount(classes, minlength=case.classes)
    return flat[np.argsort(classes, kind="stable")], [0, *np.cumsum(counts).tolist()]


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest, or None where there is none that can be read."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and isinstance(manifest.get("files"), dict) else None


def intact(folder: Path, manifest: dict[str, Any]) -> bool:
    """Whether each file is there with its size; `damaged` also reads them."""
    try:
        return all((folder / name).stat().st_size == facts["bytes"] for name, facts in manifest["files"].items())
    except OSError:
        return False


def damaged(folder: Path) -> list[str]:
    """Names of the files that are missing or whose bytes are not those written; the manifest's own where it cannot be read."""
    manifest = read_manifest(folder)
    if manifest is None:
        return [MANIFEST]
    return [name for name, facts in manifest["files"].items() if not (folder / name).is_file() or sha256(folder / name) != facts["sha256"]]


def sha256(path: Path) -> str:
    """Hexadecimal digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _has(manifest: dict[str, Any], name: str) -> bool:
    return f"{name}.npy" in manifest["files"]
