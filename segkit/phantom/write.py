"""Phantom cases as NIfTI files in the folder layout of the original data set."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from segkit.config.atomic import atomic
from segkit.config.errors import InputError, WorkError
from segkit.phantom import brain, torso
from segkit.phantom.fields import Shape
from segkit.volume import nifti
from segkit.volume.nifti import Volume

Kind = Literal["brats", "btcv"]
SMALLEST = 32  # voxels along an axis: below, the thin structures of both anatomies are under one voxel wide
LARGEST = 1024  # voxels along an axis


@dataclass(frozen=True)
class Layout:
    """draw: (seed, case, shape) -> volumes by name and their affine. files: name -> path below the output folder,
    with {i} the case from 0, {n} from 1. case: the path that stands for a whole case. shape: the default.
    """

    draw: Callable[[int, int, Shape], tuple[dict[str, np.ndarray], np.ndarray]]
    files: Mapping[str, str]
    case: str
    shape: Shape


LAYOUTS: dict[str, Layout] = {
    "brats": Layout(
        brain.draw,
        {name: f"Phantom_{{i:03}}/Phantom_{{i:03}}_{name}.nii.gz" for name in ("flair", "t1", "t1ce", "t2", "seg")},
        "Phantom_{i:03}",
        (96, 96, 80),
    ),
    "btcv": Layout(
        torso.draw, {"img": "img/img{n:04}.nii.gz", "label": "label/label{n:04}.nii.gz"}, "img/img{n:04}.nii.gz", (128, 128, 64)
    ),
}


def write(
    kind: Kind,
    output: Path,
    cases: int,
    shape: Shape | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Write `cases` phantom cases below `output`; complete cases of the same settings are kept as they are.

    kind: "brats" (Phantom_000/Phantom_000_{flair,t1,t1ce,t2,seg}.nii.gz, labels 0 1 2 4, 1 mm, LPS) or "btcv" (img/img0001.nii.gz and
    label/label0001.nii.gz, HU, 13 organs, LAS, spacing = a body's field of view / shape). shape: voxels X, Y, Z, each 32 to 1024; None is
    96 96 80 or 128 128 64. progress: called with (cases done, cases wanted) after each case.
    Returns one path a case: its folder (brats) or its image (btcv).
    Case i depends on (seed, i, shape) alone: a rerun makes the same bytes, and more cases leave the earlier ones as they were.
    Raises InputError (SK-P001 to SK-P007) for settings or a folder that cannot be used, WorkError (SK-P008, SK-R090) when writing fails.
    """
    shape = _checked(kind, cases, shape, seed)
    layout = LAYOUTS[kind]
    files = [{name: output / place.format(i=i, n=i + 1) for name, place in layout.files.items()} for i in range(cases)]
    _claim(output, {"kind": kind, "seed": seed, "shape": list(shape)}, [path for case in files for path in case.values()])
    for i, case in enumerate(files):
        if not all(path.is_file() for path in case.values()):
            _write_case(case, *layout.draw(seed, i, shape))
        if progress is not None:
            progress(i + 1, cases)
    return [output / layout.case.format(i=i, n=i + 1) for i in range(cases)]


def _checked(kind: str, cases: int, shape: Shape | None, seed: int) -> Shape:
    """The shape to draw, once all settings are known to be usable."""
    if kind not in LAYOUTS:
        raise InputError("SK-P001", "unknown kind of phantom", expected=" or ".join(LAYOUTS), got=repr(kind))
    if cases < 1:
        raise InputError("SK-P002", "too few phantom cases", expected="cases >= 1", got=str(cases))
    wanted = LAYOUTS[kind].shape if shape is None else tuple(shape)
    if len(wanted) != 3 or not all(SMALLEST <= n <= LARGEST for n in wanted):
        expected = f"3 voxel counts (X, Y, Z), each {SMALLEST} to {LARGEST}"
        raise InputError("SK-P003", "a phantom of this shape cannot be drawn", expected=expected, got=str(wanted))
    if seed < 0:
        raise InputError("SK-P004", "negative phantom seed", expected="seed >= 0", got=str(seed))
    return wanted


def _claim(output: Path, settings: dict[str, object], files: list[Path]) -> None:
    """Make the folder, or make sure that what is in it came from the same settings: `phantom.json` holds them."""
    _make(output)
    note = output / "phantom.json"
    if not note.is_file():
        _refuse_strangers(files)
        with atomic(note) as temporary:
            temporary.write_text(json.dumps(settings) + "\n")
    try:
        found = json.loads(note.read_bytes())
    except ValueError:
        found = "text that is no JSON"
    if found != settings:
        remedy = "use another folder, or remove this one first"
        raise InputError(
            "SK-P006", "the folder holds other phantoms", where=note, expected=json.dumps(settings), got=json.dumps(found), remedy=remedy
        )


def _make(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
        problem = None if os.access(output, os.W_OK | os.X_OK) else "not writable"
    except OSError as error:
        problem = error.strerror
    if problem is not None:
        raise InputError("SK-P005", "cannot use the output folder", where=output, got=problem, remedy="name a folder you may write")


def _refuse_strangers(files: list[Path]) -> None:
    """Files under our names without `phantom.json` beside are somebody's data: neither a finished case nor ours to replace."""
    for path in files:
        if path.exists():
            raise InputError(
                "SK-P007", "the folder holds data that is no phantom", where=path, expected="an empty folder", remedy="use another folder"
            )


def _write_case(files: Mapping[str, Path], volumes: Mapping[str, np.ndarray], affine: np.ndarray) -> None:
    for name, path in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WorkError("SK-P008", "cannot make a folder for a case", where=path.parent, got=error.strerror) from None
        nifti.write(path, volumes[name], like=Volume.new(volumes[name], affine))
